"""What requests and answers look like."""

import math
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from learning_loop.errors import UsageError
from learning_loop.records import ERROR_CODES

Item = TypeVar("Item")


def _finite(value: Any) -> Any:
    """Refuse what JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(inner)
    return value


def _whole(value: Any) -> Any:
    """Take 3.0 for what JSON takes it for, a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _different(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("they must differ")
    return values


RUN, PATH = "20260302-090000-k3v9qa2m", "memory/long-term/integration-gotchas/warm-the-cache-first.md"  # in examples
NOTE = "---\nkind: gotcha\ntitle: Warm the cache first\n---\nBuilds after a cold start take twice as long.\n"
Whole = BeforeValidator(_whole)
Json = Annotated[JsonValue, AfterValidator(_finite)]
Fields = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=500)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53), Whole]
Percent = Annotated[float, Field(ge=0, le=100)]
Reason = Annotated[str, Field(max_length=2_000, description="Why; it is kept with what is done.")]


def like(*examples: dict[str, Any]) -> ConfigDict:
    """Return what shows such objects to readers of the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class Asked(BaseModel):
    """What comes in: nothing but what is known, and nothing taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def check(self) -> None:
        """Raise UsageError where what is asked for does not go together, which no document of its parts could say."""


class Told(BaseModel):
    """What goes out."""

    model_config = ConfigDict(from_attributes=True)


class Page(Told, Generic[Item]):
    """A part of a list; `next` is the `cursor` of what follows, null at the end."""

    items: list[Item]
    next: str | None = None


class TaskIn(Asked):
    """A piece of work that is about to begin."""

    model_config = like({
        "id": "build-42", "type": "build", "component": "wheel", "agent": "ci", "parameters": {"python": "3.12"},
        "tags": ["nightly"],
    })  # fmt: skip
    id: Name
    type: Name = "task"
    component: Name | None = None
    agent: Name | None = None
    description: Text | None = None
    parameters: Fields = {}
    dependencies: list[Name] = []
    assumptions: list[Text] = []
    tags: list[Name] = []
    project: Name | None = None
    sprint: Name | None = None
    critical: bool = False
    idempotent: bool = False
    parent_id: Annotated[Name | None, Field(description="The execution that this is a part of.")] = None


class Hinted(Told):
    """A note or a rule that was brought back, or something else that was found."""

    id: str
    source: str
    category: str
    title: str
    text: str


class Begun(Told):
    """A run under way: what is known of such tasks, and what it is to use."""

    model_config = like({
        "execution_id": RUN, "started_at": "2026-03-02T09:00:00Z", "parameters": {"python": "3.12", "warm_up": True},
        "set_by_rules": ["warm_up"], "briefing": "", "notes": [], "rules": [], "warnings": [],
    })  # fmt: skip
    execution_id: str
    started_at: datetime
    parameters: Annotated[dict[str, Any], Field(description="The task's own, and those that rules set.")]
    set_by_rules: list[str]
    briefing: Annotated[str, Field(description="Markdown, fenced as data; empty where nothing is known.")]
    notes: list[Hinted]
    rules: list[Hinted]
    warnings: list[str]


class ChoiceIn(Asked):
    """Something to choose at a decision point."""

    model_config = like({"point": "model", "options": ["small", "large"], "context": {"size": "big"}})
    point: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
    options: Annotated[
        list[Name], Field(min_length=1, max_length=1_000, json_schema_extra={"uniqueItems": True}), AfterValidator(_different)
    ]
    context: Fields = {}


class FreeChoiceIn(ChoiceIn):
    """The same, outside of a run: units go on being chosen for by the learned policy, or by the rules."""

    model_config = like({"point": "model", "options": ["small", "large"], "context": {"size": "big"}, "unit": "customer-7"})
    unit: Name | None = None


