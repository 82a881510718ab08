"""Work that takes long, done in the background: one of a kind at a time, with its progress, and its end on record."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from filelock import FileLock, Timeout

from learning_loop.app import App
from learning_loop.errors import ConflictError, LearningLoopError, LedgerError, NotFoundError
from learning_loop.flows.beginning import process_started_at
from learning_loop.ledger.store import alive
from learning_loop.records import Event

KEPT = 200  # jobs that are over, in memory: one that ends while it is looked at was not interrupted
JOB = "served_job"  # the kind of events about jobs; their subject is the job's id
UNDER_WAY, DONE, FAILED, CANCELLED, INTERRUPTED = "running", "done", "failed", "cancelled", "interrupted"
log = logging.getLogger("learning_loop")
Told = Callable[[int, int], None]
Work = Callable[[Told], Mapping[str, Any]]


class _CancelledError(LearningLoopError):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands; `done` of `total` steps where that is known, `result` once it has ended well."""

    id: str
    kind: str
    state: str
    by: str
    asked: Mapping[str, Any]
    started_at: datetime
    ended_at: datetime | None = None
    done: int | None = None
    total: int | None = None
    result: Mapping[str, Any] | None = None
    error: str | None = None


@dataclass
class _Working:
    job: Job
    alone: FileLock
    stop: threading.Event = field(default_factory=threading.Event)
    told: bool = False  # its end is on record

    @property
    def over(self) -> bool:
        return self.job.ended_at is not None


class Jobs:
    """The jobs of one process over one workspace; of a kind, one is under way in all processes."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._working: dict[str, _Working] = {}
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="learning-loop-job")

    def start(self, kind: str, work: Work, *, by: str, asked: Mapping[str, Any]) -> Job:
        """Begin a job; raise ConflictError where one of its kind is under way."""
        now = self._app.clock()
        job = Job(id=self._app.ids(), kind=kind, state=UNDER_WAY, by=by, asked=asked, started_at=now)
        self._app.workspace.locks.mkdir(parents=True, exist_ok=True)
        working = _Working(job, FileLock(self._app.workspace.locks / f"job-{kind}.lock", timeout=0, thread_local=False))
        with self._lock:
            if busy := next((one.job.id for one in self._working.values() if one.job.kind == kind and not one.over), None):
                raise ConflictError(f"a job of the kind {kind} is under way ({busy}): wait for it, or cancel it")
            try:
                working.alone.acquire()
            except Timeout:
                raise ConflictError(f"a job of the kind {kind} is under way in another process: wait for it") from None
            self._working[job.id] = working
        with contextlib.ExitStack() as undone:
            undone.callback(self._not_begun, working)
            self._tell(job, pid=os.getpid(), process_started_at=process_started_at())
            begun = self._pool.submit(work, lambda done, total: self._told(working, done, total))
            undone.pop_all()
        begun.add_done_callback(lambda ended: self._ended(working, ended))
        return job

    def cancel(self, name: str) -> Job:
        """Ask a job to stop at its next step, and return it; raise NotFoundError, or ConflictError where it is over."""
        with self._lock:
            working = self._working.get(name)
        if working is None or working.over:
            state = self.one(name).state
            why = "another process is at it: cancel it there" if state == UNDER_WAY else "there is nothing to cancel"
            raise ConflictError(f"the job {name} is {state}: {why}")
        working.stop.set()
        return working.job

    def one(self, name: str) -> Job:
        """Return a job by its id; raise NotFoundError."""
        found = self._read(name)
        if not found:
            raise NotFoundError(f"there is no job {name!r}")
        return found[0]

    def all(self, *, most: int = 200) -> list[Job]:
        """Return the newest jobs, of this process and of those before it, the newest first."""
        return self._read(last=2 * most)[:most]

    def _read(self, name: str | None = None, *, last: int | None = None) -> list[Job]:
        found: dict[str, Job] = {}
        for event in self._app.ledger.events(JOB, name, last=last):
            data = event.data
            if data["state"] == UNDER_WAY:
                ours = data["pid"] == os.getpid()  # those of this process are in `working`, the newest when they are over, too
                lives = not ours and alive(data["pid"], data["process_started_at"])
                found[event.subject] = Job(
                    id=event.subject,
                    kind=data["kind"],
                    state=UNDER_WAY if lives else INTERRUPTED,
                    by=data["by"],
                    asked=data["asked"],
                    started_at=event.at,
                )
            elif event.subject in found:
                names = ("state", "result", "error", "done", "total")
                found[event.subject] = replace(found[event.subject], ended_at=event.at, **{name: data[name] for name in names})
        with self._lock:
            found |= {name: self._working[name].job for name in found if name in self._working}
        return sorted(found.values(), key=lambda job: (job.started_at, job.id), reverse=True)

    @property
    def progress(self) -> tuple[Any, ...]:
        """How far every job of this process is."""
        with self._lock:
            return tuple((name, working.job.done) for name, working in self._working.items() if not working.over)

    def close(self) -> None:
        """Ask all to stop, and wait until they have."""
        with self._lock:
            for working in self._working.values():
                working.stop.set()
        self._pool.shutdown(wait=True)

    def _told(self, working: _Working, done: int, total: int) -> None:
        working.job = replace(working.job, done=done, total=total)
        if working.stop.is_set() and done < total:
            raise _CancelledError("it was cancelled")

    def _ended(self, working: _Working, ended: "Future[Mapping[str, Any]]") -> None:
        error, job = ended.exception(), working.job
        if error is None:
            job = replace(job, state=DONE, result=ended.result())
        elif isinstance(error, _CancelledError):
            job = replace(job, state=CANCELLED)
        else:
            said = str(error) if isinstance(error, LearningLoopError) else f"{type(error).__name__}: {error}"
            job = replace(job, state=FAILED, error=said)
        working.job = replace(job, ended_at=self._app.clock())
        working.alone.release()
        self._put_down(working)

    def _not_begun(self, working: _Working) -> None:
        working.alone.release()
        with self._lock:
            self._working.pop(working.job.id, None)

    def put_down(self) -> None:
        """Put on record how jobs ended for which the ledger had no time then."""
        with self._lock:
            left = [working for working in self._working.values() if working.over and not working.told]
        for working in left:
            self._put_down(working)

    def _put_down(self, working: _Working) -> None:
        try:
            self._tell(working.job)
        except LedgerError as error:
            log.warning("how the job %s ended is not on record yet: %s", working.job.id, error)
            return
        with self._lock:
            working.told = True
            told = [one.job.id for one in self._working.values() if one.told]
            for name in told[:-KEPT]:
                del self._working[name]

    def _tell(self, job: Job, **more: Any) -> None:
        names = ("kind", "state", "by", "asked", "done", "total", "result", "error")
        data = {name: getattr(job, name) for name in names} | more
        self._app.ledger.append(Event(kind=JOB, subject=job.id, at=self._app.clock(), data=data))
