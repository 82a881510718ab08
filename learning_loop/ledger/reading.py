"""Reading executions with what is on record of them, and the past runs of a kind."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from learning_loop.ledger import tables
from learning_loop.ledger.rows import FIELDS
from learning_loop.ledger.selection import WITH_OUTCOMES, counted, of_kind, verdict
from learning_loop.records import (
    Checkpoint,
    Credit,
    Decision,
    Execution,
    ExecutionRecord,
    Feedback,
    Kind,
    Outcome,
    PastRun,
    Phase,
    Score,
    Step,
    Usage,
)

EVERYTHING = (Phase, Checkpoint, Decision, Credit, Usage, Step, Feedback)  # that may be read with an execution
BEFORE = ("pre", "state")  # the phases that say what there was before a run
PHASES = (*BEFORE, "during", "post")
AT_ONCE = 500  # ids in one statement
NEWEST = tables.executions.c.seq.desc()
_PAST_FIELDS = (
    "execution_id", "component", "status", "success", "ended_at", "error_message", "duration_s", "cost_usd", "shape",
)  # fmt: skip


def records(
    connection: sa.Connection,
    chosen: Sequence[sa.ColumnElement[bool]],
    *,
    limit: int,
    parts: Sequence[type] = (),
    order: sa.ColumnElement[Any] = NEWEST,
    phases: Sequence[str] = PHASES,
) -> list[ExecutionRecord]:
    """Return the first executions of those chosen, each with its newest score and these parts, of its phases some."""
    e, o = tables.executions, tables.outcomes
    statement = (
        sa.select(*e.c, *[column.label(f"o_{column.name}") for column in o.c])
        .select_from(WITH_OUTCOMES)
        .where(*chosen)
        .order_by(order, e.c.seq.desc())
        .limit(limit)
    )
    rows = connection.execute(statement).mappings().all()
    ids = [row["id"] for row in rows]
    scores = {score.execution_id: score for score in _of(connection, Score, ids)}  # the newest wins
    noted: dict[type, dict[str, list[Any]]] = {kind: {} for kind in EVERYTHING}
    for kind in parts:
        for item in _of(connection, kind, ids, *([tables.phases.c.phase.in_(phases)] if kind is Phase else [])):
            noted[kind].setdefault(item.execution_id, []).append(item)

    def of(kind: type, execution_id: str) -> tuple[Any, ...]:
        return tuple(noted[kind].get(execution_id, ()))

    return [
        ExecutionRecord(
            execution=Execution(**{name: row[name] for name in FIELDS[Execution]}),
            outcome=Outcome(**{name: row[f"o_{name}"] for name in FIELDS[Outcome]}) if row["o_execution_id"] else None,
            score=scores.get(row["id"]),
            phases=of(Phase, row["id"]),
            checkpoints=of(Checkpoint, row["id"]),
            decisions=of(Decision, row["id"]),
            credits=of(Credit, row["id"]),
            usage=of(Usage, row["id"]),
            steps=of(Step, row["id"]),
            feedback=of(Feedback, row["id"]),
        )
        for row in rows
    ]


def ids_of(connection: sa.Connection, chosen: Sequence[sa.ColumnElement[bool]], limit: int) -> list[str]:
    """Return the ids of the newest executions of those chosen, the newest first."""
    statement = sa.select(tables.executions.c.id).select_from(WITH_OUTCOMES).where(*chosen).order_by(NEWEST).limit(limit)
    return list(connection.execute(statement).scalars())


def past_run(seq: int, ended: Any) -> PastRun:
    """Return a past run from an outcome, or from a row with its fields."""
    fields = {name: getattr(ended, name) for name in _PAST_FIELDS}
    return PastRun(seq=seq, **{**fields, "shape": frozenset(ended.shape)})


def past_runs(connection: sa.Connection, kind: Kind, place: int, limit: int) -> list[PastRun]:
    """Return the newest finished runs of a kind after a place, oldest first; no component means any."""
    statement = _PAST if kind.component is None else _PAST_OF_COMPONENT
    bound = {"type": kind.type, "component": kind.component, "project": kind.project, "after": place, "most": limit}
    return [past_run(row.seq, row) for row in reversed(connection.execute(statement, bound).all())]


def _of(connection: sa.Connection, kind: type, ids: Sequence[str], *also: sa.ColumnElement[bool]) -> Iterator[Any]:
    table, names = tables.TABLE_OF[kind], FIELDS[kind]
    wanted = sa.select(*(table.c[name] for name in names)).order_by(table.c.seq)
    for start in range(0, len(ids), AT_ONCE):
        chosen = table.c.execution_id.in_(ids[start : start + AT_ONCE])
        for row in connection.execute(wanted.where(chosen, *also)):
            yield kind(**dict(zip(names, row, strict=True)))


def _past(component: Any) -> sa.Select[Any]:
    """Return the query for past runs of a kind; what a person said later of how one went outranks what the run said."""
    o = tables.outcomes.c
    success, status = verdict()
    judged = {"success": success, "status": status}
    columns = [judged[name].label(name) if name in judged else o[name] for name in _PAST_FIELDS]
    return (
        sa.select(o.seq, *columns)
        .where(*of_kind(sa.bindparam("type"), component, sa.bindparam("project")), *counted())
        .where(o.seq > sa.bindparam("after"))
        .order_by(o.seq.desc())
        .limit(sa.bindparam("most"))
    )


_PAST = _past(None)
_PAST_OF_COMPONENT = _past(sa.bindparam("component"))
