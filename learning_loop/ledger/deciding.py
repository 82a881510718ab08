"""Reading choices at decision points, and what became of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from learning_loop.ledger import tables
from learning_loop.ledger.selection import counted
from learning_loop.records import Credit, Decision

_O, _D, _C = tables.outcomes.c, tables.decisions.c, tables.credits_.c


def runs_deciding(connection: sa.Connection, point: str, place: int, limit: int) -> list[tuple[int, str]]:
    """Return (place, id) of the runs that ended after a place and in which something was chosen at a point, in that order."""
    chose = sa.exists().where(_D.execution_id == _O.execution_id, sa.func.coalesce(_D.point, "") == point)
    wanted = sa.select(_O.seq, _O.execution_id).where(_O.seq > place, chose, *counted()).order_by(_O.seq).limit(limit)
    return [(row[0], row[1]) for row in connection.execute(wanted)]


def places_deciding(connection: sa.Connection, point: str, place: int) -> list[tuple[int, str]]:
    """Return (place, id) of all runs that ended after a place and in which something was chosen at a point, in that order."""
    joined = tables.decisions.join(tables.outcomes, _O.execution_id == _D.execution_id)
    wanted = sa.select(_O.seq, _O.execution_id).select_from(joined).where(_D.point == point, _O.seq > place, *counted())
    return [(row[0], row[1]) for row in connection.execute(wanted.distinct().order_by(_O.seq))]


def runs_at(connection: sa.Connection, points: Sequence[str], since: datetime, most: int) -> list[str]:
    """Return the newest runs that started since then, have ended, and in which something was chosen at any of these points."""
    joined = tables.outcomes.join(tables.executions, tables.executions.c.id == _O.execution_id)
    chose = sa.exists().where(_D.execution_id == _O.execution_id, sa.func.coalesce(_D.point, "").in_(points))
    wanted = sa.select(_O.execution_id).select_from(joined).where(tables.executions.c.started_at >= since, chose, *counted())
    return [row[0] for row in connection.execute(wanted.order_by(_O.seq.desc()).limit(most))][::-1]


def credited(
    connection: sa.Connection, point: str, place: int, limit: int, *, newest: bool
) -> list[tuple[int, Decision, Credit]]:
    """Return the choices outside of runs that were rewarded after a place, in the order of their rewards."""
    joined = tables.credits_.join(tables.decisions, _C.decision_id == _D.id)
    columns = [*[column.label(f"d_{column.name}") for column in _D], *_C]
    wanted = sa.select(*columns).select_from(joined)
    wanted = wanted.where(_C.seq > place, _C.execution_id.is_(None), sa.func.coalesce(_D.point, "") == point)
    rows = connection.execute(wanted.order_by(_C.seq.desc() if newest else _C.seq).limit(limit)).mappings()
    found = [(row["seq"], _read(Decision, row, "d_"), _read(Credit, row, "")) for row in rows]
    return found[::-1] if newest else found


def _read(kind: Any, row: Any, prefix: str) -> Any:
    return kind(**{name: row[f"{prefix}{name}"] for name in kind.__dataclass_fields__})