class DecisionOut(Told):
    """A choice with the distribution it was drawn from; `probabilities` are null where nobody knows them."""

    model_config = like({
        "id": "20260302-090001-w7c2ms4x", "execution_id": RUN, "point": "model", "alternatives": ["small", "large"],
        "probabilities": [0.8, 0.2], "chosen": "small", "propensity": 0.8, "policy": "live-cd254420",
        "context": {"size": "big"}, "at": "2026-03-02T09:00:01Z", "latency_us": 110.0,
    })  # fmt: skip
    id: str
    execution_id: str | None
    point: str
    alternatives: list[str]
    probabilities: list[float] | None
    chosen: str
    propensity: float | None
    policy: str
    context: dict[str, Any]
    at: datetime
    latency_us: float | None


class RewardIn(Asked):
    model_config = like({"value": 0.8, "source": "reviewer"})
    value: Number
    source: Annotated[Name | None, Field(description="Whose judgement it is; by default that of who asks.")] = None


class CheckpointIn(Asked):
    model_config = like({"name": "compiled", "data": {"files": 214}})
    name: Name
    data: Fields = {}


class StepIn(Asked):
    """One step of the work's own."""

    model_config = like({"id": "s1", "role": "planner", "status": "completed", "file_path": "plan.md", "duration_ms": 840})
    id: Name
    role: Name
    status: Literal["completed", "failed"] = "completed"
    file_path: Text | None = None
    duration_ms: Amount | None = None


class UsageIn(Asked):
    """One call of a language model."""

    model_config = like(
        {"model": "small", "provider": "local", "tokens": 1830, "latency_ms": 912.5, "cost_usd": 0.0004, "step": "s1"}
    )
    model: Name
    provider: Name | None = None
    tokens: Count | None = None
    latency_ms: Amount | None = None
    cost_usd: Amount | None = None
    success: bool = True
    error_code: Literal[ERROR_CODES] | None = None  # type: ignore[valid-type]  # the literals are in the records
    error_message: Text | None = None
    step: Name | None = None


class ErrorIn(Asked):
    model_config = like({"type": "TimeoutError", "message": "no answer within 30 s"})
    type: Name | None = None
    message: Text


class OutcomeIn(Asked):
    """How a run ended. What is left out is unknown; without anything of it, it is neither success nor failure."""

    model_config = like(
        {"success": True, "duration_s": 12.5, "tests_passed": 41, "tests_total": 41},
        {"error": {"type": "TimeoutError", "message": "no answer within 30 s"}, "duration_s": 30.1},
    )
    success: bool | None = None
    cancelled: bool = False
    score: Percent | None = None
    tests_passed: Count | None = None
    tests_total: Count | None = None
    exit_code: Annotated[int, Field(ge=-(2**31), le=2**32), Whole] | None = None
    error: Annotated[
        ErrorIn | Text | None, Field(description="With its type, or as one text: `TimeoutError: no answer within 30 s`.")
    ] = None
    output_tail: Text | None = None
    result: Annotated[Json | None, Field(description="A short preview of it is kept, without secrets.")] = None
    duration_s: Amount | None = None
    cpu_s: Amount | None = None
    peak_memory_bytes: Count | None = None
    measures: Annotated[dict[str, Number | bool | Text], Field(description="Measures of your own, by name.")] = {}
    deviations: list[Text] = []
    discoveries: list[Text] = []
    checkpoints: list[CheckpointIn] = []
    steps: list[StepIn] = []
    usage: list[UsageIn] = []


class Card(Told):
    """A score card: 0 to 100, or null where unknown, each with what it rests on."""

    accuracy: float | None
    efficiency: float | None
    reusability: float | None
    surprise: float | None
    overall: float | None
    scoring: str
    basis: dict[str, str]


class Ended(Told):
    """How a run ended, and what it taught."""

    model_config = like({
        "execution_id": RUN, "status": "succeeded", "success": True, "score": 91.0, "card": None,
        "learnings": [], "improvements": [], "notes": [], "warnings": [],
    })  # fmt: skip
    execution_id: str
    status: str
    success: bool | None
    score: float | None
    card: Card | None
    learnings: list[str]
    improvements: list[str]
    notes: list[str]
    warnings: list[str]


