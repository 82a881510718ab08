#!/usr/bin/env -S .venv/bin/python
"""Policies: wrong choices on three sets of labels taken as bandits, beside other libraries; and what a decision costs.

regret    scikit-learn's digits (one pass), wine (five) and breast_cancer (one): z-scored features, the reward 1 for the right
          class, in the noisy case told wrongly one time in ten. Every policy has one setting for all; the best one is held
          against mabwiser's and VowpalWabbit's best, pair by pair over the seeds, and through the Decider with a floor
latency   to decide, and to learn, at 100 features and 20 arms; and to choose a strategy, as a run does
"""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

import _harness
import numpy as np
from numpy.typing import NDArray

from learning_loop.app import App
from learning_loop.decider import Decider
from learning_loop.flows.ab_tests import start
from learning_loop.flows.choosing import Chooser
from learning_loop.flows.experience import experience_of
from learning_loop.flows.guard import Guard
from learning_loop.flows.points import Points
from learning_loop.flows.strategies import load as in_force
from learning_loop.flows.strategies import rows_of
from learning_loop.policies import BANDITS, learner
from learning_loop.policies.linucb import ProbitUCB
from learning_loop.policies.warm import WarmStart
from learning_loop.protocols import Learner
from learning_loop.records import Experience, Task
from learning_loop.strategies import Strategy, version_of
from learning_loop.strategies.strategy import RetryPolicy
from learning_loop.workspace import Workspace

Floats = NDArray[np.float64]
BEST = "probit"  # of ours, chosen with its setting on the seeds 100 to 102
FLOOR = 0.02
STUDENT_T = {10: 2.262, 3: 4.303}  # .975 quantiles, by the number of pairs


@dataclass(frozen=True)
class Labels:
    """A set of labelled rows as a bandit: an arm is a class, and the reward whether it is the right one."""

    name: str
    rows: Floats
    classes: NDArray[np.int64]
    passes: int


class Player:
    """What chooses arms by number and learns from rewards; one of these for each library."""

    def __init__(self, columns: int, arms: int, seed: int) -> None:
        self.columns, self.arms = columns, arms
        self.rng = np.random.default_rng(seed)

    def choose(self, row: Floats) -> int:
        raise NotImplementedError

    def learn(self, row: Floats, arm: int, reward: float) -> None:
        raise NotImplementedError


class Ours(Player):
    """One of our policies, drawn from by itself, or by the Decider with a floor."""

    def __init__(self, columns: int, arms: int, seed: int, *, policy: Learner, floor: float = 0.0) -> None:
        super().__init__(columns, arms, seed)
        ids = (f"{seed}-{number}" for number in count())
        self.decider = Decider(clock=lambda: datetime.min.replace(tzinfo=UTC), ids=lambda: next(ids))
        self.policy, self.floor = policy, floor
        self.options = tuple(str(arm) for arm in range(arms))

    def choose(self, row: Floats) -> int:
        decision = self.decider.decide("arm", self.options, context=_context(row), policy=self.policy, floor=self.floor)
        return int(decision.chosen)

    def learn(self, row: Floats, arm: int, reward: float) -> None:
        one = Experience(context=_context(row), options=self.options, chosen=str(arm), propensity=None, reward=reward)
        self.policy.update([one])


def _context(row: Floats) -> dict[str, float]:
    return {f"f{number}": float(value) for number, value in enumerate(row[:-1])}


class Mabwiser(Player):
    """mabwiser's linear policies, given every reward as it comes."""

    def __init__(self, columns: int, arms: int, seed: int, *, thompson: bool, alpha: float, ridge: float) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        super().__init__(columns, arms, seed)
        kind = LearningPolicy.LinTS if thompson else LearningPolicy.LinUCB
        self.mab = MAB(list(range(arms)), kind(alpha=alpha, l2_lambda=ridge), seed=seed)
        self.begun = False

    def choose(self, row: Floats) -> int:
        return int(self.mab.predict([row])) if self.begun else int(self.rng.integers(self.arms))

    def learn(self, row: Floats, arm: int, reward: float) -> None:
        (self.mab.partial_fit if self.begun else self.mab.fit)([arm], [reward], [row])
        self.begun = True


