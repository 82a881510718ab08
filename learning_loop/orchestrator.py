"""READ THIS FIRST: the loop, top to bottom.

`begin` recalls and captures before, the wrapped work runs, `finish` captures after, scores, reflects and reports. The
wrappers are `with loop.run(task) as run:` and three forms of it: `execute_with_learning`, `aexecute_with_learning` and
`@loop.task`. Whatever goes wrong in learning is caught by one guard: the work's result or exception stays what it was.
"""

import asyncio
import inspect
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

from learning_loop.app import App
from learning_loop.capture import Redactor, plain
from learning_loop.errors import LedgerError, UsageError, WorkspaceError
from learning_loop.flows.beginning import ELSEWHERE, execution_of, predicted, resumed, salvaged, takes_run
from learning_loop.flows.carrying import Carrying, Offer, Settling
from learning_loop.flows.ending import READ, bare_outcome, outcome_of
from learning_loop.flows.episodes import MAX_STEPS, Played, play
from learning_loop.flows.feedback import give_feedback, measure
from learning_loop.flows.following import DUE, Follower
from learning_loop.flows.guard import Guard
from learning_loop.flows.memory import LessonMemory
from learning_loop.flows.parts import Parts
from learning_loop.flows.query import LearningQueryInterface
from learning_loop.flows.reflect import Reflection
from learning_loop.flows.run import CURRENT, Run, name_of
from learning_loop.flows.wrap import wrapped
from learning_loop.protocols import Embedder, Executor, LanguageModel, State, StateAdapter
from learning_loop.records import (
    Briefing,
    Clock,
    Decision,
    Event,
    Outcome,
    Phase,
    Report,
    RootCause,
    Score,
    Task,
    new_id,
    utc_now,
)
from learning_loop.retrieval import Answer
from learning_loop.scoring import ExecutionScoreCard, History, Prediction, score_run
from learning_loop.settings import Scoring, Settings, Thresholds
from learning_loop.workspace import Workspace
from learning_loop.workspace.files import MARKER

Function = TypeVar("Function", bound=Callable[..., Any])

STATE_WAIT_S = 2.0  # how long a reflection waits for the state that is gathered off the path
REOPEN_AFTER_S = 5.0  # after a workspace could not be opened or written to, runs go unrecorded this long before the next try


