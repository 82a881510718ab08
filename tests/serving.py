"""A server as people start it, for tests: a real process, over a real workspace."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.conftest import WORDS_ONLY


@dataclass
class Server:
    """A server under way."""

    process: subprocess.Popen[str]
    address: str
    root: Path

    def client(self, token: str | None = None, **options: Any) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url=self.address, headers=headers, timeout=30, **options)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(root: Path, *options: str, environ: dict[str, str] | None = None) -> Iterator[Server]:
    """Serve a workspace on a free port until the block ends."""
    command = [sys.executable, "-m", "learning_loop", "-C", str(root), "serve", "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, env={**os.environ, **WORDS_ONLY, **(environ or {})}
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"pages\s+(http://\S+)/admin", line)
            if found is None:
                said.seek(0)
                raise AssertionError(line + said.read())
            server = Server(process, found[1], root)
            _wait(server)
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with server.client() as client:
                if client.get("/healthz").status_code == 200:
                    return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not come up")
