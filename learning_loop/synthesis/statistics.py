"""What is kept of a week for good, so that later weeks need not read its runs again: counts and sums, no more."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from learning_loop.features import family
from learning_loop.records import Kind, Observation
from learning_loop.stats.robust import median

MOST_KINDS, MOST_ERRORS = 500, 2_000  # of a week, the commonest
REUSED = 80.0  # a run whose reusability is at least this was built like an earlier success
STREAK = 3  # successes in a row after which a component counts as integrated


@dataclass(slots=True)
class KindCounts:
    """One kind of task in one week. `days` holds, for each day of the week, scored runs and the sum of their scores."""

    type: str
    component: str | None
    project: str | None
    runs: int = 0
    succeeded: int = 0
    failed: int = 0
    scored: int = 0
    score_sum: float = 0.0
    score_squares: float = 0.0
    listed: int = 0  # failures from lists of failures only
    reuse_known: int = 0
    reused: int = 0
    duration_median: float | None = None
    durations: int = 0
    cost_sum: float = 0.0
    costs: int = 0
    days: dict[str, list[float]] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return Kind(type=self.type, component=self.component, project=self.project)


@dataclass(slots=True)
class AgentCounts:
    runs: int = 0
    judged: int = 0
    succeeded: int = 0
    scored: int = 0
    score_sum: float = 0.0
    score_squares: float = 0.0


@dataclass(slots=True)
class ErrorCounts:
    """One family of errors in one week: one of its texts, and how often it came on each of the seven days."""

    text: str
    days: list[int] = field(default_factory=lambda: [0] * 7)
    components: list[str] = field(default_factory=list)
    newest: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.days)


@dataclass(slots=True)
class Integration:
    """When a component was first worked on, how many successes in a row it has, and when it first had enough of them."""

    first: float
    streak: int = 0
    integrated: float | None = None


@dataclass(slots=True)
class WeekCounts:
    """What a week comes to. Times are seconds since 1970; `start` is the week's first."""

    week: str
    start: float
    runs: int = 0
    succeeded: int = 0
    failed: int = 0
    surprising: int = 0
    cost_sum: float = 0.0
    costs: int = 0
    tokens: int = 0
    kinds: list[KindCounts] = field(default_factory=list)
    agents: dict[str, AgentCounts] = field(default_factory=dict)
    errors: dict[str, ErrorCounts] = field(default_factory=dict)
    integrations: dict[str, Integration] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        return sum(kind.scored for kind in self.kinds)

    @property
    def mean_score(self) -> float | None:
        return sum(kind.score_sum for kind in self.kinds) / self.scored if self.scored else None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return asdict(self)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        given = dict(data)
        given["kinds"] = [KindCounts(**item) for item in data["kinds"]]
        given["agents"] = {name: AgentCounts(**item) for name, item in data["agents"].items()}
        given["errors"] = {name: ErrorCounts(**item) for name, item in data["errors"].items()}
        given["integrations"] = {name: Integration(**item) for name, item in data["integrations"].items()}
        return cls(**given)


def count_week(
    week: str, start: datetime, runs: Sequence[Observation], before: WeekCounts | None, *, high_surprise: float
) -> WeekCounts:
    """Return what a week's runs, the oldest first, come to; `before` is the last week that was counted."""
    found = WeekCounts(week=week, start=start.timestamp())
    if before is not None:
        found.integrations = {name: Integration(**asdict(item)) for name, item in before.integrations.items()}
    kinds: dict[Kind, KindCounts] = {}
    durations: dict[Kind, list[float]] = defaultdict(list)
    for run in runs:
        day = str(min(max(int((run.started - found.start) // 86_400), 0), 6))
        kind = kinds.setdefault(run.kind, KindCounts(run.kind.type, run.kind.component, run.kind.project))
        _add(kind, run, day)
        if run.duration_s is not None and run.success is not False:
            durations[run.kind].append(run.duration_s)
        found.runs += 1
        found.succeeded += run.success is True
        found.failed += run.success is False and run.score is not None
        found.surprising += run.surprise is not None and run.surprise > high_surprise
        found.cost_sum += run.cost_usd or 0.0
        found.costs += run.cost_usd is not None
        found.tokens += run.tokens or 0
        _add_agent(found.agents, run)
        _add_error(found.errors, run, int(day))
        _add_integration(found.integrations, run)
    for run_kind, counts in kinds.items():
        counts.durations = len(durations[run_kind])
        counts.duration_median = median(durations[run_kind]) if durations[run_kind] else None
    found.kinds = sorted(kinds.values(), key=lambda item: (-item.runs, str(item.kind)))[:MOST_KINDS]
    commonest = sorted(found.errors.items(), key=lambda item: (-item[1].count, item[0]))[:MOST_ERRORS]
    found.errors = dict(commonest)
    return found


def _add(kind: KindCounts, run: Observation, day: str) -> None:
    kind.runs += 1
    kind.succeeded += run.success is True
    kind.failed += run.success is False and run.score is not None
    kind.listed += run.success is False and run.score is None
    if run.score is not None:
        kind.scored += 1
        kind.score_sum += run.score
        kind.score_squares += run.score**2
        at = kind.days.setdefault(day, [0, 0.0])
        at[0] += 1
        at[1] += run.score
    if run.reusability is not None:
        kind.reuse_known += 1
        kind.reused += run.reusability >= REUSED
    if run.cost_usd is not None:
        kind.costs += 1
        kind.cost_sum += run.cost_usd


def _add_agent(agents: dict[str, AgentCounts], run: Observation) -> None:
    name = run.features.get("agent")
    if name is None or (run.success is False and run.score is None):  # from a list of failures: a share of nothing
        return
    agent = agents.setdefault(name, AgentCounts())
    agent.runs += 1
    agent.judged += run.success is not None
    agent.succeeded += run.success is True
    if run.score is not None:
        agent.scored += 1
        agent.score_sum += run.score
        agent.score_squares += run.score**2


def _add_error(errors: dict[str, ErrorCounts], run: Observation, day: int) -> None:
    if run.error is None or run.success is not False:
        return
    error = errors.setdefault(run.error, ErrorCounts(family(run.error_text or run.error)))
    error.days[day] += 1
    if (name := str(run.kind)) not in error.components and len(error.components) < 5:
        error.components.append(name)
    error.newest = [run.id, *error.newest][:5]


def _add_integration(integrations: dict[str, Integration], run: Observation) -> None:
    if run.kind.component is None or (run.success is False and run.score is None):
        return
    known = integrations.setdefault(run.kind.component, Integration(run.started))
    if known.integrated is None and run.success is not None:
        known.streak = known.streak + 1 if run.success else 0
        if known.streak >= STREAK:
            known.integrated = run.ended


def spread_of(count: int, total: float, squares: float) -> float | None:
    """Return the standard error of a mean from its sums; None for fewer than two values."""
    if count < 2:
        return None
    return math.sqrt(max(squares - total * total / count, 0.0) / (count - 1) / count)