class Vowpal(Player):
    """VowpalWabbit's contextual bandit with SquareCB, one step at a time."""

    def __init__(self, columns: int, arms: int, seed: int, *, options: str) -> None:
        import vowpalwabbit

        super().__init__(columns, arms, seed)
        self.work = vowpalwabbit.Workspace(f"--cb_explore {arms} {options} --quiet --random_seed {seed + 1}")
        self.chance = 1.0

    def choose(self, row: Floats) -> int:
        shares = np.array(self.work.predict(_line(row)))
        arm = int(self.rng.choice(self.arms, p=shares / shares.sum()))
        self.chance = float(shares[arm])
        return arm

    def learn(self, row: Floats, arm: int, reward: float) -> None:
        self.work.learn(f"{arm + 1}:{-reward}:{self.chance} {_line(row)}")


def _line(row: Floats) -> str:
    return "| " + " ".join(f"f{number}:{value:.6g}" for number, value in enumerate(row[:-1]))


def labels() -> list[Labels]:
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    found = []
    for name, load, passes in (("digits", load_digits, 1), ("wine", load_wine, 5), ("breast_cancer", load_breast_cancer, 1)):
        rows, classes = load(return_X_y=True)
        spread = rows.std(axis=0)
        scored = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
        found.append(Labels(name, np.hstack([scored, np.ones((len(rows), 1))]), classes, passes))
    return found


def wrong(of: Labels, make: Callable[[int, int, int], Player], seed: int, *, noisy: bool) -> int:
    """Return how often the wrong class was chosen."""
    player = make(of.rows.shape[1], int(of.classes.max()) + 1, 10_000 + seed)
    told, missed = np.random.default_rng([seed, 77]), 0
    for turn in range(of.passes):
        for place in np.random.default_rng([seed, turn]).permutation(len(of.rows)):
            arm = player.choose(of.rows[place])
            right = arm == of.classes[place]
            missed += not right
            player.learn(of.rows[place], arm, float(right != (noisy and told.random() < 0.1)))
    return missed


def _ours(name: str, floor: float, columns: int, arms: int, seed: int) -> Player:
    return Ours(columns, arms, seed, policy=learner(name), floor=floor)


def players() -> dict[str, Callable[[int, int, int], Player]]:
    """Return who plays: ours, ours with a floor, and the peers that are installed, set up by the seeds 100 to 102."""
    found: dict[str, Callable[[int, int, int], Player]] = {}
    for name in BANDITS:
        if name not in ("epsilon", "horizon", "imitation"):  # these look at no numbers, or at no rewards
            found[f"ours: {name}"] = partial(_ours, name, 0.0)
    found[f"ours: {BEST}, floor {FLOOR}"] = partial(_ours, BEST, FLOOR)
    try:
        import mabwiser  # noqa: F401

        found["mabwiser LinUCB"] = lambda *given: Mabwiser(*given, thompson=False, alpha=0.1, ridge=10.0)
        found["mabwiser LinTS"] = lambda *given: Mabwiser(*given, thompson=True, alpha=0.1, ridge=30.0)
    except ImportError:
        print("mabwiser is not installed: pip install 'learning-loop[bench]'")  # said, never skipped in silence
    try:
        import vowpalwabbit  # noqa: F401

        found["VowpalWabbit SquareCB"] = lambda *given: Vowpal(*given, options="--squarecb --gamma_scale 100")
    except ImportError:
        print("vowpalwabbit is not installed: pip install 'learning-loop[bench]'")
    return found


def regret(bench: _harness.Bench) -> None:
    seeds = range(3 if bench.quick else 10)
    sets = labels()
    missed: dict[tuple[str, str], list[int]] = {}
    cases = [(who, of, noisy) for who in players() for of in sets for noisy in (False, True)]
    if bench.quick:
        cases = [case for case in cases if not case[0].startswith("mabwiser") or case[1].name != "digits"]
    for who, of, noisy in bench.progress(cases, "playing", len(cases)):
        what = f"{of.name}{', noisy' if noisy else ''}"
        missed[what, who] = [wrong(of, players()[who], seed, noisy=noisy) for seed in seeds]
    for who in players():
        means = {what: float(np.mean(found)) for (what, name), found in missed.items() if name == who}
        bench.row(part="regret", who=who, seeds=len(seeds), **means)
    for what in dict.fromkeys(key[0] for key in missed):
        peers = {who: found for (case, who), found in missed.items() if case == what and not who.startswith("ours")}
        if not peers:
            continue
        best = min(peers, key=lambda who: sum(peers[who]))
        low = lower_bound([a - b for a, b in zip(missed[what, f"ours: {BEST}"], peers[best], strict=True)])
        bench.goal(f"{what}: wrong choices of {BEST} beyond those of {best}, lower 95 % bound", low, 0.0)


