"""Runs that others do: begun, chosen for, ended, rated; and looking at them."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, BeforeValidator
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from learning_loop.api.access import Who, need
from learning_loop.api.paging import Cursor, Limit, Why, cursor_of, place_of
from learning_loop.api.problems import documented
from learning_loop.api.repeating import Repeatable
from learning_loop.api.serving import Opened, Served, Serving
from learning_loop.api.v1.shapes import (
    Because,
    Begun,
    Card,
    ChoiceIn,
    DecisionOut,
    Ended,
    ErrorIn,
    FeedbackIn,
    FreeChoiceIn,
    OutcomeIn,
    Page,
    RewardIn,
    Row,
    Scored,
    TaskIn,
)
from learning_loop.app import App
from learning_loop.errors import LedgerError, NotFoundError
from learning_loop.features import error_line
from learning_loop.flows.points import check_point
from learning_loop.flows.run import Run
from learning_loop.ledger import Filter
from learning_loop.ledger.listing import Row as Listed
from learning_loop.records import ExecutionRecord, Step

router = APIRouter(tags=["runs"], route_class=Repeatable)
Order = Literal["started", "duration", "cost", "score", "task"]
Status = Literal["running", "succeeded", "failed", "cancelled", "interrupted", "unknown"]
EXPORTED = 100_000  # rows, at most
REFLECTING_S = 60.0  # for who waits for it, while another process is at it


# ---------------------------------------------------------------------------------------------------------- going round


@router.post("/tasks", status_code=201, dependencies=[need("record")], responses=documented(404, 409))
async def begin(task: TaskIn, serving: Serving, request: Request) -> Begun:
    """Begin a run: what is known of such tasks comes back, and the execution is on record before this answers."""
    return await serving.record(partial(_begin, task, serving, request.scope["state"].get("key")))


def _begin(task: TaskIn, serving: Served, key: str | None) -> Begun:
    given = task.model_dump(exclude={"parent_id"}, exclude_unset=True)
    if task.parent_id is not None and not serving.app.ledger.known([task.parent_id]):
        raise NotFoundError(f"there is no execution {task.parent_id!r} that this could be a part of")
    run = serving.runs.begin(given, parent_id=task.parent_id, key=key)
    return Begun.model_validate(
        {
            "execution_id": run.id,
            "started_at": run.started_at,
            "parameters": serving.app.redact(dict(run.parameters)),
            "set_by_rules": list(run.set_by_rules),
            "briefing": run.briefing.markdown,
            "notes": run.briefing.notes,
            "rules": run.briefing.rules,
            "warnings": run.warnings,
        }
    )


@router.post(
    "/executions/{execution_id}/decisions", status_code=201, dependencies=[need("record")], responses=documented(404, 409)
)
async def choose(execution_id: str, choice: ChoiceIn, serving: Serving) -> DecisionOut:
    """Choose for a run under way; rules and learned policies have their say, and the choice is on record."""
    return await serving.record(partial(_choose, execution_id, choice, serving))


def _choose(execution_id: str, choice: ChoiceIn, serving: Served) -> DecisionOut:
    check_point(choice.point)
    with serving.runs.alone(execution_id):
        run = serving.runs.one(execution_id)
        before = len(run.observed.decisions)
        run.decide(choice.point, choice.options, **choice.context)
        if len(run.observed.decisions) == before:
            raise LedgerError(run.warnings[-1] if run.warnings else "nothing could be chosen")
        run.keep()
        return DecisionOut.model_validate(run.observed.decisions[-1])


@router.post("/executions/{execution_id}/finish", dependencies=[need("record")], responses=documented(404, 409))
async def finish(
    execution_id: str,
    outcome: OutcomeIn,
    serving: Serving,
    *,
    wait: Annotated[
        bool, Query(description="Wait for what is learned from it; else that is found out a little later.")
    ] = False,
) -> Ended:
    """End a run; the answer comes once everything about it is on record. A run that ended already is told as it ended."""
    ended, due = await serving.record(partial(_finish, execution_id, outcome, serving))
    return await run_in_threadpool(_learned, serving, ended) if wait and due else ended


def _finish(execution_id: str, outcome: OutcomeIn, serving: Served) -> tuple[Ended, bool]:
    """End a run, and return whether there is something to reflect on: that is on record with its end."""
    with serving.runs.alone(execution_id):
        run = serving.runs.known(execution_id)
        if run is None:
            record = serving.app.ledger.execution(execution_id)
            if record.outcome is not None and record.status != "interrupted":
                return _as_it_ended(serving.app, record), False
            run = serving.runs.one(execution_id)
        try:
            _note(run, outcome)
            run.reflects = "later"
            run.finish(run, outcome.result, asyncio.CancelledError() if outcome.cancelled else None)
        finally:
            serving.runs.over(execution_id)  # where it failed, it goes on from what is on record
    if run.report is None or run.report.outcome is None or run.scored is None:
        raise LedgerError(run.warnings[-1] if run.warnings else f"the end of {execution_id} could not be recorded")
    report, ended = run.report, run.report.outcome
    answer = Ended(
        execution_id=execution_id,
        status=ended.status,
        success=ended.success,
        score=report.score,
        card=Card.model_validate(run.scored),
        learnings=list(report.learnings),
        improvements=list(report.improvements),
        notes=sorted(report.notes),
        warnings=list(report.warnings),
    )
    return answer, bool(run.due)


def _learned(serving: Served, ended: Ended) -> Ended:
    """Wait for what is to be reflected on a run, and return how it ended with what that gave."""
    found = serving.follower.wait_for(ended.execution_id, wait_s=REFLECTING_S)
    return ended.model_copy(
        update={
            "learnings": [*found.learnings, *ended.learnings],
            "improvements": list(dict.fromkeys([*found.improvements, *ended.improvements])),
            "notes": sorted({*found.notes, *ended.notes}),
        }
    )


def _as_it_ended(app: App, record: ExecutionRecord) -> Ended:
    name = record.execution.id
    wrote = {version.path for version in app.ledger.note_versions(execution_id=name)}
    return Ended(
        execution_id=name,
        status=record.status,
        success=record.success,
        score=record.score.overall if record.score is not None else None,
        card=Card.model_validate(record.score) if record.score is not None else None,
        learnings=[],
        improvements=[],
        notes=sorted(path for path in wrote if (app.workspace.root / path).is_file()),
        warnings=[],
    )


def _error_of(said: ErrorIn | str | None) -> tuple[str | None, str | None]:
    """Return an error's type and message; a text of several lines stays whole, a blank one says nothing."""
    if isinstance(said, ErrorIn):
        return said.type, said.message
    text = (said or "").strip()
    kind, line = error_line(text)
    return kind, line if len(text.splitlines()) <= 1 else text


