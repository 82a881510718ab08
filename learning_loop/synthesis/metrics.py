"""The figures of the dashboard, from the counts of weeks; each with its interval and what it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from learning_loop.stats.contingency import wilson
from learning_loop.stats.ranks import Estimate, regional_slope
from learning_loop.stats.student import Z95
from learning_loop.synthesis.statistics import WeekCounts, spread_of

WEEKS = 4  # that a rate is taken over; a trend takes all that are known
FEW = 5  # judged runs below which an agent is not ranked
HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class Measure:
    """A value with its 95 % interval and how many runs (or weeks, or components) it rests on; None is unknown."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str

    def plain(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Agent:
    name: str
    runs: int
    success: Measure
    score: Measure


@dataclass(frozen=True, slots=True)
class Metrics:
    """See docs/metrics.md for the formula of each."""

    component_reuse_rate: Measure
    api_integration_time: Mapping[str, float | None]
    agent_effectiveness: tuple[Agent, ...]
    pattern_stability: Measure
    overall_improvement: Measure
    trends: Mapping[str, Measure] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {
            "component_reuse_rate": self.component_reuse_rate.plain(),
            "api_integration_time": dict(self.api_integration_time),
            "agent_effectiveness": {
                agent.name: {"runs": agent.runs, "success": agent.success.plain(), "score": agent.score.plain()}
                for agent in self.agent_effectiveness
            },
            "pattern_stability": self.pattern_stability.plain(),
            "overall_improvement": self.overall_improvement.plain(),
        }


def metrics_of(weeks: Sequence[WeekCounts], lifetimes: Sequence[tuple[float, bool]]) -> Metrics:
    """Return the figures.

    `weeks` come oldest first; `lifetimes` are how many weeks each success pattern stood, and whether that is over.
    """
    newest = weeks[-WEEKS:]
    reused = sum(kind.reused for week in newest for kind in week.kinds)
    known = sum(kind.reuse_known for week in newest for kind in week.kinds)
    low, high = wilson(reused, known) if known else (None, None)
    improvement = regional_slope(_score_series(weeks))
    return Metrics(
        component_reuse_rate=Measure(reused / known if known else None, low, high, known, "share of runs"),
        api_integration_time=_integration(weeks),
        agent_effectiveness=_agents(newest),
        pattern_stability=_stability(lifetimes),
        overall_improvement=_measure(improvement, "points a week"),
        trends=_trends(weeks),
    )


def _measure(found: Estimate | None, unit: str) -> Measure:
    if found is None:
        return Measure(None, None, None, 0, unit)
    return Measure(found.value, found.low, found.high, found.n, unit)


def _score_series(weeks: Sequence[WeekCounts]) -> list[tuple[list[float], list[float]]]:
    """Return the daily mean scores of each kind, by weeks since the first: the mix of tasks is held fixed by never mixing."""
    series: dict[Any, tuple[list[float], list[float]]] = {}
    for week in weeks:
        at = (week.start - weeks[0].start) / (7 * 86_400)
        for kind in week.kinds:
            times, values = series.setdefault(kind.kind, ([], []))
            for day, (count, total) in sorted(kind.days.items()):
                times.append(at + int(day) / 7)
                values.append(total / count)
    return list(series.values())


def _trends(weeks: Sequence[WeekCounts]) -> dict[str, Measure]:
    """Return how the share of reused runs, the failures and the durations go, a week, within each kind."""
    found: dict[str, dict[Any, tuple[list[float], list[float]]]] = {"reuse": {}, "failures": {}, "duration": {}}
    for week in weeks:
        at = (week.start - weeks[0].start) / (7 * 86_400)
        for kind in week.kinds:
            judged = kind.succeeded + kind.failed
            values = {
                "reuse": 100 * kind.reused / kind.reuse_known if kind.reuse_known else None,
                "failures": 100 * kind.failed / judged if judged else None,
                "duration": kind.duration_median,
            }
            for name, value in values.items():
                if value is not None:
                    series = found[name].setdefault(kind.kind, ([], []))
                    series[0].append(at)
                    series[1].append(value)
    units = {"reuse": "points a week", "failures": "points a week", "duration": "seconds a week"}
    trends = {}
    for name, kinds in found.items():
        vary = [series for series in kinds.values() if len(set(series[1])) > 1]  # what never changed has no trend
        trends[name] = _measure(regional_slope(vary), units[name])
    return trends


def _integration(weeks: Sequence[WeekCounts]) -> dict[str, float | None]:
    """Return the hours from a component's first run to the end of its first three successes in a row; None before that."""
    if not weeks:
        return {}
    return {
        name: (item.integrated - item.first) / HOUR if item.integrated is not None else None
        for name, item in sorted(weeks[-1].integrations.items())
    }


def _agents(weeks: Sequence[WeekCounts]) -> tuple[Agent, ...]:
    found = []
    for name in sorted({name for week in weeks for name in week.agents}):
        parts = [week.agents[name] for week in weeks if name in week.agents]
        judged, succeeded = sum(part.judged for part in parts), sum(part.succeeded for part in parts)
        scored, total = sum(part.scored for part in parts), sum(part.score_sum for part in parts)
        error = spread_of(scored, total, sum(part.score_squares for part in parts))
        mean = total / scored if scored else None
        low, high = wilson(succeeded, judged) if judged else (None, None)
        success = Measure(succeeded / judged if judged else None, low, high, judged, "share of runs")
        around = None if mean is None or error is None else Z95 * error
        score = Measure(
            mean,
            None if mean is None or around is None else max(0.0, mean - around),
            None if mean is None or around is None else min(100.0, mean + around),
            scored,
            "points",
        )
        found.append(Agent(name, sum(part.runs for part in parts), success, score))
    return tuple(sorted(found, key=lambda agent: (-(agent.success.low or 0.0), agent.name)))


def _stability(lifetimes: Sequence[tuple[float, bool]]) -> Measure:
    """Return the median life of success patterns in weeks (Kaplan & Meier 1958); None while half of them live on."""
    ended = sum(over for _, over in lifetimes)
    alive = 1.0
    for time in sorted({time for time, over in lifetimes if over}):
        at_risk = sum(life >= time for life, _ in lifetimes)
        alive *= 1 - sum(over and life == time for life, over in lifetimes) / at_risk
        if alive <= 0.5:
            return Measure(time, None, None, len(lifetimes), f"weeks, {ended} ended")
    return Measure(None, None, None, len(lifetimes), f"weeks, {ended} ended")
