"""Anti-patterns: each opens one alert once, and closes when its cause is gone."""

import random
from datetime import timedelta
from typing import Any

import pytest

from learning_loop.errors import NotFoundError
from learning_loop.flows.alerts import acknowledge, alerts, resolve
from learning_loop.patterns.anti import alarms
from learning_loop.records import Kind, Observation
from learning_loop.settings import AntiPatterns
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop, SteppingClock

KIND = Kind(type="call", component="pay")


def runs(count: int, **given: Any) -> list[Observation]:
    base = {"success": True, "score": 90.0, "duration_s": 1.0, "reusability": 90.0, "surprise": 0.0}
    found = []
    for number in range(count):
        values = {name: value(number) if callable(value) else value for name, value in {**base, **given}.items()}
        found.append(Observation(id=f"r{number}", kind=KIND, started=float(number), ended=float(number), **values))
    return found


def sorts(found: list[Observation], limits: AntiPatterns | None = None) -> set[str]:
    return {alarm.sort for alarm in alarms(KIND, found, limits or AntiPatterns(), now=100.0, high_surprise=70)}


def test_ordinary_work_raises_no_alarm() -> None:
    assert sorts(runs(40)) == set()
    assert sorts(runs(2, success=False, error="x", score=0.0)) == set()


@pytest.mark.parametrize(
    ("sort", "given"),
    [
        ("repeated_error", {"success": lambda n: n % 8 != 0, "error": lambda n: "x" if n % 8 == 0 else None}),
        ("slowing", {"duration_s": lambda n: 1.0 + 0.01 * (n % 3) if n < 35 else 3.0 + 0.01 * n}),
        ("low_reuse", {"reusability": 10.0}),
        ("repeated_surprise", {"surprise": lambda n: 90.0 if n % 6 == 0 else 1.0}),
        ("low_scores", {"score": lambda n: 30.0 if n > 25 else 90.0}),
    ],
)
def test_each_anti_pattern_is_noticed_and_can_be_switched_off(sort: str, given: dict[str, Any]) -> None:
    found = runs(40, **given)
    assert sorts(found) == {sort}
    assert sorts(found, AntiPatterns.model_validate({sort: None})) == set()


def test_low_scores_with_one_error_behind_them_are_one_alarm() -> None:
    assert sorts(runs(20, success=False, score=0.0, error="x")) == {"repeated_error"}


def test_an_alert_opens_once_and_closes_by_itself(make_loop: MakeLoop, workspace: Workspace, clock: SteppingClock) -> None:
    broken = True

    def runner(task: Any) -> dict[str, bool]:
        if broken:
            raise ConnectionError(f"refused by 10.0.0.{clock.now.second}")
        return {"success": True}

    loop = make_loop(runner)

    def go(times: int) -> None:
        for _ in range(times):
            try:
                loop.execute_with_learning({"id": "t", "type": "call", "component": "pay"})
            except ConnectionError:
                pass
        loop._must().look()

    go(2)
    assert loop.alerts() == []
    go(1)
    (alert,) = loop.alerts()
    assert (alert.sort, alert.state) == ("repeated_error", "open")
    assert "architecture" in alert.advice
    folder = workspace.memory / "working-memory" / "alerts"
    assert len(list(folder.glob("*.md"))) == 1
    go(3)
    assert len(list(folder.glob("*.md"))) == 1
    assert len(loop.app.ledger.events("alert")) == 1
    assert acknowledge(loop.app, alert.id).state == "acknowledged"
    go(1)
    assert [item.state for item in loop.alerts()] == ["acknowledged"]
    broken = False
    go(6)
    assert loop.alerts() == []
    (closed,) = alerts(loop.app, resolved=True)
    assert (closed.state, closed.by) == ("resolved", "loop")
    (note,) = folder.glob("*.md")
    assert "status: resolved" in note.read_text(encoding="utf-8")
    broken = True
    go(3)
    assert [item.state for item in loop.alerts()] == ["open"]
    assert len(list(folder.glob("*.md"))) == 1


def test_what_became_slow_stays_so_until_it_is_quick_again() -> None:
    def found(durations: list[float], baseline: float | None = None) -> set[str]:
        course = runs(len(durations), duration_s=lambda n: durations[n] + 0.001 * (n % 7))
        return {item.sort for item in alarms(KIND, course, AntiPatterns(), now=100.0, high_surprise=70, baseline=baseline)}

    assert found([1.0] * 20 + [3.0] * 5) == {"slowing"}
    assert found([3.0] * 40) == set()
    assert found([3.0] * 40, baseline=1.0) == {"slowing"}
    assert found([3.0] * 35 + [1.1] * 5, baseline=1.0) == set()


def test_ordinary_durations_seldom_look_slow() -> None:
    rng, raised = random.Random(2), 0
    for _ in range(40):
        course = [rng.lognormvariate(0, 0.3) for _ in range(150)]
        for until in range(20, 150):
            seen = runs(until, duration_s=lambda n, course=course: course[n])[-60:]
            if alarms(KIND, seen, AntiPatterns(), now=1e3, high_surprise=70):
                raised += 1
                break
    assert raised <= 4


def test_what_a_person_resolved_opens_only_for_what_happens_later(make_loop: MakeLoop, clock: SteppingClock) -> None:
    def runner(task: Any) -> None:
        raise ValueError("always the same")

    loop = make_loop(runner)

    def go(times: int) -> None:
        for _ in range(times):
            try:
                loop.execute_with_learning({"id": "t", "type": "call", "component": "pay"})
            except ValueError:
                pass
        loop._must().look()

    go(3)
    (alert,) = loop.alerts()
    clock.now += timedelta(seconds=5)
    resolve(loop.app, alert.id)
    go(2)
    assert loop.alerts() == []
    go(1)
    assert len(loop.alerts()) == 1
    with pytest.raises(NotFoundError, match="alerts list"):
        resolve(loop.app, "nothing")


def test_alerts_come_by_themselves(make_loop: MakeLoop) -> None:
    def runner(task: Any) -> None:
        raise ValueError("always the same")

    loop = make_loop(runner)
    for _ in range(4):
        try:
            loop.execute_with_learning({"id": "t", "type": "call", "component": "pay"})
        except ValueError:
            pass
    loop.close()
    assert len(loop.alerts()) == 1
