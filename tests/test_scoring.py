import math
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from learning_loop import ExecutionScoreCard
from learning_loop.records import Outcome, PastRun
from learning_loop.scoring import History, between
from learning_loop.scoring.accuracy import accuracy
from learning_loop.scoring.efficiency import efficiency
from learning_loop.scoring.reusability import reusability
from learning_loop.scoring.surprise import surprise
from learning_loop.settings import Scoring
from learning_loop.stats.robust import MAD_TO_SIGMA, fisher_greater, quantile, spread, two_sided_tail


def outcome(**fields: Any) -> Outcome:
    known = {"execution_id": "x", "task_type": "t", "component": "c", "project": None, "status": "succeeded", "success": True}
    return Outcome(**{**known, "ended_at": datetime(2026, 1, 1, tzinfo=UTC), **fields})


def past(seq: int, **fields: Any) -> PastRun:
    known = {
        "execution_id": str(seq),
        "component": "c",
        "status": "succeeded",
        "success": True,
        "error_message": None,
        "shape": frozenset(),
    }
    moment = {"ended_at": datetime(2026, 1, 1, tzinfo=UTC), "duration_s": None, "cost_usd": None}
    return PastRun(seq=seq, **{**known, **moment, **fields})


def history(
    durations: list[float], *, failures: int = 0, costs: list[float] | None = None, shapes: list[set[str]] | None = None
) -> History:
    made = History("t / c", window=200, minimum=3, baseline_runs=20)
    runs = [past(n, duration_s=value) for n, value in enumerate(durations, 1)]
    runs += [past(100 + n, cost_usd=value) for n, value in enumerate(costs or [], 1)]
    runs += [past(200 + n, shape=frozenset(shape)) for n, shape in enumerate(shapes or [], 1)]
    runs += [past(300 + n, success=False, duration_s=1.0) for n in range(failures)]
    made.add(runs)
    return made


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"score": 73.0, "success": False}, 73),
        ({"tests_passed": 3, "tests_total": 4, "success": False}, 75),
        ({"exit_code": 0}, 100),
        ({"exit_code": 2, "success": False}, 0),
        ({"success": False, "error_type": "ValueError"}, 0),
        ({}, 100),
        ({"success": None, "status": "unknown"}, None),
        ({"tests_passed": 0, "tests_total": 0, "success": None, "status": "unknown"}, None),
    ],
)
def test_accuracy_rests_on_the_first_thing_known(fields: dict[str, Any], expected: float | None) -> None:
    value, basis = accuracy(outcome(**fields))
    assert value == expected
    assert basis


def test_efficiency_is_100_at_the_best_75_at_the_usual_50_at_the_worst_and_falls_beyond() -> None:
    known = history([float(n) for n in range(10, 111)])  # deciles 20 and 100, median 60

    def at(seconds: float) -> float | None:
        return efficiency(outcome(duration_s=seconds), known)[0]

    assert at(20) == 100
    assert at(5) == 100
    assert at(60) == pytest.approx(75)
    assert at(100) == pytest.approx(50)
    assert at(200) == pytest.approx(25)
    values = [at(seconds) for seconds in range(10, 400, 5)]
    assert values == sorted(values, key=lambda value: -(value or 0))


def test_efficiency_is_unknown_without_history_and_for_failures_and_counts_cost() -> None:
    assert efficiency(outcome(duration_s=1.0), history([1.0, 1.0]))[0] is None
    assert efficiency(outcome(duration_s=1.0, success=False), history([1.0] * 9))[0] is None
    assert efficiency(outcome(), history([1.0] * 9))[0] is None
    both = efficiency(outcome(duration_s=1.0, cost_usd=4.0), history([1.0] * 9, costs=[1.0] * 9))[0]
    assert both == pytest.approx((75 + 50 * 1.25 / 4) / 2)


def test_a_few_milliseconds_either_way_say_nothing() -> None:
    assert efficiency(outcome(duration_s=0.004), history([0.001] * 30))[0] == 75
    quick = history([0.0001] * 30)
    assert surprise(outcome(duration_s=0.0004), quick.predict())[0] == pytest.approx(0, abs=60)


def test_improvement_is_measured_against_a_baseline_that_stays() -> None:
    known = history([10.0] * 20 + [5.0] * 300)
    assert known.baseline == [10.0] * 20
    basis = efficiency(outcome(duration_s=5.0), known)[1]
    assert "duration 1.00 x the usual of 200 runs" in basis
    assert "0.50 x the first 20 good runs" in basis


def test_reusability_is_the_share_of_the_shape_that_an_earlier_success_had() -> None:
    known = history([], shapes=[{"a", "b", "c"}, {"x"}])
    assert reusability(frozenset({"a", "b", "c"}), known)[0] == 100
    assert reusability(frozenset({"a", "b", "d"}), known)[0] == pytest.approx(50)
    assert reusability(frozenset(), known)[0] is None
    assert reusability(frozenset({"a"}), history([]))[0] is None


