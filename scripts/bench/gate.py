#!/usr/bin/env -S .venv/bin/python
"""The gate, looked at after every run: how often it promotes what is useless, and how soon it finds what helps or harms.

alone      one rule: null, +10 and -10 points on a success rate of .6, beside four rules of thumb that are in use elsewhere
together   twenty rules in every run: all null, one of them good, five good and five harmful
change     a rule of +10 points that turns to -10 or to 0 while active, and one that goes on
cost       what fifty eligible rules add to a run, and how long the lifts of five hundred rules over a ledger take
intervals  confidence sequences: jointly over all looks, and their width beside a t interval for a fixed number of runs
"""

import math
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import _harness
import numpy as np
from numpy.typing import NDArray

from learning_loop import LearningOrchestrator
from learning_loop.experiments.gate import Gate, Status
from learning_loop.experiments.lift import Lifts
from learning_loop.experiments.trials import METRICS, WEIGHTS
from learning_loop.records import Exposed, Kind
from learning_loop.settings import Limits
from learning_loop.stats.betting import confidence_sequence, log_wealth_against
from learning_loop.stats.contingency import wilson
from learning_loop.stats.effects import Scores, effect_scores
from learning_loop.workspace import Workspace, with_front_matter

BASE = 0.6
NEVER = 10**9
Z99 = 2.326
Floats = NDArray[np.float64]


@dataclass
class Course:
    """When each row of a gate first moved for a reason, in runs; NEVER where it did not."""

    first: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    changes: int = 0
    active_runs: float = 0.0


def play(
    rng: np.random.Generator,
    histories: int,
    runs: int,
    effects: Sequence[float],
    *,
    turn: Callable[[Gate, Floats], Floats] | None = None,
    go_on: bool = False,
    steps: Callable[[range], Iterable[int]] = iter,
) -> Course:
    """Let the gate judge rules of known effects after every run; `turn` changes effects, and without `go_on` active ends it."""
    count = len(effects)
    families = np.repeat(np.arange(histories), count)
    gate = Gate(histories * count, limits=Limits(at_once=count), weights=WEIGHTS, families=families)
    gate.admit(np.arange(histories * count))
    effect = np.tile(np.asarray(effects, float), histories)
    course = Course({reason: np.full(effect.size, NEVER) for reason in ("harm", "benefit", "futile", "change")})
    for number in steps(range(1, runs + 1)):
        live = gate.status == Status.TRIAL
        live |= (gate.status == Status.ACTIVE) & go_on
        rows = np.flatnonzero(live)
        if not rows.size:
            break
        now = effect if turn is None else turn(gate, effect)
        odds = gate.probabilities(rows)
        shown = rng.random(rows.size) < odds
        added = np.bincount(gate.family[rows], weights=shown * now[rows], minlength=histories)
        success = (rng.random(histories) < np.clip(BASE + added, 0, 1)).astype(float)
        course.active_runs += float((gate.status == Status.ACTIVE).sum()) if go_on else 0.0
        gate.learn(rows, gate.family[rows], shown, odds, measured(success[gate.family[rows]]))
        for move in gate.judge():
            course.first[move.reason][move.row] = min(course.first[move.reason][move.row], number)
            course.changes += move.reason == "change"
    return course


def by(times: NDArray[np.int64], runs: int) -> float:
    return float((times <= runs).mean())


def measured(success: Floats) -> Floats:
    """Return the metrics of runs of which it is known whether they succeeded, and nothing else: that is their score, too."""
    found = np.full((success.size, len(WEIGHTS)), np.nan)
    found[:, METRICS.index("score")] = found[:, METRICS.index("success")] = success
    return found


def told(bench: _harness.Bench, name: str) -> Callable[[range], Iterable[int]]:
    return lambda numbers: bench.progress(numbers, name, len(numbers))


def at_most(bench: _harness.Bench, name: str, hits: float, count: int, limit: float) -> None:
    """Hold a share against its limit by its 99 % lower bound: a simulation shows a guarantee broken, or it does not."""
    low, _ = wilson(round(hits * count), count, Z99)
    bench.goal(f"{name}, lower 99 % bound", low, limit)


