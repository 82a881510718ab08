#!/usr/bin/env -S .venv/bin/python
"""Orchestrator: episodes of a small project with 32 states and 6 actions, whose best value is known by dynamic programming.

learning  REINFORCE and advantage actor-critic, each begun by imitating 200 episodes of a rule, then learning from its own, ten
          at a time with the forty before them, with a floor under every action; beside REINFORCE without a baseline on the
          rule's episodes alone. A policy's value is worked out exactly, not played
ramps     the share of candidates that do nothing and get it all, of those 20 points worse that are taken back before they
          have half, and of those 20 points better that have it all within 2,000 units; looked at after every unit
"""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import _harness

from learning_loop.decider import probabilities
from learning_loop.experiments.ramp import Climb, Step
from learning_loop.policies import learner
from learning_loop.protocols import Policy
from learning_loop.records import Experience, Exposed, Kind
from learning_loop.settings import Ramp

ACTIONS = ("RESEARCH", "EVALUATE", "BUILD_CODE", "TEST", "DEPLOY", "STOP")
State = tuple[int, int, int, int, int]  # researched, evaluated, built, tested, broken
Outcome = tuple[float, float, State | None]  # its probability, its reward, and the state after it
BEGIN: State = (0, 0, 0, 0, 0)
STATES: list[State] = list(itertools.product((0, 1), repeat=5))  # type: ignore[arg-type]  # five of them
STEPS, FLOOR, AT_ONCE, REPLAYED, LOGGED = 20, 0.02, 10, 5, 200  # the last but one in batches
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def outcomes(state: State, action: str) -> list[Outcome]:
    """Return what an action may come to."""
    researched, evaluated, built, _, broken = state
    if action == "RESEARCH":
        return [(0.8, -0.05, (1, *state[1:])), (0.2, -0.05, state)]
    if action == "EVALUATE":
        works = 0.9 if researched else 0.3
        return [(works, -0.05, (researched, 1, *state[2:])), (1 - works, -0.05, state)]
    if action == "BUILD_CODE":
        works, breaks = 0.4 + 0.25 * researched + 0.25 * evaluated, 0.6 - 0.25 * researched - 0.2 * evaluated
        new = (researched, evaluated, 1, 0)
        return [(works * breaks, -0.12, (*new, 1)), (works * (1 - breaks), -0.12, (*new, 0)), (1 - works, -0.12, state)]
    if action == "TEST":
        mended: State = (researched, evaluated, built, 1, 0)
        if not built:
            return [(1.0, -0.06, state)]
        return [(0.6, -0.06, mended), (0.4, -0.06, (*mended[:4], 1))] if broken else [(1.0, -0.06, mended)]
    if action == "DEPLOY":
        good = 0.0 if not built else 0.1 if broken else 0.97 if state[3] else 0.85
        return [(good, 1.0, None), (1 - good, -1.0, None)]
    return [(1.0, -0.4, None)]


def worth(state: State, action: str, after: Mapping[State, float]) -> float:
    return sum(likely * (reward + (after[new] if new is not None else 0.0)) for likely, reward, new in outcomes(state, action))


def value(by: Callable[[State], Sequence[float]]) -> float:
    """Return what a policy earns an episode, exactly."""
    found = dict.fromkeys(STATES, 0.0)
    shares = {state: by(state) for state in STATES}
    for _ in range(STEPS):
        found = {
            state: sum(part * worth(state, action, found) for action, part in zip(ACTIONS, shares[state], strict=True) if part)
            for state in STATES
        }
    return found[BEGIN]


def optimum() -> float:
    found = dict.fromkeys(STATES, 0.0)
    for _ in range(STEPS):
        found = {state: max(worth(state, action, found) for action in ACTIONS) for state in STATES}
    return found[BEGIN]


def rule(state: State) -> list[float]:
    """Look once, build, ship."""
    wanted = "RESEARCH" if not state[0] else "BUILD_CODE" if not state[2] else "DEPLOY"
    return [float(action == wanted) for action in ACTIONS]


def context(state: State) -> dict[str, Any]:
    return {"state": "".join(map(str, state))}


def learned(policy: Policy) -> Callable[[State], list[float]]:
    def shares(state: State) -> list[float]:
        return list(probabilities(ACTIONS, policy.distribution(context(state), ACTIONS)))

    return shares


def played(by: Callable[[State], Sequence[float]], rng: random.Random, name: str, floor: float) -> list[Experience]:
    """Play one episode."""
    state, found = BEGIN, list[Experience]()
    for _ in range(STEPS):
        shares = probabilities(ACTIONS, by(state), floor=floor)
        place = rng.choices(range(len(ACTIONS)), weights=shares)[0]
        may = outcomes(state, ACTIONS[place])
        _, reward, after = rng.choices(may, weights=[likely for likely, _, _ in may])[0]
        found.append(
            Experience(
                context=context(state),
                options=ACTIONS,
                chosen=ACTIONS[place],
                propensity=shares[place],
                reward=reward,
                episode=name,
            )
        )
        if after is None:
            break
        state = after
    return found


