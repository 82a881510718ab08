"""A world in which it matters how work is orchestrated, and how it matters depends on the work: nobody is told."""

import contextlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from learning_loop import LearningOrchestrator
from learning_loop.errors import LanguageModelError
from learning_loop.flows.ab_judging import judge
from learning_loop.flows.drift import notice
from learning_loop.flows.evolution import evolve_due, proposers_of
from learning_loop.flows.strategies import load
from learning_loop.protocols import Shape, Spending
from learning_loop.strategies import Strategy
from learning_loop.strategies.strategy import APPROACHES
from learning_loop.workspace import Workspace

TYPES, COMPLEXITIES, LANGUAGES = ("bug", "feature"), ("simple", "complex"), ("python", "rust")
AGENTS = ("ann", "bob", "cy")
PROJECTS = ("atlas", "birch", "cedar", "delta")
MOST_ATTEMPTS = 4
BASE, APPROACH, AGENT, FLAKY = (
    0.3,
    0.25,
    0.2,
    0.25,
)  # success without any of it; what each adds; attempts that fail by themselves
START = datetime(2026, 1, 5, tzinfo=UTC)
CONFIG = """
strategies:
  mode: production
  evolution: {{every_days: 14, longest_timeout_s: 0.02}}  # nobody waits for real here
  tests: {{guards: [success, safety]}}  # and what takes milliseconds is not to be held against anything
policies: {{ramp: {{hours: 0, guards: [success, safety]}}, time_budget_ms: 60000}}  # a pause of seconds would be days
"""
HAND_WRITTEN = {
    "direct": "{name: once, retry_policy: {max_attempts: 1}, rank: 0}",
    "patient": "{name: again and again, agent_selection_rules: [{take: bob}], retry_policy: {max_attempts: 3, wait_s: 0}}",
    "side-by-side": "{name: parts, decomposition_approach: parallel, agent_selection_rules: [{take: cy}],"
    " retry_policy: {max_attempts: 2, wait_s: 0}}",
    "step-by-step": "{name: parts of parts, decomposition_approach: hierarchical, retry_policy: {max_attempts: 2, wait_s: 0}}",
}
QUIET = """
reflection_triggers:
  thresholds: {low_performance: 0, high_performance: 100, high_surprise: 100}
anti_patterns: {repeated_error: null, slowing: null, low_reuse: null, repeated_surprise: null, low_scores: null}
"""  # what reflections write down plays no part here


@dataclass(frozen=True)
class Work:
    """One piece of work, as far as it matters."""

    type: str
    complexity: str
    language: str
    project: str


def all_work() -> list[Work]:
    return [Work(*one) for one in itertools.product(TYPES, COMPLEXITIES, LANGUAGES, PROJECTS)]


def facts_of(work: Work) -> dict[str, str]:
    """Return what conditions may ask of a piece of work."""
    return {
        "type": work.type,
        "context.type": work.type,
        "context.issue_type": work.type,
        "context.issue_complexity": work.complexity,
        "context.project_language": work.language,
        "context.project": work.project,
    }


@dataclass
class World:
    """Which way is best for which work, drawn by chance; after a drift, another one is."""

    rng: random.Random
    approach: dict[str, str] = field(default_factory=dict)
    agent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.drift()

    def drift(self) -> None:
        """Draw anew what is best, everything being otherwise than it was."""
        self.approach = {name: self._other(APPROACHES, self.approach.get(name)) for name in COMPLEXITIES}
        self.agent = {name: self._other(AGENTS, self.agent.get(name)) for name in LANGUAGES}

    def _other(self, options: Sequence[str], now: str | None) -> str:
        return self.rng.choice([option for option in options if option != now])

    def attempt(self, work: Work, approach: str, agent: str) -> float:
        """Return how likely an attempt succeeds, where nothing fails by itself."""
        offset = {"atlas": 0.05, "birch": -0.05, "cedar": 0.0, "delta": 0.0}[work.project]
        good = (approach == self.approach[work.complexity]) * APPROACH + (agent == self.agent[work.language]) * AGENT
        return BASE + offset + good

    def success(self, work: Work, approach: str, agent: str, attempts: int) -> float:
        """Return how likely work succeeds: an attempt may fail by itself, and then another may be made."""
        return self.attempt(work, approach, agent) * (1 - FLAKY**attempts)

    def of(self, work: Work, strategy: Strategy | None, agents: Sequence[str] = AGENTS) -> float:
        """Return how likely work succeeds under a strategy, exactly."""
        if strategy is None:
            return self.success(work, "single", agents[0], 1)
        facts = facts_of(work)
        attempts = strategy.retry_policy.max_attempts
        return self.success(work, strategy.decomposition_approach, strategy.agents(facts, agents)[0], attempts)

    def best(self, work: Work) -> float:
        return max(self.success(work, approach, agent, MOST_ATTEMPTS) for approach in APPROACHES for agent in AGENTS)


