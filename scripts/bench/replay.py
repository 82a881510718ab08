#!/usr/bin/env -S .venv/bin/python
"""Replay: logged matrices of real agents and models, one pass, many orders; how much of what could be had is had.

swebench     14 models on 500 issues, the reward `resolved - weight x USD` at three weights: the share of the gap between an arm
             at random and the best one that is closed, by our policy at one setting; beside VowpalWabbit, mabwiser, and a
             reference that knows the arms' means but not whose they are
routerbench  11 models on 3,178 prompts of three tasks, correct and 100 x USD: the mean reward, where the task says which model,
             and where the tasks are told wrongly
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _harness
import numpy as np

from learning_loop.flows.replay import Matrix, read_matrix, replay
from learning_loop.policies import learner
from learning_loop.records import Experience

WEIGHTS = (0.0, 0.25, 1.0)
FLOOR = 0.01


class KnownMeans:
    """Takes the arm that is likeliest the best. It knows the means of all arms, but not which has which: no policy can."""

    version = "known"

    def __init__(self, means: Sequence[float], spread: float) -> None:
        self.means, self.spread = np.array(means), spread
        self.logs: dict[str, Any] = {}

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        logs = np.array([self.logs.get(option, np.zeros_like(self.means)) for option in options])
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        best = weights[:, self.means.argmax()] / weights.sum(axis=1)
        return [float(item) for item in best >= best.max()]

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            self.logs[one.chosen] = self.logs.get(one.chosen, 0.0) - (one.reward - self.means) ** 2 / (2 * self.spread**2)

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError


class Peer:
    """A bandit of another library without context, as one of our policies: it chooses by itself."""

    version = "peer"

    def __init__(self, make: Callable[[Sequence[str]], Any]) -> None:
        self.make = make
        self.inner: Any = None

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        self.inner = self.inner or self.make(options)
        shares: Sequence[float] = self.inner.shares()
        return shares

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            self.inner.learn(one.chosen, one.reward)

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError


class Mabwiser:
    """mabwiser's UCB1; its own scale, so that rewards are brought between 0 and 1."""

    def __init__(self, arms: Sequence[str], alpha: float) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        self.arms, self.tried = list(arms), 0
        self.mab = MAB(self.arms, LearningPolicy.UCB1(alpha=alpha))

    def shares(self) -> list[float]:
        arm = self.mab.predict() if self.tried >= len(self.arms) else self.arms[self.tried]
        return [float(item == arm) for item in self.arms]

    def learn(self, arm: str, reward: float) -> None:
        (self.mab.partial_fit if self.tried else self.mab.fit)([arm], [reward])
        self.tried += 1


class Vowpal:
    """VowpalWabbit's SquareCB without features."""

    def __init__(self, arms: Sequence[str], seed: int) -> None:
        import vowpalwabbit

        self.arms = list(arms)
        self.work = vowpalwabbit.Workspace(f"--cb_explore {len(arms)} --squarecb --quiet --random_seed {seed + 1}")
        self.now: list[float] = []

    def shares(self) -> list[float]:
        self.now = [max(share, 0.0) for share in self.work.predict("| one")]
        return self.now

    def learn(self, arm: str, reward: float) -> None:
        place = self.arms.index(arm)
        self.work.learn(f"{place + 1}:{-reward}:{self.now[place] / sum(self.now)} | one")


def peers() -> dict[str, Callable[[], Peer]]:
    found: dict[str, Callable[[], Peer]] = {}
    try:
        import mabwiser  # noqa: F401

        found["mabwiser UCB1"] = lambda: Peer(lambda arms: Mabwiser(arms, 0.5))
    except ImportError:
        print("mabwiser is not installed: pip install 'learning-loop[bench]'")
    try:
        import vowpalwabbit  # noqa: F401

        found["VowpalWabbit SquareCB"] = lambda: Peer(lambda arms: Vowpal(arms, 0))
    except ImportError:
        print("vowpalwabbit is not installed: pip install 'learning-loop[bench]'")
    return found


def swebench(bench: _harness.Bench, folder: Path) -> None:
    shuffles = 20 if bench.quick else 200
    for weight in WEIGHTS:
        matrix = read_matrix(folder / "swebench_agent_runs.csv.gz", arm="arm", reward=f"resolved - {weight} * cost_usd")
        ours = partial(learner, "horizon", horizon=len(matrix.tasks))
        known = partial(KnownMeans, list(matrix.arms.values()), _spread(matrix))
        makes: dict[str, tuple[Callable[[], Any], float]] = {
            "horizon": (ours, 0.0),
            f"horizon, floor {FLOOR}": (ours, FLOOR),
            "knows the means": (known, 0.0),
            "epsilon": (partial(learner, "epsilon"), 0.0),
            **{name: (make, 0.0) for name, make in peers().items()},
        }
        for name, (make, floor) in makes.items():
            many = shuffles if name.startswith("horizon") else max(shuffles // 4, 10)
            found = replay(matrix, make, name=name, shuffles=many, seed=bench.seed, floor=floor, told=bench.telling(name))
            bench.row(part="swebench", usd=weight, who=name, shuffles=many, mean=found.mean, share=found.share)
            if name == "horizon":
                bench.goal(f"share of the gap closed at {weight} a USD", found.share or 0.0, at_least=0.75)


def routerbench(bench: _harness.Bench, folder: Path) -> None:
    matrix = read_matrix(
        folder / "routerbench_runs.csv.gz", arm="arm", reward="correct - 100 * cost_usd", context=["task"], unit="sample_id"
    )
    best, size = max(matrix.arms.values()), len(matrix.tasks)
    found = replay(
        matrix,
        lambda: learner("horizon", horizon=size, by=["task"]),
        name="horizon",
        shuffles=6 if bench.quick else 100,
        seed=bench.seed,
        told=bench.telling("routerbench"),
    )
    bench.row(part="routerbench", who="one arm, the best", mean=best)
    bench.row(part="routerbench", who="horizon by task", shuffles=found.shuffles, mean=found.mean, low=found.low)
    bench.row(part="routerbench", who="horizon, tasks told wrongly", shuffles=found.shuffles, mean=found.shuffled)
    if bench.quick:
        return
    bench.goal("mean reward by task", found.mean, at_least=0.745)
    bench.goal("its lower 95 % bound above the best arm", found.low - best, at_least=0.0)
    bench.goal("the control with tasks told wrongly, beyond the best arm", (found.shuffled or 0.0) - best, 0.0)


def _spread(matrix: Matrix) -> float:
    """Return the standard deviation of an arm's rewards round its mean."""
    off = [task.rewards[arm] - mean for task in matrix.tasks for arm, mean in matrix.arms.items()]
    return float(np.std(off))


def work(bench: _harness.Bench) -> None:
    if bench.data is None:
        raise OSError("it needs --data DIR, with swebench_agent_runs.csv.gz and routerbench_runs.csv.gz")
    swebench(bench, bench.data)
    routerbench(bench, bench.data)


if __name__ == "__main__":
    _harness.run("replay", __doc__.splitlines()[0], work)
