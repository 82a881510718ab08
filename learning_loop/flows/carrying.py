"""A strategy carried out: work is taken apart, given to agents, tried again, and handed to a person, each of it on record."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from learning_loop.execution import Answer, Next, Waits, in_parallel, persist, within
from learning_loop.flows.choosing import Followed
from learning_loop.flows.notices import tell
from learning_loop.flows.run import Run
from learning_loop.records import Decision
from learning_loop.strategies import Version
from learning_loop.strategies.strategy import APPROACHES, DECOMPOSE, ESCALATE, PARALLELIZE, RETRY, SELECT_AGENT, facts_with

Work = Callable[[Any, Run], Any]
Begin = Callable[[Any], AbstractContextManager[Run]]
MOST_DEPTH = 3  # levels that work is taken apart to
AGAIN, GIVE_UP = "try again", "give up"
ASK, GO_ON = "ask a person", "go on"
MOST_MESSAGE = 500
UNUSED = {"wait_s": 0.0, "factor": 1.0, "longest_wait_s": 0.0, "other_agent": False}  # of a retry policy, in the first attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a runner leaves to a strategy; see `protocols.Orchestrated`."""

    agents: tuple[str, ...] = ()
    decompose: Callable[[Any], Sequence[Any]] | None = None
    combine: Callable[[Any, Sequence[Any]], Any] | None = None
    escalate: Callable[[Any, str, BaseException], Any] | None = None

    @classmethod
    def of(cls, runner: Any) -> Self | None:
        """Return what a runner offers; None where it leaves nothing to a strategy."""
        methods = {name: getattr(runner, name, None) for name in ("decompose", "combine", "escalate")}
        agents = getattr(runner, "agents", None)
        listed = agents if isinstance(agents, list | tuple | dict | set | frozenset) else ()
        named = tuple(listed) if all(isinstance(agent, str) for agent in listed) else ()
        named = tuple(sorted(named)) if isinstance(agents, set | frozenset) else named  # in any order, each time
        if not named and not callable(methods["decompose"]):
            return None
        return cls(agents=named, **{name: method for name, method in methods.items() if callable(method)})


class Cancelled(BaseException):
    """Whoever waits for the work was cancelled: nothing more of it is begun, and nothing is tried again."""


