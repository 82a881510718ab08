"""What may wait, beside the server, in a process of its own: it must not hold answers up.

That process is `learning-loop follow`. It takes what is to be done from the ledger, so that nothing is handed over to it, and
nothing is lost with either. It ends when its standard input does: when it is told to, or the server is gone.
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger("learning_loop")
ENDING_S = 30.0  # for what it is at


class Beside:
    """The process that follows the runs of one workspace."""

    def __init__(self, root: Path, flags: Mapping[str, str], environ: Mapping[str, str]) -> None:
        given = [part for name, value in flags.items() for part in ("--set", f"{name}={value}")]
        self._command = [sys.executable, "-P", "-m", "learning_loop", "-C", str(root), *given, "follow", "--while-open"]
        self._environ = dict(environ)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def keep(self) -> None:
        """Begin it, where it is not under way."""
        with self._lock:
            if self._closed or (self._process is not None and self._process.poll() is None):
                return
            if self._process is not None:
                self._end(self._process)
                log.warning("what follows the runs ended by itself (exit %s): it is begun anew", self._process.returncode)
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,  # Ctrl-C is the server's, which says when it is over
            )

    def close(self) -> None:
        """Have it finish what it is at, and end."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._end(self._process)

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]") -> None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
