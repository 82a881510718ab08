"""The score card of one execution: its dimensions, their weighted mean, and the reflections it triggers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from learning_loop.records import DIMENSIONS, Outcome, Score
from learning_loop.scoring.accuracy import accuracy
from learning_loop.scoring.efficiency import efficiency
from learning_loop.scoring.history import History, Prediction
from learning_loop.scoring.reusability import reusability
from learning_loop.scoring.surprise import surprise
from learning_loop.settings import Scoring, Thresholds

_DEFAULT = Scoring()


class Trigger(NamedTuple):
    """A reflection that is due, and why."""

    action: str
    reason: str


@dataclass(slots=True)
class ExecutionScoreCard:
    """Four dimensions of one execution, 0-100 each or None for unknown, and what they were computed from."""

    task_id: str
    scores: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(DIMENSIONS))
    metadata: dict[str, Any] = field(
        default_factory=lambda: {"timestamp": None, "agent": None, "task_type": None, "execution_time": None}
    )
    basis: dict[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=lambda: _DEFAULT.weights)
    thresholds: Thresholds = Thresholds()  # noqa: RUF009  (frozen)

    def calculate_overall_score(self) -> float | None:
        """Return the weighted mean of the known dimensions; None where none that counts is known, accuracy above all.

        An execution whose accuracy is unknown has no overall score: how fast nothing was achieved says nothing.
        """
        if self.scores.get("accuracy") is None and self.weights.get("accuracy"):
            return None
        known = {name: value for name, value in self.scores.items() if value is not None and self.weights.get(name)}
        total = sum(self.weights[name] for name in known)
        return sum(value * self.weights[name] for name, value in known.items()) / total if total else None

    def triggers(self) -> tuple[Trigger, ...]:
        """Return every reflection that is due, the most pressing first."""
        overall, surprised = self.calculate_overall_score(), self.scores.get("surprise")
        limits = self.thresholds
        found = []
        if overall is not None and overall < limits.low_performance:
            found.append(Trigger("mandatory_reflection", "Low performance - root cause analysis required"))
        if overall is not None and overall > limits.high_performance:
            found.append(Trigger("extract_template", "High performance - extract as best practice"))
        if surprised is not None and surprised > limits.high_surprise:
            found.append(Trigger("update_architecture", "High surprise factor - review assumptions"))
        return tuple(found)

    def trigger_reflection(self) -> tuple[str, str] | tuple[None, None]:
        """Return (action, reason) of the most pressing reflection, or (None, None); `triggers` returns all of them."""
        found = self.triggers()
        return (found[0].action, found[0].reason) if found else (None, None)

    def record(self, execution_id: str, *, scoring: str, at: datetime) -> Score:
        """Return the card as the ledger keeps it."""
        values = {name: self.scores.get(name) for name in DIMENSIONS}
        return Score(
            execution_id=execution_id,
            scoring=scoring,
            at=at,
            overall=self.calculate_overall_score(),
            basis=self.basis,
            **values,
        )


def score_run(
    task_id: str, outcome: Outcome, history: History, prediction: Prediction, *, scoring: Scoring, thresholds: Thresholds
) -> ExecutionScoreCard:
    """Score a finished run against what was known before it."""
    shape = frozenset(outcome.shape)
    found = {
        "accuracy": accuracy(outcome),
        "efficiency": efficiency(outcome, history),
        "reusability": reusability(shape, history),
        "surprise": surprise(outcome, prediction),
    }
    return ExecutionScoreCard(
        task_id=task_id,
        scores={name: value for name, (value, _) in found.items()},
        basis={name: text for name, (_, text) in found.items()},
        weights=scoring.weights,
        thresholds=thresholds,
    )