def _note(run: Run, outcome: OutcomeIn) -> None:
    """Tell a run what its work says of itself."""
    said = outcome.model_dump(
        include={"success", "score", "tests_passed", "tests_total", "exit_code", "output_tail", "duration_s", "cpu_s"}
        | {"peak_memory_bytes"},
        exclude_none=True,
    )
    kind, message = _error_of(outcome.error)
    if message is not None:
        said |= {"success": bool(outcome.success), "error_message": message, "error_type": kind}
    run.ran = False  # what says nothing of how it went leaves it unknown
    run.outcome(**{**outcome.measures, **said})
    for text in outcome.deviations:
        run.deviation(text)
    for text in outcome.discoveries:
        run.discovery(text)
    for checkpoint in outcome.checkpoints:
        run.checkpoint(checkpoint.name, **checkpoint.data)
    for step in outcome.steps:
        run.steps.append(
            Step(
                execution_id=run.id,
                step_id=step.id,
                role=step.role,
                status=step.status,
                file_path=step.file_path,
                output_hash=None,
                repeats=None,
                started_at=None,
                ended_at=None,
                duration_ms=step.duration_ms,
            )
        )
    for call in outcome.usage:
        run.usage(**call.model_dump())


@router.post("/executions/{execution_id}/feedback", dependencies=[need("record")], responses=documented(404, 409))
def feedback(execution_id: str, said: FeedbackIn, serving: Serving, who: Who) -> Scored:
    """Add a measure to an execution, ended or not."""
    found = serving.app.ledger.resolve(execution_id)
    score = serving.loop.feedback(found, said.metric, said.value, source=said.source or who.name)
    serving.audit(who.name, "feedback", found, metric=said.metric)
    return Scored(execution_id=found, score=score.overall if score is not None else None)


# ------------------------------------------------------------------------------------------------------ choices outside runs


