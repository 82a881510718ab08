"""Configuring a run and carrying it out: masks, timeouts, retries, fallbacks, parts, and predictions with intervals."""

import contextvars
import math
import random
import threading
import time
from typing import Any

import pytest

from learning_loop.execution import ATTEMPTS, carry_out, in_parallel, within
from learning_loop.records import Configuration
from learning_loop.scoring import Prediction, between
from learning_loop.scoring.history import History
from learning_loop.stats.robust import Spread
from tests.conftest import MakeLoop

BUILD = {"id": "t1", "type": "job", "description": "Fix the slow database query in the payment service"}


def test_every_part_of_a_run_is_a_decision_with_its_probability(make_loop: MakeLoop) -> None:
    loop = make_loop()
    with loop.run(BUILD) as run:
        found = run.configure(agents=("architect", "executor"), skills=("sql", "review"), available={"architect": False})
    assert found == Configuration(agent="executor", skills=("sql", "review"))
    decided = loop.app.ledger.execution(run.id).decisions
    by_point = {one.point: one for one in decided if one.point.startswith("orchestra.")}
    parts = ("agent", "skill.sql", "skill.review", "approach", "timeout_multiplier", "parallelism", "retry_strategy")
    assert set(by_point) == {f"orchestra.{name}" for name in (*parts, "safety_level")}
    assert all(one.propensity == 1.0 for one in by_point.values())
    context = by_point["orchestra.approach"].context
    assert context["task_type"] in ("bug", "performance")
    assert context["state"] == "workload/1"
    assert context["agents_free"] == ["executor"]
    assert 0 < context["concurrent_tasks"] <= 1, "the run itself is under way"


@pytest.mark.parametrize(("given", "may"), [("strict", {"strict"}), ("balanced", {"strict", "balanced"})])
def test_safety_is_never_explored_downward(make_loop: MakeLoop, workspace: Any, given: str, may: set[str]) -> None:
    point = "orchestra.safety_level: {mode: production, learner: epsilon, floor: 0.4, explore: 0.4}"
    (workspace.config / "policies.yaml").write_text(f"policies:\n  points:\n    {point}\n", encoding="utf-8")
    loop, seen = make_loop(), set()
    for number in range(30):
        with loop.run({"id": f"t{number}"}) as run:
            seen.add(run.configure(safety_level=given).safety_level)
        decision = [one for one in loop.app.ledger.execution(run.id).decisions if one.point == "orchestra.safety_level"][-1]
        shares = dict(zip(decision.alternatives, decision.probabilities or (), strict=True))
        assert all(share == 0 for level, share in shares.items() if level not in may)
    assert seen == may


def test_what_cannot_be_configured_never_stops_the_work(make_loop: MakeLoop) -> None:
    loop = make_loop(strict=False)
    with loop.run(BUILD) as run:
        found = run.configure(agents=("one",), available={"one": False}, safety_level="whatever")
    assert found == Configuration()
    assert any("safety level" in warning for warning in run.warnings)


class Flaky:
    """Work that fails so many times before it succeeds."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(f"attempt {self.calls}")
        return "done"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learning_loop.execution.FIRST_WAIT_S", 0.001)


@pytest.mark.parametrize(
    ("strategy", "idempotent", "calls"),
    [("retry_with_backoff", True, 3), ("retry_with_backoff", False, 1), ("fail_fast", True, 1)],
)
@pytest.mark.usefixtures("impatient")
def test_only_idempotent_work_is_done_again(strategy: str, idempotent: bool, calls: int) -> None:
    work, noted = Flaky(ATTEMPTS - 1), []
    configuration = Configuration(retry_strategy=strategy)
    if calls == ATTEMPTS:
        assert carry_out(work, configuration, idempotent=idempotent, noted=lambda *told: noted.append(told)) == "done"
    else:
        with pytest.raises(ConnectionError, match="attempt 1"):
            carry_out(work, configuration, idempotent=idempotent, noted=lambda *told: noted.append(told))
    assert work.calls == calls == len(noted)


@pytest.mark.usefixtures("impatient")
def test_what_fails_to_the_last_raises_its_own_error() -> None:
    with pytest.raises(ConnectionError, match="attempt 3"):
        carry_out(Flaky(9), Configuration(retry_strategy="retry_with_backoff"), idempotent=True)


def test_fallbacks_are_other_ways_each_tried_once() -> None:
    first, second, third = Flaky(9), Flaky(9), Flaky(0)
    found = carry_out(first, Configuration(retry_strategy="fallback"), fallbacks=(second, third))
    assert (found, first.calls, second.calls, third.calls) == ("done", 1, 1, 1)


def test_a_timeout_is_kept_and_the_work_sees_its_context() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")
    name.set("mine")
    assert within(name.get, 5) == "mine"
    released = threading.Event()
    with pytest.raises(TimeoutError, match=r"longer than 0\.05 s"):
        carry_out(lambda: released.wait(10), Configuration(timeout_multiplier=0.5), timeout_s=0.1)
    released.set()


def test_parts_keep_their_order_and_the_first_failure_is_told() -> None:
    configuration = Configuration(approach="parallel", parallelism=4)
    meeting = threading.Barrier(4, timeout=20)

    def work(part: int) -> int:
        meeting.wait()  # ends only where four are under way at once
        return part * part

    assert in_parallel(work, range(8), configuration.parallelism) == [number**2 for number in range(8)]
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda part: 1 / part, [1, 0, 2], configuration.parallelism)
    assert in_parallel(lambda part: threading.get_ident(), [1, 2], Configuration().parallelism) == [threading.get_ident()] * 2


def test_attempts_of_a_run_are_on_record(make_loop: MakeLoop) -> None:
    loop = make_loop()
    with loop.run({**BUILD, "idempotent": True}) as run:
        run.result = run.carry_out(lambda: "done", Configuration(), timeout_s=5)
        both = Configuration(approach="parallel", parallelism=2)
        assert run.in_parallel(lambda part: part + 1, [1, 2], both) == [2, 3]
    (point,) = loop.app.ledger.execution(run.id).checkpoints
    assert (point.name, point.data["ok"]) == ("attempt 1", True)


def test_durations_and_costs_are_predicted_with_intervals_that_hold() -> None:
    rng, held = random.Random(3), 0
    for _ in range(400):
        history = History(level="kind", window=200, minimum=3, baseline_runs=20)
        values = [rng.lognormvariate(1.0, 0.4) for _ in range(31)]
        for value in values[:30]:
            history.durations.append(value)
            history._logs.append(math.log(value))
        found = between(history.predict().log_duration)
        assert found is not None
        held += found[1] <= values[30] <= found[2]
    assert 0.84 <= held / 400 <= 0.95
    assert between(None) is None
    assert between(Prediction(None, 0, None, Spread(n=10, centre=0.0, scale=0.5)).log_cost) is not None


def test_a_run_has_its_prediction_on_record_before_it_starts(make_loop: MakeLoop) -> None:
    loop = make_loop()
    for number in range(7):
        with loop.run({**BUILD, "id": f"t{number}"}) as run:
            run.usage("small", cost_usd=0.02, tokens=10)
            time.sleep(0.002)
    predicted = loop.app.ledger.execution(run.id).noted("pre", "predicted")
    assert predicted["cost_usd"] == pytest.approx(0.02, rel=0.01)
    low, high = predicted["cost_between"]
    assert low < 0.02 < high
    assert predicted["duration_between"][0] < predicted["duration_s"] < predicted["duration_between"][1]
