"""Typed configuration: what may be set, within which limits. Files are read by `workspace/config.py`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Percent = Annotated[float, Field(ge=0, le=100)]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recall(_Section):
    """What is brought back before a run."""

    enabled: bool = True
    notes: Annotated[int, Field(ge=0, le=50)] = 5
    executions: Annotated[int, Field(ge=0, le=50)] = 3
    token_budget: Annotated[int, Field(ge=0, le=100_000)] = 800


class Memory(_Section):
    """What is searched besides `memory/`, and which model reads it.

    `sources` are folders of markdown, from the workspace's root; they are never written to. `embedder` is `auto`,
    `lexical`, or a sentence-transformers model by name or folder.
    """

    sources: tuple[Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")], ...] = ()
    embedder: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]+$")] = "auto"


class Capture(_Section):
    """What is written down about a run."""

    git: bool = True
    environment: tuple[str, ...] = ("CI", "LANG", "LC_ALL", "TZ", "PYTHONHASHSEED", "PYTHONOPTIMIZE")
    preview_characters: Annotated[int, Field(ge=0, le=100_000)] = 2_000
    output_tail_bytes: Annotated[int, Field(ge=0, le=10_000_000)] = 16_384
    redact: tuple[str, ...] = ()

    @field_validator("redact")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        import re

        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns


class LedgerSettings(_Section):
    """How evidence is kept. `durability: full` also survives loss of power, at one disk flush a commit."""

    durability: Literal["normal", "full"] = "normal"
    busy_timeout_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    retention_days: Annotated[int, Field(ge=1)] | None = None


class Reflection(_Section):
    """When runs are similar enough, or many enough, to conclude from."""

    compare_with: Annotated[int, Field(ge=5, le=5_000)] = 200
    template_after: Annotated[int, Field(ge=3, le=1_000)] = 3


class Scoring(_Section):
    """Which dimensions make the overall score, and how history is read for them."""

    preset: str = "balanced"
    presets: dict[str, dict[Literal["accuracy", "efficiency", "reusability", "surprise"], Annotated[float, Field(ge=0)]]] = {
        "balanced": {"accuracy": 0.5, "efficiency": 0.3, "reusability": 0.2},
    }
    window: Annotated[int, Field(ge=10, le=10_000)] = 200
    baseline_runs: Annotated[int, Field(ge=3, le=1_000)] = 20
    minimum_history: Annotated[int, Field(ge=3, le=100)] = 3

    @model_validator(mode="after")
    def _preset_exists(self) -> Self:
        if self.preset not in self.presets:
            raise ValueError(f"preset {self.preset!r} is not among presets: {', '.join(sorted(self.presets))}")
        if not sum(self.weights.values()):
            raise ValueError(f"preset {self.preset!r} gives every dimension the weight 0: give at least one a weight")
        return self

    @property
    def weights(self) -> dict[str, float]:
        return {str(name): weight for name, weight in self.presets[self.preset].items()}

    @property
    def version(self) -> str:
        """What a score is stamped with: scores of different versions are not comparable."""
        parts = "+".join(f"{name}:{weight:g}" for name, weight in sorted(self.weights.items()))
        return f"2/{self.preset}/{parts}/{self.window}/{self.baseline_runs}/{self.minimum_history}"


class Patterns(_Section):
    """What counts as a good and a bad run, and which patterns are worth a note.

    `level` is the chance that a history of pure noise gives any pattern, over all looks at it. A look takes the week's own
    runs and, where these are fewer than `runs`, those of up to `weeks` weeks before.
    """

    success_above: Percent = 80
    failure_below: Percent = 60
    level: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    least_support: Annotated[int, Field(ge=3, le=1_000)] = 5
    least_effect: Percent = 10
    least_ratio: Annotated[float, Field(gt=1, le=100)] = 1.2
    runs: Annotated[int, Field(ge=50, le=1_000_000)] = 5_000
    weeks: Annotated[int, Field(ge=1, le=520)] = 12
    obsolete_after_weeks: Annotated[int, Field(ge=1, le=520)] = 6

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.failure_below > self.success_above:
            raise ValueError("failure_below must not be above success_above")
        return self


class Rules(_Section):
    """How rules come into force. `settable` are the parameters that a rule of the loop's own may set.

    Under `approval: human` a proposed rule stays a candidate, which is shown to nobody, until a person makes it active.
    """

    approval: Literal["auto", "human"] = "auto"
    settable: tuple[str, ...] = ()
    most_new: Annotated[int, Field(ge=0, le=100)] = 5


Probability = Annotated[float, Field(gt=0, le=1)]


class Limits(_Section):
    """How it is learned what helps: how often things are withheld, and what evidence moves a rule on.

    `holdout` is the share of runs that is shown nothing, `kind_holdout` of those a kind of notes is withheld from. A rule is
    shown with the probability `trial`, `active_first` for its first `first_runs` active runs, `active` after them, and
    `active_doubtful` while its effect may be going; 1 withholds nothing, and nothing is learned. `level` bounds the share of
    useless rules among all that are ever promoted, `harm_level` the probability that a harmless one is demoted as harmful,
    `false_alarm_runs` are those between two needless new trials of a rule that goes on helping. Nothing is decided on fewer
    than `least_runs` shown and withheld; a trial ends after `most_runs`, and `at_once` rules are in trial.
    """

    holdout: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    kind_holdout: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    trial: Probability = 0.5
    active_first: Probability = 0.8
    active: Probability = 0.9
    active_doubtful: Probability = 0.7
    first_runs: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    least_runs: Annotated[int, Field(ge=1, le=100_000)] = 20
    most_runs: Annotated[int, Field(ge=50, le=10_000_000)] = 3_000
    at_once: Annotated[int, Field(ge=1, le=1_000)] = 10
    level: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    harm_level: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    false_alarm_runs: Annotated[float, Field(ge=100, le=1e9)] = 10_000.0
    maturity_hours: Annotated[float, Field(ge=0, le=10_000)] = 0.0


Mode = Literal["disabled", "shadow", "ab_test", "production"]
Guarded = Literal["success", "duration", "cost", "safety"]


class Ramp(_Section):
    """How a learned policy gets its share of the units: by `stages`, in percent, of all but the `holdout`.

    A stage lasts `hours` and `least_units` at least, and is left only as far as evidence of benefit has come. A policy that is
    not known to help after `most_units` is taken back. Harm is looked for in the reward and in all `guards`. `level` and
    `harm_level` are as in `Limits`.
    """

    stages: Annotated[tuple[Annotated[float, Field(gt=0, le=100)], ...], Field(min_length=2, max_length=20)] = (10, 25, 50, 100)
    holdout: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    hours: Annotated[float, Field(ge=0, le=10_000)] = 24.0
    least_units: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    most_units: Annotated[int, Field(ge=50, le=100_000_000)] = 20_000
    guards: tuple[Guarded, ...] = ("success", "duration", "cost", "safety")
    level: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    harm_level: Annotated[float, Field(gt=0, le=0.5)] = 0.1

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if sorted(set(self.stages)) != list(self.stages) or self.stages[-1] != 100:
            raise ValueError("stages must rise and end with 100")
        return self

    def reached(self, kept: Mapping[str, Any]) -> int:
        """Return the stage that a ramp has come to, by what was kept of it; the last one is only for what is complete."""
        last = len(self.stages) - 1
        return last if kept.get("complete") else min(int(kept.get("stage", 0)), last - 1)


class Point(_Section):
    """One decision point: the `rules` that choose there, and the `learner` that may come to choose instead.

    Rules are mappings with `when` and `take`; where none holds, the first option is taken. In runs the learner earns `reward`,
    by default that of all points, and what `run.credit` says; outside of them what `loop.reward` says. `low` and `high` are
    its bounds, by default those the reward is clipped to, outside of runs 0 and 1. A unit that is once chosen for by the
    learner stays so: `unit` is run, task, or a name of the context. `mode` outranks that of all points. Every option is at
    least as likely as `floor` where the learner chooses, and as `explore` where the rules do. Where both are there and the
    learner learns live, it begins with what the rules say, which counts for as many runs as `pseudo`.
    """

    learner: str = "probit"
    settings: dict[str, Any] = {}
    rules: tuple[dict[str, Any], ...] = ()
    reward: str | None = None
    low: float | None = None
    high: float | None = None
    unit: Annotated[str, Field(min_length=1)] = "run"
    mode: Mode | None = None
    floor: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    explore: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    pseudo: Annotated[float, Field(ge=0, le=1e6)] = 20.0

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together: give both or neither")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        return self


STRATEGY = "strategy"  # the decision point at which strategies are chosen


class Policies(_Section):
    """How choices at decision points are made: `mode` and `reward` for all of them, and what is special to some `points`.

    Where the learned policy takes longer than `time_budget_ms` for a choice, the rules make it.
    """

    mode: Mode = "shadow"
    reward: str = "orchestra"
    time_budget_ms: Annotated[float, Field(gt=0, le=60_000)] = 50.0
    ramp: Ramp = Ramp()
    points: dict[str, Point] = {}


class Evolution(_Section):
    """When changes to a strategy are looked for, and how far they may go.

    At least `every_days` since the last time, with no test under way, `least_decisions` within `within_days`, and less than
    `satisfied_at` of the runs succeeding. `mutations` are proposed at a time. None may do more than `most_parallel` parts at
    once, `most_attempts`, or wait longer than `longest_timeout_s`; what is `fixed` they leave as it is.
    """

    every_days: Annotated[float, Field(ge=0, le=3_650)] = 14.0
    least_decisions: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    within_days: Annotated[float, Field(gt=0, le=3_650)] = 60.0
    satisfied_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    mutations: Annotated[int, Field(ge=1, le=10)] = 2
    most_parallel: Annotated[int, Field(ge=1, le=256)] = 8
    most_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    longest_timeout_s: Annotated[float, Field(gt=0, le=604_800)] = 3_600.0
    fixed: tuple[
        Literal["decomposition_approach", "agent_selection_rules", "parallelism_config", "retry_policy", "escalation_rules"],
        ...,
    ] = ("escalation_rules",)


class AbTesting(_Section):
    """How a changed strategy is held against the one in force.

    `at_once` tests are begun by themselves; `traffic` is the share of its units that take part in one. It ends with a winner,
    or without one once an improvement by `least_effect` of the reward's range is not likely any more, after `most_units`, or
    after `most_days`. A winner is watched for `watch_days` and taken back where it harms; where its effect looks as if it were
    gone, it is tried anew. All that are watched share `watch_traffic`. Harm is looked for in the reward and in all `guards`, by
    `strata` of the context as well. `level` and `harm_level` are as in `Limits`.
    """

    at_once: Annotated[int, Field(ge=1, le=100)] = 2
    traffic: Probability = 0.4
    least_runs: Annotated[int, Field(ge=1, le=100_000)] = 20
    least_effect: Annotated[float, Field(ge=0, le=1)] = 0.08
    most_units: Annotated[int, Field(ge=50, le=10_000_000)] = 2_000
    most_days: Annotated[float, Field(gt=0, le=3_650)] = 60.0
    watch_traffic: Annotated[float, Field(ge=0, le=1)] = 0.2
    watch_days: Annotated[float, Field(ge=0, le=3_650)] = 14.0
    strata: tuple[str, ...] = ("issue_complexity",)
    guards: tuple[Guarded, ...] = ("success", "duration", "cost", "safety")
    level: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    harm_level: Annotated[float, Field(gt=0, le=0.5)] = 0.1


class Project(_Section):
    """What is to be known of a project: its main language, lines of code, and the share of it that tests cover."""

    language: str | None = None
    loc: Annotated[int, Field(ge=0)] | None = None
    test_coverage: Annotated[float, Field(ge=0, le=1)] | None = None


class Strategies(_Section):
    """How strategies are chosen: in which `mode`, for which `unit` alike, by what `learner`, earning which `reward`.

    `projects` are what is to be known of projects, by name. Where strategies do not only watch, no test gives the version and
    the task is not critical, how work is taken apart and whom it is given to is left to chance in the share `explore`; every
    version is as likely as `floor` at least. That strategies earn less than before is noticed by mistake once in `drift_runs`
    runs at most.
    """

    mode: Mode | None = None
    unit: Annotated[str, Field(min_length=1)] = "task"
    reward: str = "strategy"
    learner: str = "probit"
    settings: dict[str, Any] = {"half_life": 20_000}
    projects: dict[str, Project] = {}
    explore: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    floor: Annotated[float, Field(ge=0, le=0.5)] = 0.005
    drift_runs: Annotated[float, Field(ge=100, le=1e9)] = 20_000.0
    evolution: Evolution = Evolution()
    tests: AbTesting = AbTesting()


class Notify(_Section):
    """Where people are told what cannot wait: alerts, and work that asks for them.

    `file`, in the workspace, gets a line of JSON each, `webhook` a POST with the same; what could not be sent is sent again
    `retries` times.
    """

    log: bool = True
    file: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")] | None = "metrics/notices.jsonl"
    webhook: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    retries: Annotated[int, Field(ge=0, le=20)] = 3


USES: tuple[Literal["wording", "strategies", "rules", "answers"], ...] = ("wording", "strategies", "rules", "answers")


class LanguageModel(_Section):
    """Which language model proposes, if any: none where `model` is null or it is not `enabled`.

    `provider` is openai for whatever speaks its protocol, at `base_url` where that is given; its key is in the variable
    `key_variable`. `uses` says what it is asked for. It is asked `retries` times more where it fails, each time for `timeout_s`
    at most, and answers with `most_output_tokens`. What is spent in a day and in one synthesis never exceeds `usd_per_day` and
    `usd_per_synthesis`, at these prices of a million tokens; of a server of your own they are 0.
    """

    enabled: bool = True
    provider: Annotated[str, Field(min_length=1)] = "openai"
    model: Annotated[str, Field(min_length=1)] | None = None
    base_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    uses: tuple[Literal["wording", "strategies", "rules", "answers"], ...] = USES
    timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 60.0
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    most_output_tokens: Annotated[int, Field(ge=16, le=200_000)] = 2_000
    input_usd_per_million: Annotated[float, Field(ge=0)] | None = None
    output_usd_per_million: Annotated[float, Field(ge=0)] | None = None
    usd_per_day: Annotated[float, Field(ge=0)] = 1.0
    usd_per_synthesis: Annotated[float, Field(ge=0)] = 0.5
    queue: Annotated[int, Field(ge=0, le=1_000)] = 20


class Serve(_Section):
    """What `learning-loop serve` answers to, and how patient it is.

    `hosts` are names that requests may ask for besides those of the loopback and the address that is bound. A run that was
    begun over the network and not ended within `abandoned_hours` is marked as interrupted.
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8420
    hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]-]+$")], ...] = ()
    most_kilobytes: Annotated[int, Field(ge=16, le=1_000_000)] = 1_024
    body_s: Annotated[float, Field(gt=0, le=3_600)] = 20.0
    session_hours: Annotated[float, Field(gt=0, le=8_760)] = 12.0
    abandoned_hours: Annotated[float, Field(gt=0, le=100_000)] = 24.0


