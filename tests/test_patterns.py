"""Patterns against planted truth: what is there is found with the right features, and noise gives nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.patterns.candidates import Limits
from learning_loop.patterns.find import find_patterns
from learning_loop.records import Observation
from learning_loop.stats.contingency import (
    fisher_greater_many,
    least_p_value,
    mantel_haenszel,
    newcombe,
    risk_difference,
    synergy_p_value,
    wilson,
)
from learning_loop.stats.multiple import can_be_found, share_of_level, weighted_holm
from learning_loop.stats.ranks import change_point, drift, rank_sum_greater, regional_slope, shift
from learning_loop.stats.robust import fisher_greater
from tests.histories import Rng, chain, history, on_shift, planted, versioned

LIMITS = Limits()


def share(seeds: int, check: Callable[[Rng], bool]) -> float:
    return float(np.mean([check(np.random.default_rng(seed)) for seed in range(seeds)]))


def right(found: list[Observation]) -> bool:
    """Say whether what is planted is all that is found: as a failure, and from the other side as a success."""
    seen = {(item.family, item.antecedent) for item in find_patterns(found, LIMITS).patterns}
    return {("failure", "parameter.p07 = v1")} <= seen <= {("failure", "parameter.p07 = v1"), ("success", "parameter.p07 = v0")}


def noise_gives_something(rng: Rng) -> bool:
    return bool(find_patterns(history(rng, int(rng.integers(60, 500))), LIMITS).patterns)


def test_noise_gives_no_patterns() -> None:
    assert share(60, noise_gives_something) <= 0.05


@pytest.mark.parametrize(("effect", "runs"), [(0.2, 800), (0.4, 200)])
def test_planted_effects_are_found_with_the_right_features(effect: float, runs: int) -> None:
    assert share(20, lambda rng: right(history(rng, runs, planted(effect)))) >= 0.9


@pytest.mark.slow
def test_noise_gives_no_patterns_in_many_histories() -> None:
    assert share(600, noise_gives_something) <= 0.05


def test_bad_days_are_seldom_patterns() -> None:
    """Exact tests of independent runs find something in a third of such histories; the level is not reached, but nearly."""

    def contrasts(rng: Rng) -> bool:
        return any(item.family in ("success", "failure") for item in find_patterns(on_shift(rng), LIMITS).patterns)

    assert share(100, contrasts) <= 0.16


@pytest.mark.slow
def test_noise_looked_at_every_week_gives_no_patterns() -> None:
    """Ten looks at a growing history, each counted: over all of them noise gives something in at most 5 %."""

    def any_week(rng: Rng) -> bool:
        runs = history(rng, 500)
        return any(find_patterns(runs[: 50 * look], LIMITS, look=look).patterns for look in range(1, 11))

    assert share(150, any_week) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "runs"), [(0.2, 800), (0.4, 200)])
def test_planted_effects_are_found_in_many_histories(effect: float, runs: int) -> None:
    assert share(200, lambda rng: right(history(rng, runs, planted(effect)))) >= 0.9


def test_a_true_pair_outlives_its_parts() -> None:
    def both(rng: Rng) -> bool:
        runs = history(rng, 500, lambda drawn, *_: 0.8 if drawn[3] and drawn[9] else 0.2)
        return [item.antecedent for item in find_patterns(runs, LIMITS).patterns] == [
            "parameter.p03 = v1 and parameter.p09 = v1"
        ]

    assert share(15, both) >= 0.8


def test_two_causes_that_add_up_are_two_patterns() -> None:
    def pairs(rng: Rng) -> bool:
        runs = history(rng, 600, lambda drawn, *_: 0.1 + 0.3 * bool(drawn[3]) + 0.3 * bool(drawn[9]))
        found = {item.antecedent for item in find_patterns(runs, LIMITS).patterns}
        return any(" and " in item for item in found)

    assert share(20, pairs) <= 0.1


def test_synergy_is_more_than_the_sum() -> None:
    runs = np.full((2, 2), 200)
    assert synergy_p_value(np.array([[20, 80], [80, 140]]), runs) > 0.4
    assert synergy_p_value(np.array([[20, 20], [20, 140]]), runs) < 1e-6
    assert synergy_p_value(np.array([[20, 140], [140, 140]]), runs) > 0.99, "either of them is enough"
    assert synergy_p_value(np.array([[0, 1], [0, 9]]), np.array([[0, 9], [9, 9]])) == 1, "what was never seen says nothing"


def test_drifts_and_changes_of_duration_are_found() -> None:
    def slower(rng: Rng, slows: Callable[[float], float]) -> bool:
        found = find_patterns(history(rng, 400, slows=slows), LIMITS).patterns
        kinds = {item.antecedent for item in found if item.family == "performance" and item.consequent == "slower"}
        return len(kinds) >= 2 and all(item.low is not None and item.low > 1 for item in found if item.family == "performance")

    assert share(15, lambda rng: slower(rng, lambda when: 1.8 if when > 0.5 else 1.0)) >= 0.9
    assert share(15, lambda rng: slower(rng, lambda when: 1 + 1.2 * when)) >= 0.9


def test_chains_are_found_in_their_direction() -> None:
    def found(rng: Rng) -> bool:
        patterns = find_patterns(chain(rng, 400), LIMITS).patterns
        return [item.title for item in patterns if item.family == "dependency"] == [
            "deploy / site fails after build / site failed"
        ]

    assert share(15, found) >= 0.9


def test_the_change_that_failures_began_with_is_found() -> None:
    def found(rng: Rng) -> bool:
        patterns = find_patterns(versioned(rng, 300), LIMITS).patterns
        began = [item for item in patterns if "2.31 to 2.32" in item.title]
        return len(began) == 1 and began[0].family == "dependency" and len(patterns) == 1

    assert share(15, found) >= 0.8


def test_known_patterns_stand_or_fall() -> None:
    runs = history(np.random.default_rng(3), 800, planted(0.3))
    first = find_patterns(runs, LIMITS)
    known = {item.key: item.antecedent for item in first.patterns}
    again = find_patterns(runs, LIMITS, known=known, look=2)
    assert not again.new
    assert {item.key for item in again.standing} == set(known)
    gone = find_patterns(history(np.random.default_rng(4), 800), LIMITS, known=known, look=3)
    assert set(gone.fallen) == set(known)


def test_numbers_are_cut_and_unknown_scores_left_out() -> None:
    rng = np.random.default_rng(5)
    runs = []
    for number, run in enumerate(history(rng, 400)):
        size = float(rng.uniform(0, 100))
        failed = bool(rng.random() < (0.8 if size > 75 else 0.2))
        score = None if number % 10 == 0 else 30.0 if failed else 90.0
        runs.append(replace(run, success=not failed, score=score, features={"parameter:size": f"{size:.3f}"}))
    failures = [item for item in find_patterns(runs, LIMITS).patterns if item.family == "failure"]
    assert len(failures) == 1
    name, sign, cut = failures[0].antecedent.split()
    assert (name, sign) == ("parameter.size", ">")
    assert 65 < float(cut) < 85
    assert failures[0].low is not None
    assert failures[0].low > 20


# ------------------------------------------------------------------------------------------------------------ the maths

cells = st.integers(0, 40)


@given(cells, cells, cells, cells)
def test_exact_tests_agree(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    row, column, total = a + b, a + c, a + b + c + d
    many = float(fisher_greater_many(*(np.array([value]) for value in (a, row, column, total)))[0])
    if a * total > row * column:
        assert many == pytest.approx(fisher_greater(a, b, c, d), rel=1e-9)
    assert float(least_p_value(*(np.array([value]) for value in (row, column, total)))[0]) <= many + 1e-12


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=20))
def test_adjusted_p_values_are_holms(p_values: list[float]) -> None:
    adjusted = weighted_holm(np.array(p_values), np.full(len(p_values), 1 / len(p_values)))
    ordered, most = sorted(range(len(p_values)), key=lambda place: p_values[place]), 0.0
    for rank, place in enumerate(ordered):
        most = max(most, min(1.0, p_values[place] * (len(p_values) - rank)))
        assert adjusted[place] == pytest.approx(most)


def test_weights_share_the_level() -> None:
    adjusted = weighted_holm(np.array([0.01, 0.01]), np.array([0.9, 0.1]))
    assert adjusted == pytest.approx([0.01 / 0.9, 0.01 / 0.9])  # after the first, the second has all that is left
    assert weighted_holm(np.array([0.3, 0.01]), np.array([0.9, 0.1])) == pytest.approx([0.3, 0.1])
    assert weighted_holm(np.array([0.001, 0.5]), np.array([0.5, 0.5])) == pytest.approx([0.002, 0.5])


def test_strata_are_told_apart() -> None:
    simpson = [(9.0, 90.0, 10.0, 100.0), (9.0, 10.0, 90.0, 100.0)]  # within each stratum nothing goes together
    assert mantel_haenszel(simpson) == pytest.approx(0.5)
    assert mantel_haenszel([(40.0, 50.0, 50.0, 100.0)]) < 1e-6
    assert mantel_haenszel([(1.0, 1.0, 1.0, 1.0)]) == 1.0
    found = risk_difference([(9.0, 90.0, 1.0, 10.0), (9.0, 10.0, 81.0, 90.0)])
    assert found is not None
    assert found[0] == pytest.approx(0.0)
    assert found[1] < 0 < found[2]
    assert risk_difference([(1.0, 1.0, 0.0, 0.0)]) is None


def test_the_level_is_spent_once() -> None:
    assert sum(share_of_level(look) for look in range(1, 100_000)) < 1.0


def test_what_cannot_become_significant_is_not_counted() -> None:
    assert can_be_found(np.array([0.5, 0.001, 0.2]), 0.05).tolist() == [False, True, False]
    assert not can_be_found(np.array([]), 0.05).size


def test_intervals_cover_what_they_estimate() -> None:
    rng = np.random.default_rng(8)
    shares = [wilson(count, 50) for count in rng.binomial(50, 0.3, 2_000)]
    assert np.mean([low <= 0.3 <= high for low, high in shares]) >= 0.94
    pairs = zip(rng.binomial(50, 0.5, 2_000), rng.binomial(60, 0.3, 2_000), strict=True)
    differences = [newcombe(a, 50, b, 60) for a, b in pairs]
    assert np.mean([low <= 0.2 <= high for low, high in differences]) >= 0.94


def test_rank_tests_hold_their_level_and_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    flat = [rng.normal(size=50) for _ in range(800)]
    changes = [change_point(series) for series in flat]
    assert np.mean([found is not None and found.p_value <= 0.05 for found in changes]) <= 0.065
    assert np.mean([drift(series) <= 0.05 for series in flat]) <= 0.065
    assert np.mean([rank_sum_greater(series[:20], series[20:]) <= 0.05 for series in flat]) <= 0.065
    shifts = [shift(rng.normal(0.7, 1, 25), rng.normal(0, 1, 40)) for _ in range(400)]
    assert np.mean([(item.low or 0) <= 0.7 <= (item.high or 0) for item in shifts]) >= 0.93
    days = np.arange(20.0)
    slopes = [regional_slope([(days, 0.1 * days + rng.normal(level, 1, 20)) for level in (0, 50)]) for _ in range(300)]
    assert np.mean([item is not None and (item.low or 0) <= 0.1 <= (item.high or 0) for item in slopes]) >= 0.93


def test_trends_count_the_days_that_series_share() -> None:
    rng, days, covered = np.random.default_rng(6), np.arange(25.0), 0
    for _ in range(200):
        shared = rng.normal(0, 1, 25)
        found = regional_slope([(days, shared + rng.normal(0, 0.7, 25)) for _ in range(6)])
        covered += found is not None and (found.low or -9) <= 0 <= (found.high or 9)
    assert covered / 200 >= 0.9


def test_short_series_say_nothing() -> None:
    assert change_point([1.0] * 9) is None
    assert change_point([1.0] * 30) is None
    assert drift([1.0] * 30) == 1.0
    assert regional_slope([([1.0], [2.0])]) is None