def course(algo: str, seed: int, episodes: int, looked: Sequence[int], settings: Mapping[str, Any]) -> list[float]:
    """Return a policy's value after it imitated the rule, and after so many episodes of its own."""
    rng, policy = random.Random(f"{algo} {seed}"), learner(algo, **settings)
    log = [one for number in range(LOGGED) for one in played(rule, rng, f"rule {number}", 0.0)]
    policy.imitate(log)  # type: ignore[attr-defined]  # both can
    found, played_ = [value(learned(policy))], list[list[Experience]]()
    for first in range(0, episodes, AT_ONCE):
        by = learned(policy)
        played_.append([one for number in range(AT_ONCE) for one in played(by, rng, f"{first + number}", FLOOR)])
        policy.update([one for batch in played_[-REPLAYED:] for one in batch])
        if first + AT_ONCE in looked:
            found.append(value(learned(policy)))
    return found


def naive(seed: int) -> float:
    """Return the value of REINFORCE as it was first written, on the rule's episodes alone."""
    rng = random.Random(f"naive {seed}")
    policy = learner("reinforce", baseline=False, entropy=0.0, kl=0.0, passes=1)
    log = [[one for number in range(AT_ONCE) for one in played(rule, rng, str(number), 0.0)] for _ in range(LOGGED // AT_ONCE)]
    for _ in range(20):
        for batch in log:
            policy.update(batch)
    return value(learned(policy))


def climbed(effect: float, seed: int, units: int) -> list[tuple[int, Step, float]]:
    """Return what happened to a ramp: after how many units, what, and the share from then on."""
    rng, climb, found = random.Random(f"ramp {effect} {seed}"), Climb("candidate", Ramp(hours=0), NOW), []
    for number in range(units):
        share = climb.share
        taken = rng.random() < share
        success = rng.random() < 0.6 + effect * taken
        unit = Exposed(
            place=number,
            id=str(number),
            kind=Kind(),
            ended_at=NOW,
            units=("all", "candidate"),
            odds=(1.0, share),
            shown=frozenset(("all", "candidate") if taken else ("all",)),
            score=100.0 * success,
            success=success,
            duration_s=rng.lognormvariate(0, 0.5),
            cost_usd=None,
            safety=None,
        )
        if (told := climb.take(unit, NOW)) is not None:
            found.append((number + 1, told.step, told.share))
            if told.step in (Step.COMPLETE, Step.ROLLED_BACK, Step.FUTILE):
                break
    return found


def work(bench: _harness.Bench) -> None:
    seeds = range(bench.seed, bench.seed + (3 if bench.quick else 10))
    best, by_rule = optimum(), value(rule)
    bench.row(what="optimum", episodes="", value=best)
    bench.row(what="rule", episodes="", value=by_rule)
    bench.row(what="random", episodes="", value=value(lambda _state: [1 / len(ACTIONS)] * len(ACTIONS)))
    bench.row(what="REINFORCE without a baseline, rule only", episodes=LOGGED, value=_mean([naive(seed) for seed in seeds]))
    looked = (100, 500, 1_000)
    values: dict[str, list[list[float]]] = {"reinforce": [], "a2c": []}
    plan = [(algo, seed) for algo in values for seed in seeds]
    for algo, seed in bench.progress(plan, "learning", len(plan)):
        values[algo].append(course(algo, seed, 1_000, looked, {"rate": 1e-3} if algo == "a2c" else {}))
    means = {algo: [_mean(column) for column in zip(*found, strict=True)] for algo, found in values.items()}
    for algo, found in means.items():
        for episodes, mean in zip((0, *looked), found, strict=True):
            bench.row(what=algo, episodes=episodes, value=mean)
    bench.goal("REINFORCE with imitation, above the rule by 100 episodes", means["reinforce"][1] - by_rule, at_least=0.0)
    bench.goal("REINFORCE with imitation, by 1,000 episodes", means["reinforce"][3], at_least=0.50)
    bench.goal("actor-critic, above the rule by 500 episodes", means["a2c"][2] - by_rule, at_least=0.0)
    _ramps(bench)


def _ramps(bench: _harness.Bench) -> None:
    count = 30 if bench.quick else 400
    arms = {0.0: 3_000, -0.2: 3_000, 0.2: 2_000}
    found: dict[float, list[list[tuple[int, Step, float]]]] = {effect: [] for effect in arms}
    plan = [(effect, seed) for effect in arms for seed in range(count)]
    for effect, seed in bench.progress(plan, "ramps", len(plan)):
        units = 600 if bench.quick and effect == 0.0 else arms[effect]
        found[effect].append(climbed(effect, bench.seed + seed, units))
    useless = [any(step == Step.COMPLETE for _, step, _ in told) for told in found[0.0]]
    halves = [any(share >= 0.5 for _, _, share in told) for told in found[-0.2]]
    back = [
        any(step == Step.ROLLED_BACK for _, step, _ in told) and not half
        for told, half in zip(found[-0.2], halves, strict=True)
    ]
    better = [any(step == Step.COMPLETE for _, step, _ in told) for told in found[0.2]]
    when = [told[-1][0] for told in (*found[0.2], *found[-0.2]) if told]
    bench.row(what="ramp, median units to its end", episodes=sorted(when)[len(when) // 2], value="")
    bench.goal("A/A ramps that get it all", _mean(useless), at_most=0.025)
    bench.goal("20 points worse: taken back before half", _mean(back), at_least=0.95)
    bench.goal("20 points better: all within 2,000 units", _mean(better), at_least=0.90)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    _harness.run("orchestrator", str(__doc__), work)
