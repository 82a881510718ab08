"""Asking the memory: a question in plain words, or what is like a task that is about to run."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from learning_loop.app import App
from learning_loop.flows.history import Histories
from learning_loop.index import Scope
from learning_loop.records import Briefing, Hit, Task
from learning_loop.retrieval import Answer, Question, format_insights, read_question, terms

EXECUTION_WEIGHT = 0.5  # what was concluded from runs comes before the runs themselves
PAST_WEIGHT = 0.25  # what was superseded, retired or archived comes last
_OPPOSITE = {"failed": "succeeded", "succeeded": "failed"}
_CATEGORIES = {  # what people mean by a word, in kinds of notes
    ("pattern", "failed"): ("pattern", "reflection", "gotcha"),
    ("pattern", "succeeded"): ("pattern", "template", "lesson"),
    ("pattern", None): ("pattern", "template", "lesson", "reflection"),
    ("lesson", None): ("lesson", "reflection", "template", "decision", "gotcha", "pattern"),
    ("assumption", None): ("assumption", "decision"),
}


class LearningQueryInterface:
    """Finds past learnings in the notes and the executions of one workspace."""

    def __init__(self, app: App, histories: Histories | None = None) -> None:
        self._app = app
        self._histories = histories or Histories(app)

    def query(self, query_string: str, *, project: str | None = None, k: int = 8) -> Answer:
        """Answer a question in plain words with at most `k` insights, best first; none where nothing is known.

        For example "What failed last time we tried the booking component?" or "show all failure patterns". A question
        in one project (or in none) sees nothing of another's.
        """
        faults = self._app.sync_index()
        question = read_question(query_string, self._app.ledger.names())
        hits = self._last(question, project) if question.last else []
        seen = {hit.source for hit in hits}
        if not (question.last and hits):
            hits += [hit for hit in self._search(question, project, k) if hit.source not in seen]
        warnings = [f"left out: {fault}" for fault in faults]
        return format_insights(query_string, hits[:k], warnings)

    def _last(self, question: Question, project: str | None) -> list[Hit]:
        """Return the newest execution that the question is about, and the notes that rest on it."""
        like = Scope(
            categories=("execution",),
            outcome=question.outcome,
            task_type=question.type,
            component=question.component,
            project=project,
        )
        newest = self._app.index.newest(like, limit=1)
        if not newest:
            return []
        citing = set(self._app.index.citing(newest[0].id))
        notes = self._app.index.newest(Scope(other_than=("execution",), project=project), limit=10_000) if citing else []
        found = [note for note in notes if note.source in citing]
        found.sort(key=lambda note: newest[0].id not in note.evidence)  # what rests on it before what only names it
        return [newest[0], *found]

    def _search(self, question: Question, project: str | None, k: int) -> list[Hit]:
        categories = self._categories(question)
        words = [word for word in question.terms if word not in question.spoken]
        scope = Scope(categories=categories, project=project, task_type=None, component=question.component)
        asked = question.everything or question.last or question.outcome or question.kinds or question.named
        if not words and not asked:
            return []
        if not words or (question.everything and set(words) <= question.named):
            found = self._app.index.newest(scope, limit=max(k, 50))
        else:
            found = self._app.index.search(words, Scope(categories=categories, project=project), limit=max(4 * k, 50))
        found = [replace(hit, score=hit.score * _weight(hit)) for hit in found]
        found.sort(key=lambda hit: -hit.score)
        if question.outcome:
            found = [hit for hit in found if hit.outcome != _OPPOSITE.get(question.outcome or "")]
            found.sort(key=lambda hit: (hit.outcome != question.outcome, -hit.score))
        return found[:k]

    def _categories(self, question: Question) -> tuple[str, ...]:
        found: list[str] = []
        for kind in question.kinds:
            found += _CATEGORIES.get((kind, question.outcome)) or _CATEGORIES.get((kind, None)) or (kind,)
        return tuple(dict.fromkeys(found))

    def get_similar_executions(self, current_task: Any, *, fresh: bool = True) -> Briefing:
        """Return what is known of tasks like this one: notes and past executions, false where there are none.

        Unless `fresh`, the index is taken as it is: at most a second behind what others wrote.
        """
        task = Task.of(current_task)
        if fresh:
            self._app.sync_index()
        limits = self._app.settings.recall
        words = words_of(task)
        fitting = Scope(other_than=("execution", "assumption"), active=True, fitting=task.kind, project=task.project)
        notes = self._app.index.search(words, fitting, limit=limits.notes)
        executions = self._histories.recent(task.kind, limits.executions)
        return Briefing(
            notes=tuple(_within(notes, limits.token_budget)), executions=tuple(executions), render=self._render, kind=task.kind
        )

    def _render(self, briefing: Briefing) -> str:
        return self._app.templates.render("briefing.md.j2", briefing=briefing)


def _weight(hit: Hit) -> float:
    return EXECUTION_WEIGHT if hit.category == "execution" else 1.0 if hit.status == "active" else PAST_WEIGHT


def words_of(task: Task) -> list[str]:
    """Return what a task is about; its type alone only where it says nothing else."""
    said = [
        task.component,
        task.description,
        *task.tags,
        *(value for value in task.parameters.values() if isinstance(value, str)),
    ]
    return terms(" ".join(text for text in said if text)) or terms(task.type)


def _within(hits: Iterable[Hit], tokens: int) -> Iterable[Hit]:
    """Yield hits as long as they fit the budget, a token being about four characters."""
    left = tokens * 4
    for hit in hits:
        left -= len(hit.title) + len(hit.text)
        if left < 0:
            return
        yield hit
