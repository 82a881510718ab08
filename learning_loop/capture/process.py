"""Running a command: its output passes through live, its tail is kept, its signals and exit code stay its own."""

import contextlib
import fcntl
import math
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TextIO

CHUNK = 65_536
GRACE_S = 1.0  # how long silence is waited out after the command ended: what it started may hold the pipe open
POLL_S = 0.1
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended: `exit_code` is negative for the signal that killed it; durations in seconds."""

    exit_code: int
    duration_s: float
    cpu_s: float
    peak_memory_bytes: int
    output_tail: str


def run_command(command: Sequence[str], *, environ: Mapping[str, str], tail_bytes: int) -> Ended:
    """Run a command with this process's input and outputs and wait for it; raise OSError where it cannot start.

    Where an output of ours is a terminal the command gets one too, so that colours and progress bars stay. It shares our
    process group: Ctrl-C reaches it from the terminal, and other signals sent to us are passed on.
    """
    tail = _Tail(tail_bytes)
    streams = [_Stream(_descriptor(sys.stdout), tail), _Stream(_descriptor(sys.stderr), tail)]
    started = time.perf_counter()
    try:
        process = subprocess.Popen(command, stdout=streams[0].theirs, stderr=streams[1].theirs, env=dict(environ))  # noqa: S603
    except BaseException:
        for stream in streams:
            stream.abandon()
        raise
    with _signals_passed_to(process):
        for stream in streams:
            stream.start()
        _, status, usage = os.wait4(process.pid, 0)
        duration = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    for stream in streams:
        stream.finish()
    return Ended(
        exit_code=process.returncode,
        duration_s=duration,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_memory_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        output_tail=tail.text,
    )


def _descriptor(stream: TextIO | None) -> int:
    """Return where an output of ours goes, or nowhere where it was closed."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            return stream.fileno()
    return os.open(os.devnull, os.O_WRONLY)


class _Tail:
    """The last bytes of both outputs in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._cut = False
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        with self._lock:
            self._cut = self._cut or len(chunk) > self._limit
            self._chunks.append(chunk[-self._limit :] if self._limit else b"")
            self._size += len(self._chunks[-1])
            while self._chunks and self._size - len(self._chunks[0]) >= self._limit:
                self._size -= len(self._chunks.popleft())
                self._cut = True

    @property
    def text(self) -> str:
        """Return the tail as text; where something was cut off before it, from the next whole line on."""
        with self._lock:
            joined, cut = b"".join(self._chunks), self._cut
        if len(joined) > self._limit:
            joined, cut = joined[len(joined) - self._limit :], True
        if cut and 0 <= (line := joined.find(b"\n")) < len(joined) - 1:  # half a line may be half a secret
            joined = joined[line + 1 :]
        return joined.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


class _Stream:
    """Copies what the command writes to one of our outputs."""

    def __init__(self, ours: int, tail: _Tail) -> None:
        self._ours = ours
        self._tail = tail
        self._read, self.theirs = _terminal_like(ours) if os.isatty(ours) else os.pipe()
        self._ended_at = math.inf
        self._thread = threading.Thread(target=self._copy, daemon=True, name="learning-loop-output")

    def start(self) -> None:
        os.close(self.theirs)
        self._thread.start()

    def finish(self) -> None:
        """Copy what the command has written, however slowly it is read, and stop."""
        self._ended_at = time.monotonic()
        self._thread.join()

    def abandon(self) -> None:
        os.close(self.theirs)
        os.close(self._read)

    def _copy(self) -> None:
        while True:
            ready, _, _ = select.select([self._read], [], [], POLL_S)
            if not ready:
                if time.monotonic() - self._ended_at > GRACE_S:
                    break  # something it started still holds the pipe, and is silent
                continue
            try:
                chunk = os.read(self._read, CHUNK)
            except OSError:  # a terminal whose other side is closed
                break
            if not chunk:
                break
            self._tail.add(chunk)
            if not _write_all(self._ours, chunk):
                break  # nobody reads any more, as after `| head`: let the command know
        os.close(self._read)


def _write_all(descriptor: int, data: bytes) -> bool:
    """Write everything; false where nobody reads any more."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return False
    return True


def _terminal_like(ours: int) -> tuple[int, int]:
    """Return both sides of a pseudo terminal of the size of ours that passes bytes through unchanged."""
    read, theirs = os.openpty()
    with contextlib.suppress(OSError, termios.error):
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, fcntl.ioctl(ours, termios.TIOCGWINSZ, b"\0" * 8))
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    return read, theirs


@contextlib.contextmanager
def _signals_passed_to(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Pass signals on to the command; at a terminal it gets Ctrl-C itself, and we wait for how it takes it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)

    at_terminal = any(os.isatty(number) for number in (0, 1, 2))  # then Ctrl-C reaches both of us, once each
    typed = (lambda *_: None) if at_terminal else forward
    before = {number: signal.signal(number, forward) for number in FORWARDED}
    before |= {number: signal.signal(number, typed) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_like(exit_code: int) -> None:
    """End this process as the command ended: with its exit code, or by the signal that killed it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if exit_code < 0:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
        exit_code = 128 - exit_code
    sys.exit(exit_code)
