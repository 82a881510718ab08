"""Following runs that were recorded for others: what each left to be found out is, once, by one process at a time."""

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta

from filelock import FileLock, Timeout

from learning_loop.app import App
from learning_loop.errors import LedgerError, WorkspaceError
from learning_loop.flows.guard import Guard
from learning_loop.flows.indexing import indexed_together
from learning_loop.flows.reflect import Reflection, Reflector
from learning_loop.flows.remember import MOST_EVIDENCE
from learning_loop.ledger import Filter
from learning_loop.records import Event, Kind, Outcome

DUE, DONE = "reflection_due", "reflected"  # the kinds of events; their subject is the execution
FOLLOWED = "followed"  # up to which place kinds were told of
AT_ONCE = MOST_EVIDENCE  # what is done again after a crash has to be among the evidence of its note: so it is not counted twice
A_PASS = 5 * AT_ONCE  # so many reflections at most until index and alerts come round: some seconds
WRITTEN_EVERY = timedelta(minutes=1)
HELD_UP = timedelta(hours=1)  # by one reflection whose note cannot be written
log = logging.getLogger("learning_loop")


class Follower:
    """Reflects on the runs that are due, the oldest first, and tells of the kinds that ran.

    What was done is on record by its place, so that who comes next goes on from there; where a process dies between
    reflections and their record, they are done again, which writes the same notes. Where ledger or files cannot be written,
    all waits until they can.
    """

    def __init__(self, app: App, reflector: Reflector, guard: Guard, told: Callable[[Collection[Kind]], None]) -> None:
        self._app, self._reflector, self._guard, self._told = app, reflector, guard, told
        last = app.ledger.events(FOLLOWED, last=1)
        self._seen = self._written = int(last[0].data["place"]) if last else 0
        self._written_at = app.clock()
        self._held: tuple[int, datetime] | None = None  # by which place, and since when
        app.workspace.locks.mkdir(parents=True, exist_ok=True)
        self._here = threading.Lock()
        self._alone = FileLock(app.workspace.locks / "follow.lock", timeout=0, thread_local=False)

    def follow(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Do what is due, until there is nothing more or `go_on` says no; return on how many runs it reflected.

        Nothing where another process is at it.
        """
        done = 0
        with self._only_one(0) as alone:
            while alone:
                self._tell()
                done += (count := self._reflections(go_on))
                if count < A_PASS:
                    break
        return done

    def close(self) -> None:
        """Put on record how far it has come."""
        with self._guard("following", []):
            self._write()

    def wait_for(self, execution_id: str, *, wait_s: float) -> Reflection:
        """Do what is due up to a run, and return what reflecting on that gave: nothing where it could not be done yet."""
        with self._only_one(wait_s) as alone:
            while alone and not self._done(execution_id) and self._reflections(lambda: True, until=execution_id) == A_PASS:
                pass
        done = self._done(execution_id)
        return Reflection(**done[0].data["found"]) if done else Reflection()

    def _done(self, execution_id: str) -> list[Event]:
        return self._app.ledger.events(DONE, execution_id, last=1)

    @contextlib.contextmanager
    def _only_one(self, wait_s: float) -> Iterator[bool]:
        """Be the only one who follows, in all threads and processes; false where others are at it for so long."""
        with contextlib.ExitStack() as held:
            alone = self._here.acquire(timeout=wait_s)
            if alone:
                held.callback(self._here.release)
                try:
                    held.enter_context(self._alone.acquire(timeout=wait_s))
                except Timeout:
                    alone = False
            yield alone

    def _tell(self) -> None:
        kinds, self._seen = self._app.ledger.kinds_since(self._seen)
        self._told(kinds)
        if self._app.clock() - self._written_at >= WRITTEN_EVERY:
            self._write()

    def _write(self) -> None:
        if self._seen > self._written:
            self._written, self._written_at = self._seen, self._app.clock()
            self._app.ledger.append(Event(kind=FOLLOWED, subject="", at=self._written_at, data={"place": self._seen}))

    def _reflections(self, go_on: Callable[[], bool], until: str | None = None) -> int:
        """Reflect on what is due, a pass of it at most, up to a run where one is named.

        What was done is put on record together, and its notes are indexed together: while there is more, the index comes after.
        """
        last = self._app.ledger.events(DONE, last=1)
        place, count = (int(last[0].data["place"]) if last else 0), 0
        with indexed_together(self._app):
            while count < A_PASS and (due := self._app.ledger.events_after(DUE, place, most=min(AT_ONCE, A_PASS - count))):
                done = list[Event]()
                ids = tuple(event.subject for _, event in due)
                ended = {one.execution.id: one.outcome for one in self._app.ledger.executions(Filter(ids=ids), limit=len(ids))}
                try:
                    for place, event in due:
                        if not go_on() or (made := self._reflect(place, event, ended.get(event.subject))) is None:
                            return count
                        done.append(made)
                        count += 1
                        if event.subject == until:
                            return count
                finally:
                    self._app.ledger.append(*done)
        return count

    def _reflect(self, place: int, event: Event, outcome: Outcome | None) -> Event | None:
        """Reflect on a run, and return what is to be on record of it; None where it has to be done later."""
        found, later = Reflection(), False
        with self._guard(f"reflection on {event.subject}", []):  # one that fails for itself holds none of the others up
            try:
                if outcome is not None:
                    for action, reason in event.data["triggers"]:
                        self._reflector.perform_reflection(action, reason, outcome, found)
            except (OSError, LedgerError, WorkspaceError):
                later = True
                raise
        if later and self._waits(place):
            return None
        return Event(kind=DONE, subject=event.subject, at=self._app.clock(), data={"place": place, "found": asdict(found)})

    def _waits(self, place: int) -> bool:
        if self._held is None or self._held[0] != place:
            self._held = (place, self._app.clock())
        if self._app.clock() - self._held[1] < HELD_UP:
            return True
        log.warning("a reflection could not be written for %s: it is given up", HELD_UP)
        return False
