#!/usr/bin/env -S .venv/bin/python
"""Strategies: A/B tests with known answers, sixty days in a world that nobody is told of, and what it costs.

answers    tests of equal arms and of one that is 15 points better, looked at after every unit; mixtures in which the better arm
           looks worse and the reverse; arms that lose a part of their failures
days       work done under hand-written strategies that evolve by themselves, in production, with every default but the
           waits: what is best depends on the work, is drawn by chance, and is another one from day 40 on. Values are exact,
           not drawn. Once without a model, and once with one that proposes good, useless, harmful and malformed changes alike
cost       an evolution over 100,000 decisions
"""

import random
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import Pool
from pathlib import Path
from statistics import mean
from typing import Any

import _harness

from learning_loop.app import App
from learning_loop.flows.evolution import evolve, lately
from learning_loop.records import Decision, Execution, Outcome, utc_now
from learning_loop.workspace import Workspace
from tests.strategy_world import Lived, live
from tests.test_ab import History, make, mixture

DRIFT, DAYS, A_DAY = 40, 60, 600
WORLDS = 8  # each lived without and with a model: fewer promote too little for a share of them to be held against .05
ENVIRON = {"LEARNING_LOOP_MEMORY_EMBEDDER": "lexical"}


def answers(bench: _harness.Bench) -> None:
    null, found, few = (40, 50, 5) if bench.quick else (400, 300, 40)
    jobs: list[tuple[str, int]] = [
        *(("null", seed) for seed in range(null)),
        *(("three", seed) for seed in range(null // 2)),
        *(("better", seed) for seed in range(found)),
        *(("up", seed) for seed in range(few)),
        *(("down", seed) for seed in range(few)),
        *(("lost", seed) for seed in range(few)),
    ]
    with Pool(2) as pool:
        done = list(bench.progress(pool.imap(_answered, jobs, chunksize=10), "known answers", len(jobs)))

    def share(name: str) -> tuple[float, int]:
        own = [value for (sort, _), value in zip(jobs, done, strict=True) if sort == name]
        return sum(own) / len(own), len(own)

    limits: dict[str, tuple[str, dict[str, float]]] = {
        "null": ("equal arms with a winner, by 2,000 units", {"at_most": 0.05}),
        "three": ("three equal arms with a winner, by 2,000 units", {"at_most": 0.05}),
        "better": ("15 points better found by 600 units, from .5", {"at_least": 0.9}),
        "up": ("better in each context, worse in the mixture: wins, where comparing means rejects it", {"at_least": 0.95}),
        "down": ("worse in each context, better in the mixture: does not win", {"at_least": 0.95}),
        "lost": ("12 % of an arm's units vanish, all failures: caught before it wins", {"at_least": 0.95}),
    }
    for name, (says, limit) in limits.items():
        value, histories = share(name)
        bench.row(part="answers", what=says, value=value, of=histories)
        loose = 2 * (0.05 * 0.95 / histories) ** 0.5 if bench.quick and name in ("null", "three") else 0.0
        loose = -2 * (0.9 * 0.1 / histories) ** 0.5 if bench.quick and name == "better" else loose  # what so few can tell
        bench.goal(says, value, **{side: bound + loose for side, bound in limit.items()})


def _answered(job: tuple[str, int]) -> float:
    name, seed = job
    if name == "null":
        return make(seed=seed).run(2_000, lambda _arm, _: 0.6).test.winner is not None
    if name == "three":
        return make("new", "other", seed=seed).run(2_000, lambda _arm, _: 0.6).test.winner is not None
    if name == "better":
        return make(seed=seed).run(600, lambda arm, _: 0.5 + 0.15 * (arm == "new")).test.winner == "new"
    if name == "lost":
        losing = make(seed=seed).run(1_500, lambda _arm, _: 0.6, lost=0.3)
        return losing.test.frozen and losing.test.winner is None
    sign, gain = (1, {"easy": 0.85, "hard": 0.25}) if name == "up" else (-1, {"easy": 0.25, "hard": 0.85})

    def likely(arm: str, context: str) -> float:
        return gain[context] + sign * 0.14 * (arm == "new")

    history: History = mixture(make(seed=seed), likely)
    fooled = history.plainly_better("new") != (name == "up")
    return fooled and (history.test.winner == "new") == (name == "up")


def days(bench: _harness.Bench) -> None:
    seeds = range(bench.seed, bench.seed + (1 if bench.quick else WORLDS))
    length, a_day = (10, 150) if bench.quick else (DAYS, A_DAY)
    jobs = [(seed, advised, length, a_day) for advised in (False, True) for seed in seeds]
    lived = list[Lived]()
    with Pool(3) as pool:  # a third of the time is work that hangs until its timeout
        for (seed, advised, *_), one in zip(jobs, bench.progress(pool.imap(_lived, jobs), "days", len(jobs)), strict=True):
            lived.append(one)
            if not bench.quick:
                told = " ".join(f"{one.days.closed(day, day + 5):.2f}" for day in range(0, DAYS, 5))
                bench.say(f"seed {seed}{', with a model' if advised else ''}: gap closed, by five days: {told}")
    for advised in (False, True):
        own = [one for (_, with_model, *_), one in zip(jobs, lived, strict=True) if with_model == advised]
        who = "with a model" if advised else "without a model"
        promoted = [gain for one in own for gain in one.promoted]
        wrong = sum(gain <= 0 for gain in promoted)
        bench.row(part="days", what=f"tests {who}", value=sum(one.tests for one in own), of=len(own))
        bench.row(part="days", what=f"promoted {who}", value=len(promoted), of=sum(one.tests for one in own))
        bench.row(part="days", what=f"  of these no better, exactly, {who}", value=wrong, of=len(promoted))
        bench.row(part="days", what=f"taken back {who}", value=sum(one.taken_back for one in own), of=len(promoted))
        if advised:
            bench.row(
                part="days", what="proposals of the model that were tested", value=sum(one.advised for one in own), of=len(own)
            )
        bench.goal(f"false promotions {who}", wrong / len(promoted) if promoted else 0.0, 0.05)
        if bench.quick:
            closed = mean(one.days.closed(length - 4, length) for one in own)
            bench.row(part="days", what=f"gap closed in days 7 to 10 {who}", value=closed, of=len(own))
            continue
        for one, (seed, *_) in zip(own, [job for job in jobs if job[1] == advised], strict=True):
            parts = (one.days.closed(35, DRIFT), one.days.closed(DRIFT, DRIFT + 2), one.days.closed(55, DAYS))
            bench.row(
                part="days",
                what=f"  seed {seed}: before the drift, just after, at the end",
                value=" ".join(f"{part:.2f}" for part in parts),
            )
        before = mean(one.days.closed(35, DRIFT) for one in own)
        after, end = mean(one.days.closed(DRIFT, DRIFT + 2) for one in own), mean(one.days.closed(55, DAYS) for one in own)
        bench.row(part="days", what=f"gap closed before the drift {who}", value=before, of=len(own))
        bench.row(part="days", what=f"just after it {who}", value=after, of=len(own))
        bench.row(part="days", what=f"twenty days later {who}", value=end, of=len(own))
        bench.goal(f"gap to the oracle closed before the drift {who}", before, at_least=0.6)
        bench.goal(f"gap closed again twenty days after the drift {who}", end, at_least=0.6)


def _lived(job: tuple[int, bool, int, int]) -> Lived:
    seed, advised, length, a_day = job
    with tempfile.TemporaryDirectory() as folder:
        return live(Path(folder) / "w", seed=seed, days=length, a_day=a_day, drift_at=DRIFT, advised=advised)


def cost(bench: _harness.Bench) -> None:
    runs = 2_000 if bench.quick else 33_334
    with tempfile.TemporaryDirectory() as folder:
        workspace, _ = Workspace.init(Path(folder))
        text = "strategies: {mode: production}\npolicies: {time_budget_ms: 60000}\n"
        (workspace.config / "policies.yaml").write_text(text, encoding="utf-8")
        with App.open(workspace, environ=ENVIRON) as app:
            from learning_loop.flows.strategies import load

            versions = [version.id for version in load(app).versions]
            for start in range(0, runs, 500):
                app.ledger.append(*(row for number in range(start, min(start + 500, runs)) for row in _rows(number, versions)))
            began = time.perf_counter()
            decisions = lately(app).decisions
            read = time.perf_counter() - began
            began = time.perf_counter()
            found = evolve(app, "direct")
            took = time.perf_counter() - began
    bench.row(part="cost", what="decisions read and modelled", value=decisions)
    bench.row(part="cost", what="seconds to read them", value=read)
    bench.row(part="cost", what=f"seconds of an evolution ({found.status})", value=took)
    bench.goal(f"seconds of an evolution over {decisions} decisions", took, 60.0)


def _rows(number: int, versions: list[str]) -> Iterator[Any]:
    """Yield a run as the ledger keeps it: a strategy, whom it was given to, and how it was taken apart."""
    rng, name = random.Random(number), f"r{number:06}"
    ended = utc_now() - timedelta(seconds=40_000 - number)
    context = {
        "type": rng.choice(["bug", "feature"]),
        "issue_type": rng.choice(["bug", "feature"]),
        "issue_complexity": rng.choice(["simple", "medium", "complex"]),
        "project_language": rng.choice(["python", "rust", "go"]),
        "project": rng.choice("pqrs"),
    }
    agent, version, approach = rng.choice("abc"), rng.choice(versions), rng.choice(["single", "parallel", "hierarchical"])
    good = rng.random() < 0.4 + 0.2 * (agent == "b") + 0.1 * (approach == "parallel")
    yield Execution(
        id=name, task_id=name, task_type=context["type"], component=None, agent=None, description=None, parameters={},
        dependencies=(), assumptions=(), tags=(), project=context["project"], sprint=None, parent_id=None, critical=False,
        idempotent=True, inputs_digest=None, inputs_preview=None, started_at=ended, host="here", pid=1, process_started_at=None,
    )  # fmt: skip
    choices = (
        ("strategy", versions, version),
        ("loop:select_agent", list("abc"), agent),
        ("loop:decompose", ["single", "parallel", "hierarchical"], approach),
    )
    for point, options, chosen in choices:
        yield Decision(
            id=f"{name}{point}", execution_id=name, point=point, alternatives=tuple(options),
            probabilities=tuple(1 / len(options) for _ in options), chosen=chosen, propensity=1 / len(options),
            policy=version, context=context, at=ended, latency_us=None,
        )  # fmt: skip
    yield Outcome(
        execution_id=name, task_type=context["type"], component=None, project=context["project"],
        status="succeeded" if good else "failed", success=good, ended_at=ended, error_type=None if good else "TimeoutError",
    )  # fmt: skip


def work(bench: _harness.Bench) -> None:
    for part in (cost, answers, days):
        if bench.wants(part.__name__):
            part(bench)


if __name__ == "__main__":
    _harness.run("strategies", __doc__.splitlines()[0], work)
