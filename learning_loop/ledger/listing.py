"""Executions as lists show them: a few columns, searched, in any order, a page at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from learning_loop.ledger import tables
from learning_loop.ledger.selection import WITH_OUTCOMES, Filter, conditions, verdict
from learning_loop.records import FORGOTTEN

_E, _O, _S = tables.executions.c, tables.outcomes.c, tables.scores.c
_SCORE = (
    sa.select(_S.overall).where(_S.execution_id == _E.id).order_by(_S.seq.desc()).limit(1).correlate(tables.executions)
).scalar_subquery()
ORDERS: Mapping[str, sa.ColumnElement[Any]] = {
    "started": _E.started_at,
    "duration": _O.duration_s,
    "cost": _O.cost_usd,
    "score": _SCORE,
    "task": _E.task_id,
}
MOST_WORDS = 20  # of a search
SEARCHED = (_E.id, _E.task_id, _E.task_type, _E.component, _E.agent, _E.description, _O.error_message)


@dataclass(frozen=True, slots=True)
class Row:
    """An execution in a list; `status` and `success` as they stand now, what was said later of how it went included."""

    seq: int
    id: str
    task_id: str
    task_type: str
    component: str | None
    project: str | None
    agent: str | None
    sprint: str | None
    parent_id: str | None
    started_at: datetime
    status: str
    success: bool | None
    duration_s: float | None
    cost_usd: float | None
    error: str | None
    score: float | None


Place = tuple[Any, int]  # where a page ends: the last row's value in the order it is in, and its place in the ledger


def listed(
    wanted: Filter, search: str | None, order: str, after: Place | None, limit: int, *, descending: bool
) -> sa.Select[Any]:
    """Select the next page of rows; those whose value in this order is unknown come last."""
    success, status = verdict()
    key = ORDERS[order]
    ended, gone = _O.execution_id.is_not(None), _E.task_type == FORGOTTEN
    state = sa.case((ended, status), (gone, "forgotten"), else_="running")
    chosen = [*conditions(wanted), *_searched(search)]
    if after is not None:
        chosen.append(_beyond(key, after, descending=descending))
    way = (sa.desc, sa.desc) if descending else (sa.asc, sa.asc)
    unknown = [] if order in ("started", "task") else [key.is_(None)]  # these are always known, and have an index
    return (
        sa.select(
            _E.seq, _E.id, _E.task_id, _E.task_type, _E.component, _E.project, _E.agent, _E.sprint, _E.parent_id,
            _E.started_at, state.label("status"), success.label("success"), _O.duration_s, _O.cost_usd,
            sa.func.substr(_O.error_message, 1, 300).label("error"), _SCORE.label("score"),
        )
        .select_from(WITH_OUTCOMES)
        .where(*chosen)
        .order_by(*unknown, way[0](key), way[1](_E.seq))
        .limit(limit)
    )  # fmt: skip


def numbered(wanted: Filter, search: str | None) -> sa.Select[Any]:
    """Select how many rows there are in all."""
    chosen = [*conditions(wanted), *_searched(search)]
    source = WITH_OUTCOMES if search or wanted != Filter() else tables.executions
    return sa.select(sa.func.count()).select_from(source).where(*chosen)


def _searched(search: str | None) -> list[sa.ColumnElement[bool]]:
    words = (search or "").split()[:MOST_WORDS]
    return [sa.or_(*(column.icontains(word, autoescape=True) for column in SEARCHED)) for word in words]


def _beyond(key: sa.ColumnElement[Any], after: Place, *, descending: bool) -> sa.ColumnElement[bool]:
    value, seq = after
    further = _E.seq < seq if descending else _E.seq > seq
    if value is None:
        return sa.and_(key.is_(None), further)
    ahead = key < value if descending else key > value
    return sa.or_(ahead, sa.and_(key == value, further), key.is_(None))
