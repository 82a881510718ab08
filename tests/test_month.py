"""A simulated month: what the loop is for, end to end, against the same month with learning switched off."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learning_loop import LearningDashboard, LearningOrchestrator
from learning_loop.flows.judging import judge
from learning_loop.flows.measuring import counted_weeks
from learning_loop.ledger import Filter
from learning_loop.records import FAMILIES
from learning_loop.workspace import Workspace

MONDAY = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
A_DAY = 36  # tasks
STEPS = tuple(f"step {number}" for number in range(14))


SCORING = """
scoring:  # without efficiency: how long these runs take is this machine's affair
  preset: plain
  presets: {plain: {accuracy: 0.8, reusability: 0.2}}
"""


class Clock:
    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@dataclass
class World:
    """What is true of the work and not told to anybody; a worker that reads its briefing and is otherwise clumsy."""

    rng: random.Random

    def tasks(self, day: int) -> Iterator[dict[str, Any]]:
        for number in range(A_DAY):
            component = ("api", "web", "docs")[number % 3]
            task: dict[str, Any] = {
                "id": f"{day}-{number}",
                "type": "build" if component != "docs" else "write",
                "component": component,
            }
            task["parameters"] = {"client": self.rng.choice(["httpx", "urllib"]), "level": self.rng.choice([1, 2, 3])}
            task["tags"] = [self.rng.choice(["morning", "noon"])]
            yield task

    def work(self, task: dict[str, Any], run: Any) -> dict[str, Any]:
        client = run.parameters.get("client", task["parameters"]["client"])
        if any(f"avoid parameter client = {client}" in rule.text for rule in run.briefing.rules):
            client = {"httpx": "urllib", "urllib": "httpx"}[client]
        options = self.rng.sample(["small", "large"], 2)
        model = run.decide("model", options)
        pace = run.decide("pace", self.rng.sample(["fast", "safe"], 2))
        told = [hit for hit in run.briefing.notes if hit.category == "template"]
        steps = STEPS[:4] if told else self.rng.sample(STEPS, 4)
        for step in steps:
            with run.step(step, id=step):
                pass
        chance = 0.95
        if task["component"] == "api" and client == "httpx":
            chance = 0.15
        if task["component"] == "web" and pace == "fast":
            chance = 0.4
        if task["component"] == "docs" and model == "small":
            chance = 0.25
        if self.rng.random() > chance:
            raise RuntimeError(f"{task['component']} broke with {client} at {self.rng.randrange(10_000)}")
        return {"success": True}


def month(folder: Path, *, mode: str, seed: int) -> tuple[LearningOrchestrator, list[Any]]:
    workspace, _ = Workspace.init(folder)
    (workspace.config / "scoring.yaml").write_text(SCORING, encoding="utf-8")
    world, clock = World(random.Random(seed)), Clock()
    environ = {  # the rest is as it comes: rules are on trial, and memory is withheld now and then
        "LEARNING_LOOP_MEMORY_EMBEDDER": "lexical",
        "LEARNING_LOOP_MODE": mode,
        "LEARNING_LOOP_RULES_SETTABLE": "[client]",
    }
    loop = LearningOrchestrator(
        world.work, workspace=workspace.root, environ=environ, clock=clock, rng=random.Random(seed + 1), strict=True
    )
    found = []
    for day in range(28):
        clock.now = MONDAY + timedelta(days=day)
        for task in world.tasks(day):
            try:
                loop.execute_with_learning(task)
            except RuntimeError:
                pass
            clock.now += timedelta(minutes=15)
        if mode == "production":
            judge(loop.app)  # every 20 seconds, if these were days
        if day % 7 == 6:
            found.append(loop.weekly_learning_synthesis())
    return loop, found


def daily_gains(loop: LearningOrchestrator, without: LearningOrchestrator) -> list[float]:
    """Return how much higher the mean score of each day is: the tasks of both months are the same."""
    means = []
    for each in (loop, without):
        days: dict[int, list[float]] = {}
        for run in each.app.ledger.observations(Filter(ended=True), most=10_000):
            days.setdefault(int((run.started - MONDAY.timestamp()) // 86_400), []).append(run.score or 0.0)
        means.append({day: sum(scores) / len(scores) for day, scores in days.items()})
    return [means[0][day] - means[1][day] for day in sorted(means[0])]


def reuse_by_week(loop: LearningOrchestrator) -> list[float]:
    found = []
    for week in counted_weeks(loop.app):
        known = sum(kind.reuse_known for kind in week.kinds)
        found.append(sum(kind.reused for kind in week.kinds) / known)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_of_learning(tmp_path: Path, seed: int) -> None:
    loop, weeks = month(tmp_path / "on", mode="production", seed=seed)
    without, _ = month(tmp_path / "off", mode="disabled", seed=seed)
    with loop, without:
        # at least three recurring patterns, each a note people read
        patterns = list((loop.workspace / "memory" / "long-term" / "component-patterns").glob("*.md"))
        assert len(patterns) >= 3
        assert weeks[-1]["patterns_identified"] >= 3
        assert weeks[0]["rules_updated"]
        # the rules are the true ones, and they reach the work
        conditions = {rule.says for rule in loop._must().rules.rules(fresh=True)}
        for true in ("client", "model", "pace"):
            assert any(true in text for text in conditions), true
        # reuse is up by a fifth against the month without learning, and rises within it
        with_it, off_it = reuse_by_week(loop), reuse_by_week(without)
        assert with_it[-1] > with_it[0]
        assert with_it[-1] >= 1.2 * off_it[-1]
        # scores upward week over week against the same month without learning, with an interval above zero
        gains = daily_gains(loop, without)
        weeks_since = np.arange(len(gains)) / 7
        (slope, _), covariance = np.polyfit(weeks_since, gains, 1, cov=True)
        assert len(gains) == 28
        assert slope - 2.06 * np.sqrt(covariance[0, 0]) > 0  # Student's t, 26 degrees of freedom
        # the dashboard says the same
        report = LearningDashboard(loop).generate_report()
        assert set(report) == {"metrics", "trends", "recommendations"}
        assert report["metrics"]["component_reuse_rate"]["n"] > 0
        improvement = report["metrics"]["overall_improvement"]
        assert improvement["value"] > 0
        assert improvement["low"] is not None
        # every synthesis again changes nothing
        for week in weeks:
            again = loop.weekly_learning_synthesis(week["period"])
            assert not again.changed
        assert set(loop.pattern_extractor.extract_patterns(loop.app.ledger.executions(limit=900))) == {
            f"{family}_patterns" for family in FAMILIES
        }
