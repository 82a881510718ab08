"""What is served: one open workspace, with the runs that others do, jobs, and whoever listens."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from learning_loop.api.access import Access
from learning_loop.api.beside import Beside
from learning_loop.api.jobs import Jobs
from learning_loop.api.live import Changes
from learning_loop.app import App
from learning_loop.flows.beginning import ELSEWHERE
from learning_loop.flows.run import Run
from learning_loop.orchestrator import LearningOrchestrator
from learning_loop.records import Event

AUDIT = "audit"  # the kind of events that say who changed what over the network; their subject is who
Result = TypeVar("Result")
MOST_OPEN = 10_000  # runs that are kept in memory: others are read from the ledger when they go on


class Runs:
    """The runs under way whose work is others'. What is in memory may be lost: the ledger has all there is to go on with."""

    def __init__(self, loop: LearningOrchestrator) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Run] = OrderedDict()
        self._locks = [threading.Lock() for _ in range(256)]

    def begin(self, task: Mapping[str, Any], *, parent_id: str | None, key: str | None) -> Run:
        """Begin a run; with the `key` of a request that came before, return what that began."""
        name = f"r-{sha256(key.encode()).hexdigest()[:24]}" if key is not None else None
        if name is not None and self._loop.app.ledger.known([name]):
            return self.one(name)
        run = self._loop.begin_elsewhere(dict(task), id=name, parent_id=parent_id)
        self._keep(run)
        return run

    def alone(self, name: str) -> threading.Lock:
        """Return a lock, for `with`, that holds a run, and some others, for one at a time."""
        return self._locks[hash(name) % len(self._locks)]

    def one(self, name: str) -> Run:
        """Return a run under way; raise NotFoundError, or UsageError where it is over."""
        found = self.known(name)
        if found is None:
            found = self._loop.resume(name)
            self._keep(found)
        return found

    def known(self, name: str) -> Run | None:
        """Return a run under way that is in memory."""
        with self._lock:
            return self._open.get(name)

    def over(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)

    def _keep(self, run: Run) -> None:
        with self._lock:
            self._open[run.id] = run
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)


class Served:
    """Everything that answers share."""

    def __init__(self, loop: LearningOrchestrator, *, flags: Mapping[str, str] | None = None) -> None:
        self.loop, self.app = loop, loop.app
        self.settings = self.app.settings.serve
        self.access = Access(self.app, session_s=3_600 * self.settings.session_hours)
        self.runs, self.follower = Runs(loop), loop.follower()
        self.jobs = Jobs(self.app)
        self.changes = Changes(self.app)
        self.beside = Beside(self.app.workspace.root, flags or {}, self.app.environ)
        self._recorder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="learning-loop-record")
        self.keys: set[str] = set()  # of requests under way, see `repeating`

    async def record(self, work: Callable[[], Result]) -> Result:
        """Do what records a run, one after the other: side by side such short work would only wait for each other."""
        return await asyncio.get_running_loop().run_in_executor(self._recorder, work)

    def close(self) -> None:
        """Finish what was begun, and ask jobs to stop."""
        self._recorder.shutdown(wait=True)
        self.jobs.close()
        self.beside.close()

    def abandon(self) -> None:
        """Mark the runs as interrupted that were begun over the network and that nobody ended for long."""
        hours = self.settings.abandoned_hours
        due = self.app.ledger.begun_before(ELSEWHERE, self.app.clock() - timedelta(hours=hours))
        self.app.ledger.interrupt(due, f"nobody ended it within {hours:g} hours")
        for name in due:
            self.runs.over(name)

    def audit(self, actor: str, action: str, subject: str, **more: Any) -> None:
        """Put on record who changed what."""
        self.app.ledger.append(
            Event(kind=AUDIT, subject=actor, at=self.app.clock(), data={"action": action, "of": subject, **more})
        )


def served_in(request: Request) -> Served:
    found: Served = request.app.state.served
    return found


async def served_of(request: Request) -> Served:  # async, so that it takes no thread
    return served_in(request)


async def app_of(request: Request) -> App:
    return served_in(request).app


Serving = Annotated[Served, Depends(served_of)]
Opened = Annotated[App, Depends(app_of)]
