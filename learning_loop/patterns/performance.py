"""Performance: where the durations or costs of a kind of task changed or drift, by how much, and what changed with them."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np

from learning_loop.features.conditions import Comparison, all_of, show
from learning_loop.patterns.candidates import Candidate, Limits
from learning_loop.records import Kind, Observation, Pattern
from learning_loop.stats.ranks import change_point, drift, shift

MOST_VALUES = 1_000  # of a series, the newest
JITTER = {"duration": 0.005, "cost": 1e-6}  # seconds, USD: what is added to each value, so that next to nothing stays that
STEADY = 0.9  # the share of runs on a side of a change that have the same value of a feature that changed with it
_WORDS = {"duration": ("slower", "quicker"), "cost": ("dearer", "cheaper")}


def condition_of(kind: Kind) -> str:
    """Return the condition that a run is of a kind."""
    named = (("type", kind.type or None), ("component", kind.component), ("project", kind.project))
    return show(all_of([Comparison(name, "=", (value,)) for name, value in named if value is not None]))


def by_kind(runs: Sequence[Observation]) -> dict[Kind, list[Observation]]:
    """Return the runs of each kind in the order they started."""
    found: dict[Kind, list[Observation]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.started, run.id)):
        found[run.kind].append(run)
    return found


@dataclass(frozen=True, slots=True)
class _Series:
    """The durations or costs of the runs of a kind, as logarithms, and where they change."""

    kind: Kind
    metric: str
    runs: list[Observation]
    logs: list[float]
    at: int

    @property
    def grows(self) -> bool:
        return float(np.median(self.logs[self.at :])) > float(np.median(self.logs[: self.at]))

    @property
    def word(self) -> str:
        return _WORDS[self.metric][0 if self.grows else 1]

    @property
    def drifts(self) -> bool:
        """Say whether a straight line fits better than a step."""
        series, places = np.asarray(self.logs), np.arange(len(self.logs))
        before, after = series[: self.at], series[self.at :]
        step = np.abs(before - np.median(before)).sum() + np.abs(after - np.median(after)).sum()
        slope, start = np.polyfit(places, series, 1)
        return bool(np.abs(series - start - slope * places).sum() < step)


def shifts(runs: Sequence[Observation], limits: Limits) -> list[Candidate]:
    """Return the test of every series of durations and costs: those of the runs of a kind that did not fail."""
    found = []
    for kind, group in by_kind(runs).items():
        good = [run for run in group if run.success is not False]
        for metric, jitter in JITTER.items():
            values = [(run, run.duration_s if metric == "duration" else run.cost_usd) for run in good]
            known = [(run, math.log(value + jitter)) for run, value in values if value is not None][-MOST_VALUES:]
            if len(known) < limits.least_runs:
                continue
            logs = [log for _, log in known]
            change = change_point(logs)
            if change is None:
                continue
            series = _Series(kind, metric, [run for run, _ in known], logs, change.at)
            p_value = min(1.0, 2 * min(change.p_value, drift(logs)))  # two tests of one series
            found.append(
                Candidate(
                    family="performance",
                    tier="performance",
                    key=f"performance: {series.word} {condition_of(kind)}",
                    p_value=p_value,
                    state=partial(_state, series, limits, p_value),
                )
            )
    return found


def _state(series: _Series, limits: Limits, p_value: float, adjusted: float | None) -> Pattern:
    drifts, third = series.drifts, max(len(series.logs) // 3, 1)
    before = series.logs[:third] if drifts else series.logs[: series.at]
    after = series.logs[-third:] if drifts else series.logs[series.at :]
    ratio = shift(after, before)
    condition, since = condition_of(series.kind), _moment(series.runs[0 if drifts else series.at])
    low, high = (math.exp(bound) if bound is not None else None for bound in (ratio.low, ratio.high))
    interval = f" (95 % interval {low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    with_it = [] if drifts else changed_with(series.runs, series.at)
    how = f"has drifted since {since:%Y-%m-%d}: its last third takes" if drifts else f"changed on {since:%Y-%m-%d}: it takes"
    noun = "times as long" if series.metric == "duration" else "times the cost"
    times = f"{math.exp(ratio.value):.2f} {noun}{interval}"
    same = f"; at the same time {', '.join(with_it)}" if with_it else ""
    return Pattern(
        family="performance",
        key=f"performance: {series.word} {condition}",
        antecedent=condition,
        consequent=series.word,
        title=f"{series.kind} {'is getting' if drifts else 'became'} {series.word}",
        text=f"the {series.metric} of {series.kind} {how} {times}, over {ratio.n} runs{same}",
        support=len(series.logs),
        hits=None,
        confidence=None,
        base=None,
        lift=None,
        effect=math.exp(ratio.value),
        low=low,
        high=high,
        unit="times",
        p_value=p_value,
        adjusted=adjusted,
        executions=tuple(run.id for run in series.runs[::-1][: limits.most_executions]),
        since=since,
        alike=tuple(with_it),
    )


def changed_with(runs: Sequence[Observation], at: int) -> list[str]:
    """Return the features that had one value before a place of a series and have another from there on, as sentences."""
    before, after = runs[:at], runs[at:]
    found = []
    for name in sorted({name for run in (before[-1], after[0]) for name in run.features}):
        old, old_count = Counter(run.features.get(name) for run in before).most_common(1)[0]
        new, new_count = Counter(run.features.get(name) for run in after).most_common(1)[0]
        if old != new and old_count >= STEADY * len(before) and new_count >= STEADY * len(after):
            sort, _, rest = name.partition(":")
            found.append(f"{sort} {rest}".strip() + f" changed from {old or 'absent'} to {new or 'absent'}")
    return found[:3]


def _moment(run: Observation) -> datetime:
    return datetime.fromtimestamp(run.started, UTC)
