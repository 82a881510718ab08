"""Reading what runs were shown and not, and how they ended."""

from typing import Any

import sqlalchemy as sa

from learning_loop.features.encoding import OWN
from learning_loop.ledger import tables
from learning_loop.ledger.selection import counted, verdict
from learning_loop.records import Exposed, Kind

_O, _S, _D, _F = tables.outcomes.c, tables.scores.c, tables.decisions.c, tables.feedback.c


def exposed_since(connection: sa.Connection, place: int, limit: int) -> list[Exposed]:
    """Return the runs that something was drawn for and that ended after a place, in that order, as far as they count.

    Only what ended since is looked at: the point must not lead the search, for it leads to every run there ever was.
    """
    drawn = sa.and_(_D.execution_id == _O.execution_id, sa.func.coalesce(_D.point, "") == OWN, _D.propensity.is_not(None))
    joined = tables.outcomes.join(tables.decisions, drawn)
    chosen = sa.select(*_columns()).select_from(joined).where(_O.seq > place, *counted()).order_by(_O.seq).limit(limit)
    return [_exposed(row) for row in connection.execute(chosen)]


def newest_exposed(connection: sa.Connection, most: int, execution_id: str | None) -> list[Exposed]:
    """Return the newest so many runs that something was drawn for, or one of them, in the order they ended."""
    own = sa.select(_D.seq).where(_D.point == OWN, _D.propensity.is_not(None)).order_by(_D.seq.desc()).limit(most)
    wanted = _D.seq.in_(own) if execution_id is None else sa.and_(_D.execution_id == execution_id, _D.point == OWN)
    joined = tables.decisions.join(tables.outcomes, _D.execution_id == _O.execution_id)
    chosen = sa.select(*_columns()).select_from(joined).where(wanted, *counted())
    return sorted((_exposed(row) for row in connection.execute(chosen)), key=lambda run: run.place)


def _columns() -> tuple[Any, ...]:
    success, _ = verdict()
    score = sa.select(_S.overall).where(_S.execution_id == _O.execution_id).order_by(_S.seq.desc()).limit(1)
    said = sa.select(_F.value).where(_F.execution_id == _O.execution_id, _F.metric == "safety").order_by(_F.seq.desc()).limit(1)
    return (
        _O.seq, _O.execution_id, _O.task_type, _O.component, _O.project, _O.ended_at, _O.duration_s, _O.cost_usd,
        _D.alternatives, _D.probabilities, _D.chosen,
        success.label("succeeded"), score.scalar_subquery().label("overall"), said.scalar_subquery().label("safety"),
    )  # fmt: skip


def _exposed(row: Any) -> Exposed:
    return Exposed(
        place=row.seq,
        id=row.execution_id,
        kind=Kind(type=row.task_type, component=row.component, project=row.project),
        ended_at=row.ended_at,
        units=row.alternatives,
        odds=row.probabilities,
        shown=frozenset(row.chosen.split()),
        score=row.overall,
        success=None if row.succeeded is None else bool(row.succeeded),
        duration_s=row.duration_s,
        cost_usd=row.cost_usd,
        safety=row.safety,
    )
