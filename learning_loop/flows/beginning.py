"""What a run begins with: its execution as the ledger keeps it, and reading tasks and runners leniently."""

import inspect
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from learning_loop.app import App
from learning_loop.capture import digest, plain, preview
from learning_loop.features.encoding import OWN, RESERVED
from learning_loop.flows.guard import Guard
from learning_loop.flows.history import Histories
from learning_loop.flows.points import Points
from learning_loop.flows.rules import Applied, RuleBook
from learning_loop.flows.run import Run
from learning_loop.records import Execution, ExecutionRecord, Report, Task
from learning_loop.scoring import Prediction, between

_HOST = socket.gethostname()
ELSEWHERE = "(elsewhere)"  # the host of runs whose work is no process of ours: none can tell whether it lives
_STARTED: dict[int, float | None] = {}


def execution_of(run: Run, given: Any, app: App) -> Execution:
    """Return a run that is about to start as the ledger keeps it; `given` is the caller's own task."""
    parameters = app.redact(plain(run.parameters))
    return Execution(
        id=run.id,
        task_id=run.task.id,
        task_type=run.task.type,
        component=run.task.component,
        agent=run.task.agent,
        description=run.task.description,
        parameters=parameters,
        dependencies=run.task.dependencies,
        assumptions=run.task.assumptions,
        tags=run.task.tags,
        project=run.task.project,
        sprint=run.task.sprint,
        parent_id=run.parent_id,
        critical=run.task.critical,
        idempotent=run.task.idempotent,
        inputs_digest=digest(parameters),
        inputs_preview=preview(app.redact(plain(given)), app.settings.capture.preview_characters),  # redacted, then cut
        started_at=run.started_at,
        host=ELSEWHERE if run.elsewhere else _HOST,
        pid=0 if run.elsewhere else os.getpid(),
        process_started_at=None if run.elsewhere else process_started_at(),
    )


def task_of(execution: Execution) -> Task:
    """Return the task of an execution as it is on record."""
    return Task(
        id=execution.task_id,
        type=execution.task_type,
        **{
            name: getattr(execution, name)
            for name in (
                "component", "agent", "description", "parameters", "dependencies", "assumptions", "tags", "project", "sprint",
                "critical", "idempotent",
            )
        },
    )  # fmt: skip


def process_started_at() -> float | None:
    """Return when this process started, as the system tells it: with the pid it names the process for ever."""
    pid = os.getpid()
    if pid not in _STARTED:
        import psutil

        _STARTED[pid] = psutil.Process(pid).create_time()
    return _STARTED[pid]


def predicted(prediction: Prediction | None) -> dict[str, Any] | None:
    if prediction is None:
        return None
    found: dict[str, Any] = {"success": prediction.success, "runs": prediction.runs}
    for name, unit, known in (("duration", "s", prediction.log_duration), ("cost", "usd", prediction.log_cost)):
        expected = between(known)
        found[f"{name}_{unit}"] = expected[0] if expected else None
        found[f"{name}_between"] = list(expected[1:]) if expected else None
        found[f"{name}_runs"] = known.n if known else 0
    return found


def takes_run(runner: Callable[..., Any] | None) -> bool:
    """Say whether a runner takes `(task, run)`; one whose signature is hidden takes `(task)`."""
    if runner is None:
        return False
    try:
        parameters = list(inspect.signature(runner).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    required = [item for item in positional if item.default is item.empty]
    return len(required) >= 2 or (len(positional) >= 2 and positional[1].name == "run")


def salvaged(task: Any, name: str) -> Task:
    """Return what can be read of a task that cannot be read as it is, so that its run is recorded all the same."""
    fields: dict[str, Any] = {}
    for field in ("id", "type", "component"):
        value = task.get(field) if isinstance(task, Mapping) else getattr(task, field, None)
        if isinstance(value, str) and value:
            fields[field] = value
    return Task(**{"id": name, **fields})


def resumed(
    record: ExecutionRecord,
    app: App,
    points: Points,
    rules: RuleBook,
    histories: Histories,
    guard: Guard,
    finish: Callable[[Run, Any, BaseException | None], Report],
) -> Run:
    """Return a run that another process began, as it would be in that one: with its rules, its prediction, its choices."""
    execution, warnings = record.execution, list[str]()
    task = task_of(execution)
    drawn = next((decision for decision in record.decisions if decision.point == OWN), None)
    shown = set(drawn.chosen.split()) if drawn is not None else set()
    run = Run(
        id=execution.id,
        task=task,
        app=app,
        points=points,
        guard=guard,
        finish=finish,
        started_at=execution.started_at,
        parent_id=execution.parent_id,
        parameters=execution.parameters,
        rules=Applied(tuple(rule for rule in rules.in_force() if rule.unit in shown), drawn),
        set_by_rules=tuple(record.noted("pre", "set_by_rules") or ()),
        prediction=guard.attempt("history", warnings, lambda: histories.predict(task.kind)),
        execution=execution,
        warnings=warnings,
        elsewhere=True,
        kept={decision.id for decision in record.decisions},
    )
    run.observed.decisions += [decision for decision in record.decisions if not decision.point.startswith(RESERVED)]
    run.started = time.perf_counter() - (app.clock() - execution.started_at).total_seconds()
    return run
