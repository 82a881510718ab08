"""A run: what the wrapped work sees of the loop, and where it notes what happens."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from types import TracebackType
from typing import Any, Literal, Self

from learning_loop.app import App
from learning_loop.capture import Observed, digest, plain
from learning_loop.errors import UsageError
from learning_loop.flows.choosing import Chooser, Followed
from learning_loop.flows.guard import Guard
from learning_loop.flows.points import Points, check_point
from learning_loop.flows.rules import Applied
from learning_loop.protocols import Policy
from learning_loop.records import (
    ERROR_CODES,
    Briefing,
    Checkpoint,
    Configuration,
    Credit,
    Execution,
    Kind,
    Report,
    Score,
    Step,
    Task,
    Usage,
)
from learning_loop.scoring import Prediction
from learning_loop.settings import STRATEGY
from learning_loop.strategies import Strategy

CURRENT: ContextVar["Run | None"] = ContextVar("learning_loop_run", default=None)


@dataclass(slots=True, kw_only=True)
class StepRecorder:
    """One step of a run's workflow, open until it is completed or failed."""

    run: "Run"
    id: str
    role: str
    file_path: str | None
    started_at: datetime
    started: float
    output_hash: str | None = None
    repeats: str | None = None

    def attempt(self, model: str, **usage: Any) -> None:
        """Note one call of a model as an attempt at this step; takes what `Run.usage` takes."""
        self.run.usage(model, step=self.id, **usage)

    def output(self, value: Any) -> bool:
        """Note what the step gave; true where an earlier step of this run gave the same."""
        with self.run.guard("step", self.run.warnings):
            self.output_hash = digest(value)
            earlier = (step.step_id for step in self.run.steps if self.output_hash and step.output_hash == self.output_hash)
            self.repeats = next(earlier, None)
        return self.repeats is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        self.run.close_step(self, "failed" if error is not None else "completed")