class FeedbackIn(Asked):
    """A measure that came later: `success`, `score`, `tests_passed` and the like change how a run is judged."""

    model_config = like({"metric": "satisfaction", "value": 4})
    metric: Name
    value: Number | bool | Text
    source: Annotated[Name | None, Field(description="Whose judgement it is; by default that of who asks.")] = None


class Scored(Told):
    execution_id: str
    score: float | None


class Row(Told):
    """An execution as lists show it."""

    model_config = like({
        "id": RUN, "task_id": "build-42", "task_type": "build", "component": "wheel", "project": None, "agent": "ci",
        "sprint": None, "parent_id": None, "started_at": "2026-03-02T09:00:00Z", "status": "succeeded", "success": True,
        "duration_s": 12.5, "cost_usd": None, "error": None, "score": 91.0,
    })  # fmt: skip
    id: str
    task_id: str
    task_type: str
    component: str | None
    project: str | None
    agent: str | None
    sprint: str | None
    parent_id: str | None
    started_at: datetime
    status: str
    success: bool | None
    duration_s: float | None
    cost_usd: float | None
    error: str | None
    score: float | None


class Because(Asked):
    model_config = like({"reason": "it was measured on the old machines"})
    reason: Reason = ""


class NoteIn(Asked):
    """A note as it is to be: all of it, front matter included."""

    model_config = like({"content": NOTE})
    content: Annotated[str, Field(max_length=900_000)]
    digest: Annotated[
        str | None, Field(description="That of the version you changed; null for a new note. Another one answers 409.")
    ] = None


class NoteOut(Told):
    model_config = like({
        "path": PATH, "id": "warm-the-cache-first", "category": "gotcha", "title": "Warm the cache first",
        "digest": "6b5e2f8d0c1a4e97b3d85f1e2a7c9046", "created": "2026-03-02T09:00:14Z", "content": NOTE,
    })  # fmt: skip
    path: str
    id: str
    category: str
    title: str
    digest: str
    created: datetime | None
    content: str


class VersionOut(Told):
    at: datetime
    by: str
    digest: str
    execution_id: str | None
    diff: str | None


class ModeIn(Asked):
    model_config = like({"mode": "ab_test", "reason": "a month in shadow was enough"})
    mode: Literal["disabled", "shadow", "ab_test", "production"]
    reason: Reason = ""


class VersionIn(Asked):
    model_config = like({"version": "patient@6f959059", "reason": "the newer one waits too long"})
    version: Name | None = None
    reason: Reason = ""


class TestIn(Asked):
    """An A/B test to begin: versions against the one in force."""

    model_config = like(
        {"versions": ["patient@6f959059"], "control": "patient@44cd45bc", "reason": "does waiting longer help?"}
    )
    versions: Annotated[list[Name], Field(min_length=1, max_length=20)]
    control: Name | None = None
    reason: Reason = ""


class WeekIn(Asked):
    model_config = like({"week": "2026-W10", "reason": "that week's runs were a load test"})
    week: Annotated[str, Field(pattern=r"^\d{4}-W\d{2}$")]
    reason: Reason = ""


class TokenIn(Asked):
    model_config = like({"name": "build-server", "scopes": ["read", "record"], "days": 30})
    name: Name
    scopes: Annotated[list[Literal["read", "record", "steer", "admin"]], Field(min_length=1)]
    days: Annotated[float, Field(gt=0, le=3_650)] | None = 90.0


class TokenOut(Told):
    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked: bool


class NewToken(TokenOut):
    token: Annotated[str, Field(description="It is shown this once.")]


class JobOut(Told):
    """Work in the background; `result` once it has ended well."""

    model_config = like({
        "id": "20260302-091500-f5n8tz6b", "kind": "training", "state": "running", "by": "build-server",
        "asked": {"point": "model", "algo": "lints"}, "started_at": "2026-03-02T09:15:00Z", "ended_at": None,
        "done": 3, "total": 20, "result": None, "error": None,
    })  # fmt: skip
    id: str
    kind: str
    state: Literal["running", "done", "failed", "cancelled", "interrupted"]
    by: str
    asked: dict[str, Any]
    started_at: datetime
    ended_at: datetime | None
    done: int | None
    total: int | None
    result: dict[str, Any] | None
    error: str | None