class Settling:
    """Waits for results: what work of an event loop returns is waited for there, while this thread waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._pending: set[Future[Any]] = set()
        self._over = False

    def __call__(self, work: Callable[[], Any], limit_s: float | None = None) -> Any:
        """Return what the work returns, or raise TimeoutError where that takes longer than the limit."""
        if self._loop is None:
            return within(work, limit_s)
        if self._over:
            raise Cancelled
        result = within(work, limit_s)  # of a coroutine function this is quick
        if not inspect.isawaitable(result):
            return result
        future = asyncio.run_coroutine_threadsafe(_awaited(result), self._loop)
        self._pending.add(future)
        if self._over:
            future.cancel()
        try:
            return future.result(limit_s)
        except Late:
            if future.done():
                raise  # it was the work that raised it
            future.cancel()
            raise TimeoutError(f"the work took longer than {limit_s:g} s") from None
        except CancelledError:
            raise Cancelled from None
        finally:
            self._pending.discard(future)

    async def beside(self, work: Callable[[], Any]) -> Any:
        """Return what the work returns, done in a thread of its own: those of the loop's pool are for the work itself."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def told(ended: Future[Any]) -> None:
            if done.cancelled():
                return
            error = ended.exception()
            if error is None:
                done.set_result(ended.result())
            elif isinstance(error, Cancelled):
                done.cancel()
            else:
                done.set_exception(error)

        def carried(ended: Future[Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(told, ended)

        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="learning-loop-run")
        pool.submit(copy_context().run, work).add_done_callback(carried)
        pool.shutdown(wait=False)
        return await done

    def cancel(self) -> None:
        """Cancel what is waited for, and begin nothing more: whoever waits for all of it was cancelled."""
        self._over = True
        for future in list(self._pending):
            future.cancel()


async def _awaited(result: Any) -> Any:
    return await result


@dataclass(kw_only=True)
class Carrying:
    """One run under a strategy, and the runs of its parts. What goes wrong in learning leaves the work as it was."""

    followed: Followed
    work: Work
    offer: Offer
    begin: Begin
    settle: Settling

    @property
    def version(self) -> Version:
        return self.followed.version

    def carry_out(self, task: Any, run: Run, depth: int = 0) -> Any:
        """Do a task as the strategy says, and return its result; what the last attempt raised is raised unchanged."""
        if self.offer.decompose is not None and depth < MOST_DEPTH:
            if depth == 0:  # parts are taken apart as the whole is
                run.approach = self._part(
                    run, DECOMPOSE, lambda one: one.strategy.decomposition_approach, options=APPROACHES, explores=True
                )
            if run.approach == "hierarchical" or (run.approach == "parallel" and depth == 0):
                parts = list(self.settle(partial(self.offer.decompose, task)) or ())
                if len(parts) > 1:
                    return self._apart(task, run, parts, depth)
        return self._tried(task, run)

    def _apart(self, task: Any, run: Run, parts: Sequence[Any], depth: int) -> Any:
        self._part(run, PARALLELIZE, lambda one: str(one.strategy.parallelism_config.max_parallel))
        at_once = min(self.version.strategy.parallelism_config.max_parallel, len(parts))

        def done(part: Any) -> Any:
            with self.begin(part) as nested:
                nested.inherits(run)
                nested.result = replace(self, followed=self.followed.branch()).carry_out(part, nested, depth + 1)
            return nested.result

        results = in_parallel(done, parts, at_once)
        return self.settle(partial(self.offer.combine, task, results)) if self.offer.combine is not None else results

    def _tried(self, task: Any, run: Run) -> Any:
        """Try a task until it succeeds, or the strategy gives it up."""
        policy, offered, facts = self.version.strategy.retry_policy, self.offer.agents, self.followed.facts
        agents = list(self.version.strategy.agents(facts, offered)) if run.task.agent is None else []
        if agents:
            first = self._part(
                run, SELECT_AGENT, lambda one: one.strategy.agents(facts, offered)[0], options=offered, explores=True
            )
            agents.sort(key=lambda agent: agent != first)

        def attempt(number: int) -> Any:
            if agents:
                run.agent = agents[(number - 1) % len(agents) if policy.other_agent else 0]
            return self.settle(lambda: self.work(task, run), policy.timeout_s)

        def again(number: int, error: BaseException) -> Next:
            following = run.guard.attempt(
                "strategy", run.warnings, lambda: self._after(task, run, number, error), default=False
            )
            return following if isinstance(following, Answer) else bool(following)

        waits = Waits(policy.wait_s, policy.factor, policy.longest_wait_s)
        return persist(attempt, again=again, waits=waits, noted=run.attempted)

    def _after(self, task: Any, run: Run, number: int, error: BaseException) -> Next:
        """Return what follows an attempt that failed: a person's answer, another attempt, or none."""
        policy = self.version.strategy.retry_policy
        trouble = {
            "attempts": number,
            "elapsed_s": round(run.elapsed_s, 3),
            "cost_usd": sum(use.cost_usd or 0.0 for use in run.usages) if run.usages else None,
            "error": type(error).__name__,
        }
        facts = facts_with(self.followed.context, **trouble)
        if any(version.strategy.escalation_rules for version in self.followed.versions.values()):
            asks = self._part(
                run, ESCALATE, lambda one: ASK if one.strategy.escalates(facts) else GO_ON, options=(GO_ON, ASK), **trouble
            )
            rule = self.version.strategy.escalates(facts) if asks == ASK else None
            if rule is not None:
                answer = self._asked(task, run, f"after {number} attempts: {rule.when}", error)
                if answer is not None or rule.stop:
                    return Answer(answer) if answer is not None else False
        if not run.task.idempotent:
            return False
        first = (
            {"max_attempts": 1} if number > 1 else {"max_attempts": 1, **UNUSED}
        )  # what had not been waited for made no difference
        alike = policy.model_copy(update=first)
        self.followed.narrow(lambda one: one.strategy.retry_policy.model_copy(update=first) == alike)

        def tries(one: Version) -> str:
            return AGAIN if number < one.strategy.retry_policy.max_attempts else GIVE_UP

        return self._part(run, RETRY, tries, options=(AGAIN, GIVE_UP), **trouble) == AGAIN

    def _asked(self, task: Any, run: Run, reason: str, error: BaseException) -> Any:
        """Tell a person, and return their answer; None where there is none."""
        app = run.app
        if app is not None:
            text = f"{run.kind} {run.task.id} asks for a person {reason}; {type(error).__name__}: {error}"[:MOST_MESSAGE]
            run.guard.attempt(
                "escalation",
                run.warnings,
                lambda: tell(app, "escalation", run.id, text, task=run.task.id, strategy=self.version.id),
            )
        return None if self.offer.escalate is None else self.settle(partial(self.offer.escalate, task, reason, error))

    def _part(self, run: Run, point: str, does: Callable[[Version], str], **more: Any) -> str:
        """Return what is done at a point, and note it; where that cannot be noted, what the version does."""
        app = run.app
        if app is not None:
            with run.guard("strategy", run.warnings):
                made: Decision = self.followed.part(app, point, does, execution_id=run.id, **more)
                run.observed.decisions.append(made)
                return made.chosen
        return does(self.version)