@dataclass(slots=True, kw_only=True)
class Run:
    """One execution under way. Its methods may be called from any thread and never raise, unless the loop is strict."""

    id: str
    task: Task
    app: App | None
    points: Points | None
    guard: Guard
    finish: Callable[["Run", Any, BaseException | None], Report]
    started_at: datetime
    parent_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    briefing: Briefing = field(default_factory=Briefing)
    rules: Applied = field(default_factory=Applied)
    set_by_rules: tuple[str, ...] = ()
    prediction: Prediction | None = None
    followed: Followed | None = None
    agent: str | None = None
    approach: str | None = None
    execution: Execution | None = None
    result: Any = None
    report: Report | None = None
    warnings: list[str] = field(default_factory=list)
    observed: Observed = field(default_factory=Observed)
    usages: list[Usage] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    credits: dict[str, Credit] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    cpu_started: float = 0.0
    ran: bool = True
    elsewhere: bool = False  # the work is another process's: what this one uses says nothing of it
    reflects: Literal["now", "later"] = "now"  # later: who follows the runs does
    scored: Score | None = None  # its score card as it is on record, with everything about its end
    due: Sequence[tuple[str, str]] = ()  # reflections that were left to who follows, and why
    kept: set[str] = field(default_factory=set)  # the choices that are on record already
    _token: Token["Run | None"] | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def kind(self) -> Kind:
        return self.task.kind

    @property
    def strategy(self) -> Strategy | None:
        """The strategy that this run is carried out by, if any; `agent` is whom it takes, `approach` how it is taken apart."""
        return self.followed.version.strategy if self.followed is not None else None

    def start_clocks(self) -> None:
        """Begin to measure: the work begins now."""
        self.started = time.perf_counter()
        if not self.elsewhere:  # to ask what the process used takes as long as a statement to the ledger
            self.cpu_started = time.process_time()

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started

    # ------------------------------------------------------------------------------------------- what the work may say

    def decide(self, point: str, options: Iterable[Any], /, **context: Any) -> Any:
        """Return one of the options, chosen and logged at this decision point; the first where choosing fails.

        Options that rules prefer are taken first, those they avoid last.
        """
        return self._chosen(point, options, context)

    def configure(
        self,
        *,
        agents: Sequence[str] = (),
        skills: Sequence[str] = (),
        available: Mapping[str, bool] | None = None,
        safety_level: str = "strict",
    ) -> Configuration:
        """Return how this run is to be carried out: agent, skills, approach, timeouts, parallelism, retries, safety.

        Each is a decision point of its own, `orchestra.approach` and the like, with what is known of the task and the system.
        Agents that are not `available` are left out, and safety is never less strict than `safety_level`. Where this cannot be
        done, it is the plainest there is, without an agent.
        """
        from learning_loop.flows.configuring import configured

        known = dict.fromkeys(agents, True) | dict(available or {})
        with self.guard("configuring", self.warnings):
            return configured(self, self._chosen, agents=agents, skills=skills, available=known, safety_level=safety_level)
        return Configuration(skills=tuple(skills))

    def carry_out(
        self,
        work: Callable[[], Any],
        configuration: Configuration,
        *,
        timeout_s: float | None = None,
        fallbacks: Sequence[Callable[[], Any]] = (),
    ) -> Any:
        """Do the work as configured, see `execution.carry_out`; it is done again only where the task is idempotent."""
        from learning_loop.execution import carry_out

        return carry_out(
            work,
            configuration,
            timeout_s=timeout_s,
            idempotent=self.task.idempotent,
            fallbacks=fallbacks,
            noted=self.attempted,
        )

    def in_parallel(self, work: Callable[[Any], Any], parts: Iterable[Any], configuration: Configuration) -> list[Any]:
        """Do every part of the work, as many at a time as is configured, and return what they return in the parts' order."""
        from learning_loop.execution import in_parallel

        several = configuration.approach in ("parallel", "coordinated")
        return in_parallel(work, parts, configuration.parallelism if several else 1)

    def attempted(self, number: int, error: BaseException | None) -> None:
        self.checkpoint(f"attempt {number}", ok=error is None, error=None if error is None else type(error).__name__)

    def _chosen(self, point: str, given: Iterable[Any], context: Mapping[str, Any], mask: Sequence[str] = ()) -> Any:
        options = list(given)
        with self.guard("decision", self.warnings):
            if self.points is not None:
                check_point(point)
                names = [name_of(option) for option in options]
                service, ordered = self.points[str(point)], self.rules.ordered(str(point), names)
                known = {"type": self.task.type, "component": self.task.component, **plain(dict(context))}
                unit = self.unit(service.settings.unit, known)
                made = service.decide(ordered, known, self.guard, self.warnings, unit=unit, execution_id=self.id, mask=mask)
                self.observed.decisions += made
                return options[names.index(made[-1].chosen)]
        return next((option for option in options if name_of(option) not in mask), None)

    def follow(self, chooser: Chooser) -> None:
        """Choose the strategy that this run is to follow, where there is one for it."""
        with self.guard("strategy", self.warnings):
            rate = self.prediction.success if self.prediction is not None else None
            wanted = chooser.unit
            unit = self.unit(wanted, {"type": self.task.type, "component": self.task.component, "project": self.task.project})
            self.followed = chooser.choose(
                self.task,
                rate,
                execution_id=self.id,
                guard=self.guard,
                warnings=self.warnings,
                unit=unit,
                prefer=lambda names: self.rules.ordered(STRATEGY, names),
            )

    def inherits(self, parent: "Run") -> None:
        """Take over what a part has of the run it is part of: its strategy, and that it may be done again."""
        self.followed, self.approach = parent.followed, parent.approach
        self.task = replace(self.task, idempotent=self.task.idempotent or parent.task.idempotent)

    def act(
        self, point: str, actions: Sequence[str], facts: Mapping[str, Any], *, policy: Policy | None = None, floor: float = 0.0
    ) -> str:
        """Return the next action of an episode, chosen at a decision point, or by the policy that is given."""
        if policy is None:
            return str(self._chosen(point, actions, facts))
        with self.guard("decision", self.warnings):
            if self.app is not None:
                check_point(point)
                known, app = plain(dict(facts)), self.app
                made = app.decider.decide(point, actions, context=known, execution_id=self.id, policy=policy, floor=floor)
                self.observed.decisions.append(made)
                return made.chosen
        return actions[0]

    def credit(self, reward: float, *, decision: str | None = None) -> None:
        """Say what a choice of this run, by default the newest, earned by itself, beside what the whole run will be worth."""
        with self.guard("credit", self.warnings):
            if not math.isfinite(reward):
                raise UsageError(f"a reward must be a finite number, not {reward}: leave out what is unknown")
            if self.app is not None and self.observed.decisions:
                meant = decision or self.observed.decisions[-1].id
                self.credits[meant] = Credit(
                    decision_id=meant, execution_id=self.id, value=float(reward), source="run", at=self._now()
                )

    def decided(self, point: str, chosen: str, alternatives: Sequence[str] = (), **context: Any) -> None:
        """Note a choice that the work made by itself, and what else it could have chosen."""
        with self.guard("decision", self.warnings):
            if self.app is not None:
                check_point(point)
                names = [name_of(item) for item in alternatives]
                found = self.app.decider.observed(
                    str(point), name_of(chosen), names, context=plain(context), execution_id=self.id
                )
                self.observed.decisions.append(found)

    def unit(self, of: str, context: Mapping[str, Any]) -> str:
        """Return what is chosen for by the learned policy, or by the rules, as a whole."""
        known = context.get(of)
        return self.task.id if of == "task" else self.id if of == "run" or known is None else name_of(known)

    def checkpoint(self, name: str, /, **data: Any) -> None:
        """Note that the work has come so far; skipped where mid_task checkpoints are switched off."""
        with self.guard("checkpoint", self.warnings):
            if self.app is not None and self.app.settings.reflection_triggers.checkpoints.mid_task:
                moment, elapsed = self.app.clock(), self.elapsed_s
                self.observed.checkpoints.append(
                    Checkpoint(execution_id=self.id, name=str(name), at=moment, elapsed_s=elapsed, data=plain(data))
                )

    def deviation(self, text: str) -> None:
        """Note where the work went another way than planned."""
        with self.guard("deviation", self.warnings):
            self.observed.deviations.append(str(text))

    def discovery(self, text: str) -> None:
        """Note something worth knowing that the work came upon."""
        with self.guard("discovery", self.warnings):
            self.observed.discoveries.append(str(text))

    def outcome(self, /, **measures: Any) -> None:
        """Say how it went: `success`, `score` (0-100), `tests_passed`, `tests_total`, `exit_code`, or a measure of your own."""
        self.observed.outcomes.update(measures)

    def usage(  # noqa: PLR0913  (what there is to say of a call)
        self,
        model: str,
        *,
        provider: str | None = None,
        tokens: int | None = None,
        latency_ms: float | None = None,
        cost_usd: float | None = None,
        success: bool = True,
        error_code: str | None = None,
        error_message: str | None = None,
        step: str | None = None,
    ) -> None:
        """Note one call of a model; `error_code` is RATE_LIMIT_429, CONTEXT_EXCEEDED, TIMEOUT or API_ERROR."""
        with self.guard("usage", self.warnings):
            if error_code is not None and error_code not in ERROR_CODES:
                problem = f"{error_code!r} is no error code: use one of {', '.join(ERROR_CODES)}; it was noted as API_ERROR"
                self.guard.warn(f"usage: {problem}", self.warnings, UsageError(problem))
                error_code = "API_ERROR"
            self.usages.append(
                Usage(
                    execution_id=self.id,
                    step_id=step,
                    model=str(model),
                    provider=None if provider is None else str(provider),
                    tokens=None if tokens is None else int(tokens),
                    latency_ms=None if latency_ms is None else float(latency_ms),
                    cost_usd=None if cost_usd is None else float(cost_usd),
                    success=bool(success) and error_code is None,
                    error_code=error_code,
                    error_message=None if error_message is None else str(error_message),
                    at=self._now(),
                )
            )

    def step(self, role: str, *, id: str | None = None, file_path: str | None = None) -> StepRecorder:  # noqa: A002
        """Open a step of the workflow, to be used as a context manager: it fails where its block raises."""
        name = id or f"step-{next(self._numbers)}"
        return StepRecorder(
            run=self, id=name, role=role, file_path=file_path, started_at=self._now(), started=time.perf_counter()
        )

    def close_step(self, step: StepRecorder, status: str) -> None:
        with self.guard("step", self.warnings):
            self.steps.append(
                Step(
                    execution_id=self.id,
                    step_id=step.id,
                    role=step.role,
                    status=status,
                    file_path=step.file_path,
                    output_hash=step.output_hash,
                    repeats=step.repeats,
                    started_at=step.started_at,
                    ended_at=self._now(),
                    duration_ms=(time.perf_counter() - step.started) * 1000,
                )
            )

    def keep(self) -> None:
        """Put on record now what was chosen so far, for work that may outlive this process; raise LedgerError."""
        fresh = [decision for decision in self.observed.decisions if decision.id not in self.kept]
        if self.app is not None and fresh:
            self.app.ledger.append(*fresh)
            self.kept |= {decision.id for decision in fresh}

    def _now(self) -> datetime:
        return self.app.clock() if self.app is not None else self.started_at

    # --------------------------------------------------------------------------------------------- as a context manager

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._token is not None:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in: nothing to reset there
                CURRENT.reset(self._token)
            self._token = None
        self.finish(self, None if error is not None else self.result, error)


def name_of(option: Any) -> str:
    """Return an option as the ledger knows it."""
    found = plain(option)
    return found if isinstance(found, str) else json.dumps(found, sort_keys=True)
