"""Following runs that were recorded for others: what each left to be found out is, once, by one process at a time."""

from collections.abc import Callable

from filelock import FileLock, Timeout

from learning_loop.app import App
from learning_loop.flows.guard import Guard
from learning_loop.flows.reflect import Reflection, Reflector
from learning_loop.records import Event, Kind

DUE, DONE = "reflection_due", "reflected"  # the kinds of events; their subject is the execution
AT_ONCE = 100


class Follower:
    """Reflects on the runs that are due, the oldest first, and tells of the kinds that ran.

    What was done is on record by its place, so that who comes next goes on from there; where a process dies between a
    reflection and its record, that one is done again, which writes the same note.
    """

    def __init__(self, app: App, reflector: Reflector, guard: Guard, ran: Callable[[Kind], None]) -> None:
        self._app, self._reflector, self._guard, self._ran = app, reflector, guard, ran
        self._seen = app.ledger.last_place()
        app.workspace.locks.mkdir(parents=True, exist_ok=True)
        self._alone = FileLock(app.workspace.locks / "follow.lock", timeout=0)

    def follow(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Do what is due, until there is nothing more or `go_on` says no; return on how many runs it reflected.

        Nothing where another process is at it.
        """
        try:
            with self._alone:
                return self._follow(go_on)
        except Timeout:
            return 0

    def _follow(self, go_on: Callable[[], bool]) -> int:
        kinds, self._seen = self._app.ledger.kinds_since(self._seen)
        for kind in kinds:
            self._ran(kind)
        last = self._app.ledger.events(DONE, last=1)
        place, done = (int(last[0].data["place"]) if last else 0), 0
        while due := self._app.ledger.events_after(DUE, place, most=AT_ONCE):
            for place, event in due:
                if not go_on():
                    return done
                self._reflect(place, event)
                done += 1
        return done

    def _reflect(self, place: int, event: Event) -> None:
        with self._guard(f"reflection on {event.subject}", []):  # one that fails holds none of the others up
            outcome = self._app.ledger.execution(event.subject).outcome
            if outcome is not None:
                for action, reason in event.data["triggers"]:
                    self._reflector.perform_reflection(action, reason, outcome, Reflection())
        self._app.ledger.append(Event(kind=DONE, subject=event.subject, at=self._app.clock(), data={"place": place}))