@dataclass
class Days:
    """Mean success by day, exactly: of what was done, of the strategy that people wrote first, and of the best there is.

    `offered` is that of the best version in force for each piece of work.
    """

    done: list[float] = field(default_factory=list)
    hand: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    offered: list[float] = field(default_factory=list)

    def closed(self, first: int, last: int) -> float:
        """Return the share of the gap from the hand-written strategy to the best that was closed in days `first` to `last`."""
        done, hand, best = (sum(of[first:last]) for of in (self.done, self.hand, self.best))
        return (done - hand) / (best - hand)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=5)
        return self.now


class Runner:
    """Does work; whether it succeeds is drawn by the world."""

    agents = AGENTS

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self.likely = 0.0  # to succeed, exactly, the way the last task was done

    def decompose(self, task: Any) -> list[Any]:
        return []  # it is one piece however it is taken: what the approach is worth shows in how likely it succeeds

    def __call__(self, task: Any, run: Any) -> Any:
        approach, agent = run.approach or "single", run.agent or self.agents[0]
        attempts = 1 if run.strategy is None else run.strategy.retry_policy.max_attempts
        self.likely = self._world.success(task["work"], approach, agent, attempts)
        if self._rng.random() < FLAKY:
            raise TimeoutError("it took too long")
        return {"success": self._rng.random() < self._world.attempt(task["work"], approach, agent)}


class Adviser:
    """A language model that proposes good, useless, harmful and malformed changes, as it comes."""

    identity = "adviser"

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng

    def ask(self, instructions: str, prompt: str, shape: type[Shape], spent: Spending) -> Shape:
        spent.input_tokens += len(prompt) // 4
        spent.output_tokens += 200
        runs = re.findall(r"^- id (\S+?):", prompt, re.MULTILINE)
        made = [
            self._mutation(self._rng.choice(["good", "useless", "harmful", "malformed", "invented"]), runs) for _ in range(2)
        ]
        try:
            return shape.model_validate({"mutations": made})
        except ValidationError as error:
            raise LanguageModelError(f"no usable answer: {error.error_count()} faults") from None

    def _mutation(self, sort: str, runs: Sequence[str]) -> Any:
        rules = [{"when": f"context.project_language = {name}", "take": [who]} for name, who in self._world.agent.items()]
        worst = [agent for agent in AGENTS if agent not in self._world.agent.values()][:1] or [AGENTS[0]]
        strategies: dict[str, Any] = {
            "good": {"agent_selection_rules": rules},
            "useless": {"retry_policy": {"max_attempts": 2, "wait_s": self._rng.choice([0, 0.001, 0.002])}},
            "harmful": {"agent_selection_rules": [{"take": worst}], "retry_policy": {"max_attempts": 1}},
            "malformed": "decomposition_approach: everything",
            "invented": {"agent_selection_rules": rules},
        }
        return {
            "strategy": strategies[sort],
            "reasoning": f"it seems {sort}",
            "expected_improvement": "success",
            "evidence": ["20990101-000000-aaaaaaaa"] if sort == "invented" else list(runs[:2]),
        }


@dataclass
class Lived:
    """A history: its days, and every version that was promoted with how much better it was than the one before it, exactly."""

    days: Days
    promoted: list[float]
    tests: int
    taken_back: int
    drifts: int = 0
    advised: int = 0