class LearningOrchestrator:
    """Goes round a task runner: recalls, records, scores, reflects, and never gets in its way.

    `runner` takes `(task)` or `(task, run)`; a subclass may define `execute_task` instead. One that has `agents` or
    `decompose`, see `protocols.Orchestrated`, is carried out by a strategy. `workspace` is a folder; left
    out, it is LEARNING_LOOP_WORKSPACE or the workspace that the current folder lies in, made here where there is none.
    An `embedder` or a `language` model takes the place of the configured one.
    With `strict`, faults of learning are raised. Safe from many threads, and after a fork.
    """

    def __init__(  # noqa: PLR0913  (all that can be exchanged)
        self,
        runner: Callable[..., Any] | None = None,
        *,
        workspace: str | Path | None = None,
        strict: bool = False,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
        clock: Clock = utc_now,
        rng: random.Random | None = None,
        embedder: Embedder | None = None,
        language: LanguageModel | None = None,
    ) -> None:
        self._runner = runner or getattr(self, "execute_task", None)
        self._takes_run = takes_run(self._runner)
        self._offer = Offer.of(runner or self)
        self._folder = workspace
        self._environ = os.environ if environ is None else environ
        self._flags = flags
        self._clock = clock
        self._rng = rng or random.SystemRandom()
        self._embedder, self._language = embedder, language
        self._guard = Guard(strict=strict)
        self._opening = threading.Lock()
        self._parts: Parts | None = None
        self._failed_at = -REOPEN_AFTER_S
        self._failure = ""
        self._sprint: str | None = None
        _LOOPS.add(self)
        self._open([])

    # ------------------------------------------------------------------------------------------------- going round work

    def execute_with_learning(self, task: Any) -> Report:
        """Run one task through the runner and report; an exception of the runner is recorded and raised unchanged."""
        with self._begin(task, sets=self._takes_run, follows=True) as run:
            run.result = self._carry_out(task, run, Settling())
            if self._awaitable(run.result):
                run.ran = False
                self._guard.warn("the runner is async and was not awaited: use aexecute_with_learning", run.warnings)
        return self.finish(run)

    async def aexecute_with_learning(self, task: Any) -> Report:
        """Do the same round an async runner, or a sync one; the event loop is not held up by the ledger."""
        begin = partial(self._begin, task, sets=self._takes_run, follows=True)
        beginning = asyncio.ensure_future(asyncio.to_thread(begin))
        try:
            run = await asyncio.shield(beginning)
        except asyncio.CancelledError as cancelled:
            why: BaseException = cancelled
            beginning.add_done_callback(lambda begun: self.finish(begun.result(), why))
            raise
        token = CURRENT.set(run)
        result, raised = None, None
        settle = Settling(asyncio.get_running_loop())
        try:
            if run.followed is not None:
                result = await settle.beside(partial(self._carry_out, task, run, settle))
            else:
                result = self._execute(task, run)
            if self._awaitable(result):
                result = await result
        except BaseException as error:
            raised = error
            settle.cancel()
            raise
        finally:
            CURRENT.reset(token)
            await asyncio.shield(asyncio.to_thread(self._finish, run, result, raised))
        return self.finish(run)

    def run(self, task: Any) -> Run:
        """Begin a task as a context manager: `with loop.run(task) as run: run.result = ...`."""
        return self.begin(task)

    @overload
    def task(self, function: Function, /) -> Function: ...

    @overload
    def task(self, function: None = None, /, **fields: Any) -> Callable[[Function], Function]: ...

    def task(self, function: Callable[..., Any] | None = None, /, **fields: Any) -> Any:
        """Wrap a function, coroutine or generator function: each call is a run, its arguments are the parameters.

        `@loop.task` and `@loop.task(type="etl", component="orders")` both work; `id` may be a function of the arguments.
        """
        decorate = wrapped(lambda task: self._begin(task, sets=False), self._guard, fields)
        return decorate if function is None else decorate(function)

    def _carry_out(self, task: Any, run: Run, settle: Settling) -> Any:
        """Run a task as its strategy says, where it has one; the runs of its parts follow the same one."""
        if run.followed is None or self._offer is None:
            return self._execute(task, run)
        begin = partial(self._begin, sets=self._takes_run)
        return Carrying(followed=run.followed, work=self._execute, offer=self._offer, begin=begin, settle=settle).carry_out(
            task, run
        )

    def _execute(self, task: Any, run: Run) -> Any:
        if self._runner is None:
            run.ran = False
            self._guard.warn(
                "there is no runner and no execute_task: nothing was run, so nothing is known of how it went", run.warnings
            )
            return None
        return self._runner(task, run) if self._takes_run else self._runner(task)

    def _awaitable(self, result: Any) -> bool:
        return bool(self._guard.attempt("looking at the result", [], lambda: inspect.isawaitable(result), default=False))

    def run_episode(
        self,
        task: Any,
        state: State,
        adapter: StateAdapter[State],
        executor: Executor[State],
        *,
        point: str = "episode",
        max_steps: int = MAX_STEPS,
    ) -> tuple[Played[State], Report]:
        """Carry out an episode as one run: actions are chosen at the decision point until the state is done."""
        with self.run(task) as run:
            played = play(run, state, adapter, executor, point=point, max_steps=max_steps)
        return played, self.finish(run)

    @property
    def current_run(self) -> Run | None:
        """The run that this code is part of, if any."""
        return CURRENT.get()

    # ------------------------------------------------------------------------------------------------------------ begin

    def begin(self, task: Any) -> Run:
        """Recall, capture before, and commit the execution as started; the caller then does the work and calls `finish`.

        What the work is to use is in `run.parameters`: the task's own, and those that rules set.
        """
        return self._begin(task, sets=True)

    def begin_elsewhere(self, task: Any, *, id: str | None = None, parent_id: str | None = None) -> Run:  # noqa: A002
        """Begin a run whose work another process does, in any language; any process may `resume` it and `finish` it.

        The `id` of the run may be chosen. Raise UsageError where a run has it already, LedgerError where it cannot be recorded.
        """
        if id is not None and self.app.ledger.known([id]):
            raise UsageError(f"there is an execution {id!r} already")
        run = self._begin(task, sets=True, elsewhere=(id or new_id(self._clock(), self._rng), parent_id))
        if run.execution is None:
            raise LedgerError(run.warnings[-1])
        return run

    def resume(self, execution_id: str) -> Run:
        """Return a run that was begun elsewhere and goes on; raise NotFoundError, or UsageError where it does not."""
        parts = self._must()
        record = parts.app.ledger.execution(execution_id)
        if record.status != "running" or record.execution.host != ELSEWHERE:
            why = record.status if record.outcome is not None else "the business of the process that began it"
            raise UsageError(f"{execution_id} is {why}: it cannot be gone on with")
        return resumed(record, parts.app, parts.points, parts.rules, parts.histories, self._guard, self._finish)

    def _begin(self, task: Any, *, sets: bool, follows: bool = False, elsewhere: tuple[str, str | None] | None = None) -> Run:
        """Begin a run, that `follows` a strategy where the runner leaves something to one.

        Where it `sets` nothing, the work cannot see `run.parameters`, so that rules leave them alone. What is done `elsewhere`
        says its id and whose part it is.
        """
        warnings: list[str] = []
        parts = self._open(warnings)
        run = Run(
            id=elsewhere[0] if elsewhere is not None else new_id(self._clock(), self._rng),
            task=self._read_task(task, warnings),
            app=parts.app if parts else None,
            points=parts.points if parts else None,
            guard=self._guard,
            finish=self._finish,
            started_at=self._clock(),
            warnings=warnings,
            elsewhere=elsewhere is not None,
        )
        run.parameters = dict(run.task.parameters)
        parent = CURRENT.get()
        known = parent is not None and parent.app is run.app and parent.execution is not None
        run.parent_id = elsewhere[1] if elsewhere is not None else parent.id if parent is not None and known else None
        if parts is not None:
            parts.keep_up(ready=run.elsewhere)
            if parts.learns and parts.app.settings.recall.enabled:
                run.briefing = self._guard.attempt("recall", warnings, lambda: parts.brief(run.task, warnings), Briefing())
            if parts.learns:
                self._expose(parts, run, sets=sets)
            run.prediction = self._guard.attempt("history", warnings, lambda: parts.histories.predict(run.kind))
            if follows and self._offer is not None and parts.learns:
                run.follow(parts.chooser)
            with self._guard("capture before", warnings):
                self._capture_before(parts, run, task)
            if run.execution is None and " is locked" in warnings[-1]:  # the next runs do not wait for it as well
                self._failed_at, self._failure = time.monotonic(), warnings[-1]
        run.start_clocks()
        return run

    def _expose(self, parts: Parts, run: Run, *, sets: bool) -> None:
        """Draw what of the briefing and the rules this run is shown, and let the rules set what they set."""
        with self._guard("rules", run.warnings):
            run.briefing, run.rules = parts.expose(run, sets=sets)
            if sets:
                settings = run.rules.parameters
                run.parameters, run.set_by_rules = {**run.parameters, **settings}, tuple(settings)

    def _read_task(self, task: Any, warnings: list[str]) -> Task:
        read: Task | None = self._guard.attempt("task", warnings, lambda: Task.of(task))
        if read is None:
            name = f"unnamed-{new_id(self._clock(), self._rng)[-8:]}"
            read = self._guard.attempt("task", warnings, lambda: salvaged(task, name)) or Task(id=name)
        return replace(read, sprint=self.current_sprint) if read.sprint is None and self.current_sprint else read

    def _capture_before(self, parts: Parts, run: Run, given: Any) -> None:
        app, task = parts.app, run.task
        execution = execution_of(run, given, app)
        rows = []
        if app.settings.reflection_triggers.checkpoints.pre_task:
            captured = app.extractor.capture_execution_metadata(task, "pre")["data"]
            if run.elsewhere:  # what is here says nothing of what is there
                captured = {"assumptions": captured["assumptions"]}
            elif app.settings.capture.git:
                captured["initial_state"] = {**captured["initial_state"], **parts.git.state}
            captured |= {"predicted": predicted(run.prediction), "briefing": [hit.source for hit in run.briefing.notes]}
            captured["set_by_rules"] = sorted(run.set_by_rules)
            rows.append(Phase(execution_id=run.id, phase="pre", at=run.started_at, data=captured))
        decided = [run.rules.decision] if run.rules.decision is not None else []
        decided += run.followed.decisions if run.followed is not None else []
        app.ledger.start(execution, *rows, *decided)
        run.execution = execution
        if app.settings.capture.git and not run.elsewhere:
            parts.git.began(run.id)

    # ----------------------------------------------------------------------------------------------------------- finish

    def finish(self, run: Run, ended: Any = None) -> Report:
        """End a run that was begun by hand. `ended` is the work's result, or the exception it raised.

        A second call returns the report of the first.
        """
        error = ended if isinstance(ended, BaseException) else None
        return self._finish(run, None if error is not None else ended, error)

    def _finish(self, run: Run, result: Any, error: BaseException | None) -> Report:
        """Capture after, score, commit, reflect, and report."""
        if run.report is not None:
            return run.report
        run.observed.elapsed_s = run.elapsed_s
        settings = self.settings.capture
        outcome = self._guard.attempt("capture after", run.warnings, lambda: outcome_of(run, result, error, settings))
        outcome = outcome or bare_outcome(run, error)
        reflection = Reflection()
        card = self._score(run, outcome)
        parts = self._parts
        if parts is not None and run.execution is not None:
            if self._recorded(parts, run, outcome, card):
                if parts.learns and run.reflects == "now":
                    reflection = self._reflect(parts, run, outcome, card)
            else:
                with self._guard("recording", run.warnings):  # at least how it ended
                    parts.histories.record(run.kind, bare_outcome(run, error, outcome))
        run.report = Report(
            execution_id=run.id,
            result=result,
            score=card.calculate_overall_score(),
            card=card,
            outcome=outcome,
            learnings=(*reflection.learnings, *run.observed.discoveries),
            improvements=tuple(dict.fromkeys([*reflection.improvements, *self._unmet(run, outcome, card)])),
            notes=tuple(dict.fromkeys(reflection.notes)),
            warnings=tuple(run.warnings),
        )
        return run.report

    def _unmet(self, run: Run, outcome: Outcome, card: ExecutionScoreCard) -> list[str]:
        """Return the checks of rules that the run did not pass, as suggestions."""
        checked = self._guard.attempt("rules", run.warnings, lambda: run.rules.checked(outcome, card.scores), [])
        return [f"{rule.title}: its check failed; see {rule.path}" for rule, passed in checked if not passed]

    def _score(self, run: Run, outcome: Outcome) -> ExecutionScoreCard:
        """Score against history, or without one where it cannot be read."""
        parts, prediction = self._parts, run.prediction or Prediction(None, 0, None)
        card: ExecutionScoreCard | None = None
        if parts is not None:
            card = self._guard.attempt(
                "scoring", run.warnings, lambda: parts.histories.score(run.task.id, run.kind, outcome, prediction)
            )
        if card is None:
            alone = History(level="none", window=1, minimum=1, baseline_runs=0)
            card = score_run(run.task.id, outcome, alone, prediction, scoring=Scoring(), thresholds=Thresholds())
        card.metadata = {
            "timestamp": outcome.ended_at.isoformat(),
            "agent": run.task.agent,
            "task_type": run.task.type,
            "execution_time": outcome.duration_s,
        }
        return card

    def _recorded(self, parts: Parts, run: Run, outcome: Outcome, card: ExecutionScoreCard) -> bool:
        """Commit everything about the end of a run at once; false where that failed."""
        with self._guard("recording", run.warnings):
            app = parts.app
            checkpoints = app.settings.reflection_triggers.checkpoints
            phases = [*(["during"] if checkpoints.mid_task else []), *(["post"] if checkpoints.post_task else [])]
            own = {name: plain(value) for name, value in run.observed.outcomes.items() if name not in READ}
            run.observed.outcomes = {"status": outcome.status, "success": outcome.success, **own}
            measures = [
                measure(run.id, name, value, source="run", at=outcome.ended_at) for name, value in app.redact(own).items()
            ]
            for rule, passed in run.rules.checked(outcome, card.scores):
                name = f"rule_check:{rule.id}"
                measures.append(measure(run.id, name, float(passed), source="run", at=outcome.ended_at))
            captured = [
                Phase(
                    execution_id=run.id,
                    phase=phase,
                    at=outcome.ended_at,
                    data=app.extractor.capture_execution_metadata(run.task, phase, run.observed)["data"],
                )
                for phase in phases
            ]
            scored = card.record(run.id, scoring=app.settings.scoring.version, at=outcome.ended_at)
            run.due = card.triggers() if parts.learns and run.reflects == "later" else ()
            due = [Event(kind=DUE, subject=run.id, at=outcome.ended_at, data={"triggers": run.due})] if run.due else []
            parts.histories.record(
                run.kind,
                outcome,
                *due,
                *captured,
                *run.observed.checkpoints,
                *(decision for decision in run.observed.decisions if decision.id not in run.kept),
                *run.credits.values(),
                *run.usages,
                *run.steps,
                *measures,
                scored,
            )
            run.scored = scored
            parts.learn_on()
            if run.reflects == "now":
                parts.watch([run.kind])
                parts.keep_up()
            return True
        return False

    def _reflect(self, parts: Parts, run: Run, outcome: Outcome, card: ExecutionScoreCard) -> Reflection:
        """Carry out every reflection that is due."""
        found, triggers = Reflection(), card.triggers()
        if any(trigger.action != "extract_template" for trigger in triggers):
            parts.app.drain("state", STATE_WAIT_S)
        for action, reason in triggers:
            with self._guard(action, run.warnings):
                self.perform_reflection(action, reason, outcome, found)
        return found

    def perform_reflection(self, action: str, reason: str, outcome: Outcome, into: Reflection) -> None:
        """Carry out one reflection on a recorded execution; override it to add to what the loop does."""
        self._must().reflector.perform_reflection(action, reason, outcome, into)

    def follower(self) -> Follower:
        """Return who finds out what runs teach that others recorded, see `learning-loop follow`."""
        parts = self._must()
        return Follower(parts.app, parts.reflector, self._guard, parts.follow)

    # --------------------------------------------------------------------------------------------- choices outside runs

    def decide(
        self, context: Mapping[str, Any], actions: Sequence[Any], *, point: str = "decide", unit: str | None = None
    ) -> Decision:
        """Choose one of several actions and record it; `reward` then says what came of it.

        `point` names what is chosen, and the settings of that: see `policies.points`. A `unit` goes on being chosen for by the
        learned policy, or by the rules. Where choosing fails, the first action is chosen. Raise UsageError where there is none.
        """
        if not actions:
            raise UsageError(f"decision {point!r} needs one or more actions")
        warnings: list[str] = []
        names, parts = list(dict.fromkeys(name_of(action) for action in actions)), self._open(warnings)
        if parts is not None:
            made = self._guard.attempt(
                "decision", warnings, lambda: parts.points.choose(point, names, plain(context), self._guard, warnings, unit)
            )
            if made is not None:
                return cast("Decision", made)
        return Decision(
            id="", execution_id=None, point=point, alternatives=tuple(names), probabilities=None, chosen=names[0],
            propensity=None, policy="none", context={}, at=self._clock(), latency_us=None,
        )  # fmt: skip

    def reward(self, decision: Decision | str, value: float, *, source: str = "caller") -> None:
        """Say what a choice earned, once for each; raise NotFoundError, or UsageError where it has a reward."""
        name = decision if isinstance(decision, str) else decision.id
        if name:  # one that could not be recorded can earn nothing
            self._must().points.reward(name, value, source, self._guard)

    def learn(self) -> int:
        """Learn now from every run that ended and every choice that was rewarded; return from how many choices.

        It happens by itself, in the background, a little later.
        """
        parts = self._must()
        parts.app.drain()
        return parts.points.catch_up()

    # ------------------------------------------------------------------------------------------- asking and telling it

    @property
    def query_interface(self) -> LearningQueryInterface:
        return self._must().query

    def query(self, text: str, **options: Any) -> Answer:
        """Answer a question in plain words; see `LearningQueryInterface.query`."""
        return self.query_interface.query(text, **options)

    def root_cause_analysis(self, task_id: str) -> RootCause:
        """Return the likely causes of how a past run went, by its execution's or its task's id."""
        return self._must().reflector.root_cause_analysis(task_id)

    def weekly_learning_synthesis(self, week: str | None = None, *, dry_run: bool = False) -> Any:
        """Learn from a week, as 2026-W47, by default that of the newest run: patterns, rules, the report.

        The answer has `patterns_identified`, `rules_updated`, `timestamp`, `report` (its path) and more, by name and by key.
        """
        from learning_loop.flows.synthesis import synthesize, week_named

        app = self._must().app
        app.drain()
        return synthesize(app, week_named(app, week) if week is not None else None, dry_run=dry_run)

    def alerts(self) -> list[Any]:
        """Return the anti-patterns that stand, the newest first."""
        from learning_loop.flows.alerts import alerts

        parts = self._must()
        parts.app.drain()
        return list(alerts(parts.app))

    def rules(self) -> list[Any]:
        """Return every rule with its lift and verdict, those with most evidence first."""
        from learning_loop.flows.judging import catch_up
        from learning_loop.flows.lifts import rule_lifts

        app = self.app
        app.drain()
        catch_up(app)
        return list(rule_lifts(app))

    def rule(self, name: str, action: str, *, reason: str = "") -> Any:
        """Approve, reject, pin or unpin a rule, named by its id, path or title, and return it as it is now."""
        from learning_loop.flows.ruling import rule_that

        return rule_that(self.app, name, action, reason=reason)

    def rollback(self, week: str, *, reason: str = "") -> Any:
        """Make the loop's own rules what they were after a week's synthesis, as 2026-W47."""
        from learning_loop.flows.ruling import roll_back
        from learning_loop.flows.synthesis import week_named

        return roll_back(self.app, week_named(self.app, week), reason=reason)

    def exclude(self, execution_id: str, *, reason: str) -> None:
        """Take an execution out of all evidence; it stays on record."""
        from learning_loop.flows.ruling import exclude

        exclude(self.app, execution_id, reason=reason)
        self._must().histories.forget()

    def blame(self, execution_id: str) -> list[Any]:
        """Return what an execution was shown of notes and rules, and what was withheld: (unit, title, odds, shown)."""
        from learning_loop.flows.lifts import shown_to

        return list(shown_to(self.app, execution_id))

    def feedback(self, execution_id: str, metric: str, value: Any, *, source: str = "person") -> Score | None:
        """Add a measure to a past execution; return its new score where accuracy rests on that metric."""
        parts = self._must()
        score = give_feedback(parts.app, execution_id, metric, value, source=source)
        parts.histories.forget()
        return score

    @cached_property
    def memory(self) -> LessonMemory:
        """The lessons of this workspace by category; change it as a mapping, then call `save_memory`."""
        return LessonMemory.load(self._must().app)

    def save_memory(self) -> list[str]:
        """Write every new lesson as a note and return the paths."""
        return self.memory.save(self._must().app)

    @property
    def current_sprint(self) -> str | None:
        """The sprint that runs belong to which name none; one that ends is reviewed, unless sprint_review is switched off."""
        return self._sprint

    @current_sprint.setter
    def current_sprint(self, name: str | None) -> None:
        ended, self._sprint = self._sprint, name
        parts = self._parts
        if parts is None or ended in (None, name) or not self.settings.reflection_triggers.checkpoints.sprint_review:
            return
        with self._guard("sprint review", []):
            from learning_loop.flows.synthesis import synthesize
            from learning_loop.synthesis import Period

            review = Period.of_sprint(str(ended))
            parts.app.later(f"review of {ended}", lambda: synthesize(parts.app, review))

    @property
    def app(self) -> App:
        """The open workspace; raise WorkspaceError where it cannot be opened."""
        return self._must().app

    @property
    def pattern_extractor(self) -> Any:
        return self._must().app.extractor

    @property
    def settings(self) -> Settings:
        """The settings in force; the defaults where the workspace cannot be opened."""
        parts = self._open([])
        return parts.app.settings if parts is not None else Settings()

    def redact(self, value: Any) -> Any:
        """Return a value without the secrets in it, as everything that is recorded passes through."""
        parts = self._open([])
        return (parts.app.redact if parts is not None else Redactor(environ=self._environ))(value)

    @property
    def workspace(self) -> Path:
        return self._must().app.workspace.root

    # ------------------------------------------------------------------------------------------------------ open, close

    def close(self) -> None:
        """Finish what runs in the background and close the files; a later run opens them again."""
        with self._opening:
            if self._parts is not None:
                self._parts.finish_watching()
                self._parts.indexing.close()
                self._parts.app.close()
                self._parts = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, warnings: list[str]) -> Parts | None:
        """Return the open workspace; where it cannot be opened, None and a warning, and the next try a little later."""
        pausing = time.monotonic() - self._failed_at < REOPEN_AFTER_S
        if self._parts is not None and self._parts.app.ledger.exists and not pausing:
            return self._parts
        with self._opening:
            if pausing:
                warnings.append(self._failure)
                return None
            if self._parts is not None and not self._parts.app.ledger.exists:
                self._guard.warn(
                    f"{self._parts.app.ledger.path} is gone: evidence starts anew; restore a backup if there is one", warnings
                )
                self._parts = None
            if self._parts is None:
                try:
                    with self._guard("opening the workspace", warnings):
                        self._parts = Parts(self._open_app(), self._guard)
                finally:
                    if self._parts is None:
                        self._failed_at, self._failure = time.monotonic(), warnings[-1] if warnings else ""
            return self._parts

    def _open_app(self) -> App:
        given = self._folder or self._environ.get("LEARNING_LOOP_WORKSPACE")
        workspace = Workspace.find(Path.cwd()) if given is None else Workspace(Path(given).resolve())
        if workspace is None or not (workspace.root / MARKER).is_file():
            workspace, _ = Workspace.init(workspace.root if workspace else Path.cwd())
        return App.open(
            workspace,
            environ=self._environ,
            flags=self._flags,
            clock=self._clock,
            rng=self._rng,
            embedder=self._embedder,
            language=self._language,
        )

    def _after_fork(self) -> None:
        """Begin afresh in a forked child: another thread of the parent may have held any of these locks."""
        self._opening = threading.Lock()
        if self._parts is not None:
            self._parts.after_fork()

    def _must(self) -> Parts:
        warnings: list[str] = []
        parts = self._open(warnings)
        if parts is None:
            raise WorkspaceError(warnings[-1] if warnings else "the workspace cannot be opened: see `learning-loop doctor`")
        return parts


_LOOPS: "weakref.WeakSet[LearningOrchestrator]" = weakref.WeakSet()
if hasattr(os, "register_at_fork"):

    def _in_child() -> None:
        for loop in list(_LOOPS):
            loop._after_fork()  # noqa: SLF001

    os.register_at_fork(after_in_child=_in_child)
