"""The history of each kind of task, kept in memory and topped up from the ledger."""

import threading
import time
from dataclasses import replace
from typing import Any

from learning_loop.app import App
from learning_loop.errors import NoteError
from learning_loop.index import Scope
from learning_loop.records import Kind, Outcome, PastRun
from learning_loop.scoring import ExecutionScoreCard, History, Prediction, score_run

MOST_KINDS = 2_000
FRESH_S = 1.0  # how far a history may lag behind what other processes record


class Histories:
    """Predicts a run before it starts and scores it after it ended, both from the ledger's history of its kind."""

    def __init__(self, app: App, *, fresh_s: float = FRESH_S, most_kinds: int = MOST_KINDS) -> None:
        self._app = app
        self._fresh_s, self._most_kinds = fresh_s, most_kinds
        self.after_fork()
        self._known: dict[Kind, History] = {}
        self._read_at: dict[Kind, float] = {}  # when a history was last read; our own runs are added as they end
        self._alone_at = 0.0  # when it was last seen that nobody else has ended runs since they were read

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def predict(self, kind: Kind) -> Prediction:
        """Return what history predicts of the next run of a kind: its success backing off to its task type.

        Its duration does not back off: how long other components take says little of this one.
        """
        with self._lock:
            chosen, own = self._of(kind), self._known[kind]
            found = chosen.predict()
            return found if chosen is own else replace(found, log_duration=own.predict().log_duration)

    def score(self, task_id: str, kind: Kind, outcome: Outcome, prediction: Prediction) -> ExecutionScoreCard:
        """Score a run that is not in the ledger yet against those that are."""
        settings = self._app.settings
        with self._lock:
            history = self._chosen(kind)
            return score_run(
                task_id,
                outcome,
                history,
                prediction,
                scoring=settings.scoring,
                thresholds=settings.reflection_triggers.thresholds,
            )

    def recent(self, kind: Kind, most: int) -> list[PastRun]:
        """Return the newest finished runs of exactly this kind, the newest first."""
        with self._lock:
            return list(self._top_up(kind).recent)[: -most - 1 : -1]

    def take(self, kind: Kind, run: PastRun) -> None:
        """Take in a run that will be in the ledger, so that the next ones are judged by it too."""
        with self._lock:
            for name in {kind, replace(kind, component=None)} & set(self._known):
                self._known[name].add([run])

    def record(self, kind: Kind, outcome: Outcome, *rows: Any) -> None:
        """Commit how a run ended, and take it into the histories that are complete but for it."""
        with self._lock:
            run = self._app.ledger.finish(outcome, *rows)
            if run is None:  # others write as well
                self._read_at.clear()
                return
            self._alone_at = time.monotonic()
            for name in {kind, replace(kind, component=None)} & set(self._read_at):
                self._known[name].add([run])

    def _template_parts(self, kind: Kind) -> tuple[str, ...]:
        """Return the parts that the kind's template says good runs have; none where there is no readable template."""
        like = Scope(
            categories=("template",),
            types=(kind.type,),
            components=(kind.component,) if kind.component is not None else (),
            project=kind.project,
        )
        for hit in self._app.index.newest(like, limit=1):
            try:
                return self._app.notes.read(hit.source).texts("parts")
            except NoteError:
                break
        return ()

    def forget(self) -> None:
        """Read everything anew when it is next needed: what is on record of past runs has changed."""
        with self._lock:
            self._known.clear()
            self._read_at.clear()

    def _of(self, kind: Kind) -> History:
        """Read what is new of a kind, and of its type where the kind itself is too little known."""
        if self._top_up(kind).thin and kind.component is not None:
            self._top_up(replace(kind, component=None))
        return self._chosen(kind)

    def _chosen(self, kind: Kind) -> History:
        own = self._known.get(kind) or self._top_up(kind)
        coarser = self._known.get(replace(kind, component=None))
        return coarser if own.thin and coarser is not None and coarser.broad else own

    def _top_up(self, kind: Kind) -> History:
        scoring, ledger = self._app.settings.scoring, self._app.ledger
        history = self._known.get(kind)
        now = time.monotonic()
        if history is not None:
            read_at = self._read_at.get(kind)
            if read_at is None or now - max(read_at, self._alone_at) >= self._fresh_s:
                history.add(ledger.past_runs(kind, after_seq=history.last_seq, limit=scoring.window))
                self._read_at[kind] = now
            return history
        history = History(
            str(kind), window=scoring.window, minimum=scoring.minimum_history, baseline_runs=scoring.baseline_runs
        )
        history.add(ledger.past_runs(kind, limit=scoring.window))
        history.baseline = ledger.first_durations(kind, scoring.baseline_runs)
        if len(self._known) >= self._most_kinds:
            self._known.clear()  # a cache: what is needed again is read again
            self._read_at.clear()
        if kind.component is not None:
            history.add_template(self._template_parts(kind))
        self._known[kind], self._read_at[kind] = history, now
        return history
