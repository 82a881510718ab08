"""Reflection beside the server, in a process of its own: what is found out about one run must not hold the next ones up.

What waits here is lost with the process, as it is where a runner dies between the end of a run and its report; what the runs
came to is on record by then, and the next run of their kind finds the same.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from learning_loop.app import App
from learning_loop.flows.reflect import Reflection, Reflector
from learning_loop.workspace import Workspace

log = logging.getLogger("learning_loop")
MOST_WAITING = 2_000  # runs; what ends while so many wait is not reflected on
_opened: list[tuple[App, Reflector]] = []  # of the process that reflects


class Reflections:
    """Reflects on runs that ended, one after the other."""

    def __init__(self, root: Path, flags: Mapping[str, str] | None, environ: Mapping[str, str]) -> None:
        self._given = (str(root), dict(flags or {}), dict(environ))
        self._lock = threading.RLock()  # what is done at once, or cannot be, says so while it is handed over
        self._pool: ProcessPoolExecutor | None = None
        self._waiting = 0

    def submit(self, execution_id: str, triggers: Sequence[tuple[str, str]]) -> bool:
        """Have these reflections on a run carried out soon; false where too many wait."""
        with self._lock:
            if self._waiting >= MOST_WAITING:
                return False
            self._waiting += 1
            try:
                self._submitted(execution_id, triggers)
            except BrokenProcessPool:  # it was killed: another takes its place
                self._pool = None
                self._submitted(execution_id, triggers)
        return True

    def close(self) -> None:
        """Finish what is under way; what waits is left out, see above."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submitted(self, execution_id: str, triggers: Sequence[tuple[str, str]]) -> None:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_open, initargs=self._given)
        self._pool.submit(_reflect, execution_id, list(triggers)).add_done_callback(self._done)

    def _done(self, done: "Future[None]") -> None:
        with self._lock:
            self._waiting -= 1
        if not done.cancelled() and (error := done.exception()) is not None:
            log.warning("a run was not reflected on: %s: %s", type(error).__name__, error)


def _open(root: str, flags: Mapping[str, str], environ: Mapping[str, str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server says when it is over
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    os.nice(19)
    app = App.open(Workspace(Path(root)), environ=environ, flags=flags)
    _opened.append((app, Reflector(app)))


def _end_with_the_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        os._exit(0)


def _reflect(execution_id: str, triggers: Sequence[tuple[str, str]]) -> None:
    ((app, reflector),) = _opened
    outcome = app.ledger.execution(execution_id).outcome
    if outcome is not None:
        for action, reason in triggers:
            reflector.perform_reflection(action, reason, outcome, Reflection())
