"""Serving the application: one process, patient with slow clients up to a point, and ending well."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from learning_loop.api.serving import Served
from learning_loop.errors import UsageError

HEAD_S = 10.0  # within which a request's head must have come
MOST_HEAD = 524_288  # bytes that come before a head is at its end, some of a body's among them
ENDING_S = 30  # within which what was accepted must be done when the process is asked to end
MOST_CONNECTIONS = 2_000
SWITCH_S = 0.0005  # after which a thread lets another go on: what is done in the background makes no answer wait for long


class Impatient(HttpToolsProtocol):
    """Closes a connection whose next request has begun to come and does not end to, or whose head has no end."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = None
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        if self._late is not None:
            self._head += len(data)
            if self._head > MOST_HEAD:
                self.transport.close()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._head = 0
        self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """Says when it is ready, signals being heard by then; and that it ends, so that who listens does not hold it up."""

    def __init__(self, config: uvicorn.Config, served: Served, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._served, self._ready = served, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._served.changes.end()
        super().handle_exit(sig, frame)


def serve(app: ASGIApp, served: Served, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted by then is done first. `ready` is told the address.

    Raise UsageError where the address cannot be bound.
    """
    listening = bound(host, port)
    address = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        http=Impatient,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=ENDING_S,
    )
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # all that stays as it is: looking through it now and then would hold answers up
    at = f"http://{address}:{listening.getsockname()[1]}"
    with listening, _heard_once():
        _Server(config, served, lambda: ready(at)).run(sockets=[listening])


@contextmanager
def _heard_once() -> Iterator[None]:
    """Hear no signal twice: uvicorn ends well, and then raises anew what it was ended by."""
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; raise UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(2_048)
    except OSError as error:
        made.close()
        raise UsageError(f"cannot listen at {host} port {port}: {error.strerror}. Choose another with --port") from None
    return made
