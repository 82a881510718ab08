"""Executions as people hand them over, read as patterns are sought in them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from learning_loop.features import features_from, features_of, fingerprint
from learning_loop.records import ExecutionRecord, Observation, Task

_OUTCOME = ("score", "success", "duration_s", "cost_usd", "error", "started_at", "ended_at")


def observed(item: Any, place: int) -> Observation:
    """Return an execution as patterns are sought in it; `place` tells the order where no times do."""
    if isinstance(item, Observation):
        return item
    if isinstance(item, ExecutionRecord):
        return _of_record(item)
    task = Task.of(_with_id(item, place))
    said = {name: _said(item, name) for name in _OUTCOME}
    known = {name: value for name, value in said.items() if value is not None}
    chosen = {name: value for name, value in task.parameters.items() if name not in said}
    features = _named(task.type, task.component, task.project) | features_from(chosen, (), (), task.tags, task.agent)
    success = known.get("success")
    score = known.get("score", None if success is None else 100.0 if success else 0.0)
    started = _seconds(known.get("started_at"), float(place))
    duration = known.get("duration_s")
    error = known.get("error")
    return Observation(
        id=task.id,
        kind=task.kind,
        started=started,
        ended=_seconds(known.get("ended_at"), started + (duration or 0.0)),
        success=success if success is None else bool(success),
        score=None if score is None else float(score),
        duration_s=None if duration is None else float(duration),
        cost_usd=known.get("cost_usd"),
        error=fingerprint(None, str(error)) if error else None,
        error_text=str(error) if error else None,
        features=features,
    )


def _of_record(record: ExecutionRecord) -> Observation:
    execution, outcome, score = record.execution, record.outcome, record.score
    ended = outcome.ended_at if outcome else execution.started_at
    return Observation(
        id=execution.id,
        kind=execution.kind,
        started=execution.started_at.timestamp(),
        ended=ended.timestamp(),
        success=outcome.success if outcome else None,
        score=score.overall if score else None,
        duration_s=outcome.duration_s if outcome else None,
        cost_usd=outcome.cost_usd if outcome else None,
        error=outcome.error_fingerprint if outcome else None,
        error_text=outcome.error_message if outcome else None,
        features=_named(execution.task_type, execution.component, execution.project) | features_of(record),
    )


def _named(task_type: str, component: str | None, project: str | None) -> dict[str, str]:
    named = {"type": task_type, "component": component, "project": project}
    return {name: value for name, value in named.items() if value is not None}


def _with_id(item: Any, place: int) -> Any:
    """Return an item with an id: one that has none is known by its place."""
    if _said(item, "id") is not None:
        return item
    name = _said(item, "task_id") or f"item-{place}"
    if isinstance(item, Mapping):
        return {**item, "id": str(name)}
    fields = ("type", "component", "agent", "parameters", "tags", "project")
    return {"id": str(name), **{name: value for name in fields if (value := _said(item, name)) is not None}}


def _said(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def _seconds(value: Any, otherwise: float) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else otherwise
