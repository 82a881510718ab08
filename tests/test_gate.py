"""The gate's mathematics: guarantees that hold whenever one looks, and what moves something on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.experiments.evidence import Evidence
from learning_loop.experiments.gate import Gate, Status
from learning_loop.settings import Limits
from learning_loop.stats.betting import Bets, EProcess, confidence_sequence, log_wealth_against
from learning_loop.stats.change import bar_of, next_sum
from learning_loop.stats.effects import effect_scores
from learning_loop.stats.online import level_of
from learning_loop.stats.ratio import SKEWED, log_ratio_evidence

Rng = np.random.Generator


# ------------------------------------------------------------------------------------------------------------ the maths


@given(
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.floats(0.05, 0.95),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_scores_lie_within_what_was_known_before(shown: list[bool], odds: float, outcome: float, predicted: float) -> None:
    size = len(shown)
    scores = effect_scores(np.array(shown), *(np.full(size, value) for value in (odds, outcome, predicted)))
    assert (scores.lowest - 1e-9 <= scores.value).all()
    assert (scores.value <= scores.highest + 1e-9).all()


@given(st.floats(0.05, 0.95), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_mean_score_is_the_effect_whatever_is_predicted(odds: float, one: float, other: float, predicted: float) -> None:
    shown, withheld = (
        effect_scores(np.array([was]), np.array([odds]), np.array([value]), np.array([predicted])).value[0]
        for was, value in ((True, one), (False, other))
    )
    assert odds * shown + (1 - odds) * withheld == pytest.approx(one - other, abs=1e-9)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=60), st.floats(0.001, 1), st.floats(1.5, 1_000))
def test_wealth_is_never_negative_and_a_single_bet_is_fair(observed: list[float], variance: float, target: float) -> None:
    process = EProcess(1, Bets(), target)
    for value in observed:
        stakes = Bets().stakes(process.log_wealth, process.seen, np.array([variance]), np.array([2.0]), np.array([target]))
        assert (stakes >= 0).all()
        assert (stakes < 0.5).all(), "no single observation takes all"
        process.add([0], np.array([value]), variance=np.array([variance]), worst=np.array([2.0]))
    assert np.isfinite(process.log_value).all()


def test_wealth_under_the_hypothesis_seldom_reaches_its_target() -> None:
    rng, target = np.random.default_rng(1), 10.0
    process, reached = EProcess(4_000, Bets(), target), np.zeros(4_000, bool)
    rows = np.arange(4_000)
    for number in range(600):
        odds = np.full(4_000, (0.5, 0.9, 0.2)[number % 3])
        shown, outcome = rng.random(4_000) < odds, (rng.random(4_000) < 0.3 + 0.4 * (number > 300)).astype(float)
        scores = effect_scores(shown, odds, outcome, np.full(4_000, 0.4))
        process.add(rows, scores.value, variance=0.2 * scores.spread, worst=-scores.lowest)
        reached |= process.log_value >= math.log(target)
    assert reached.mean() <= 1 / target + 3 * math.sqrt(0.1 * 0.9 / 4_000)
    assert reached.mean() >= 0.4 / target, "an e-process that never bets would pass as well"


@pytest.mark.parametrize(("rate", "effect", "odds"), [(0.6, 0.0, 0.5), (0.03, 0.0, 0.5), (0.5, 0.3, 0.9)])
def test_intervals_hold_jointly_over_all_looks(rate: float, effect: float, odds: float) -> None:
    rng, missed, times, runs = np.random.default_rng(2), 0, 400, 400
    for _ in range(times):
        shown = rng.random(runs) < odds
        outcome = (rng.random(runs) < rate + effect * shown).astype(float)
        predicted = (2 + np.concatenate([[0.0], np.cumsum(outcome)[:-1]])) / (4 + np.arange(runs))
        scores = effect_scores(shown, np.full(runs, odds), outcome, predicted)
        variance = 0.25 * scores.spread
        below = log_wealth_against(effect, scores.value, variance=variance, worst=1 - scores.lowest)
        above = log_wealth_against(-effect, -scores.value, variance=variance, worst=1 + scores.highest)
        missed += max(below.max(), above.max()) >= math.log(40)
    assert missed / times <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / times)


def test_an_interval_is_where_bets_refute_nothing() -> None:
    rng = np.random.default_rng(3)
    shown = rng.random(500) < 0.5
    scores = effect_scores(shown, np.full(500, 0.5), (rng.random(500) < 0.5 + 0.3 * shown).astype(float), np.full(500, 0.6))
    variance = 0.25 * scores.spread
    low, high = confidence_sequence(scores.value, variance=variance, lowest=scores.lowest, highest=scores.highest)
    assert 0 < low < 0.3 < high < 0.6
    just, not_yet = (
        log_wealth_against(low + step, scores.value, variance=variance, worst=1 - scores.lowest)[-1] for step in (-1e-4, 1e-4)
    )
    assert just >= math.log(40) > not_yet
    wider = confidence_sequence(scores.value, variance=variance, lowest=scores.lowest, highest=scores.highest, level=0.99)
    assert wider[0] < low < high < wider[1]
    assert confidence_sequence(np.array([]), variance=np.array([]), lowest=np.array([]), highest=np.array([])) == (-1, 1)


def test_lost_outcomes_are_noticed_and_chance_is_not() -> None:
    rng = np.random.default_rng(10)

    def counts(draws: list[tuple[float, bool]]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for odds, shown in draws:
            found.setdefault(repr(odds), [0, 0])[shown] += 1
        return found

    draws = [(odds, bool(rng.random() < odds)) for odds in (0.5, 0.9) for _ in range(2_000)]
    assert max(log_ratio_evidence(counts(draws[:number])) for number in range(0, 4_000, 50)) < SKEWED
    kept = [(odds, shown) for odds, shown in draws if not shown or rng.random() < 0.7]
    assert log_ratio_evidence(counts(kept)) > SKEWED
    assert log_ratio_evidence({}) == 0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_levels_of_all_that_is_ever_tried_sum_to_the_level(batches: list[int]) -> None:
    place, spent = 0, 0.0
    for batch in batches:
        spent += batch * float(level_of(np.array(place), np.array(batch), np.array(0), 0.05))
        place += batch
    assert spent < 0.05


@pytest.mark.parametrize(("effect", "variance"), [(0.1, 2.7), (0.2, 2.7), (0.1, 0.96)])
def test_an_effect_that_goes_on_seldom_looks_gone(effect: float, variance: float) -> None:
    rng, runs, rows = np.random.default_rng(4), 3_000, 1_500
    bar = bar_of(3_000, effect=np.array([effect]), variance=np.array([variance]))[0]
    total, alarms = np.zeros(rows), 0
    known = {"effect": np.full(rows, effect), "variance": np.full(rows, variance)}
    for _ in range(runs):
        total = next_sum(total, rng.normal(effect, math.sqrt(variance), rows), **known)
        alarms += int((total >= bar).sum())
        total[total >= bar] = 0.0
    assert 0.6 < alarms / rows < 1.4, "about once in 3,000 runs"


# ------------------------------------------------------------------------------------------------------------- the gate


def trials(
    effect: float, runs: int, *, rows: int = 200, seed: int = 0, limits: Limits | None = None, base: float = 0.6
) -> Gate:
    """Return a gate after so many runs of rules that all have this effect, each alone in its family."""
    rng, gate = np.random.default_rng(0), Gate(rows, limits=limits or Limits(), families=np.arange(rows))
    gate.admit(np.arange(rows))
    for _ in range(runs):
        live = np.flatnonzero((gate.status == Status.TRIAL) | (gate.status == Status.ACTIVE))
        odds = gate.probabilities(live)
        shown = rng.random(live.size) < odds
        success = (rng.random(live.size) < 0.6 + effect * shown).astype(float)
        gate.learn(live, live, shown, odds, success[:, None])
        gate.judge()
    return gate


def share(gate: Gate, status: Status) -> float:
    return float((gate.status == status).mean())


def test_what_helps_becomes_active_what_harms_goes_and_what_does_nothing_does_not_become_active() -> None:
    assert share(trials(0.2, 600), Status.ACTIVE) >= 0.9
    assert share(trials(-0.2, 600), Status.RETIRED) >= 0.95
    nothing = trials(0.0, 600)
    assert share(nothing, Status.ACTIVE) <= 0.025 + 3 * math.sqrt(0.025 / 200)
    assert share(nothing, Status.RETIRED) <= 0.1 + 3 * math.sqrt(0.09 / 200)


def test_what_is_never_known_to_help_is_retired_in_the_end() -> None:
    gate = trials(0.0, 120, limits=Limits(most_runs=100))
    assert share(gate, Status.RETIRED) >= 0.97


def test_candidates_and_what_is_over_are_never_shown() -> None:
    gate = Gate(4, limits=Limits())
    gate.status[:] = list(Status)
    gate.level[:] = 0.025
    assert gate.probabilities(np.arange(4)).tolist() == [0.0, 0.5, 0.8, 0.0]
    gate.active_runs[2] = 200
    assert gate.probabilities([2]).tolist() == [0.9]


def test_a_large_effect_that_goes_on_seldom_looks_gone() -> None:
    """Its outcomes are skewed: all that are shown succeed, and one that is withheld is rare and weighs much."""
    rng, rows, changes, active = np.random.default_rng(6), 200, 0, 0
    gate = Gate(rows, limits=Limits(), families=np.arange(rows))
    gate.admit(np.arange(rows))
    for _ in range(2_000):
        odds = gate.probabilities(np.arange(rows))
        shown = rng.random(rows) < odds
        active += int((gate.status == Status.ACTIVE).sum())
        gate.learn(np.arange(rows), np.arange(rows), shown, odds, (rng.random(rows) < 0.6 + 0.4 * shown).astype(float)[:, None])
        changes += sum(move.reason == "change" for move in gate.judge())
    assert active > 300_000
    assert changes <= 1.2 * active / gate.limits.false_alarm_runs, "about once in so many runs"


def test_an_active_rule_whose_effect_is_gone_is_tried_again_in_nearly_all_histories() -> None:
    rng, rows = np.random.default_rng(7), 200
    gate = Gate(rows, limits=Limits(), families=np.arange(rows))
    gate.admit(np.arange(rows))
    gone, noticed = np.zeros(rows), np.zeros(rows, bool)
    for _ in range(2_600):
        turned = (gone > 0) | ((gate.status == Status.ACTIVE) & (gate.active_runs >= 140))
        gone += turned
        live = np.flatnonzero((gate.status == Status.TRIAL) | (gate.status == Status.ACTIVE))
        odds = gate.probabilities(live)
        shown = rng.random(live.size) < odds
        success = rng.random(live.size) < 0.5 + 0.4 * shown * ~turned[live]
        gate.learn(live, live, shown, odds, success.astype(float)[:, None])
        for move in gate.judge():
            noticed[move.row] |= move.reason in ("change", "harm") and 0 < gone[move.row] <= 2_000
    promoted = gone > 2_000
    assert promoted.mean() >= 0.97
    assert noticed[promoted].mean() >= 0.9


def test_an_active_rule_that_turns_is_tried_again_and_then_goes() -> None:
    gate = trials(0.3, 500, rows=50)
    active = gate.status == Status.ACTIVE
    assert active.mean() >= 0.9
    rng, moves = np.random.default_rng(5), []
    for _ in range(900):
        live = np.flatnonzero((gate.status == Status.TRIAL) | (gate.status == Status.ACTIVE))
        odds = gate.probabilities(live)
        shown = rng.random(live.size) < odds
        gate.learn(live, live, shown, odds, (rng.random(live.size) < 0.6 - 0.3 * shown).astype(float)[:, None])
        moves += gate.judge()
    assert sum(move.reason == "change" for move in moves) >= 0.8 * active.sum()
    assert share(gate, Status.RETIRED) >= 0.95


def test_what_is_blocked_is_not_promoted() -> None:
    helped = trials(0.3, 0, rows=1)
    rng = np.random.default_rng(6)
    for _ in range(500):
        shown = rng.random(1) < 0.5
        helped.learn([0], [0], shown, [0.5], (rng.random(1) < 0.5 + 0.4 * shown).astype(float)[:, None])
        helped.judge(blocked=[True])
    assert helped.status[0] == Status.TRIAL
    assert [move.reason for move in helped.judge()] == ["benefit"]


def test_harm_on_a_guardrail_alone_demotes() -> None:
    rng, gate = np.random.default_rng(7), Gate(100, limits=Limits(), weights=(0.5, 0.5), families=np.arange(100))
    gate.admit(np.arange(100))
    rows = np.arange(100)
    for _ in range(800):
        live = rows[gate.status == Status.TRIAL]
        shown = rng.random(live.size) < 0.5
        score, cheap = rng.random(live.size) < 0.6, rng.random(live.size) < 0.6 - 0.25 * shown
        gate.learn(live, live, shown, np.full(live.size, 0.5), np.stack([score, cheap], axis=1).astype(float))
        gate.judge()
    assert share(gate, Status.RETIRED) >= 0.95


def test_unknown_outcomes_are_left_out_and_good_predictions_sharpen() -> None:
    rng = np.random.default_rng(8)
    plain, sharp = (Evidence(1, (1.0,), benefit_at=40.0, harm_at=10.0, bets=Bets()) for _ in range(2))
    for number in range(600):
        shown, easy = rng.random(1) < 0.5, 0.8 if rng.random() < 0.5 else 0.2
        outcome = (np.clip(easy + 0.1 * shown + rng.normal(0, 0.05, 1), 0, 1))[:, None]
        if number % 5 == 0:
            outcome[:] = np.nan
        plain.learn([0], [0], shown, [0.5], outcome)
        sharp.learn([0], [0], shown, [0.5], outcome, np.array([[easy]]))
    assert plain.benefit.seen[0] == 480
    assert sharp.log_benefit[0] > plain.log_benefit[0] + 1
    assert sharp.effect[0] == pytest.approx(0.1, abs=0.02)


def test_rules_shown_together_are_adjusted_for_each_other() -> None:
    """Two rules in every run, one of them strong: the other's effect is estimated as if it were alone."""
    rng, alone, both = np.random.default_rng(9), [], []
    for _ in range(60):
        single, pair = (Evidence(2, (1.0,), benefit_at=40.0, harm_at=10.0, bets=Bets()) for _ in range(2))
        for _ in range(300):
            shown = rng.random(2) < 0.5
            outcome = float(rng.random() < 0.1 + 0.8 * shown[0])
            pair.learn([0, 1], [0, 0], shown, [0.5, 0.5], np.full((2, 1), outcome))
            single.learn([1], [0], shown[1:], [0.5], np.full((1, 1), outcome))
        alone.append(single.effect[1])
        both.append(pair.effect[1])
    assert abs(np.mean(both)) < 0.02
    assert np.std(both) < 0.9 * np.std(alone)