class Synthesis(_Section):
    """The weekly synthesis: the time zone that weeks are counted in, and what is promoted.

    A reflection that came again `promote_after` times is promoted from short-term to long-term; one that has not for
    `obsolete_after_weeks` is archived.
    """

    timezone: str = "UTC"
    promote_after: Annotated[int, Field(ge=2, le=1_000)] = 3
    obsolete_after_weeks: Annotated[int, Field(ge=1, le=520)] = 8

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is no time zone: write it as Europe/Berlin") from None
        return value


class RepeatedError(_Section):
    """The same error so many times within so many days."""

    times: Annotated[int, Field(ge=2, le=10_000)] = 3
    days: Annotated[int, Field(ge=1, le=365)] = 7


class Slowing(_Section):
    """The newest `runs` of a kind take `ratio` times as long as those before them, and not by chance."""

    runs: Annotated[int, Field(ge=3, le=1_000)] = 5
    ratio: Annotated[float, Field(gt=1, le=1_000)] = 1.5


class LowReuse(_Section):
    """The median reusability of the newest `runs` of a kind is below this."""

    runs: Annotated[int, Field(ge=3, le=1_000)] = 10
    below: Percent = 30


class RepeatedSurprise(_Section):
    """Of the newest `runs` of a kind so many were surprising (see thresholds.high_surprise)."""

    times: Annotated[int, Field(ge=2, le=1_000)] = 3
    runs: Annotated[int, Field(ge=3, le=1_000)] = 20