def alone(bench: _harness.Bench) -> None:
    rng, many = np.random.default_rng([bench.seed, 1]), 2_000 if bench.quick else 20_000
    some = many // 4
    for effect, runs, histories in ((0.0, 3_000, many), (0.1, 1_500, some), (-0.1, 1_500, some)):
        what = f"{effect:+.2f}"
        course = play(rng, histories, runs, [effect], steps=told(bench, what))
        good, bad = course.first["benefit"], course.first["harm"]
        bench.row(
            part="alone", effect=effect, histories=histories, runs=runs, promoted=by(good, runs), demoted=by(bad, runs),
            median_promoted=middle(good), median_demoted=middle(bad),
        )  # fmt: skip
        if effect == 0:
            at_most(bench, "a null rule is promoted by 3,000 runs", by(good, runs), histories, 0.025)
            at_most(bench, "a null rule is demoted as harmful by 3,000 runs", by(bad, runs), histories, 0.1)
        elif effect > 0:
            bench.goal("+10 points promoted by 1,500 runs", by(good, runs), at_least=0.94)
            soon(bench, "+10 points: median runs to promotion", good, 600)
            at_most(bench, "+10 points demoted as harmful", by(bad, runs), histories, 0.1)
        else:
            bench.goal("-10 points demoted by 1,500 runs", by(bad, runs), at_least=0.95)
            soon(bench, "-10 points: median runs to demotion", bad, 380)


def middle(times: NDArray[np.int64]) -> float | None:
    found = float(np.median(times))
    return found if found < NEVER else None


def soon(bench: _harness.Bench, name: str, times: NDArray[np.int64], limit: float) -> None:
    """Hold a median against its limit; with few histories, what they show of it beyond doubt, by order statistics."""
    if not bench.quick:
        bench.goal(name, middle(times) or NEVER, limit)
        return
    place = int(times.size / 2 - Z99 * math.sqrt(times.size) / 2)
    bench.goal(f"{name}, lower 99 % bound", float(np.sort(times, axis=None)[max(place, 0)]), limit)


