"""Thresholds that a workspace's own results suggest changing: those that fire nearly always, or never."""

from collections.abc import Sequence
from dataclasses import dataclass

from learning_loop.records import Observation
from learning_loop.settings import Thresholds
from learning_loop.stats.robust import quantile

ENOUGH = 50  # runs before a threshold is judged
OFTEN, SELDOM = 0.35, 0.005
WANTED = {"low_performance": 0.1, "high_performance": 0.9, "high_surprise": 0.97}  # the quantile it would stand at instead


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A threshold as it is, which share of so many runs it fires on, and what to try instead."""

    key: str
    current: float
    share: float
    runs: int
    instead: float

    @property
    def text(self) -> str:
        often = f"fires on {100 * self.share:.0f} % of {self.runs} runs" if self.share else f"fired on none of {self.runs} runs"
        return f"{self.key} {self.current:g} {often}; {self.instead:g} would on about {100 * self.wanted:.0f} %"

    @property
    def wanted(self) -> float:
        share = WANTED[self.key]
        return share if self.key == "low_performance" else 1 - share


def suggestions(runs: Sequence[Observation], limits: Thresholds) -> list[Suggestion]:
    """Return what to change; nothing where thresholds do their work or too little is known."""
    scores = sorted(run.score for run in runs if run.score is not None)
    surprises = sorted(run.surprise for run in runs if run.surprise is not None)
    fires = {
        "low_performance": (scores, limits.low_performance, sum(value < limits.low_performance for value in scores)),
        "high_performance": (scores, limits.high_performance, sum(value > limits.high_performance for value in scores)),
        "high_surprise": (surprises, limits.high_surprise, sum(value > limits.high_surprise for value in surprises)),
    }
    found = []
    for key, (values, now, fired) in fires.items():
        share = fired / len(values) if values else 0.0
        never = share <= SELDOM and key == "high_performance"  # that nothing is bad or surprising is no fault of a threshold
        if len(values) < ENOUGH or not (share >= OFTEN or never):
            continue
        instead = float(round(quantile(values, WANTED[key])))
        would = sum(value < instead if key == "low_performance" else value > instead for value in values) / len(values)
        if instead != now and SELDOM < would < OFTEN:  # else no threshold tells these runs apart
            found.append(Suggestion(key, now, share, len(values), instead))
    return found
