"""The figures of the dashboard, and what is likely next week, against weeks made by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from learning_loop import LearningDashboard
from learning_loop.records import Kind, Observation
from learning_loop.settings import Thresholds
from learning_loop.synthesis import WeekCounts, count_week, metrics_of, outlook, week_of
from learning_loop.synthesis.statistics import ErrorCounts
from learning_loop.synthesis.thresholds import suggestions
from tests.conftest import MakeLoop, SteppingClock

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = 3_600.0


def run(week: int, hour: float, **given: Any) -> Observation:
    at = (MONDAY + timedelta(weeks=week)).timestamp() + hour * HOUR
    base: dict[str, Any] = {"kind": Kind(type="build", component="api"), "success": True, "score": 90.0}
    return Observation(id=f"{week}-{hour}", started=at, ended=at + HOUR, **{**base, **given})


def weeks(*runs: list[Observation]) -> list[WeekCounts]:
    found: list[WeekCounts] = []
    for number, of_week in enumerate(runs):
        period = week_of(MONDAY + timedelta(weeks=number))
        assert period.start is not None
        found.append(count_week(period.label, period.start, of_week, found[-1] if found else None, high_surprise=70))
    return found


def test_reuse_is_a_share_of_what_is_known() -> None:
    reuse = [80.0, 95.0, 40.0, None]
    found = metrics_of(weeks([run(0, hour, reusability=value) for hour, value in enumerate(reuse)]), []).component_reuse_rate
    assert found.n == 3
    assert found.value == pytest.approx(2 / 3)
    assert found.low is not None
    assert found.low < 2 / 3


def test_integration_lasts_until_three_successes_in_a_row_also_over_weeks() -> None:
    first = [run(0, 0, success=False), run(0, 2), run(0, 4)]
    assert metrics_of(weeks(first), []).api_integration_time == {"api": None}
    second = [run(1, 0), run(1, 5, success=False)]
    assert metrics_of(weeks(first, second), []).api_integration_time == {"api": pytest.approx(7 * 24 + 1)}


def test_agents_are_ranked_by_what_is_sure() -> None:
    runs = [run(0, hour, features={"agent": "new"}) for hour in range(2)]
    runs += [
        run(0, 10 + hour, features={"agent": "old"}, success=hour != 3, score=0.0 if hour == 3 else 80.0) for hour in range(40)
    ]
    old, new = metrics_of(weeks(runs), []).agent_effectiveness
    assert (old.name, old.runs, old.success.n) == ("old", 40, 40)
    assert old.success.value == pytest.approx(39 / 40)
    assert old.score.value == pytest.approx(78.0)
    assert new.success.value == 1.0


def test_stability_is_the_median_life_while_some_live_on() -> None:
    assert metrics_of([], [(2, True), (5, True), (9, False)]).pattern_stability.value == 5
    assert metrics_of([], [(2, True), (5, False), (9, False)]).pattern_stability.value is None


def test_easier_tasks_are_no_improvement() -> None:
    hard, easy = Kind(type="hard"), Kind(type="easy")
    mixed = []
    for week in range(6):
        of_week = [run(week, hour, kind=hard, score=40.0 + hour % 3) for hour in range(0, 160, 10 + 10 * week)]
        of_week += [run(week, hour + 1, kind=easy, score=95.0 - hour % 3) for hour in range(0, 160, 70 - 10 * week)]
        mixed.append(of_week)
    counted = weeks(*mixed)
    means = [week.mean_score or 0.0 for week in counted]
    assert means[-1] > means[0] + 20
    slope = metrics_of(counted, []).overall_improvement
    assert slope.low is not None
    assert slope.high is not None
    assert slope.low <= 0 <= slope.high


def test_nothing_known_is_none() -> None:
    found = metrics_of([], []).plain()
    assert found["component_reuse_rate"]["value"] is None
    assert found["overall_improvement"]["value"] is None
    assert found["agent_effectiveness"] == {}


def test_errors_that_come_back_are_named_before_those_that_do_not() -> None:
    rng, found = np.random.default_rng(0), []
    for number in range(16):
        errors = {f"steady{item}": ErrorCounts(f"steady{item}", [1, 1, 0, 1, 0, 1, 1]) for item in range(5)}
        errors |= {f"once{number}-{item}": ErrorCounts("x", list(rng.integers(0, 2, 7) + 1)) for item in range(5)}
        found.append(WeekCounts(week=str(number), start=number * 7 * 86_400.0, errors=errors))
    named = outlook(found)
    assert {item.error for item in named[:5]} == {f"steady{item}" for item in range(5)}
    assert all(item.probability > 0.8 for item in named[:5])
    assert all(item.probability < 0.3 for item in named[5:])
    assert outlook(found[:3]) == []


def test_thresholds_that_always_fire_are_told() -> None:
    runs = [run(0, hour, score=20.0 + hour / 2, surprise=0.0) for hour in range(100)]
    found = {item.key: item for item in suggestions(runs, Thresholds())}
    assert set(found) == {"low_performance", "high_performance"}
    assert found["low_performance"].share == pytest.approx(0.8)
    assert found["low_performance"].instead == pytest.approx(25, abs=2)
    assert suggestions(runs[:20], Thresholds()) == []


def test_the_dashboard_reports(make_loop: MakeLoop, clock: SteppingClock) -> None:
    def runner(task: dict[str, Any]) -> dict[str, bool]:
        return {"success": task["agent"] == "ann"}

    loop = make_loop(runner)
    dashboard = LearningDashboard(loop)
    assert set(dashboard.metrics.values()) == {None}
    for number in range(24):
        task = {
            "id": f"t{number}",
            "type": "build",
            "component": "api",
            "agent": "ann" if number % 2 else "bob",
            "parameters": {"a": 1},
        }
        loop.execute_with_learning(task)
    report = dashboard.generate_report()
    assert report["metrics"]["agent_effectiveness"]["ann"]["success"]["value"] == 1.0
    assert report["metrics"]["component_reuse_rate"]["value"] == 1.0
    assert isinstance(report["recommendations"], list)
    assert set(report["trends"]) == {"score", "reuse", "failures", "duration"}
    assert clock.now > MONDAY
