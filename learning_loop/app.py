"""The composition root: a workspace and its settings become collaborators that know nothing of each other."""

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from learning_loop.capture import PatternExtractor, Redactor
from learning_loop.decider import Decider
from learning_loop.errors import LearningLoopError, NoteError, WorkspaceError
from learning_loop.index import Document, LexicalIndex
from learning_loop.ledger import Ledger
from learning_loop.records import Clock, ExecutionRecord, new_id, utc_now
from learning_loop.settings import Settings
from learning_loop.workspace import Configuration, Note, NoteStore, Workspace, load_configuration

if TYPE_CHECKING:
    from learning_loop.workspace.templates import Templates

log = logging.getLogger("learning_loop")

Progress = Callable[[int, int], None]

SYNC_BATCH = 500
UPKEEP_SHARE, UPKEEP_RUNS = 200, 25


@dataclass
class App:
    """One open workspace. Close it, or use it as a context manager."""

    workspace: Workspace
    configuration: Configuration
    ledger: Ledger
    index: LexicalIndex
    redact: Redactor
    extractor: PatternExtractor
    decider: Decider
    notes: NoteStore
    clock: Clock
    ids: Callable[[], str]
    _look_again_at: float = 0.0
    _background: "Background" = field(default_factory=lambda: Background())  # noqa: PLW0108  (defined below)

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        *,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
        clock: Clock = utc_now,
        rng: random.Random | None = None,
    ) -> Self:
        """Open a workspace: read its configuration, its ledger (made or migrated where due) and its index.

        `environ` defaults to the process's environment and `rng`, which ids are drawn with, to the system's randomness.
        Raise ConfigurationError or LedgerError.
        """
        environ = os.environ if environ is None else environ
        source = rng or random.SystemRandom()
        configuration = load_configuration(workspace.config, environ=environ, flags=flags)
        settings = configuration.settings
        redact = Redactor(patterns=settings.capture.redact, environ=environ)

        def ids() -> str:
            return new_id(clock(), source)

        return cls(
            workspace=workspace,
            configuration=configuration,
            ledger=Ledger.open(
                workspace.ledger,
                sanitize=redact,
                clock=clock,
                locks=workspace.locks,
                durability=settings.ledger.durability,
                busy_timeout_s=settings.ledger.busy_timeout_s,
            ),
            index=LexicalIndex(workspace.index / "lexical.db"),
            redact=redact,
            extractor=PatternExtractor(
                workspace.memory, environ=environ, environment=settings.capture.environment, clock=clock
            ),
            decider=Decider(clock=clock, ids=ids),
            notes=NoteStore(workspace),
            clock=clock,
            ids=ids,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what runs in the background and close the files."""
        self._background.close()
        self.ledger.close()
        self.index.close()

    @property
    def settings(self) -> Settings:
        return self.configuration.settings

    @cached_property
    def templates(self) -> "Templates":
        from learning_loop.workspace.templates import Templates

        return Templates(self.workspace.templates)

    def alone(self) -> Any:
        """Return a lock, for `with`, that one thread of one process holds at a time: notes are read, then written."""
        from filelock import FileLock

        self.workspace.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self.workspace.locks / "notes.lock")

    def later(self, name: str, work: Callable[[], Any]) -> None:
        """Do `work` soon, off the caller's path; while one of that name waits, another is not added."""
        self._background.submit(name, work)

    def drain(self, name: str | None = None, timeout_s: float | None = None) -> None:
        """Wait until the work of that name, or all there is, has been done in the background; at most so long."""
        self._background.drain(name, timeout_s)

    # ---------------------------------------------------------------------------------------------------------- index

    def sync_index(self, progress: Progress | None = None) -> list[NoteError]:
        """Bring the index up to date with the notes as they stand and the ledger; return what could not be read.

        `progress` is told now and then how many notes of how many were read.
        """
        faults: list[NoteError] = []
        self.sync_notes(faults, progress)
        self._sync_executions()
        return faults

    def _sync_executions(self, most: int | None = None) -> None:
        seq = int(self.index.meta("seq") or 0)
        while True:
            records, seq = self.ledger.since(seq, most or SYNC_BATCH)
            if not records:
                return
            self.index.update([execution_document(record) for record in records], meta={"seq": str(seq)})
            if most is not None:
                return

    def upkeep(self) -> None:
        """Do what may wait: bring the index up to date and the ledger's log into its file.

        It stays small, for it shares the interpreter with the runs: looking through the notes takes at most one
        two-hundredth of the time, and twenty-five executions at most are taken in; a question takes in the rest.
        """
        started = time.monotonic()
        if started >= self._look_again_at:
            self.sync_notes()
            self._look_again_at = started + UPKEEP_SHARE * (time.monotonic() - started)
        self._sync_executions(most=UPKEEP_RUNS)
        self.ledger.checkpoint()

    def sync_notes(self, faults: list[NoteError] | None = None, progress: Progress | None = None) -> None:
        """Bring the index up to date with the notes as they stand; what cannot be read is added to `faults`."""
        faults = [] if faults is None else faults
        known, found = self.index.marks(), {}
        for path in self.notes.paths():
            with contextlib.suppress(OSError):  # gone between the listing and the look
                found[self.workspace.relative(path)] = mark_of(path)
        changed = [source for source, mark in found.items() if known.get(source) != mark]
        self.index.update([], gone=[source for source in known if source not in found])
        for start in range(0, len(changed), SYNC_BATCH):
            documents, gone = [], []
            for source in changed[start : start + SYNC_BATCH]:
                try:
                    documents.append(note_document(self.notes.read(source), found[source]))
                except NoteError as error:
                    faults.append(error)
                    gone.append(source)  # what it said before it became unreadable no longer stands
            self.index.update(documents, gone=gone)
            if progress is not None:
                progress(min(start + SYNC_BATCH, len(changed)), len(changed))

    def index_note(self, note: Note) -> None:
        """Make a note that was just written findable at once."""
        self.index.update([note_document(note, mark_of(self.workspace.root / note.path))])


def mark_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_mtime_ns}-{status.st_size}"