def test_surprise_is_low_for_the_usual_and_high_for_what_was_not_predicted() -> None:
    usual = [10.0 + n / 10 for n in range(20)]
    prediction = history(usual).predict()
    assert (surprise(outcome(duration_s=11.0), prediction)[0] or 0) < 30
    assert (surprise(outcome(duration_s=40.0), prediction)[0] or 0) > 70
    assert (surprise(outcome(duration_s=3.0), prediction)[0] or 0) > 70
    assert (surprise(outcome(success=False, status="failed"), prediction)[0] or 0) > 70
    mixed = history(usual[:10], failures=10).predict()
    assert (surprise(outcome(success=False, status="failed"), mixed)[0] or 0) < 30
    assert surprise(outcome(duration_s=1.0), history([1.0] * 4).predict())[0] is None


def test_ordinary_runs_seldom_surprise() -> None:
    rng = random.Random(3)
    high = 0
    for _ in range(1000):
        known = history([rng.lognormvariate(2, 0.3) for _ in range(30)])
        high += (surprise(outcome(duration_s=rng.lognormvariate(2, 0.3)), known.predict())[0] or 0) > 70
    assert high <= 50  # one in forty is meant; five per cent is the bound


def test_the_card_weighs_what_is_known_and_fires_every_trigger() -> None:
    card = ExecutionScoreCard("t")
    assert card.calculate_overall_score() is None
    assert card.trigger_reflection() == (None, None)
    card.scores = {"accuracy": 100, "efficiency": None, "reusability": 50, "surprise": 95}
    assert card.calculate_overall_score() == pytest.approx((100 * 0.5 + 50 * 0.2) / 0.7)
    assert [trigger.action for trigger in card.triggers()] == ["update_architecture"]
    card.scores["accuracy"] = 0
    assert [trigger.action for trigger in card.triggers()] == ["mandatory_reflection", "update_architecture"]
    assert card.trigger_reflection() == ("mandatory_reflection", "Low performance - root cause analysis required")
    card.scores |= {"accuracy": 100, "reusability": 100}
    assert [trigger.action for trigger in card.triggers()] == ["extract_template", "update_architecture"]


def test_equal_weights_give_the_plain_mean() -> None:
    scoring = Scoring.model_validate(
        {
            "preset": "seed_equal_weights",
            "presets": {"seed_equal_weights": dict.fromkeys(("accuracy", "efficiency", "reusability", "surprise"), 1.0)},
        }
    )
    card = ExecutionScoreCard("t", weights=scoring.weights)
    card.scores = {"accuracy": 90, "efficiency": 80, "reusability": 70, "surprise": 20}
    assert card.calculate_overall_score() == sum(value or 0 for value in card.scores.values()) / len(card.scores)
    assert scoring.version != Scoring().version


@given(st.dictionaries(st.sampled_from(["accuracy", "efficiency", "reusability", "surprise"]), st.none() | st.floats(0, 100)))
def test_an_overall_score_lies_within_its_parts(scores: dict[str, float | None]) -> None:
    card = ExecutionScoreCard("t", scores=scores)
    overall = card.calculate_overall_score()
    counted = [value for name, value in scores.items() if value is not None and name != "surprise"]
    if scores.get("accuracy") is None:
        assert overall is None
    else:
        assert overall is not None
        assert min(counted) - 1e-9 <= overall <= max(counted) + 1e-9


@given(st.lists(st.floats(0, 1e308), min_size=6, max_size=30))
@example([0.0] * 6)
@example([1e-5] * 6)
@example([1e-300, 1e300] * 3)
def test_however_short_or_long_runs_are_the_next_is_expected_within_bounds(durations: list[float]) -> None:
    predicted = history(durations, costs=durations).predict()
    for known in (predicted.log_duration, predicted.log_cost):
        expected = between(known)
        assert expected is not None
        usual, low, high = expected
        assert 0 <= low <= usual <= high < math.inf


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_scale_is_that_of_the_sorted_deviations(values: list[float]) -> None:
    centre = quantile(sorted(values), 0.5)
    found = spread(sorted(values), floor=0.0)
    assert found.scale == pytest.approx(MAD_TO_SIGMA * quantile(sorted(abs(value - centre) for value in values), 0.5), abs=1e-6)


def test_of_runs_of_microseconds_none_is_expected_to_take_seconds() -> None:
    expected = between(history([1e-5] * 10).predict().log_duration)
    assert expected is not None
    assert 0.005 < expected[2] < 1.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_lie_in_the_sample(values: list[float], share: float) -> None:
    ordered = sorted(values)
    assert ordered[0] <= quantile(ordered, share) <= ordered[-1]


def test_the_t_tail_is_close_to_the_exact_one() -> None:
    exact = {(5, 2.0): 0.1161, (10, 3.0): 0.0150, (30, 2.0): 0.0549}  # n, t: two-sided, n - 1 degrees of freedom
    for (n, t), tail in exact.items():
        known = spread([0.0] * n, floor=1 / (1 + 1 / n) ** 0.5)
        assert two_sided_tail(t, known) == pytest.approx(tail, abs=0.004)


def test_fishers_test_is_exact() -> None:
    assert fisher_greater(3, 0, 0, 3) == pytest.approx(1 / 20)
    assert fisher_greater(0, 3, 3, 0) == pytest.approx(1.0)
    assert fisher_greater(8, 2, 1, 5) == pytest.approx(0.0245, abs=0.0002)