class LowScores(_Section):
    """Nearly all of the newest `runs` of a kind, four of five, score below this."""

    runs: Annotated[int, Field(ge=3, le=1_000)] = 10
    below: Percent = 60


class Anomaly(_Section):
    """A kind of task fails more, costs more, takes longer or surprises more than it did.

    Where nothing changes, that is said once in `false_alarm_runs` runs of the kind at most, in the mean.
    """

    false_alarm_runs: Annotated[float, Field(ge=100, le=1e9)] = 20_000.0


class Stalled(_Section):
    """Learning that does not go on: a test without a new unit for `days`, or so many choices without a known reward."""

    days: Annotated[float, Field(gt=0, le=3_650)] = 7.0
    choices: Annotated[int, Field(ge=10, le=1_000_000)] = 200


class AntiPatterns(_Section):
    """What opens an alert; null switches one off."""

    repeated_error: RepeatedError | None = RepeatedError()
    slowing: Slowing | None = Slowing()
    low_reuse: LowReuse | None = LowReuse()
    repeated_surprise: RepeatedSurprise | None = RepeatedSurprise()
    low_scores: LowScores | None = LowScores()
    anomaly: Anomaly | None = Anomaly()
    stalled: Stalled | None = Stalled()


class Checkpoints(_Section):
    pre_task: bool = True
    mid_task: bool = True
    post_task: bool = True
    sprint_review: bool = True