class TrainingIn(Asked):
    """Train a policy of a decision point on what is on record."""

    model_config = like({"point": "model", "algo": "lints", "seed": 7})
    point: Name | None = None
    algo: Literal["epsilon", "linucb", "lints", "probit", "horizon", "imitation", "reinforce", "a2c"] | None = None
    epochs: Annotated[int, Field(ge=1, le=10_000), Whole] = 20
    only: Annotated[
        Annotated[dict[Name, Name], Field(max_length=1)] | None, Field(description="Choices alone whose context says so.")
    ] = None
    start: Annotated[Name | None, Field(description="The version to go on from.")] = None
    seed: Annotated[int, Field(ge=0, le=2**31), Whole] = 0


class SynthesisIn(Asked):
    """Learn from a week, by default that of the newest run; or review a month or a sprint."""

    model_config = like({"week": "2026-W10"}, {"every": True}, {"month": "2026-03"})
    week: Annotated[str, Field(pattern=r"^\d{4}-W\d{2}$")] | None = None
    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")] | None = None
    sprint: Name | None = None
    every: Annotated[bool, Field(description="Every week that was not synthesised yet.")] = False
    dry_run: Annotated[bool, Field(description="Say what would change; write nothing.")] = False

    def check(self) -> None:
        if self.every and (self.dry_run or self.week or self.month or self.sprint):
            raise UsageError("`every` goes alone: leave the others out")


class PacksIn(Asked):
    """Run a pack, or `all` of them in turn."""

    model_config = like({"pack": "all", "mode": "rule", "runs": 20, "seed": 7})
    pack: Name = "all"
    mode: Literal["static", "rule", "rl"] = "rule"
    version: Name | None = None
    runs: Annotated[int, Field(ge=1, le=10_000), Whole] = 20
    explore: Annotated[float, Field(ge=0, le=0.16)] = 0.05
    max_steps: Annotated[int, Field(ge=1, le=1_000), Whole] = 20
    seed: Annotated[int, Field(ge=0, le=2**31), Whole] = 0


class IndexIn(Asked):
    """Take in what changed in the notes, and embed it; or read all of them anew."""

    model_config = like({"rebuild": True})
    rebuild: bool = False


class LabIn(Asked):
    """Carry out an experiment of the lab, and write its report."""

    model_config = like({"number": "001", "repeat": 5, "seed": 7})
    number: Name
    repeat: Annotated[int, Field(ge=3, le=1_000), Whole] = 5
    seed: Annotated[int, Field(ge=0, le=2**31), Whole] = 0


class SweepIn(Asked):
    """Look for the learner's best settings."""

    model_config = like({"trials": 20, "seed": 7})
    trials: Annotated[int, Field(ge=2, le=10_000), Whole] = 20
    seed: Annotated[int, Field(ge=0, le=2**31), Whole] = 0


class EvolutionIn(Asked):
    """Let a strategy evolve, or all that may."""

    model_config = like({"strategy": "patient", "force": True})
    strategy: Name | None = None
    force: Annotated[bool, Field(description="Now, though it may not be time, or though there is little to go by.")] = False
    dry_run: Annotated[bool, Field(description="Say what would be proposed, and begin nothing.")] = False

    def check(self) -> None:
        if self.strategy is None and (self.dry_run or self.force):
            raise UsageError("say which strategy is meant: `dry_run` and `force` are for one")


class AlertOut(Told):
    model_config = like({
        "id": "20260302-093000-w7c2ms4x", "sort": "repeated_error", "state": "open",
        "title": "The same error again and again: build / wheel", "text": "TimeoutError in 6 of the last 10 runs",
        "advice": "review the architecture round it", "opened_at": "2026-03-02T09:30:00Z",
        "changed_at": "2026-03-02T09:30:00Z", "note": None, "executions": [RUN],
    })  # fmt: skip
    id: str
    sort: str
    state: str
    title: str
    text: str
    advice: str
    opened_at: datetime
    changed_at: datetime
    note: str | None
    executions: list[str]
