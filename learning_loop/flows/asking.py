"""What a question comes to: which executions it is about, and which notes, with what was filtered by beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from learning_loop.errors import UsageError
from learning_loop.index import Scope
from learning_loop.ledger import Filter
from learning_loop.retrieval import Question, Vocabulary, read_question
from learning_loop.retrieval.periods import Period, read_period

FEW, MANY = 8, 100  # insights: of a search, and where all of something is asked for
_EARLIEST, _LATEST = datetime(1970, 1, 2), datetime(9998, 1, 1)  # noqa: DTZ001  (what every clock can convert)
FILTERS = ("kind", "type", "component", "tag", "agent", "outcome", "since", "before")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question with all that its answer depends on."""

    question: Question
    project: str | None
    k: int
    explained: bool
    runs: Filter
    scope: Scope  # what notes were asked for, by what was read and what was filtered by
    held: Scope  # what notes were filtered by: nothing widens it
    now: datetime


def ask(
    text: str,
    vocabularies: tuple[Vocabulary, Vocabulary],
    *,
    now: datetime,
    project: str | None = None,
    k: int | None = None,
    filters: Mapping[str, str] | None = None,
    explain: bool = False,
) -> Asked:
    """Read a question together with what it is filtered by, which outranks what is read from it.

    The vocabularies are of all names, and of those that executions carry. Times are of this machine's zone. Raise UsageError
    for a filter that cannot be understood.
    """
    if k is not None and k < 1:
        raise UsageError(f"k is {k}: ask for at least one insight")
    given, now = filters or {}, now.astimezone()
    known, ended = vocabularies
    question = _filtered(read_question(text, known, now, runs=ended), given, now)
    return Asked(
        question=question,
        project=project,
        k=k if k is not None else MANY if question.intent == "all" else max(FEW, question.most or 0),
        explained=explain,
        runs=_runs(question, project, given),
        scope=_scope(question, project, given),
        held=_held(project, given, now),
        now=now,
    )


def _runs(question: Question, project: str | None, filters: Mapping[str, str]) -> Filter:
    """Return which executions a question is about. A component says more than the type of its tasks, so that the type goes."""
    names = question.names
    success = {"failed": False, "succeeded": True}.get(question.outcome or "")
    if question.errors or (question.intent == "top" and question.by == "error"):
        success = False
    return Filter(
        types=() if names.get("component") and "type" not in filters else names.get("type", ()),
        components=names.get("component", ()),
        agents=names.get("agent", ()),
        tags=names.get("tag", ()),
        fingerprints=question.errors,
        success=success,
        ended=True,
        since=question.period.since if question.period else None,
        before=question.period.before if question.period else None,
        within=(project,),
    )


def _scope(question: Question, project: str | None, filters: Mapping[str, str]) -> Scope:
    """Return which notes a question is about; a search goes by names as words, a list is held to them, and so are filters."""
    scope = Scope(
        categories=question.kinds,
        project=project,
        since=question.period.since if question.period else None,
        before=question.period.before if question.period else None,
    )
    listed = question.intent in ("all", "count")
    names = {category: found for category, found in question.names.items() if listed or category in filters}
    return replace(
        scope,
        outcome=question.outcome if listed or "outcome" in filters else None,
        task_type=filters.get("type"),
        component=next(iter(names.get("component", ())), None),
        agent=next(iter(names.get("agent", ())), None),
        tag=next(iter(names.get("tag", ())), None),
    )


def _held(project: str | None, filters: Mapping[str, str], now: datetime) -> Scope:
    """Return what notes are held to whatever is read from the question."""
    return Scope(
        project=project,
        categories=(filters["kind"],) if "kind" in filters else (),
        task_type=filters.get("type"),
        component=filters.get("component"),
        agent=filters.get("agent"),
        tag=filters.get("tag"),
        outcome=filters.get("outcome"),
        since=_edge(filters["since"], now, "since") if "since" in filters else None,
        before=_edge(filters["before"], now, "before") if "before" in filters else None,
    )


def _filtered(question: Question, filters: Mapping[str, str], now: datetime) -> Question:
    """Return a question with what was said beside it, which outranks what was read from it."""
    if unknown := sorted(set(filters) - set(FILTERS)):
        raise UsageError(f"there is no filter {unknown[0]!r}: use {', '.join(FILTERS)}")
    names = {**question.names, **{name: (filters[name],) for name in ("type", "component", "tag", "agent") if name in filters}}
    if wrong := next((name for name, value in filters.items() if not isinstance(value, str)), None):
        raise UsageError(f"the filter {wrong!r} must be a text, not {type(filters[wrong]).__name__}")
    outcome = filters.get("outcome", question.outcome)
    if outcome not in (None, "failed", "succeeded"):
        raise UsageError(f"outcome {outcome!r}: use failed or succeeded")
    since, before = (_edge(filters[name], now, name) if name in filters else None for name in ("since", "before"))
    period = question.period
    if period is not None:
        period = replace(period, since=_as_then(period.since), before=_as_then(period.before))
    if since is not None or before is not None:
        period = Period(
            since or (period.since if period else None), before or (period.before if period else None), "as filtered"
        )
    kinds = (filters["kind"],) if "kind" in filters else question.kinds
    return replace(question, names=names, outcome=outcome, period=period, kinds=kinds)


def _edge(text: str, now: datetime, name: str) -> datetime:
    period, more = read_period(f"since {text.strip().lower()}", now)
    if period is None or period.since is None or more.strip():
        raise UsageError(f"{name} {text!r} is no time: write 2026-03-01, yesterday, March or week 46")
    return _as_then(period.since) or period.since


def _as_then(moment: datetime | None) -> datetime | None:
    """Return a moment on this machine's clock as it went at that time: in summer time, where it was."""
    if moment is None:
        return None
    return min(max(moment.replace(tzinfo=None), _EARLIEST), _LATEST).astimezone()