def note_document(note: Note, mark: str) -> Document:
    """Return a note as the index knows it."""
    kind = note.meta.get("task_type"), note.meta.get("component")
    context = [note.category, note.path.replace("/", " "), *(str(part) for part in kind if part), *note.texts("tags")]
    return Document(
        source=note.path,
        id=note.id,
        category=note.category,
        title=note.title,
        text=note.body,
        summary=_summary(note),
        context=" ".join(context),
        at=note.created,
        task_type=note.text("task_type"),
        component=note.text("component"),
        project=note.text("project"),
        outcome=note.text("outcome"),
        status="archived" if note.path.startswith("memory/archive/") else note.text("status") or "active",
        evidence=note.texts("evidence"),
        mark=mark,
    )


def _summary(note: Note) -> str:
    if given := note.meta.get("summary") or note.meta.get("description"):
        return str(given)
    for block in note.body.split("\n\n"):
        text = " ".join(line.strip() for line in block.splitlines() if line.strip() and not line.startswith("#"))
        if text:
            return text[:300]
    return note.title


def execution_document(record: ExecutionRecord) -> Document:
    """Return a finished execution as the index knows it."""
    execution, outcome = record.execution, record.outcome
    ending = [outcome.error_type, outcome.error_message] if outcome else []
    parts = [execution.description, *(f"{name} {value}" for name, value in execution.parameters.items()), *ending]
    score = record.score.overall if record.score else None
    said = [
        f"{record.status}",
        f"score {score:.0f}" if score is not None else "score unknown",
        *(part for part in ending if part),
    ]
    return Document(
        source=f"execution:{execution.id}",
        id=execution.id,
        category="execution",
        title=f"{execution.kind}: {execution.task_id} {record.status}",
        text=" ".join(str(part) for part in parts if part),
        summary="; ".join(said)[:300],
        context=" ".join(part for part in (execution.task_type, execution.component, execution.agent, *execution.tags) if part),
        at=execution.started_at,
        task_type=execution.task_type,
        component=execution.component,
        project=execution.project,
        outcome=record.status,
        evidence=(execution.id,),
    )


class Background:
    """One thread for what may wait; a fault there is logged, never raised. Python waits for it at exit."""

    def __init__(self) -> None:
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: dict[str, Future[None]] = {}
        self._logged: set[str] = set()

    def submit(self, name: str, work: Callable[[], Any]) -> None:
        if os.getpid() != self._pid:  # threads do not survive a fork
            self._begin_afresh()
        with self._lock:
            waiting = self._waiting.get(name)
            if waiting is not None and not waiting.running() and not waiting.done():
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="learning-loop")
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down: what waits here is derived
                self._waiting[name] = self._pool.submit(self._guarded, name, work)

    def _guarded(self, name: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:
            if (message := f"{name}: {error}") not in self._logged:  # once, not every second
                self._logged.add(message)
                log.warning("%s", message, exc_info=None if isinstance(error, LearningLoopError | OSError) else error)

    def drain(self, name: str | None, timeout_s: float | None) -> None:
        if os.getpid() == self._pid:
            wait([work for known, work in list(self._waiting.items()) if name in (None, known)], timeout=timeout_s)

    def close(self) -> None:
        if os.getpid() == self._pid and self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def find_workspace(start: Path | str | None, environ: Mapping[str, str]) -> Workspace:
    """Return the workspace meant by `start`, by LEARNING_LOOP_WORKSPACE, or the one this folder lies in.

    Raise WorkspaceError where there is none.
    """
    given = start or environ.get("LEARNING_LOOP_WORKSPACE")
    found = Workspace.find(Path(given or "."))
    if found is None or (given and found.root != Path(given).resolve()):
        where = Path(given or ".").resolve()
        raise WorkspaceError(f"{where} is no workspace: make it one with `learning-loop init {given or ''}`".rstrip(" `") + "`")
    return found