@router.post("/decisions", status_code=201, dependencies=[need("record")], responses=documented(409))
def decide(choice: FreeChoiceIn, serving: Serving) -> DecisionOut:
    """Choose outside of any run; `reward` then says what came of it."""
    check_point(choice.point)
    made = serving.loop.decide(choice.context, choice.options, point=choice.point, unit=choice.unit)
    if not made.id:
        raise LedgerError("nothing could be recorded: see the log of the server")
    return DecisionOut.model_validate(made)


@router.post("/decisions/{decision_id}/reward", status_code=204, dependencies=[need("record")], responses=documented(404, 409))
def reward(decision_id: str, said: RewardIn, serving: Serving, who: Who) -> None:
    """Say what a choice earned, once."""
    serving.loop.reward(decision_id, said.value, source=said.source or who.name)
    serving.audit(who.name, "reward", decision_id)


@router.get("/decisions", dependencies=[need("read")], responses=documented(404))
def decisions(
    app: Opened,
    point: Annotated[str | None, Query(max_length=200)] = None,
    execution_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DecisionOut]:
    """List choices, the newest first."""
    (before,) = place_of(cursor, int) if cursor else (None,)
    found = app.ledger.decisions(point=point, execution_id=execution_id, before=before, limit=limit + 1)
    items = [DecisionOut.model_validate(made) for _, made in found[:limit]]
    return Page(items=items, next=cursor_of(found[limit - 1][0]) if len(found) > limit else None)


@router.get("/decisions/{decision_id}", dependencies=[need("read")], responses=documented(404))
def decision(decision_id: str, app: Opened) -> DecisionOut:
    """Return a choice."""
    found = app.ledger.decision(decision_id)
    if found is None:
        raise NotFoundError(f"there is no decision {decision_id!r}")
    return DecisionOut.model_validate(found)


# ---------------------------------------------------------------------------------------------------------- looking at it


def _dated(value: Any) -> Any:
    """Refuse numbers, which would be taken for seconds since 1970."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("a moment is written as 2026-03-01T12:00:00Z")
    return value


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC, as which one without a zone is taken; raise ValueError where it has none there."""
    try:
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such moment in UTC") from None


Moment = Annotated[datetime, BeforeValidator(_dated), AfterValidator(in_utc)]


def wanted_of(  # noqa: PLR0913  (all that narrows)
    type: Annotated[str | None, Query(max_length=500)] = None,  # noqa: A002  (as the task has it)
    component: Annotated[str | None, Query(max_length=500)] = None,
    project: Annotated[str | None, Query(max_length=500)] = None,
    agent: Annotated[str | None, Query(max_length=500)] = None,
    sprint: Annotated[str | None, Query(max_length=500)] = None,
    task_id: Annotated[str | None, Query(max_length=500)] = None,
    status: Annotated[Status | None, Query()] = None,
    since: Annotated[Moment | None, Query(description="Only those that began from then on.")] = None,
    before: Annotated[Moment | None, Query()] = None,
) -> Filter:
    """Return which executions are meant by what stands in an address."""
    return Filter(
        types=(type,) if type else (),
        components=(component,) if component else (),
        agents=(agent,) if agent else (),
        project=project or None,
        sprint=sprint or None,
        task_id=task_id or None,
        status=status,
        since=since,
        before=before,
    )


def rows_of(
    app: App, wanted: Filter, search: str | None, order: Order, cursor: str | None, limit: int, *, descending: bool
) -> tuple[list[Listed], str | None]:
    """Return a page of executions, and the cursor of the next."""
    kind = {"started": datetime, "task": str}.get(order)
    after = place_of(cursor, kind, int) if cursor else None
    place = (after[0], after[1]) if after is not None else None
    found = app.ledger.listed(wanted, search=search, order=order, descending=descending, after=place, limit=limit + 1)
    shown = found[:limit]
    column = {"started": "started_at", "duration": "duration_s", "cost": "cost_usd", "task": "task_id"}.get(order, "score")
    following = cursor_of(getattr(shown[-1], column), shown[-1].seq) if len(found) > limit else None
    return shown, following


