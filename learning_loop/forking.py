"""Forks while other threads work: at that moment none is inside SQLite, whose locks nobody would ever open in the child.

Whoever uses SQLite does it `with SQLITE:`. A fork waits until all are out, and nobody enters until it is over.
"""

import os
import threading
import time

WAIT_S = 1.0  # for who is at something long; then the fork goes on, as it would without this
LOOK_S = 0.0005


class Gate:
    """Lets any number of threads in, each as often as it likes, but none while a fork is under way."""

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}  # threads, and how often each has entered
        self._shut = False
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        self._forking = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> None:
        me = threading.get_ident()
        depth = self._inside.get(me, 0)
        self._inside[me] = depth + 1
        while self._shut and not depth:  # who is in goes on, for the fork waits for it
            del self._inside[me]
            self._over.wait()
            self._inside[me] = 1

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        if self._inside[me] == 1:
            del self._inside[me]
        else:
            self._inside[me] -= 1

    def before_fork(self) -> None:
        self._forking.acquire()
        self._over.clear()
        self._shut = True
        until, own = time.monotonic() + WAIT_S, threading.get_ident() in self._inside
        while len(self._inside) > own and time.monotonic() < until:
            time.sleep(LOOK_S)

    def after_in_parent(self) -> None:
        self._shut = False
        self._over.set()
        self._forking.release()

    def after_in_child(self) -> None:
        me = threading.get_ident()
        self._inside = {me: self._inside[me]} if me in self._inside else {}
        self._shut = False
        self._begin_afresh()


SQLITE = Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=SQLITE.before_fork, after_in_parent=SQLITE.after_in_parent, after_in_child=SQLITE.after_in_child)
