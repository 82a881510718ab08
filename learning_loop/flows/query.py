"""Asking the memory: a question in plain words, or what is like a task that is about to run.

A question is read first (`retrieval.question`). What is asked of runs is answered from the ledger: *last time* is its last
execution, *common* means counted. What is asked of knowledge is searched for in the notes. Both cite each other.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from learning_loop.app import App
from learning_loop.errors import ModelError, UsageError
from learning_loop.flows.asking import Asked, ask
from learning_loop.flows.history import Histories
from learning_loop.flows.indexing import Indexing, Progress, Say
from learning_loop.flows.vocabulary import Names
from learning_loop.index import MemoryIndex, Scope
from learning_loop.index.store import match_all, match_any
from learning_loop.index.vectors import View
from learning_loop.ledger import Filter
from learning_loop.protocols import Embedder
from learning_loop.records import Briefing, ExecutionRecord, Hit, Tally, Task
from learning_loop.retrieval import Answer, Insight, Question, terms
from learning_loop.retrieval.insights import interval, level_of, of_group, of_hit, of_run, share_said, trend_of
from learning_loop.retrieval.question import KINDS
from learning_loop.retrieval.words import words_of

EVERY = 1_000_000
RUNS_SHOWN = 3
NOTES_BESIDE = 3  # where runs were asked for
RECALLED = timedelta(hours=1)  # how long the notes for a task are kept, for how new they are counts
MOST_RECALLED = 1_000
LEAST_RUNS = 5  # before one may be called the best or the worst
_Said = tuple[str, tuple[str, ...], Scope, int, str | None]  # the text, its words, the scope, how many notes, the model
_OPPOSITE = {"failed": "succeeded", "succeeded": "failed"}
_NEAR = {  # what people mean by a word, where no note is of that very kind
    ("pattern", "failed"): ("reflection", "gotcha"),
    ("pattern", "succeeded"): ("template", "lesson"),
    ("pattern", None): ("template", "lesson", "reflection"),
    ("lesson", None): ("reflection", "template", "decision", "gotcha", "pattern"),
    ("assumption", None): ("decision",),
    ("gotcha", None): ("lesson",),
}


class LearningQueryInterface:
    """Finds past learnings in the notes and the executions of one workspace."""

    def __init__(self, app: App, histories: Histories | None = None, indexing: Indexing | None = None) -> None:
        self._app = app
        self._histories = histories or Histories(app)
        self._indexing = indexing or Indexing(app)
        self._names = Names(app)
        self._recalled: tuple[View | None, dict[_Said, tuple[datetime, list[Hit]]]] = (None, {})

    def query(
        self,
        query_string: str,
        *,
        project: str | None = None,
        k: int | None = None,
        filters: Mapping[str, str] | None = None,
        explain: bool = False,
        progress: Progress | None = None,
        say: Say | None = None,
    ) -> Answer:
        """Answer a question in plain words with insights, best first; none where nothing is known.

        For example "What failed last time we tried the booking component?" or "show all failure patterns". At most `k` come
        back, eight where it is not given and up to a hundred where all of something is asked for. `filters` narrow by kind,
        type, component, tag, agent, outcome, and since and before in any words that name a time. A question in one project
        (or in none) sees nothing of another's, unless the question names it, as in "in project atelier". With `explain`, each
        insight found by a search says what its score adds up from. Raise UsageError for a filter that cannot be understood.
        """
        synced = self._indexing.refresh(progress=progress, say=say)
        text, project = self._in_project(query_string, project)
        vocabularies = self._names.vocabularies(self._indexing.seq, project)
        now = self._app.clock()
        asked = ask(text, vocabularies, now=now, project=project, k=k, filters=filters, explain=explain)
        self._check_kinds(asked.held.categories, project)
        question = asked.question
        try:
            headline, found, left_out = self._answer(asked)
        except ModelError as error:
            self._indexing.give_up(error)
            synced.fault = str(error)
            headline, found, left_out = self._answer(asked)
        warnings = list(synced.warnings)
        if question.excluding:
            warnings.append(f"{question.excluding!r} is not understood: nothing is taken out, this is a search")
        if left_out and found:
            warnings.append(f"not understood, and left out: {', '.join(left_out)}")
        return Answer(
            question=query_string,
            insights=tuple(found[: asked.k]),
            intent=question.intent,
            headline=headline,
            search=self._search_by(),
            warnings=tuple(warnings),
        )

    def _in_project(self, text: str, project: str | None) -> tuple[str, str | None]:
        """Return a question and the project it is asked in: where none is given, the one that it names."""
        if project is None and isinstance(text, str) and "project" in text.lower():
            for name in self._app.index.store.projects():
                said = rf"(?:(?:in|of|for|from|within) )?(?:the )?(?:project {re.escape(name)}|{re.escape(name)} project)"
                if match := re.search(rf"(?<!\w){said}(?!\w)", text, re.IGNORECASE):
                    return f"{text[: match.start()]} {text[match.end() :]}", name
        return text, project

    def _check_kinds(self, wanted: Sequence[str], project: str | None) -> None:
        known = {*KINDS, *self._app.index.store.kinds(project)} if wanted else set(wanted)
        if unknown := set(wanted) - known:
            raise UsageError(f"no note is of the kind {min(unknown)!r}: use one of {', '.join(sorted(known))}")

    def _search_by(self) -> str:
        model = self._indexing.loaded
        by_meaning = model is not None and self._app.index.vectors.seen.model == model.identity
        return f"words and meaning ({model.identity})" if model is not None and by_meaning else "words only"

    def _answer(self, asked: Asked) -> tuple[str, list[Insight], tuple[str, ...]]:
        """Return a sentence that answers, or none, the insights, and the words of the question that neither rests on."""
        question = asked.question
        if question.intent == "all":
            return "", self._all(asked), ()
        if question.intent == "count" and question.notes:
            return *self._count_notes(asked), ()
        if question.intent != "find":
            narrowed, left_out = self._narrowed(asked)
            forms = {
                "similar": self._similar,
                "history": self._similar,
                "count": self._count,
                "top": self._top,
                "best": self._ranked,
                "worst": self._ranked,
                "trend": self._trend,
                "level": self._level,
            }
            headline, found = forms.get(question.intent, self._ordered)(narrowed) if narrowed is not None else ("", [])
            if found:
                return headline, found, left_out
            understood = not question.rest and (question.names or question.errors or question.period)
            if understood and not self._app.ledger.tally(asked.runs)[0].runs:
                return f"No {question.outcome or 'ended'} runs{_about(question)}.", self._find(asked), ()
        return "", self._find(asked), ()

    def _narrowed(self, asked: Asked) -> tuple[Asked | None, tuple[str, ...]]:
        """Return the question narrowed to the runs that hold all words nothing was read from, and the words left out of that.

        Where no run does, they are taken for small talk round what was understood; where nothing was, runs do not answer.
        """
        question = asked.question
        if not question.rest:
            return asked, ()
        found = tuple(name for name, _ in self._app.index.store.run_ids(match_all(question.rest), asked.project))
        if found:
            return replace(asked, runs=replace(asked.runs, ids=found)), ()
        return (asked, question.rest) if question.names or question.errors or question.by else (None, ())

    # ------------------------------------------------------------------------------------------------------ what is known

    def _find(self, asked: Asked) -> list[Insight]:
        """Return the notes that answer, then the runs that hold every word it is about."""
        hits = find_notes(self._app.index, asked, self._indexing.loaded)
        found = [of_hit(hit, explained=asked.explained) for hit in hits]
        words = () if asked.held.categories else asked.question.rest or asked.question.terms
        if not words:
            return found
        if len(words) > 1 or any(any(letter.isdigit() for letter in word) for word in words) or not found:
            found += self._runs_with(words, asked, {run for hit in hits for run in hit.evidence})
        return found

    def _search(self, text: str, words: Sequence[str], scope: Scope, asked: Asked) -> list[Hit]:
        return self._app.index.search(
            words, scope, preferred=asked.scope, limit=asked.k, now=asked.now, text=text, embedder=self._indexing.loaded
        )

    def _runs_with(self, words: Sequence[str], asked: Asked, cited: set[str]) -> list[Insight]:
        found = tuple(name for name, _ in self._app.index.store.run_ids(match_all(words), asked.project) if name not in cited)
        if not found:
            return []
        records = self._app.ledger.executions(replace(asked.runs, ids=found), limit=RUNS_SHOWN)
        return [self._of_run(record, score=0.5) for record in records]

    def _all(self, asked: Asked) -> list[Insight]:
        """Return every note of the kinds, names and time asked for, of them those whose titles or tags have what it is about.

        Where no note is of that very kind, near ones come; where none is about it, those that a search within them finds.
        """
        question = asked.question
        scopes = [asked.scope]
        near = [
            kind
            for wanted in question.kinds
            for kind in _NEAR.get((wanted, question.outcome)) or _NEAR.get((wanted, None)) or ()
        ]
        if near and not asked.held.categories:
            outcome = asked.held.outcome
            scopes.append(replace(asked.scope, categories=tuple(dict.fromkeys([*question.kinds, *near])), outcome=outcome))
        other = _OPPOSITE.get(question.outcome or "", "")
        titled = self._app.index.store.holding(match_any(question.about), asked.project, "title said")
        for scope in scopes:
            hits = [hit for hit in self._app.index.newest(scope, limit=EVERY) if hit.outcome != other]
            hits.sort(key=lambda hit: hit.status != "active")
            fitting = [hit for hit in hits if hit.source in titled] if question.about else hits
            if hits and not fitting:
                fitting = self._search(" ".join(question.about), question.about, scope, asked)
            if fitting:
                return [of_hit(hit, explained=asked.explained) for hit in fitting]
        said = [*question.about, *(word for names in question.names.values() for name in names for word in words_of(name))]
        titled = self._app.index.store.holding(match_all(said), asked.project, "title said")  # of names that no note carries
        wide = replace(asked.scope, categories=asked.held.categories or (*question.kinds, *near), outcome=asked.held.outcome)
        wide = replace(wide, types=asked.held.types, components=asked.held.components, agents=asked.held.agents)
        hits = [hit for hit in self._app.index.newest(wide, limit=EVERY) if hit.outcome != other and hit.source in titled]
        return [of_hit(hit, explained=asked.explained) for hit in hits]

    def _count_notes(self, asked: Asked) -> tuple[str, list[Insight]]:
        """Return how many notes are of the very kinds, names and time asked for, and hold every word it is about."""
        question = asked.question
        hits = self._app.index.newest(asked.scope, limit=EVERY)
        if question.rest:
            holding = self._app.index.store.holding(match_all(question.rest), asked.project)
            hits = [hit for hit in hits if hit.source in holding]
        if not hits:
            return "", self._all(asked)
        what = " and ".join(kind if len(hits) == 1 else f"{kind}s" for kind in question.kinds) or "notes"
        about = f" with {' and '.join(question.rest)}" if question.rest else ""
        return f"{len(hits)} {what}{about}{_about(question)}.", [of_hit(hit, explained=asked.explained) for hit in hits]

    # -------------------------------------------------------------------------------------------------- what has happened

    def _ordered(self, asked: Asked) -> tuple[str, list[Insight]]:
        """Return single runs in the order asked for; after the last one, what was noted about it."""
        intent = asked.question.intent
        order = {"last": "newest", "runs": "newest", "first": "oldest"}.get(intent, intent)
        shown = asked.k if intent == "runs" else asked.question.most or min(asked.k, RUNS_SHOWN)
        records = self._app.ledger.executions(asked.runs, limit=shown, order=order)
        found = [self._of_run(record) for record in records]
        if found and asked.question.intent == "last" and found[0].notes:
            newest = [self._noted(path, found[0]) for path in found[0].notes]
            found[1:1] = [insight for insight in newest if insight is not None]
        return "", found

    def _noted(self, path: str, run: Insight) -> Insight | None:
        hit = self._app.index.hit(path, run.score)
        if hit is None:
            return None
        evidence = (run.id, *(name for name in hit.evidence if name != run.id))
        return of_hit(replace(hit, evidence=evidence), explained=False)

    def _similar(self, asked: Asked) -> tuple[str, list[Insight]]:
        """Return runs like these, and what is known about them; what is known comes first where no runs were asked for."""
        runs = [self._of_run(record) for record in self._app.ledger.executions(asked.runs, limit=asked.k)]
        if not runs:
            return "", []
        hits = self._search(asked.question.text, asked.question.terms, asked.held, asked)
        notes = [of_hit(hit, explained=asked.explained) for hit in hits[:NOTES_BESIDE]]
        if asked.question.intent == "history":
            return "", [*notes, *runs]
        return "", [*runs[: max(1, asked.k - len(notes))], *notes]

    def _count(self, asked: Asked) -> tuple[str, list[Insight]]:
        if asked.question.by:
            never = asked.question.outcome == "succeeded"  # "how many components never failed"
            groups = self._app.ledger.tally(replace(asked.runs, success=None) if never else asked.runs, asked.question.by)
            groups = [group for group in groups if group.succeeded and not group.failed] if never else groups
            found = self._groups(groups, asked.question.by, "runs", sum(group.runs for group in groups))
            if not self._app.ledger.tally(replace(asked.runs, success=None))[0].runs:
                return "", []
            said = f"{len(found)} {asked.question.by}{'' if len(found) == 1 else 's'}{' without a failed run' if never else ''}"
            about = _about(replace(asked.question, outcome=None) if never else asked.question)
            headline = f"{said}{about}{': ' if found else ''}{', '.join(insight.title for insight in found)}."
            counted = Insight(
                id=f"count:{asked.question.by}",
                memory=headline,
                source=found[0].source if found else "",
                score=1.0,
                title=said,
                category="count",
                evidence=tuple(name for insight in found for name in insight.evidence),
                count=len(found),
            )
            return headline, [counted, *found]
        whole = self._app.ledger.tally(replace(asked.runs, success=None, fingerprints=()))[0]
        chosen = self._app.ledger.tally(asked.runs)[0]
        if not whole.runs and asked.question.period is None:
            return "", []
        failing = asked.question.outcome == "failed" or asked.question.errors
        said = f"{chosen.runs} of {whole.runs} runs" if failing or asked.question.outcome else f"{whole.runs} runs"
        headline = f"{said}{_about(asked.question)}."
        records = self._app.ledger.executions(asked.runs, limit=RUNS_SHOWN) if chosen.runs else []
        counted = Insight(
            id=f"count:{chosen.newest or 0}",
            memory=headline,
            source=f"execution:{records[0].execution.id}" if records else "",
            score=1.0,
            title=said,
            category="count",
            evidence=tuple(record.execution.id for record in records),
            at=records[0].execution.started_at.isoformat() if records else None,
            count=chosen.runs,
            total=whole.runs,
        )
        return headline, [counted, *(self._of_run(record) for record in records)]

    def _top(self, asked: Asked) -> tuple[str, list[Insight]]:
        by = asked.question.by or "error"
        runs = replace(asked.runs, success=False) if by == "error" else asked.runs
        groups = self._app.ledger.tally(runs, by)
        total = sum(group.runs for group in groups)
        of = "failed" if by == "error" else asked.question.outcome or ("failed" if asked.question.errors else "runs")
        found = self._groups(groups[: asked.k], by, of, total)
        if not found:
            return "", []
        counted = "failed runs" if of == "failed" else "runs"
        headline = f"Most often {found[0].title}: {found[0].count} of {total} {counted}{_about(asked.question)}."
        about = self._search(asked.question.text, asked.question.terms, asked.held, asked)
        related = [of_hit(hit, explained=asked.explained) for hit in about[:RUNS_SHOWN]]
        return headline, [*found[: max(1, asked.k - len(related))], *related]

    def _ranked(self, asked: Asked) -> tuple[str, list[Insight]]:
        """Return who or what has the highest or the lowest share of successes, of those with enough runs to say."""
        by, best = asked.question.by or "agent", asked.question.intent == "best"
        groups = self._app.ledger.tally(replace(asked.runs, success=None), by)
        enough = [group for group in groups if group.succeeded + group.failed >= LEAST_RUNS]
        enough.sort(key=lambda group: group.succeeded / (group.succeeded + group.failed), reverse=best)
        if not enough:
            few = self._groups([group for group in groups if group.succeeded + group.failed][: asked.k], by, "share", 0)
            return (f"Too few runs to say: none has {LEAST_RUNS} or more." if few else ""), few
        found = self._groups(enough[: asked.k], by, "share", 0)
        does = "does best" if best else "does worst"
        headline = f"{found[0].title} {does}{_about(asked.question)}: {share_said(enough[0])}"
        if len(enough) > 1 and not _apart(enough[0], enough[1]):
            headline += f"; the intervals of it and of {enough[1].value} overlap, so the difference may be chance"
        return f"{headline}.", found

    def _trend(self, asked: Asked) -> tuple[str, list[Insight]]:
        question = asked.question
        runs = replace(asked.runs, success=None) if question.of == "success" else asked.runs
        course = self._app.ledger.course(runs)
        found = trend_of(course, question.of)
        records = self._app.ledger.executions(runs, limit=RUNS_SHOWN)
        if found is None:
            column = {"success": 0, "duration": 1, "cost": 2}[question.of]
            known = sum(run[column] is not None for run in course)
            few = f"Too few runs of known {question.of} to say: {known}{_about(question)}, four are needed." if records else ""
            return few, [self._of_run(record) for record in records]
        verdict, said = found
        trend = Insight(
            id=f"trend:{question.of}",
            memory=said,
            source=f"execution:{records[0].execution.id}",
            score=1.0,
            title=f"{verdict}{_about(question)}",
            category="trend",
            evidence=tuple(record.execution.id for record in records),
            count=len(course),
            value=verdict,
        )
        return said, [trend, *(self._of_run(record) for record in records)]

    def _level(self, asked: Asked) -> tuple[str, list[Insight]]:
        """Return how runs mostly go: what share succeeds, what they take, what they cost."""
        question = asked.question
        runs = replace(asked.runs, success=None) if question.of == "success" else asked.runs
        found = level_of(self._app.ledger.course(runs), question.of)
        records = self._app.ledger.executions(runs, limit=RUNS_SHOWN)
        if found is None:
            unknown = f"The {question.of} of none of these runs is known{_about(replace(question, outcome=None))}."
            return (unknown if records else ""), [self._of_run(record) for record in records]
        value, said, count = found
        headline = f"{said[0].upper()}{said[1:]}{_about(replace(question, outcome=None))}."
        level = Insight(
            id=f"level:{question.of}",
            memory=headline,
            source=f"execution:{records[0].execution.id}",
            score=1.0,
            title=value,
            category="level",
            evidence=tuple(record.execution.id for record in records),
            count=count,
            value=value,
        )
        return headline, [level, *(self._of_run(record) for record in records)]

    def _groups(self, groups: Sequence[Tally], by: str, of: str, total: int) -> list[Insight]:
        places = self._app.ledger.at_places([group.newest for group in groups if group.newest is not None])
        newest = {place: _here(record) for place, record in places.items()}
        found = []
        for group in groups:
            record = newest.get(group.newest or 0)
            notes = self._notes_on(record) if by == "error" and record is not None else []
            found.append(of_group(group, record, by=by, of=of, total=total, notes=notes))
        return found

    def _of_run(self, record: ExecutionRecord, *, score: float = 1.0) -> Insight:
        status, record = self._app.ledger.status_of(record), _here(record)
        return of_run(record, status, self._notes_on(record), score=score)

    def _notes_on(self, record: ExecutionRecord) -> list[str]:
        """Return the notes that rest on an execution, or else on others with the same error: what was done about it."""
        within = (record.execution.project,)
        found = self._app.index.store.citing([record.execution.id], within=within)
        fingerprint = record.outcome.error_fingerprint if record.outcome is not None else None
        if not found and fingerprint is not None:
            alike = Filter(fingerprints=(fingerprint,), within=within)
            ids = [other.execution.id for other in self._app.ledger.executions(alike, limit=20)]
            found = self._app.index.store.citing(ids, within=within)
        return found

    # -------------------------------------------------------------------------------------------------------- a briefing

    def get_similar_executions(self, current_task: Any, *, fresh: bool = True) -> Briefing:
        """Return what is known of tasks like this one: notes and past executions, false where there are none.

        Unless `fresh`, the index is taken as it is, and the model only where it is loaded: a run waits for neither.
        """
        task = Task.of(current_task)
        if fresh:
            self._indexing.refresh()
        limits = self._app.settings.recall
        text = _said_of(task)
        fitting = Scope(other_than=("assumption", "proposal", "rule"), active=True, fitting=task.kind, project=task.project)
        notes = self._recall(text, tuple(terms(text) or terms(task.type)), fitting, limits.notes)
        executions = self._histories.recent(task.kind, limits.executions)
        return Briefing(
            notes=tuple(_within(notes, limits.token_budget)), executions=tuple(executions), render=self.render, kind=task.kind
        )

    def _recall(self, text: str, words: tuple[str, ...], fitting: Scope, limit: int) -> list[Hit]:
        """Return the notes for a task; as long as the index is the same, those of the last one that said the same.

        Tasks come again and again, and to embed what they say takes longer than all else that a run waits for.
        """
        if limit <= 0:
            return []
        model, now, view = self._indexing.loaded, self._app.clock(), self._app.index.vectors.view()
        of, known = self._recalled
        if of is not view:
            known = {}
            self._recalled = (view, known)
        asked = (text, words, fitting, limit, model.identity if model is not None else None)
        at, notes = known.get(asked, (None, []))
        if at is None or not timedelta(0) <= now - at < RECALLED:
            notes = self._app.index.search(words, fitting, limit=limit, now=now, text=text, embedder=model)
            if len(known) >= MOST_RECALLED:
                known.clear()
            known[asked] = (now, notes)
        return notes

    def render(self, briefing: Briefing) -> str:
        return self._app.templates.render("briefing.md.j2", briefing=briefing)


def find_notes(index: MemoryIndex, asked: Asked, embedder: Embedder | None, *, notes: bool = True) -> list[Hit]:
    """Return the notes, or the chunks of them, that have to do with a question, best first: none where none has."""
    return index.search(
        asked.question.about_notes,
        asked.held,
        preferred=asked.scope,
        limit=asked.k,
        now=asked.now,
        text=asked.question.text,
        embedder=embedder,
        notes=notes,
    )


def _about(question: Question) -> str:
    """Return what a question was understood to be about, to stand after a figure."""
    names = [name for category in ("agent", "component", "type", "tag") for name in question.names.get(category, ())]
    parts = [f" ({', '.join(names)})" if names else ""]
    if question.outcome:
        parts.append(f" {question.outcome}" if question.intent == "count" else "")
    if question.errors:
        parts.append(f" with {'that error' if len(question.errors) == 1 else 'such errors'}")
    return "".join(parts) + (f", {question.period.said}" if question.period else "")


def _here(record: ExecutionRecord) -> ExecutionRecord:
    """Return an execution with its time by this machine's clock, as questions have theirs."""
    return replace(record, execution=replace(record.execution, started_at=record.execution.started_at.astimezone()))


def _apart(one: Tally, other: Tally) -> bool:
    low, high = interval(one.succeeded, one.succeeded + one.failed)
    other_low, other_high = interval(other.succeeded, other.succeeded + other.failed)
    return low > other_high or high < other_low


def _said_of(task: Task) -> str:
    """Return what a task is about, in words; its type alone only where it says nothing else."""
    said = [
        task.component,
        task.description,
        *task.tags,
        *(value for value in task.parameters.values() if isinstance(value, str)),
    ]
    return " ".join(text for text in said if text) or task.type


def _within(hits: Iterable[Hit], tokens: int) -> Iterable[Hit]:
    """Yield hits as long as they fit the budget, a token being about four characters."""
    left = tokens * 4
    for hit in hits:
        left -= len(hit.title) + len(hit.text)
        if left < 0:
            return
        yield hit
