#!/usr/bin/env -S .venv/bin/python
"""Off-policy evaluation: how often the 95 % intervals hold what a policy really earns, on logs of another one.

coverage   logs of 200 and 1,000 choices by a policy with a floor of .05, in worlds of four arms and contexts that matter, the
           truth by exact summation; by each estimate, with its width
refused    logs that cannot say: deterministic ones, and policies that do what was never tried
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import _harness
import numpy as np

from learning_loop.errors import UsageError
from learning_loop.flows.off_policy import evaluate
from learning_loop.records import Experience
from learning_loop.stats.contingency import wilson

ARMS = ("a", "b", "c", "d")
KINDS = ("x", "y", "z")
FLOOR = 0.05


class Table:
    """A policy that has its probabilities by kind of context."""

    version = "table"

    def __init__(self, shares: Mapping[Any, Sequence[float]]) -> None:
        self.shares = shares

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        return [self.shares[context["kind"]][ARMS.index(option)] for option in options]


def greedy(rng: random.Random, floor: float) -> Table:
    """Return a policy that takes one arm for each kind, and any with at least the floor."""
    best = {kind: rng.choice(ARMS) for kind in KINDS}
    return Table({kind: [floor + (1 - 4 * floor) * (arm == best[kind]) for arm in ARMS] for kind in KINDS})


def log_of(rng: random.Random, means: Mapping[str, Sequence[float]], policy: Table, runs: int) -> list[Experience]:
    found = []
    for _ in range(runs):
        kind = rng.choice(KINDS)
        context = {"kind": kind, "noise": rng.gauss(0, 1)}
        shares = policy.distribution(context, ARMS)
        place = rng.choices(range(4), weights=shares)[0]
        reward = float(rng.random() < means[kind][place])
        found.append(
            Experience(
                context=context,
                options=ARMS,
                chosen=ARMS[place],
                propensity=shares[place],
                reward=reward,
                probabilities=tuple(shares),
            )
        )
    return found


def coverage(bench: _harness.Bench) -> None:
    worlds = 100 if bench.quick else 1_000
    for runs in (200, 1_000):
        held: dict[str, list[bool]] = {}
        width: dict[str, list[float]] = {}
        refused = 0
        for number in bench.progress(range(worlds), f"logs of {runs}", worlds):
            rng = random.Random(f"{bench.seed} {runs} {number}")
            means = {kind: [rng.random() for _ in ARMS] for kind in KINDS}
            logging, target = greedy(rng, FLOOR), greedy(rng, 0.0 if number % 2 else 0.1)
            log = log_of(rng, means, logging, runs)
            truth = float(np.mean([np.dot(target.shares[kind], means[kind]) for kind in KINDS]))
            try:
                found = evaluate(log, target, rng=rng)
            except UsageError:
                refused += 1
                continue
            for name in ("ips", "snips", "doubly_robust"):
                low, high = getattr(found, name)[1:]
                held.setdefault(name, []).append(low <= truth <= high)
                width.setdefault(name, []).append(high - low)
        for name, answers in held.items():
            share = sum(answers) / len(answers)
            bench.row(
                part="coverage",
                runs=runs,
                estimate=name,
                logs=len(answers),
                refused=refused,
                held=share,
                width=np.mean(width[name]),
            )
            low, high = wilson(sum(answers), len(answers), 2.576)
            if name == "doubly_robust" and not bench.quick:
                bench.goal(f"intervals that hold, {runs} choices, at least", share, at_least=0.90)
                bench.goal(f"intervals that hold, {runs} choices, at most", share, 0.98)
            elif name == "doubly_robust":  # few logs: what they show beyond doubt is held against the goal
                bench.goal(f"intervals that hold, {runs} choices, upper 99 % bound", high, at_least=0.90)
                bench.goal(f"intervals that hold, {runs} choices, lower 99 % bound", low, 0.98)


def refusals(bench: _harness.Bench) -> None:
    rng, said = random.Random(bench.seed), 0
    means: dict[str, list[float]] = {kind: [0.5] * 4 for kind in KINDS}
    for number in range(40):
        certain = number % 2 == 0
        logging = Table({kind: [1.0, 0, 0, 0] if certain else [0.5, 0.5, 0, 0] for kind in KINDS})
        target = Table({kind: [0, 0, 0.5, 0.5] if number % 4 == 1 else [0.4, 0.1, 0.25, 0.25] for kind in KINDS})
        try:
            evaluate(log_of(rng, means, logging, 400), target, rng=rng)
        except UsageError:
            said += 1
    bench.row(part="refused", logs=40, refused=said)
    bench.goal("logs that cannot say are refused", said / 40, at_least=1.0)


def work(bench: _harness.Bench) -> None:
    coverage(bench)
    refusals(bench)


if __name__ == "__main__":
    _harness.run("off_policy", __doc__.splitlines()[0], work)
