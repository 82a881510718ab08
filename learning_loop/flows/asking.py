"""What a question comes to: which executions it is about, and which notes, with what was filtered by beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from learning_loop.errors import UsageError
from learning_loop.index import Scope
from learning_loop.ledger import Filter
from learning_loop.retrieval import Question, Vocabulary, read_question
from learning_loop.retrieval.periods import Period, read_period
from learning_loop.retrieval.vocabulary import CATEGORIES

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
    if not isinstance(text, str):
        raise UsageError(f"a question is a text, not {type(text).__name__}")
    if k is not None and (not isinstance(k, int) or k < 1):
        raise UsageError(f"k is {k!r}: ask for at least one insight")
    now = now.astimezone()
    given = _Given.of(filters or {}, now)
    known, ended = vocabularies
    question = given.put_into(read_question(text, known, now, runs=ended))
    held = given.scope(project)
    return Asked(
        question=question,
        project=project,
        k=k if k is not None else MANY if question.intent == "all" else max(FEW, question.most or 0),
        explained=explain,
        runs=_runs(question, project, given),
        scope=_scope(question, held),
        held=held,
        now=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What was said beside a question: it outranks what is read from it."""

    kinds: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outcome: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    @classmethod
    def of(cls, filters: Mapping[str, str], now: datetime) -> "_Given":
        if unknown := sorted(set(filters) - set(FILTERS)):
            raise UsageError(f"there is no filter {unknown[0]!r}: use {', '.join(FILTERS)}")
        if wrong := next((name for name, value in filters.items() if not isinstance(value, str)), None):
            raise UsageError(f"the filter {wrong!r} must be a text, not {type(filters[wrong]).__name__}")
        if broken := next((name for name, value in filters.items() if not _encodable(value)), None):
            raise UsageError(f"the filter {broken!r} is not UTF-8 text")
        if (outcome := filters.get("outcome")) not in (None, "failed", "succeeded"):
            raise UsageError(f"outcome {outcome!r}: use failed or succeeded")
        return cls(
            kinds=(filters["kind"],) if "kind" in filters else (),
            names={name: (filters[name],) for name in CATEGORIES if name in filters},
            outcome=outcome,
            since=_edge(filters["since"], now, "since") if "since" in filters else None,
            before=_edge(filters["before"], now, "before") if "before" in filters else None,
        )

    def put_into(self, question: Question) -> Question:
        """Return a question with what was said beside it in the place of what was read from it."""
        period = question.period
        if period is not None:
            period = replace(period, since=_as_then(period.since), before=_as_then(period.before))
        if self.since is not None or self.before is not None:
            read = period or Period(None, None, "")
            period = Period(self.since or read.since, self.before or read.before, "as filtered")
        notes = question.notes or bool(self.kinds)
        return replace(
            question,
            intent="find" if self.kinds and question.intent not in ("all", "count") else question.intent,
            notes=notes,
            names={**question.names, **self.names},
            outcome=self.outcome or question.outcome,
            period=period,
            kinds=self.kinds or question.kinds,
        )

    def scope(self, project: str | None) -> Scope:
        return Scope(
            project=project,
            categories=self.kinds,
            outcome=self.outcome,
            since=self.since,
            before=self.before,
            types=self.names.get("type", ()),
            components=self.names.get("component", ()),
            agents=self.names.get("agent", ()),
            tags=self.names.get("tag", ()),
        )


def _runs(question: Question, project: str | None, given: _Given) -> Filter:
    """Return which executions a question is about. A component says more than the type of its tasks, so that the type goes."""
    success = {"failed": False, "succeeded": True}.get(question.outcome or "")
    if question.errors or (question.intent == "top" and question.by == "error"):
        success = False
    return Filter(
        types=_types(question) if "type" not in given.names else given.names["type"],
        components=question.names.get("component", ()),
        agents=question.names.get("agent", ()),
        tags=question.names.get("tag", ()),
        fingerprints=question.errors,
        success=success,
        ended=True,
        since=question.period.since if question.period else None,
        before=question.period.before if question.period else None,
        within=(project,),
    )


def _scope(question: Question, held: Scope) -> Scope:
    """Return which notes a question is about; a search goes by names as words, a list is held to them."""
    scope = replace(
        held,
        categories=question.kinds,
        since=question.period.since if question.period else None,
        before=question.period.before if question.period else None,
    )
    if question.intent not in ("all", "count"):
        return scope
    return replace(
        scope,
        outcome=question.outcome,
        types=held.types or _types(question),
        components=question.names.get("component", ()),
        agents=question.names.get("agent", ()),
        tags=question.names.get("tag", ()),
    )


def _types(question: Question) -> tuple[str, ...]:
    return () if question.names.get("component") else question.names.get("type", ())


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