def exported(
    app: App, wanted: Filter, search: str | None, order: Order = "started", *, descending: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield executions as lists show them, at most `EXPORTED`."""
    cursor: str | None = None
    for _ in range(EXPORTED // 1_000):
        rows, cursor = rows_of(app, wanted, search, order, cursor, 1_000, descending=descending)
        yield from ({name: value for name, value in asdict(row).items() if name != "seq"} for row in rows)
        if cursor is None:
            return


def show(app: App, execution_id: str) -> dict[str, Any]:
    """Return everything that is on record of an execution."""
    from learning_loop.flows.contributions import contributed

    record = app.ledger.execution(execution_id)
    notes = app.index.store.citing([record.execution.id])
    plain: dict[str, Any] = json.loads(json.dumps(asdict(record), default=said_of))
    return {**plain, "status": record.status, "notes": notes, "contributions": contributed(app, record)}


def said_of(value: Any) -> str:
    """Return what JSON has no word for as text, moments by ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


Wanted = Annotated[Filter, Depends(wanted_of)]
Search = Annotated[str | None, Query(max_length=500, description="Words that all have to be in it.")]


@router.get("/executions", dependencies=[need("read")], responses=documented(404))
def executions(
    app: Opened,
    wanted: Wanted,
    search: Search = None,
    order: Order = "started",
    descending: Annotated[bool, Query()] = True,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Row]:
    """List executions, a page at a time; those whose value in the order is unknown come last."""
    rows, following = rows_of(app, wanted, search, order, cursor, limit, descending=descending)
    return Page(items=[Row.model_validate(row) for row in rows], next=following)


@router.get("/executions.jsonl", dependencies=[need("read")], response_class=StreamingResponse)
def export(app: Opened, wanted: Wanted, search: Search = None) -> StreamingResponse:
    """Write executions out, one as JSON a line, the newest first; narrowed as the list is, without pages."""
    rows = (json.dumps(row, default=said_of) + "\n" for row in exported(app, wanted, search))
    return StreamingResponse(rows, media_type="application/x-ndjson")


@router.get("/executions/{execution_id}", dependencies=[need("read")], responses=documented(404))
def one(execution_id: str, app: Opened) -> dict[str, Any]:
    """Return everything that is on record of an execution: what it was given, shown, chose, came to, and taught."""
    return show(app, execution_id)


@router.get("/executions/{execution_id}/shown", dependencies=[need("read")], responses=documented(404))
def shown(execution_id: str, app: Opened) -> list[dict[str, Any]]:
    """Say what an execution was shown of notes and rules, and what was withheld from it, with the odds."""
    from learning_loop.flows.lifts import shown_to

    return [dict(zip(("unit", "title", "odds", "shown"), item, strict=True)) for item in shown_to(app, execution_id)]


@router.get("/executions/{execution_id}/causes", dependencies=[need("read")], responses=documented(404))
def causes(execution_id: str, serving: Serving) -> dict[str, Any]:
    """Return the likely causes of how a run went, each with the executions it rests on."""
    cause = serving.loop.root_cause_analysis(execution_id)
    return {**asdict(cause), "summary": cause.summary}


@router.post(
    "/executions/{execution_id}/exclude", status_code=204, dependencies=[need("steer")], responses=documented(404, 409)
)
def exclude(execution_id: str, said: Because, serving: Serving, who: Who) -> None:
    """Take an execution out of all evidence; it stays on record."""
    found = serving.app.ledger.resolve(execution_id)
    serving.loop.exclude(found, reason=said.reason or f"{who.name} said so")
    serving.audit(who.name, "exclude", found, reason=said.reason)


@router.delete("/executions/{execution_id}", status_code=204, dependencies=[need("admin")], responses=documented(404, 409))
def forget(execution_id: str, serving: Serving, who: Who, reason: Why = "") -> None:
    """Erase an execution for good: from ledger, notes and index, leaving a tombstone with the reason."""
    from learning_loop.flows.forget import forget as erase

    serving.app.ledger.execution(execution_id)
    erase(serving.app, execution_id, reason=reason or f"{who.name} asked for it")
    serving.audit(who.name, "forget", execution_id, reason=reason)


@router.post("/executions/expire", dependencies=[need("admin")])
def expire(serving: Serving, who: Who) -> list[str]:
    """Erase all executions for good that are older than `ledger.retention_days`, and say which; none where that is not set."""
    from learning_loop.flows.forget import forget_expired

    serving.audit(who.name, "forget expired", f"older than {serving.app.settings.ledger.retention_days} days")
    return [item.id for item in forget_expired(serving.app)]
