"""What the index holds, and what a search is narrowed to."""

from dataclasses import dataclass
from datetime import datetime

from learning_loop.records import Kind
from learning_loop.retrieval.chunks import Chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One note to be found, in chunks. `mark` changes when its file does, `digest` when its content does.

    `said` is searched with little weight: tags, dates, the words of its path. `dated` is its date as people write it;
    `changed` is when it was last confirmed or revised, `seen` how often. `effect` is what showing it was measured to change,
    in points of the score, None where that is not known.
    """

    source: str
    id: str
    category: str
    title: str
    summary: str
    chunks: tuple[Chunk, ...]
    said: str = ""
    dated: str | None = None
    at: datetime | None = None
    changed: datetime | None = None
    seen: int = 0
    effect: float | None = None
    task_type: str | None = None
    component: str | None = None
    agent: str | None = None
    project: str | None = None
    outcome: str | None = None
    status: str = "active"
    tags: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    mark: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDocument:
    """The words that a finished execution is found by; how it went is the ledger's to say."""

    id: str
    project: str | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a search is narrowed to; of several names any will do, of tags all are wanted.

    What is None or empty does not narrow, but for the project: without one, only what has none is seen.
    """

    categories: tuple[str, ...] = ()
    other_than: tuple[str, ...] = ()
    outcome: str | None = None
    types: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    project: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    active: bool = False  # leave out what was superseded, retired or archived
    fitting: Kind | None = None  # notes on this kind of task, on its component or type in general, or on none in particular
