"""Which executions are meant, and the statements that select and count them."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from learning_loop.ledger import tables
from learning_loop.records import Kind

_E, _O, _F = tables.executions.c, tables.outcomes.c, tables.feedback.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which executions are meant; what is None or empty does not narrow. `kind` holds its project to be exactly that one.

    `status` is how a run ended by its own account; `success` is what stands now, for what a person said later outranks the
    run. `within` holds the project to be exactly the one in it, None in it being none. Of several names any will do, of tags
    all are wanted.
    """

    kind: Kind | None = None
    project: str | None = None
    task_id: str | None = None
    status: str | None = None
    sprint: str | None = None
    parent_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    success: bool | None = None
    ended: bool = False
    within: tuple[str | None] | None = None
    types: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None


WITH_OUTCOMES = tables.executions.outerjoin(tables.outcomes, _O.execution_id == _E.id)  # those still under way have none
EXCLUDED = "excluded"  # the kind of event by which a person takes an execution out of the evidence
GROUPS = {"component": _E.component, "agent": _E.agent, "type": _E.task_type, "error": _O.error_fingerprint}


def verdict() -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """Return success and status as they stand: what a person said later of how a run went outranks what it said itself."""
    said = (
        sa.select(_F.value).where(_F.execution_id == _O.execution_id, _F.metric == "success").order_by(_F.seq.desc()).limit(1)
    )
    later = said.scalar_subquery()
    return (
        sa.case((later.is_(None), _O.success), else_=later > 0),
        sa.case((later.is_(None), _O.status), (later > 0, "succeeded"), else_="failed"),
    )


def conditions(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    exact: dict[Any, Any] = {
        _E.project: wanted.project,
        _E.task_id: wanted.task_id,
        _E.sprint: wanted.sprint,
        _E.parent_id: wanted.parent_id,
    }
    found: list[sa.ColumnElement[bool]] = [column == value for column, value in exact.items() if value is not None]
    several: dict[Any, tuple[str, ...]] = {
        _E.task_type: wanted.types,
        _E.component: wanted.components,
        _E.agent: wanted.agents,
        _O.error_fingerprint: wanted.fingerprints,
    }
    found += [column.in_(values) for column, values in several.items() if values]
    if wanted.ids is not None:  # however many: a statement takes only so many values
        every = sa.func.json_each(json.dumps(wanted.ids)).table_valued("value")
        found.append(_E.id.in_(sa.select(every.c.value)))
    if wanted.kind is not None:
        found += [_E.task_type == wanted.kind.type, _E.project.is_not_distinct_from(wanted.kind.project)]
        found += [_E.component == wanted.kind.component] if wanted.kind.component is not None else []
    if wanted.within is not None:
        found.append(_E.project.is_not_distinct_from(wanted.within[0]))
    found += [sa.cast(_E.tags, sa.Text).contains(json.dumps(tag), autoescape=True) for tag in wanted.tags]
    if wanted.status is not None:
        running = _E.id.in_(sa.select(tables.running.c.execution_id))
        found.append(running if wanted.status == "running" else _O.status == wanted.status)
    if wanted.success is not None:
        found.append(verdict()[0].is_(wanted.success))
    if wanted.ended:
        found += [_O.execution_id.is_not(None), _O.status != "interrupted"]
    if wanted.since is not None:
        found.append(_E.started_at >= wanted.since)
    if wanted.before is not None:
        found.append(_E.started_at < wanted.before)
    return found


def counted() -> list[sa.ColumnElement[bool]]:
    """Return what an ended execution must be to count as evidence: neither interrupted nor excluded by a person."""
    e = tables.events.c
    return [_O.status != "interrupted", _O.execution_id.not_in(sa.select(e.subject).where(e.kind == EXCLUDED))]


def of_kind(task_type: Any, component: Any, project: Any) -> list[sa.ColumnElement[bool]]:
    found = [_O.task_type == task_type, _O.project.is_not_distinct_from(project)]
    return found if component is None else [*found, _O.component == component]


def tally(wanted: Filter, by: str | None) -> sa.Select[Any]:
    """Select (value, runs, successes, failures, place of the newest) for each value of a group; one row without one."""
    success, _ = verdict()
    judged = (
        sa.select((GROUPS[by] if by else sa.literal(None)).label("value"), _E.seq.label("seq"), success.label("success"))
        .select_from(tables.executions.join(tables.outcomes, _O.execution_id == _E.id))
        .where(*conditions(wanted), *counted())
        .subquery()
    )
    count = sa.func.count().label("runs")
    statement = sa.select(
        judged.c.value,
        count,
        sa.func.coalesce(sa.func.sum(sa.case((judged.c.success.is_(True), 1), else_=0)), 0),
        sa.func.coalesce(sa.func.sum(sa.case((judged.c.success.is_(False), 1), else_=0)), 0),
        sa.func.max(judged.c.seq),
    )
    if by is None:
        return statement
    return statement.where(judged.c.value.is_not(None)).group_by(judged.c.value).order_by(count.desc(), judged.c.value)


def course(wanted: Filter) -> sa.Select[Any]:
    """Select (success, duration in seconds, cost in USD) of every ended execution, oldest first."""
    success, _ = verdict()
    return (
        sa.select(success, _O.duration_s, _O.cost_usd)
        .select_from(tables.executions.join(tables.outcomes, _O.execution_id == _E.id))
        .where(*conditions(wanted), *counted())
        .order_by(_E.started_at, _E.seq)
    )
