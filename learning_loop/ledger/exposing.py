"""Reading what runs were shown and not, and how they ended."""

from collections.abc import Iterator

import sqlalchemy as sa

from learning_loop.features.encoding import OWN
from learning_loop.ledger import tables
from learning_loop.ledger.selection import counted, verdict
from learning_loop.records import Exposed, Kind

_E, _O, _S, _D, _F = tables.executions.c, tables.outcomes.c, tables.scores.c, tables.decisions.c, tables.feedback.c


def exposed(connection: sa.Connection, after: int, limit: int, execution_id: str | None) -> Iterator[Exposed]:
    """Yield ended runs that something was drawn for, in the order they ended, from a place on, as far as they count."""
    success, _ = verdict()
    score = sa.select(_S.overall).where(_S.execution_id == _O.execution_id).order_by(_S.seq.desc()).limit(1)
    said = sa.select(_F.value).where(_F.execution_id == _O.execution_id, _F.metric == "safety").order_by(_F.seq.desc()).limit(1)
    columns = (
        _O.seq, _O.execution_id, _O.task_type, _O.component, _O.project, _O.ended_at, _O.duration_s, _O.cost_usd,
        _D.alternatives, _D.probabilities, _D.chosen,
        success.label("succeeded"), score.scalar_subquery().label("overall"), said.scalar_subquery().label("safety"),
    )  # fmt: skip
    drawn = sa.and_(_D.execution_id == _O.execution_id, _D.point == OWN, _D.propensity.is_not(None))
    joined = tables.outcomes.join(tables.decisions, drawn)
    chosen = sa.select(*columns).select_from(joined).where(_O.seq > after, *counted())
    if execution_id is not None:
        chosen = chosen.where(_O.execution_id == execution_id)
    for row in connection.execution_options(yield_per=1_000).execute(chosen.order_by(_O.seq).limit(limit)):
        yield Exposed(
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
