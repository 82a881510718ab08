"""The nouns: frozen, built once at the border; `None` means unknown.

A record whose name is a table's (see `ledger/tables.py`) has that table's columns as its fields.
"""

import dataclasses
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from learning_loop.errors import TaskError, UsageError

Clock = Callable[[], datetime]

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no letter or digit that is read as another
_PLACES = [len(_ALPHABET) ** place for place in range(8)]


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id(now: datetime, rng: random.Random) -> str:
    """Return an id that sorts by time and that two machines can make at once without a clash.

    The form is `YYYYMMDD-HHMMSS-xxxxxxxx` in UTC; the tail carries 39 random bits.
    """
    tail = rng.getrandbits(39)
    letters = "".join([_ALPHABET[tail // place % len(_ALPHABET)] for place in _PLACES])
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{letters}"


def slug(text: str, limit: int = 48) -> str:
    """Return `text` as a file or tag name: lower case words joined by hyphens, never empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-") or "untitled"


# --------------------------------------------------------------------------------------------------------------- work


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What executions are compared by: the same type of task on the same component of the same project."""

    type: str = "task"
    component: str | None = None
    project: str | None = None

    def __str__(self) -> str:
        return " / ".join(part for part in (self.project, self.type, self.component) if part)

    @property
    def key(self) -> str:
        """Return what no other kind has: as text for people, two kinds may read alike."""
        return repr((self.project, self.type, self.component))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work, as far as learning is concerned; the runner gets the caller's own object.

    `dependencies` are `python:NAME[SPEC]`, `file:PATH` or `command:NAME`; the prefix may be left out.
    """

    id: str
    type: str = "task"
    component: str | None = None
    agent: str | None = None
    description: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    project: str | None = None
    sprint: str | None = None
    critical: bool = False
    idempotent: bool = False

    @property
    def kind(self) -> Kind:
        return Kind(type=self.type, component=self.component, project=self.project)

    @classmethod
    def of(cls, task: Any) -> Self:
        """Read a task from a mapping, a dataclass, a pydantic model or any object with these attributes.

        What a mapping or a model carries beyond these fields counts as a parameter. Raise TaskError where a field has
        a type that cannot be used, or the id is missing.
        """
        if isinstance(task, cls):
            return task
        given = _fields_of(task)
        known = {name: given.pop(name) for name in _TASK_FIELDS if given.get(name) is not None}
        if "type" not in known and isinstance(given.get("task_type"), str):
            known["type"] = given.pop("task_type")
        values: dict[str, Any] = {}
        for name, value in known.items():
            values[name] = _TASK_FIELDS[name](name, value)
        if not values.get("id"):
            raise TaskError(
                f"the task has no id: give it one, e.g. {{'id': 'build-42', 'type': {values.get('type', 'build')!r}}}"
            )
        extra = {str(name): value for name, value in given.items() if value is not None and name not in _TASK_FIELDS}
        return cls(**{**values, "parameters": {**extra, **values.get("parameters", {})}})


def _fields_of(task: Any) -> dict[str, Any]:
    if isinstance(task, Mapping):
        return dict(task)
    if dataclasses.is_dataclass(task) and not isinstance(task, type):
        return {item.name: getattr(task, item.name) for item in dataclasses.fields(task)}
    if isinstance(fields := getattr(type(task), "model_fields", None), Mapping):  # a pydantic model
        return {name: getattr(task, name) for name in fields}
    return {name: value for name in (*_TASK_FIELDS, "task_type") if (value := getattr(task, name, None)) is not None}


def _text(name: str, value: Any) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise TaskError(f"the task's {name} must be text, not {type(value).__name__}")


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(_text(name, item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value))
    raise TaskError(f"the task's {name} must be a list of texts, not {type(value).__name__}")


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    raise TaskError(f"the task's {name} must be a mapping, not {type(value).__name__}")


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TaskError(f"the task's {name} must be true or false, not {type(value).__name__}")


_TASK_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "id": _text,
    "type": _text,
    "component": _text,
    "agent": _text,
    "description": _text,
    "parameters": _mapping,
    "dependencies": _texts,
    "assumptions": _texts,
    "tags": _texts,
    "project": _text,
    "sprint": _text,
    "critical": _flag,
    "idempotent": _flag,
}


# ------------------------------------------------------------------------------------------------------ configuration

APPROACHES = ("direct", "sequential", "parallel", "coordinated")
RETRIES = ("fail_fast", "retry_with_backoff", "fallback")
SAFETY = ("strict", "balanced", "permissive")  # the strictest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How a run is to be carried out: by whom, with which skills, in which way, and how patiently."""

    agent: str | None = None
    skills: tuple[str, ...] = ()
    approach: str = "direct"
    timeout_multiplier: float = 1.0
    parallelism: int = 1
    retry_strategy: str = "fail_fast"
    safety_level: str = "strict"


# ----------------------------------------------------------------------------------------------------------- episodes

ACTIONS = ("RESEARCH", "EVALUATE", "BUILD_CODE", "TEST", "DEPLOY", "LEARN", "STOP")  # the usual ones; a project adds its own


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """Where an episode stands, as a policy sees it: `facts` that tell states apart, and the `actions` that may be taken.

    A state that is `done` ends the episode, with the `success` it came to.
    """

    facts: Mapping[str, Any]
    actions: tuple[str, ...]
    done: bool = False
    success: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """What an action came to; `reward` is what it earned by itself, mostly what it cost, below zero."""

    ok: bool
    note: str = ""
    reward: float = 0.0
    output: Any = None


# ----------------------------------------------------------------------------------------------------------- evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A started task: written before the runner runs, never changed afterwards."""

    id: str
    task_id: str
    task_type: str
    component: str | None
    agent: str | None
    description: str | None
    parameters: Mapping[str, Any]
    dependencies: tuple[str, ...]
    assumptions: tuple[str, ...]
    tags: tuple[str, ...]
    project: str | None
    sprint: str | None
    parent_id: str | None
    critical: bool
    idempotent: bool
    inputs_digest: str | None
    inputs_preview: str | None
    started_at: datetime
    host: str
    pid: int
    process_started_at: float | None

    @property
    def kind(self) -> Kind:
        return Kind(type=self.task_type, component=self.component, project=self.project)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What was captured at one phase: `pre`, `state` (slow parts of pre, gathered off the path), `during`, `post`."""

    execution_id: str
    phase: str
    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    execution_id: str
    name: str
    at: datetime
    elapsed_s: float
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One choice at a named decision point, with the distribution it was drawn from.

    `probabilities` and `propensity` are None where the wrapped work chose by itself: how likely it was is not known. Where
    several things are drawn, each by itself, `probabilities` are those of each and do not sum to one: see `Decider.expose`.
    """

    id: str
    execution_id: str | None
    point: str
    alternatives: tuple[str, ...]
    probabilities: tuple[float, ...] | None
    chosen: str
    propensity: float | None
    policy: str
    context: Mapping[str, Any]
    at: datetime
    latency_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What one choice earned by itself, told by who knows: once for each; `execution_id` where it was made in a run."""

    decision_id: str
    execution_id: str | None
    value: float
    source: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """A choice and what came of it: the context it was made in, the options it was made from, and the reward.

    `propensity` is how likely it was, `probabilities` how likely each option; None where that is unknown. Choices of one
    `episode` follow each other in the order they are given, and each is owed what came after it, too.
    """

    context: Mapping[str, Any]
    options: tuple[str, ...]
    chosen: str
    propensity: float | None
    reward: float
    probabilities: tuple[float, ...] | None = None
    episode: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.reward):
            raise UsageError(f"a reward must be a finite number, not {self.reward}: leave out what is unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """An ended run and what it was shown and not: `odds` are the probabilities of `units`, in their order.

    `place` is that of its outcome in the ledger. The first unit is all of memory:
    where it was withheld, nothing else was drawn.
    """

    place: int
    id: str
    kind: Kind
    ended_at: datetime
    units: tuple[str, ...]
    odds: tuple[float, ...]
    shown: frozenset[str]
    score: float | None
    success: bool | None
    duration_s: float | None
    cost_usd: float | None
    safety: float | None


ERROR_CODES = ("RATE_LIMIT_429", "CONTEXT_EXCEEDED", "TIMEOUT", "API_ERROR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One call of a model, successful or not; `step_id` where it was an attempt at a step."""

    execution_id: str
    step_id: str | None
    model: str
    provider: str | None
    tokens: int | None
    latency_ms: float | None
    cost_usd: float | None
    success: bool
    error_code: str | None
    error_message: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a workflow; `repeats` names an earlier step of the same run whose output was the same."""

    execution_id: str
    step_id: str
    role: str
    status: str
    file_path: str | None
    output_hash: str | None
    repeats: str | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Sums over the usage of one execution; a sum of which any part is unknown is unknown."""

    cost_usd: float | None
    tokens: int | None
    attempts: int
    successful_attempts: int
    failed_attempts: int
    fallback_rotations: int
    mean_latency_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended: `succeeded`, `failed`, `cancelled`, `interrupted` (its process died) or `unknown`.

    `task_type`, `component` and `project` repeat the execution's, so that one index serves the history of a kind.
    `score` is the runner's own (0-100). Durations are seconds; `peak_memory_bytes` is the process's high-water mark.
    """

    execution_id: str
    task_type: str
    component: str | None
    project: str | None
    status: str
    success: bool | None
    ended_at: datetime
    score: float | None = None
    tests_passed: int | None = None
    tests_total: int | None = None
    exit_code: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_fingerprint: str | None = None
    output_tail: str | None = None
    result_digest: str | None = None
    result_preview: str | None = None
    duration_s: float | None = None
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    attempts: int = 0
    successful_attempts: int = 0
    failed_attempts: int = 0
    fallback_rotations: int = 0
    mean_latency_ms: float | None = None
    shape: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A measure of an execution that came during it or days later: `source` says from whom."""

    execution_id: str
    metric: str
    value: float | None
    text: str | None
    source: str
    at: datetime


DIMENSIONS = ("accuracy", "efficiency", "reusability", "surprise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A score card as stored: 0-100 or None each, with the version of the scoring that made it."""

    execution_id: str
    scoring: str
    at: datetime
    accuracy: float | None
    efficiency: float | None
    reusability: float | None
    surprise: float | None
    overall: float | None
    basis: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteVersion:
    """A note as the loop wrote it; a file that differs from every version is a person's.

    `subject` says what the note is about, so that the next finding on it revises the same note.
    """

    note_id: str
    path: str
    subject: str
    digest: str
    execution_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Anything a person or the loop did that must be remembered: what was forgotten, restored, acknowledged."""

    kind: str
    subject: str
    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyEntry:
    """A strategy as it first came: `parent` is the strategy it was derived from, `origin` who made it."""

    slug: str
    name: str
    task_type: str
    origin: str
    parent: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyVersion:
    """A version of a strategy, never changed: all that it says, whose change it is, why, and what that is hoped to improve."""

    id: str
    slug: str
    document: Mapping[str, Any]
    parent_id: str | None
    origin: str
    reasoning: str
    expected_improvement: str | None
    at: datetime


NOTE_EDIT = "note_edit"  # the kind of events about what people wrote through an interface; their subject is the note's path
FORGOTTEN = "(forgotten)"  # what stands where an execution's content was


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRecord:
    """One execution with what is on record about it; the lists are empty where they were not asked for."""

    execution: Execution
    outcome: Outcome | None
    score: Score | None = None
    phases: tuple[Phase, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    decisions: tuple[Decision, ...] = ()
    credits: tuple[Credit, ...] = ()
    usage: tuple[Usage, ...] = ()
    steps: tuple[Step, ...] = ()
    feedback: tuple[Feedback, ...] = ()

    @property
    def status(self) -> str:
        if self.outcome:
            return self.outcome.status
        return "forgotten" if self.execution.task_type == FORGOTTEN else "running"

    @property
    def success(self) -> bool | None:
        """How it went: what was said of that later, the newest, outranks what it said itself. Takes its feedback."""
        said = [item.value for item in self.feedback if item.metric == "success" and item.value is not None]
        return said[-1] > 0 if said else self.outcome.success if self.outcome is not None else None

    def noted(self, phase: str, key: str) -> Any:
        """Return what a phase recorded under a key, the newest first; None where it recorded nothing."""
        for item in reversed(self.phases):
            if item.phase == phase and key in item.data:
                return item.data[key]
        return None


@dataclass(frozen=True, slots=True)
class PastRun:
    """The little of a finished run that scoring and briefings need, many at a time; `seq` is its place in the ledger."""

    seq: int
    execution_id: str
    component: str | None
    status: str
    success: bool | None
    ended_at: datetime
    error_message: str | None
    duration_s: float | None
    cost_usd: float | None
    shape: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many ended executions have a value in common, how they went, and the ledger's place of the newest of them."""

    value: str | None
    runs: int
    succeeded: int
    failed: int
    newest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """An ended execution as patterns are sought in it; `features` are named as `parameter:size`, `agent`, `component`.

    `started` and `ended` are seconds since 1970; `error` is the fingerprint of its error.
    """

    id: str
    kind: Kind
    started: float
    ended: float
    success: bool | None
    score: float | None
    duration_s: float | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    reusability: float | None = None
    surprise: float | None = None
    error: str | None = None
    error_text: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)


# ----------------------------------------------------------------------------------------------------------- patterns


FAMILIES = ("success", "failure", "performance", "dependency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Something that recurs: where `antecedent` holds, `consequent` is commoner (or larger) than elsewhere.

    Of `support` runs with the antecedent, `hits` have the consequent; `confidence` is their share, `base` the share among
    the other runs, `lift` confidence over the share among all. `effect` with its 95 % interval is a difference of shares in
    points (`unit` points) or the median of ratios (`unit` times). `adjusted` is the p-value after control of error
    over all that was tested; None where a known pattern was only estimated anew. `key` stays the same from
    week to week. `alike` are other conditions that hold of the very same runs.
    """

    family: str
    key: str
    antecedent: str
    consequent: str
    title: str
    text: str
    support: int
    hits: int | None
    confidence: float | None
    base: float | None
    lift: float | None
    effect: float
    low: float | None
    high: float | None
    unit: str
    p_value: float
    adjusted: float | None
    executions: tuple[str, ...]
    since: datetime | None = None
    alike: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------------------- knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One thing that was found: `source` is a note's path in the workspace, or `execution:ID`.

    `section` is where in the note it was found: a path of headings; `parts` are what its score adds up from.
    """

    id: str
    source: str
    category: str
    title: str
    text: str
    score: float
    at: datetime | None = None
    task_type: str | None = None
    component: str | None = None
    outcome: str | None = None
    status: str = "active"
    evidence: tuple[str, ...] = ()
    section: str | None = None
    parts: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What was brought back before a run: possibly nothing, which is better than noise."""

    rules: tuple[Hit, ...] = ()
    notes: tuple[Hit, ...] = ()
    executions: tuple[PastRun, ...] = ()
    kind: Kind | None = None
    render: Callable[["Briefing"], str] | None = field(default=None, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.rules or self.notes or self.executions)

    @property
    def markdown(self) -> str:
        """The briefing as markdown, fenced as data; empty where nothing is known."""
        return self.render(self) if self and self.render else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about a run and the executions it rests on. `subject` names what it is about."""

    kind: str
    subject: str
    text: str
    executions: tuple[str, ...]
    weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCause:
    """What the evidence says about why a run went as it did, the likeliest first; empty where it says nothing."""

    execution_id: str
    fingerprint: str | None
    error: str | None
    findings: tuple[Finding, ...]
    compared_with: int

    @property
    def summary(self) -> str:
        if self.findings:
            return self.findings[0].text
        if not self.compared_with:
            return "unknown: there is no earlier run of its kind to compare with"
        return f"unknown: nothing sets it apart from {self.compared_with} earlier runs of its kind"


class ByKey:
    """A record whose fields answer by name and by key, as `report["score"]` and `dict(report)`."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        if key in self.keys():
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> tuple[str, ...]:
        return tuple(item.name for item in dataclasses.fields(self))  # type: ignore[arg-type]  # what inherits it is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(ByKey):
    """What a run gave and taught; its parts answer by name and by key, as `report["score"]`."""

    execution_id: str
    result: Any = field(repr=False)
    score: float | None
    card: Any
    outcome: Outcome | None
    learnings: tuple[str, ...] = ()
    improvements: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
