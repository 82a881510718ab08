"""Feedback that comes during a run or days after it: one more measure, and a new score where it bears on accuracy."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from learning_loop.app import App
from learning_loop.capture import read_result
from learning_loop.errors import UsageError
from learning_loop.records import DIMENSIONS, Feedback, Score
from learning_loop.scoring import ExecutionScoreCard
from learning_loop.scoring.accuracy import accuracy

BEARS_ON_ACCURACY = ("score", "success", "tests_passed", "tests_total", "exit_code")


def give_feedback(app: App, execution_id: str, metric: str, value: Any, *, source: str) -> Score | None:
    """Add a measure to an execution; return its new score where the metric is one that accuracy rests on.

    `value` is a number, true or false, or a text. Raise NotFoundError for an unknown execution and UsageError for a value
    that the metric cannot have.
    """
    found = app.ledger.resolve(execution_id)
    if not isinstance(value, bool | int | float | str):
        raise UsageError(f"feedback is a number, true or false, or a text, not {type(value).__name__}")
    if metric in BEARS_ON_ACCURACY and (faults := read_result({metric: value}).faults):
        raise UsageError(faults[0].replace("the result's ", "").replace(", so it was ignored", ""))
    if not metric or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError("feedback needs the name of a metric and a finite value, as in `satisfaction 4`")
    app.ledger.append(measure(found, metric, app.redact({metric: value})[metric], source=source, at=app.clock()))
    return _rescored(app, found) if metric in BEARS_ON_ACCURACY else None


def measure(execution_id: str, metric: str, value: Any, *, source: str, at: datetime) -> Feedback:
    """Return a measure as the ledger keeps it: numbers and flags as a value, all else as a text."""
    number = float(value) if isinstance(value, bool | int | float) else None
    text = None if number is not None or value is None else value if isinstance(value, str) else json.dumps(value)
    return Feedback(execution_id=execution_id, metric=metric, value=number, text=text, source=source, at=at)


def _decided(feedback: Sequence[Feedback]) -> dict[str, Any]:
    """Return what the newest feedback says of how a run went; what the run itself said of that no longer counts."""
    said = {item.metric: item.value for item in feedback if item.metric in BEARS_ON_ACCURACY and item.value is not None}
    newest = [item.metric for item in feedback if item.metric in said][-1]
    fields: dict[str, Any] = dict.fromkeys(("score", "tests_passed", "tests_total", "exit_code", "error_type"))
    if newest == "score":
        return {**fields, "score": said["score"]}
    if newest == "success":
        return {**fields, "success": bool(said["success"])}
    if newest == "exit_code":
        return {**fields, "exit_code": int(said["exit_code"]), "success": said["exit_code"] == 0}
    passed, total = said.get("tests_passed"), said.get("tests_total")
    if passed is None or total is None:
        return {}
    return {**fields, "tests_passed": int(passed), "tests_total": int(total), "success": passed == total}


def _rescored(app: App, execution_id: str) -> Score | None:
    """Append a score whose accuracy counts all feedback so far, the newest of each metric; the rest stays as it was."""
    record = app.ledger.execution(execution_id)
    if record.outcome is None:
        return None
    outcome = replace(record.outcome, **_decided(record.feedback))
    scoring = app.settings.scoring
    before = record.score
    scores = {name: getattr(before, name) if before else None for name in DIMENSIONS}
    scores["accuracy"], basis = accuracy(outcome)
    card = ExecutionScoreCard(
        task_id=record.execution.task_id,
        scores=scores,
        basis={**(dict(before.basis) if before else {}), "accuracy": f"{basis} (feedback)"},
        weights=scoring.weights,
    )
    score = card.record(execution_id, scoring=scoring.version, at=app.clock())
    app.ledger.append(score)
    return score