def live(
    folder: Path,
    *,
    seed: int,
    days: int = 60,
    a_day: int = 600,
    drift_at: int = 40,
    advised: bool = False,
    told: Callable[[int, int], None] = lambda _done, _total: None,
    say: Callable[[str], None] = lambda _line: None,
) -> Lived:
    """Live through days of work with strategies in production, evolving by themselves; return what came of it."""
    rng = random.Random(seed)
    world, clock = World(random.Random(seed + 1)), Clock()
    workspace, _ = Workspace.init(folder)
    (workspace.config / "policies.yaml").write_text(CONFIG.format(), encoding="utf-8")
    (workspace.config / "triggers.yaml").write_text(QUIET, encoding="utf-8")
    for name, text in HAND_WRITTEN.items():
        (workspace.config / "strategies" / f"{name}.yaml").write_text(text, encoding="utf-8")
    lived = Lived(Days(), [], 0, 0)
    environ = {
        "LEARNING_LOOP_MEMORY_EMBEDDER": "lexical",
        "LEARNING_LOOP_RECALL_ENABLED": "false",
        "LEARNING_LOOP_CAPTURE_GIT": "false",
        "LEARNING_LOOP_NOTIFY_LOG": "false",
        "LEARNING_LOOP_LANGUAGE_MODEL_INPUT_USD_PER_MILLION": "0",
        "LEARNING_LOOP_LANGUAGE_MODEL_OUTPUT_USD_PER_MILLION": "0",
    }
    runner = Runner(world, rng)
    adviser = Adviser(world, random.Random(seed + 3)) if advised else None
    with LearningOrchestrator(
        runner,
        workspace=workspace.root,
        clock=clock,
        rng=random.Random(seed + 2),
        strict=True,
        environ=environ,
        language=adviser,
    ) as loop:
        for day in range(days):
            if day == drift_at:
                world.drift()
            done, hand, best, offered = 0.0, 0.0, 0.0, 0.0
            versions = load(loop.app)
            for number, work in enumerate(_of_a_day(rng, a_day)):
                clock.now = START + timedelta(days=day, seconds=86_400 * number / a_day)
                done += _do(loop, runner, work, f"{day}.{number}") / a_day
                hand += world.of(work, None) / a_day
                best += world.best(work) / a_day
                offered += max(world.of(work, one.strategy) for one in versions.for_(facts_of(work))) / a_day
                if number % (a_day // 3) == 0:
                    loop.learn()
            for name, of in (("done", done), ("hand", hand), ("best", best), ("offered", offered)):
                getattr(lived.days, name).append(of)
            clock.now = START + timedelta(days=day + 1)
            _evening(loop, world, lived, say)
            say(f"day {day}: {done:.3f} of {hand:.3f} to {best:.3f}, {offered:.3f} offered")
            told(day + 1, days)
    return lived


def _of_a_day(rng: random.Random, a_day: int) -> Iterator[Work]:
    for _ in range(a_day):
        yield Work(rng.choice(TYPES), rng.choice(COMPLEXITIES), rng.choice(LANGUAGES), rng.choice(PROJECTS))


def _do(loop: LearningOrchestrator, runner: Runner, work: Work, name: str) -> float:
    task = {
        "id": name,
        "type": work.type,
        "project": work.project,
        "description": "as the others",
        "complexity": work.complexity,
        "language": work.language,
        "idempotent": True,
        "work": work,
    }
    with contextlib.suppress(TimeoutError):
        loop.execute_with_learning(task)
    return runner.likely


def _evening(loop: LearningOrchestrator, world: World, lived: Lived, say: Callable[[str], None]) -> None:
    """Let the gate look, and what may evolve do so."""
    loop.learn()
    if (drift := notice(loop.app)) is not None:
        lived.drifts += 1
        say(f"  drift: {drift.data}")
    for name, told in judge(loop.app):
        say(f"  test {name[-8:]} {told.move.value} {told.arm}: {told.reason} ({told.units}, {told.control}, {told.effect})")
        if told.move == "promote":
            lived.promoted.append(_better(loop, world, name, str(told.arm)))
            say(f"    truly {lived.promoted[-1]:+.3f}")
        lived.taken_back += told.move == "rollback"
    for evolved in evolve_due(loop.app, proposers_of(loop.app)):
        lived.tests += evolved.test is not None
        lived.advised += sum(one.origin == "language model" for one in evolved.proposals)
        say(f"  {evolved.slug} evolves: {[(one.strategy.slug, one.reasoning[:120]) for one in evolved.proposals]}")


def _better(loop: LearningOrchestrator, world: World, test: str, arm: str) -> float:
    """Return by how much a version is better than the one it was tested against, over the work it is for."""
    from learning_loop.flows.ab_tests import experiment_named

    control = experiment_named(loop.app, test).control
    kept = loop.app.ledger.strategy_versions([control, arm])
    old, new = (Strategy.model_validate(kept[name].document) for name in (control, arm))
    gains = []
    for work in all_work():
        facts = facts_of(work)
        if new.is_for(facts) and old.is_for(facts):
            gains.append(world.of(work, new) - world.of(work, old))
    return sum(gains) / len(gains) if gains else 0.0