class Thresholds(_Section):
    low_performance: Percent = 60
    high_performance: Percent = 90
    high_surprise: Percent = 70

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_performance > self.high_performance:
            raise ValueError("low_performance must not be above high_performance")
        return self


class SynthesisSchedule(_Section):
    """When synthesis runs: `weekly` as weekday_HH:MM, `monthly` as last_WEEKDAY; none switches one off."""

    weekly: str | None = "sunday_23:00"
    monthly: str | None = "last_friday"

    @field_validator("weekly")
    @classmethod
    def _weekly(cls, value: str | None) -> str | None:
        if value is None:
            return value
        day, _, time = value.partition("_")
        hour, _, minute = time.partition(":")
        if day not in WEEKDAYS or not (hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60):
            raise ValueError(f"{value!r} is no weekly time: write it as sunday_23:00")
        return value

    @field_validator("monthly")
    @classmethod
    def _monthly(cls, value: str | None) -> str | None:
        if value is not None and value.removeprefix("last_") not in WEEKDAYS:
            raise ValueError(f"{value!r} is no day of a month: write it as last_friday")
        return value


class ReflectionTriggers(_Section):
    checkpoints: Checkpoints = Checkpoints()
    thresholds: Thresholds = Thresholds()
    synthesis_schedule: SynthesisSchedule = SynthesisSchedule()

    @field_validator("checkpoints", mode="before")
    @classmethod
    def _one_mapping(cls, value: Any) -> Any:
        """Accept checkpoints as a list of one-key mappings as well as one mapping."""
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return {name: flag for item in value for name, flag in item.items()}
        return value


class Settings(_Section):
    """Everything that can be configured; each section stands in the file its name suggests."""

    mode: Mode = "production"
    recall: Recall = Recall()
    memory: Memory = Memory()
    capture: Capture = Capture()
    ledger: LedgerSettings = LedgerSettings()
    reflection: Reflection = Reflection()
    scoring: Scoring = Scoring()
    reflection_triggers: ReflectionTriggers = ReflectionTriggers()
    anti_patterns: AntiPatterns = AntiPatterns()
    patterns: Patterns = Patterns()
    rules: Rules = Rules()
    evidence: Limits = Limits()
    policies: Policies = Policies()
    strategies: Strategies = Strategies()
    notify: Notify = Notify()
    language_model: LanguageModel = LanguageModel()
    serve: Serve = Serve()
    synthesis: Synthesis = Synthesis()

    def point(self, name: str) -> Point | None:
        """Return what is special to a decision point; that of strategies has its own section."""
        own = self.strategies
        if name in self.policies.points or name != STRATEGY:
            return self.policies.points.get(name)
        return Point(**own.model_dump(include={"learner", "settings", "reward", "unit", "mode", "floor"}))
