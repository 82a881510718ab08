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
from learning_loop.errors import LearningLoopError, WorkspaceError
from learning_loop.index import MemoryIndex
from learning_loop.ledger import Ledger
from learning_loop.protocols import Embedder, LanguageModel
from learning_loop.providers import Model, find_model
from learning_loop.records import Clock, new_id, utc_now
from learning_loop.settings import Settings
from learning_loop.workspace import Configuration, NoteStore, Workspace, load_configuration
from learning_loop.workspace.journal import Journal

if TYPE_CHECKING:
    from learning_loop.workspace.templates import Templates

log = logging.getLogger("learning_loop")


@dataclass
class App:
    """One open workspace. Close it, or use it as a context manager."""

    workspace: Workspace
    configuration: Configuration
    ledger: Ledger
    index: MemoryIndex
    redact: Redactor
    extractor: PatternExtractor
    decider: Decider
    notes: NoteStore
    journal: Journal
    clock: Clock
    ids: Callable[[], str]
    environ: Mapping[str, str]
    cache: Path  # what is derived and can be shared by workspaces: exported models
    embedder: Embedder | None = None  # given by who opens it, in the place of the configured one
    language: LanguageModel | None = None  # the same
    closed_at: float | None = None  # on the monotonic clock
    _slow: dict[str, "Background"] = field(default_factory=dict)
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
        embedder: Embedder | None = None,
        language: LanguageModel | None = None,
    ) -> Self:
        """Open a workspace: read its configuration, its ledger (made or migrated where due) and its index.

        An `embedder` or a `language` model that is given takes the place of the configured one.

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

        ledger = Ledger.open(
            workspace.ledger,
            sanitize=redact,
            clock=clock,
            locks=workspace.locks,
            durability=settings.ledger.durability,
            busy_timeout_s=settings.ledger.busy_timeout_s,
        )
        journal = Journal(workspace)
        journal.recover(lambda name: bool(ledger.events("files", name)))
        return cls(
            workspace=workspace,
            configuration=configuration,
            ledger=ledger,
            index=MemoryIndex(workspace.index),
            redact=redact,
            extractor=PatternExtractor(
                workspace.memory, environ=environ, environment=settings.capture.environment, clock=clock
            ),
            decider=Decider(clock=clock, ids=ids),
            notes=NoteStore(workspace, settings.memory.sources),
            journal=journal,
            clock=clock,
            ids=ids,
            environ=environ,
            cache=_cache(workspace, environ),
            embedder=embedder,
            language=language,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what runs in the background and close the files."""
        self.closed_at = time.monotonic()
        for lane in self._slow.values():
            lane.close()
        self._background.close()
        self.ledger.close()
        self.index.close()

    @property
    def closing(self) -> bool:
        return self.closed_at is not None

    @property
    def settings(self) -> Settings:
        return self.configuration.settings

    @cached_property
    def templates(self) -> "Templates":
        from learning_loop.workspace.templates import Templates

        return Templates(self.workspace.templates)

    @property
    def model(self) -> Model | None:
        """The model that is configured; None for `lexical`, and where `auto` finds none. Raise ModelError."""
        return find_model(self.settings.memory.embedder, cache=self.cache, base=self.workspace.root)

    def alone(self) -> Any:
        """Return a lock, for `with`, that one thread of one process holds at a time: notes are read, then written."""
        from filelock import FileLock

        self.workspace.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self.workspace.locks / "notes.lock")

    def later(self, name: str, work: Callable[[], Any]) -> None:
        """Do `work` soon, off the caller's path; while one of that name waits, another is not added."""
        self._background.submit(name, work)

    def aside(self, lane: str, name: str, work: Callable[[], Any]) -> None:
        """Do `work` soon, as `later` does, but beside it, in a lane of its own: what waits for others holds nothing else up."""
        self._slow.setdefault(lane, Background()).submit(name, work)

    def drain(self, name: str | None = None, timeout_s: float | None = None) -> None:
        """Wait until the work of that name, or all there is, has been done in the background; at most so long."""
        self._background.drain(name, timeout_s)
        for lane in list(self._slow.values()):
            lane.drain(name, timeout_s)


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
        self._closed = False

    def submit(self, name: str, work: Callable[[], Any]) -> None:
        if os.getpid() != self._pid:  # threads do not survive a fork
            self._begin_afresh()
        if self._closed:
            return
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
        self._closed = True
        if os.getpid() == self._pid and self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _cache(workspace: Workspace, environ: Mapping[str, str]) -> Path:
    """Return where exported models are kept: LEARNING_LOOP_CACHE, else the user's cache, else the workspace's own."""
    if given := environ.get("LEARNING_LOOP_CACHE"):
        return Path(os.path.expanduser(given)) / "models"
    if given := environ.get("XDG_CACHE_HOME"):
        return Path(given) / "learning_loop" / "models"
    if given := environ.get("HOME"):
        return Path(given) / ".cache" / "learning_loop" / "models"
    return workspace.root / ".learning_loop" / "models"


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