def lower_bound(differences: Sequence[float]) -> float:
    found = np.array(differences, dtype=float)
    return float(found.mean() - STUDENT_T[found.size] * found.std(ddof=1) / math.sqrt(found.size))


def latency(bench: _harness.Bench) -> None:
    rng, options = np.random.default_rng(bench.seed), tuple(f"arm {number}" for number in range(20))
    contexts = [_context(row) for row in rng.standard_normal((2_000 if bench.quick else 10_000, 101))]
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        workspace, _ = Workspace.init(Path(name))
        app = stack.enter_context(App.open(workspace))
        for policy in BANDITS:
            made, spent = learner(policy), {"decide": [], "learn": [], "decide and log": []}  # type: ignore[var-annotated]
            for number, context in enumerate(contexts):
                started = time.perf_counter()
                decision = app.decider.decide("arm", options, context=context, policy=made)
                decided = time.perf_counter()
                one = Experience(context=context, options=options, chosen=decision.chosen, propensity=None, reward=number % 2)
                made.update([one])
                spent["learn"].append(1000 * (time.perf_counter() - decided))
                spent["decide"].append(1000 * (decided - started))
            for context in contexts[:1_000]:
                started = time.perf_counter()
                app.ledger.append(app.decider.decide("arm", options, context=context, policy=made))
                spent["decide and log"].append(1000 * (time.perf_counter() - started))
            figures = {
                f"{what} {kind} ms": _harness.percentile(values, share)
                for what, values in spent.items()
                for kind, share in (("p50", 0.5), ("p99", 0.99))
            }
            bench.row(part="latency", who=policy, features=100, arms=20, **figures)
            if policy == BEST:
                bench.goal(f"ms to decide by {policy}, p50", figures["decide p50 ms"], 0.1)
                bench.goal(f"ms to decide by {policy}, p99", figures["decide p99 ms"], 1.0)


SLOTH = "decomposition_approach: single, retry_policy: {max_attempts: "  # how strategies that differ in one number begin


def strategies(bench: _harness.Bench) -> None:
    """Time the choice of a strategy among ten: its context, a running test, the learned policy, as a run makes it."""
    text = "Fix the crash in `parser.py` when the file is empty: it should say which line is wrong. " * 12
    with tempfile.TemporaryDirectory() as folder:
        workspace, _ = Workspace.init(Path(folder))
        for number in range(6):
            body = f"{{name: n, {SLOTH}{number + 2}}}}}"
            (workspace.config / "strategies" / f"more-{number}.yaml").write_text(body, encoding="utf-8")
        (workspace.config / "policies.yaml").write_text("strategies: {mode: production}\n", encoding="utf-8")
        with App.open(workspace) as app:
            points, guard = Points(app), Guard(strict=True)
            chooser, versions = Chooser(app, points), [version.id for version in in_force(app).versions]
            made = [Strategy(slug="direct", name="d", retry_policy=RetryPolicy(max_attempts=number)) for number in (2, 3)]
            rows = [row for one in made for row in rows_of(one, "bench", app.clock(), parent=versions[0])]
            start(app, versions[0], [version_of(one) for one in made], by="person", reason="", rows=rows)
            service = points["strategy"]
            service.look(guard, [], fresh=True)
            spent, rng = list[float](), np.random.default_rng(bench.seed)
            for number in range(2_000 if bench.quick else 20_000):
                task = Task(
                    id=f"t{number}", type="bug", description=text, tags=("a",), parameters={"language": "python", "loc": 20_000}
                )
                started = time.perf_counter()
                found = chooser.choose(task, 0.5, execution_id=f"e{number}", guard=guard, warnings=[], unit=task.id)
                spent.append(1000 * (time.perf_counter() - started))
                one = found.decisions[-1] if found is not None else None
                if one is not None and isinstance(service.learner, WarmStart | ProbitUCB):
                    service.learner.update([experience_of(one, float(rng.random() < 0.5), None)])
    p50, p99 = _harness.percentile(spent, 0.5), _harness.percentile(spent, 0.99)
    bench.row(part="latency", who="strategy", arms=len(versions), **{"decide p50 ms": p50, "decide p99 ms": p99})
    bench.goal("ms to choose a strategy, p99", p99, 10.0)
    bench.goal("ms to choose a strategy, p50", p50, 1.0)


def work(bench: _harness.Bench) -> None:
    regret(bench)
    latency(bench)
    strategies(bench)


if __name__ == "__main__":
    _harness.run("policy", __doc__.splitlines()[0], work)
