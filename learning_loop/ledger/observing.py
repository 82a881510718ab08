"""Reading many ended runs at once, with no more of each than patterns and reports need."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from learning_loop.features import declared, features_from
from learning_loop.ledger import tables
from learning_loop.ledger.selection import Filter, conditions, counted, verdict
from learning_loop.records import Kind, Observation

_E, _O, _S, _P, _D = tables.executions.c, tables.outcomes.c, tables.scores.c, tables.phases.c, tables.decisions.c
_ENDED = tables.executions.join(tables.outcomes, _O.execution_id == _E.id)
MOST_TEXT = 300


def observations(connection: sa.Connection, wanted: Filter, most: int, *, features: bool) -> list[Observation]:
    """Return the ended runs that a filter lets through, the oldest first; of more than `most` the newest.

    What a person said later of how a run went counts; those interrupted do not.
    """
    chosen = [*conditions(wanted), *counted()]
    newest = sa.select(_E.id).select_from(_ENDED).where(*chosen).order_by(_E.started_at.desc(), _E.seq.desc()).limit(most)
    runs = newest.cte("runs")
    scores = {row[0]: row[1:] for row in connection.execute(_scores(runs))}
    before: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for execution_id, data in connection.execute(_before(runs)) if features else ():
        before[execution_id].append(data)
    decided: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for execution_id, point, option in connection.execute(_decisions(runs)) if features else ():
        decided[execution_id].append((point, option))
    return list(_observed(connection, runs, scores, before, decided))


def _scores(runs: sa.CTE) -> sa.Select[Any]:
    joined = runs.join(tables.scores, _S.execution_id == runs.c.id)
    parts = (_S.execution_id, _S.overall, _S.reusability, _S.surprise)
    return sa.select(*parts).select_from(joined).order_by(_S.seq)  # of a run that was scored again, the newest counts


def _before(runs: sa.CTE) -> sa.Select[Any]:
    joined = runs.join(tables.phases, _P.execution_id == runs.c.id)
    return sa.select(_P.execution_id, _P.data).select_from(joined).where(_P.phase.in_(("pre", "state")))


def _decisions(runs: sa.CTE) -> sa.Select[Any]:
    joined = runs.join(tables.decisions, _D.execution_id == runs.c.id)
    return sa.select(_D.execution_id, _D.point, _D.chosen).select_from(joined)


def _observed(
    connection: sa.Connection,
    runs: sa.CTE,
    scores: Mapping[str, Any],
    before: Mapping[str, list[Mapping[str, Any]]],
    decided: Mapping[str, list[tuple[str, str]]],
) -> Iterator[Observation]:
    success, _ = verdict()
    columns = (
        _E.id, _E.task_type, _E.component, _E.project, _E.agent, _E.tags, _E.dependencies, _E.parameters,
        _E.started_at, _O.ended_at,
        success.label("succeeded"), _O.duration_s, _O.cost_usd, _O.tokens, _O.error_fingerprint, _O.error_type,
        sa.func.substr(_O.error_message, 1, MOST_TEXT).label("message"),
    )  # fmt: skip
    joined = runs.join(_ENDED, _E.id == runs.c.id)
    statement = sa.select(*columns).select_from(joined).order_by(_E.started_at, _E.seq)
    unscored = (None, None, None)
    for row in connection.execution_options(yield_per=1_000).execute(statement):
        named = {"type": row.task_type, "component": row.component, "project": row.project}
        features = {name: value for name, value in named.items() if value is not None}
        features |= declared(row.dependencies)
        features |= features_from(row.parameters, before.get(row.id, ()), decided.get(row.id, ()), row.tags, row.agent)
        overall, reusability, surprise = scores.get(row.id, unscored)
        yield Observation(
            id=row.id,
            kind=Kind(type=row.task_type, component=row.component, project=row.project),
            started=row.started_at.timestamp(),
            ended=row.ended_at.timestamp(),
            success=None if row.succeeded is None else bool(row.succeeded),
            score=overall,
            duration_s=row.duration_s,
            cost_usd=row.cost_usd,
            tokens=row.tokens,
            reusability=reusability,
            surprise=surprise,
            error=row.error_fingerprint,
            error_text=": ".join(part for part in (row.error_type, row.message) if part) or None,
            features=features,
        )
