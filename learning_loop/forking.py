"""Forks while other threads work: at that moment none is inside SQLite, whose locks nobody would ever open in the child.

Ledger and index use SQLite `with SQLITE.lock:`, which is each thread's own. A fork takes those of all others first.
"""

import contextlib
import os
import threading
import time
import weakref

WAIT_S = 1.0  # for others that are at something long; then the fork goes on, as it would without this
HASTY_S, HASTY_WAIT_S = 10.0, 0.1  # after that, for how long forks wait less


class Gate(threading.local):
    """A lock for each thread, that it may take as often as it likes; those of the others are held during a fork.

    The locks are the interpreter's own, so that a signal comes before one is taken or after it was given back.
    """

    def __init__(self, forks: "Forks") -> None:
        self._forks, self._lock = forks, threading.RLock()
        with forks.registering:
            forks.locks.add(self._lock)

    @property
    def own(self) -> threading.RLock:
        return self._lock

    @property
    def lock(self) -> threading.RLock:
        """The lock of this thread; who is not inside yet does not get there before a fork that is waiting."""
        over = self._forks.over
        if over is not None and not self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001  (as Condition asks)
            over.wait()
        return self._lock


class Forks:
    """What happens round a fork."""

    def __init__(self, *, wait_s: float = WAIT_S) -> None:
        self.registering = threading.RLock()  # held during a fork too, so that no thread begins then
        self.locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
        self.over: threading.Event | None = None  # while one is under way
        self.gate = Gate(self)
        self._wait_s = wait_s
        self._hasty_until = 0.0

    def before(self) -> None:
        self.registering.acquire()
        self.over = self.over or threading.Event()
        now = time.monotonic()
        until = now + (self._wait_s if now >= self._hasty_until else min(self._wait_s, HASTY_WAIT_S))
        taken = [lock.acquire(timeout=max(0.0, until - time.monotonic())) for lock in self._others()]
        if not all(taken):
            self._hasty_until = now + HASTY_S

    def after(self) -> None:
        over, self.over = self.over, None
        self._give_back()
        if over is not None:
            over.set()

    def after_in_child(self) -> None:
        self.over = None  # who waits for it is not here
        self._give_back()

    def _give_back(self) -> None:
        """Give the locks back: in the child as well, for it goes on as the thread that took them."""
        for lock in (*self._others(), self.registering):
            with contextlib.suppress(RuntimeError):  # it was not to be had
                lock.release()

    def _others(self) -> "list[threading.RLock]":
        return [lock for lock in list(self.locks) if lock is not self.gate.own]


_FORKS = Forks()
SQLITE = _FORKS.gate
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_FORKS.before, after_in_parent=_FORKS.after, after_in_child=_FORKS.after_in_child)