def rivals(bench: _harness.Bench) -> None:
    """Judge the same rules by thumb: what each would adopt, however little is known of it."""
    histories, rng = 2_000, np.random.default_rng([bench.seed, 2])
    for effect in (0.0, 0.1, -0.1):
        shown = rng.random((3_000, histories)) < 0.5
        success = rng.random((3_000, histories)) < BASE + effect * shown
        counts = [np.cumsum(part, axis=0) for part in (shown, shown & success, ~shown, ~shown & success)]
        seen, good, left, left_good = (count.astype(float) for count in counts)
        enough = (seen >= 30) & (left >= 30)
        with np.errstate(divide="ignore", invalid="ignore"):
            gap, share = good / seen - left_good / left, (good + left_good) / (seen + left)
            z = gap / np.sqrt(share * (1 - share) * (1 / seen + 1 / left))
        votes = 2 * good - seen + 2
        adopted = {
            "compares two means, once there are 30 of each": first_of(enough, gap > 0),
            "z test, looked at after every run": first_of(enough & (np.abs(z) > 1.96), z > 0),
            "votes: +1 for a success, -1 for a failure, dropped at 0": ~(votes <= 0).any(axis=0),
            "counts helpful and harmful uses": good[-1] > seen[-1] / 2,
        }
        for name, kept in adopted.items():
            bench.row(part="rivals", what=name, effect=effect, histories=histories, promoted=float(kept.mean()))
            if effect == 0:
                any_of_twenty = float(kept.reshape(-1, 20).any(axis=1).mean())
                bench.row(part="rivals", what=f"twenty null: {name}", histories=histories // 20, any_useless=any_of_twenty)


def first_of(decided: NDArray[np.bool_], verdict: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the verdict of each history at the first moment that decides; False where none does."""
    when = decided.argmax(axis=0)
    here = np.arange(decided.shape[1])
    return np.asarray(decided[when, here] & verdict[when, here])


def together(bench: _harness.Bench) -> None:
    mixes = {"twenty null": [0.0] * 20, "one good": [0.1, *[0.0] * 19], "5 / 10 / 5": [0.1] * 5 + [0.0] * 10 + [-0.1] * 5}
    for place, (name, effects) in enumerate(mixes.items()):
        rng = np.random.default_rng([bench.seed, 3, place])
        histories = 2_000 if not bench.quick else 200 if name == "one good" else 50
        course = play(rng, histories, 3_000, effects, steps=told(bench, name))
        good, effect = course.first["benefit"].reshape(histories, -1), np.array(effects)
        useless = float((good[:, effect <= 0] < NEVER).any(axis=1).mean())
        found = good[:, effect > 0]
        bench.row(
            part="together", what=name, histories=histories, any_useless=useless,
            good_found=by(found, 3_000) if found.size else None, median=middle(found) if found.size else None,
        )  # fmt: skip
        at_most(bench, f"histories with any useless rule promoted: {name}", useless, histories, 0.05)
        if name == "one good":
            bench.goal("the one good rule among twenty is found by 3,000 runs", by(found, 3_000), at_least=0.97)
            soon(bench, "the one good rule among twenty: median runs", found, 1_100)


def change(bench: _harness.Bench) -> None:
    histories, before = 200 if bench.quick else 1_000, 500
    for to, limit in ((-0.1, 300), (0.0, 800)):
        rng = np.random.default_rng([bench.seed, 4])
        turned = np.full(histories, NEVER)

        def turn(gate: Gate, effect: Floats, to: float = to, turned: NDArray[np.int64] = turned) -> Floats:
            turned[(gate.status == Status.ACTIVE) & (gate.active_runs >= before)] = 0
            return np.where(turned == 0, to, effect)

        delays, retired = watch(rng, histories, turn, turned)
        bench.row(
            part="change", to=to, histories=int(delays.size), median=middle(delays), seen=by(delays, 3_000), retired=retired
        )
        soon(bench, f"from +10 to {100 * to:+.0f}: median runs to trial again", delays, limit)
    rng = np.random.default_rng([bench.seed, 5])
    course = play(rng, histories, 7_000, [0.1], go_on=True, steps=told(bench, "goes on"))
    needless = 5_000 * course.changes / course.active_runs
    bench.row(part="change", to=0.1, histories=histories, needless=needless)
    bench.goal("needless trials of +10 points that go on, in 5,000 active runs", needless, 0.5)


def watch(
    rng: np.random.Generator, histories: int, turn: Callable[[Gate, Floats], Floats], turned: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float]:
    """Return, of the rules that were promoted and turned, how many runs later each was on trial again or retired.

    With it the share that harm retired before the change was noticed.
    """
    gate = Gate(histories, limits=Limits(), weights=WEIGHTS, families=np.arange(histories))
    gate.admit(np.arange(histories))
    effect, since, delays = np.full(histories, 0.1), np.zeros(histories), np.full(histories, NEVER)
    rows, harmed = np.arange(histories), np.zeros(histories, bool)
    for _ in range(8_000):
        now, odds = turn(gate, effect), gate.probabilities(rows)
        shown = rng.random(histories) < odds
        success = (rng.random(histories) < BASE + shown * now).astype(float)
        looked = np.flatnonzero((gate.status == Status.TRIAL) | (gate.status == Status.ACTIVE))
        since += turned == 0
        gate.learn(looked, looked, shown[looked], odds[looked], measured(success[looked]))
        for move in gate.judge():
            if move.reason in ("change", "harm") and turned[move.row] == 0:
                harmed[move.row] |= move.reason == "harm" and delays[move.row] == NEVER
                delays[move.row] = min(delays[move.row], int(since[move.row]))
    return np.asarray(delays[turned == 0]), float(harmed[turned == 0].mean())


def intervals(bench: _harness.Bench) -> None:
    histories, cases = 200 if bench.quick else 1_000, [
        ("success .6", 0.5, 0.6, 0.6, 0.0, 1.7),
        ("success .6, +20 points", 0.5, 0.6, 0.8, 0.0, 1.7),
        ("rare: .03", 0.5, 0.03, 0.03, 0.0, 1.9),
        ("shown .9", 0.9, 0.6, 0.7, 0.0, 1.9),
        ("shown .5, .8 and .9 in turn, falling by 30 points", None, 0.6, 0.7, -0.3, 1.9),
    ]  # fmt: skip
    for place, (name, odds, withheld, shown, drift, limit) in enumerate(cases):
        rng = np.random.default_rng([bench.seed, 6, place])
        missed, widths = 0, {200: list[float](), 1_000: list[float]()}
        truth, needed = shown - withheld, math.log(2 / 0.05)
        for _ in bench.progress(range(histories), name, histories):
            scores, variance = outcomes(rng, odds, withheld, shown, drift)
            below = log_wealth_against(truth, scores.value, variance=variance, worst=1 - scores.lowest)
            above = log_wealth_against(-truth, -scores.value, variance=variance, worst=1 + scores.highest)
            missed += max(below.max(), above.max()) >= needed
            for size, found in widths.items():
                value, lowest, highest = (part[:size] for part in (scores.value, scores.lowest, scores.highest))
                low, high = confidence_sequence(value, variance=variance[:size], lowest=lowest, highest=highest)
                found.append((high - low) / (2 * 1.96 * value.std(ddof=1) / math.sqrt(size)))
        ratios = {size: float(np.mean(found)) for size, found in widths.items()}
        bench.row(part="intervals", what=name, histories=histories, missed=missed / histories, ratios=ratios)
        at_most(bench, f"intervals that miss at any look: {name}", missed / histories, histories, 0.05)
        for size, ratio in ratios.items():
            bench.goal(f"width beside a t interval at {size} runs: {name}", ratio, limit)


def outcomes(
    rng: np.random.Generator, odds: float | None, withheld: float, shown: float, drift: float
) -> tuple[Scores, Floats]:
    """Return the scores of 1,000 runs, each predicted by the mean before it, and how much each was expected to vary."""
    runs = 1_000
    propensity = np.tile([0.5, 0.8, 0.9], runs)[:runs] if odds is None else np.full(runs, odds)
    was_shown = rng.random(runs) < propensity
    rate = np.where(was_shown, shown, withheld) + drift * np.arange(runs) / runs
    success = (rng.random(runs) < rate).astype(float)
    seen = 4 + np.arange(runs)
    predicted = (2 + np.concatenate([[0.0], np.cumsum(success)[:-1]])) / seen
    squares = (1 + np.concatenate([[0.0], np.cumsum((success - predicted) ** 2)[:-1]])) / seen
    scores = effect_scores(was_shown, propensity, success, predicted)
    return scores, squares * scores.spread


def cost(bench: _harness.Bench) -> None:
    runs = 300 if bench.quick else 1_500
    spent: dict[int, float] = {}
    for rules in (0, 50):  # each in a workspace of its own; the least of three medians, as the rest is the machine's
        spent[rules] = min(per_run(rules, runs) for _ in range(3))
    bench.row(part="cost", what="50 eligible rules", ms=spent[50], without_ms=spent[0])
    bench.goal("ms that 50 eligible rules add to a run, p50", spent[50] - spent[0], 1.0)
    count, rules = (20_000 if bench.quick else 100_000), 500
    exposures = list(exposed(random.Random(bench.seed), count, rules))
    started = time.perf_counter()
    lifts = Lifts(exposures)
    found = {unit: (lifts.of(unit), lifts.by_type(unit)) for unit in lifts.units}
    took = time.perf_counter() - started
    bench.row(part="cost", what=f"lifts of {len(found) - 1} rules, 50 a run", runs=count, seconds=took)
    bench.goal(f"seconds for the lifts of {rules} rules over {count} executions", took, 10.0)


def per_run(rules: int, runs: int) -> float:
    """Return the median time of a run of a runner that does nothing, in ms, with so many rules that hold for it."""
    with tempfile.TemporaryDirectory() as name:
        workspace, _ = Workspace.init(Path(name))
        for number in range(rules):
            meta = {"id": f"r{number}", "kind": "rule", "title": f"rule {number}", "when": "type = build", "status": "trial"}
            note = with_front_matter(f"memory/rules/r{number}.md", {**meta, "then": {"advise": f"do {number}"}}, "why\n")
            (workspace.root / note.path).write_bytes(note.content)
        environ = {"LEARNING_LOOP_MEMORY_EMBEDDER": "lexical"}
        with LearningOrchestrator(lambda _task: {"success": True}, workspace=name, environ=environ) as loop:
            times = []
            for number in range(runs):
                started = time.perf_counter()
                loop.execute_with_learning({"id": f"t{number}", "type": "build", "component": "api"})
                times.append((time.perf_counter() - started) * 1000)
    return _harness.percentile(times[50:], 0.5)


def exposed(rng: random.Random, count: int, rules: int) -> Iterator[Exposed]:
    """Yield runs, of two types of task, that fifty of the rules were eligible for."""
    kinds, at = (Kind(type="build", component="api"), Kind(type="test", component="api")), datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        units = ("memory", *(f"rule:{name}" for name in rng.sample(range(rules), 50)))
        odds = (0.95, *[0.5] * 50)
        shown = frozenset(unit for unit, chance in zip(units, odds, strict=True) if rng.random() < chance)
        success = rng.random() < BASE
        yield Exposed(
            place=number, id=str(number), kind=kinds[number % 2], ended_at=at, units=units, odds=odds, shown=shown,
            score=100.0 * success, success=success, duration_s=1.0, cost_usd=None, safety=None,
        )  # fmt: skip


def work(bench: _harness.Bench) -> None:
    alone(bench)
    rivals(bench)
    together(bench)
    change(bench)
    cost(bench)
    intervals(bench)


if __name__ == "__main__":
    _harness.run("gate", __doc__.splitlines()[0], work)
