"""Anomalies with a known false-alarm rate, learning that stalls, and where people are told."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning_loop.app import App
from learning_loop.errors import DeliveryError
from learning_loop.flows.ab_tests import start
from learning_loop.flows.alerts import alerts, check_anomalies, check_learning, resolve, write_alert
from learning_loop.flows.drift import last_drift, notice, since_drift
from learning_loop.flows.notices import NOTICE, tell
from learning_loop.flows.strategies import load, standing_of
from learning_loop.providers.webhook import Webhook
from learning_loop.records import Decision, Event, Kind, Usage
from learning_loop.stats.conformal import chance, worsened
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY, SteppingClock
from tests.test_ledger import execution, outcome

KIND = Kind(type="build", component="wheel")


def coin(rng: random.Random, share: float) -> float:
    return float(rng.random() < share)


def draws_of(rng: random.Random) -> Callable[[int], float]:
    return lambda _place: rng.random()


DRAWN: dict[str, Callable[[random.Random], float]] = {
    "coin": lambda rng: coin(rng, 0.4),
    "rare": lambda rng: coin(rng, 0.02),
    "long tail": lambda rng: rng.lognormvariate(0, 2),
    "ties": lambda rng: float(rng.randrange(3)),
}


# --------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("sort", DRAWN)
def test_where_nothing_changes_alarms_are_as_rare_as_was_said(sort: str) -> None:
    """The bound is 1,000 / 5,000 of the series; 300 of them may lie three standard errors above it."""
    alarms = 0
    for seed in range(300):
        rng = random.Random(f"{sort} {seed}")
        alarms += worsened([DRAWN[sort](rng) for _ in range(1_000)], draws_of(rng), alarm=5_000) is not None
    assert alarms / 300 <= 0.2 + 3 * (0.2 * 0.8 / 300) ** 0.5


@pytest.mark.parametrize(("before", "after", "within"), [(0.3, 0.6, 250), (0.05, 0.3, 150)])
def test_a_change_is_noticed_and_its_beginning_is_found(before: float, after: float, within: int) -> None:
    noticed, began = [], []
    for seed in range(60):
        rng = random.Random(seed)
        values = [coin(rng, before if place < 500 else after) for place in range(1_000)]
        found = worsened(values, draws_of(rng), alarm=20_000)
        assert found is not None
        noticed.append(found.noticed - 500)
        began.append(abs(found.began - 500))
    assert sorted(noticed)[54] <= within
    assert sorted(began)[30] <= 40


def test_what_becomes_better_is_no_alarm() -> None:
    rng = random.Random(3)
    values = [coin(rng, 0.6 if place < 400 else 0.1) for place in range(800)]
    assert worsened(values, lambda _place: rng.random(), alarm=2_000) is None


@settings(deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), max_size=80), st.floats(-1e3, 1e3), st.floats(0.001, 1e3))
def test_only_the_order_of_values_counts(values: list[float], shift: float, scale: float) -> None:
    def draws(place: int) -> float:
        return chance(str(place))

    ranked = {value: float(rank) for rank, value in enumerate(sorted(set(values)))}
    same = [scale * ranked[value] + shift for value in values]
    if len(set(same)) == len(ranked):  # else rounding made two of them one
        assert worsened(values, draws, alarm=5) == worsened(same, draws, alarm=5)


# ------------------------------------------------------------------------------------------------------------- alerts


@pytest.fixture
def quick(workspace: Workspace, clock: SteppingClock) -> Iterator[App]:
    """Return a workspace that says sooner what has become worse, and is wrong more often."""
    flags = {"anti_patterns.anomaly.false_alarm_runs": "200", "strategies.drift_runs": "300", "notify.log": "false"}
    with App.open(workspace, environ=WORDS_ONLY, flags=flags, clock=clock, rng=random.Random(7)) as app:
        yield app


def ran(app: App, first: int, count: int, *, fails: float, rng: random.Random, **fields: Any) -> None:
    for number in range(first, first + count):
        started = execution(f"r{number:05}", started_at=app.clock(), parameters={})
        good = rng.random() >= fails
        app.ledger.start(started)
        ended = {"success": good, "status": "succeeded" if good else "failed", "ended_at": app.clock(), **fields}
        app.ledger.finish(outcome(started, **ended))


def test_a_kind_that_fails_more_opens_one_alert_that_closes_by_itself(quick: App) -> None:
    rng = random.Random(1)
    ran(quick, 0, 200, fails=0.1, rng=rng)
    assert check_anomalies(quick, [KIND]) == []
    ran(quick, 200, 80, fails=0.7, rng=rng)
    opened = [write_alert(quick, alert) for alert in check_anomalies(quick, [KIND])]
    assert [alert.sort for alert in opened] == ["failure_rate"]
    assert "build / wheel" in opened[0].title
    assert opened[0].executions
    assert check_anomalies(quick, [KIND]) == []  # once
    ran(quick, 280, 40, fails=0.05, rng=rng)
    closed = [write_alert(quick, alert) for alert in check_anomalies(quick, [KIND])]
    assert [(alert.sort, alert.state, alert.by) for alert in closed] == [("failure_rate", "resolved", "loop")]
    assert alerts(quick) == []


def test_what_a_person_resolved_opens_again_only_for_other_runs(quick: App) -> None:
    rng = random.Random(2)
    ran(quick, 0, 200, fails=0.1, rng=rng)
    ran(quick, 200, 80, fails=0.8, rng=rng)
    opened = [write_alert(quick, alert) for alert in check_anomalies(quick, [KIND])]
    resolve(quick, opened[0].id)
    ran(quick, 280, 10, fails=0.8, rng=rng)
    assert check_anomalies(quick, [KIND]) == []


def test_cost_and_time_are_looked_at_by_their_order(quick: App) -> None:
    rng = random.Random(3)
    for number in range(260):
        worse = 1.0 if number < 180 else 3.0
        ran(
            quick,
            number,
            1,
            fails=0.0,
            rng=rng,
            duration_s=worse * rng.lognormvariate(0, 0.5),
            cost_usd=rng.lognormvariate(0, 0.5),
        )
    assert [alert.sort for alert in check_anomalies(quick, [KIND])] == ["latency"]


def followed(
    app: App, number: int, *, good: bool, complexity: str = "simple", language: str = "python", policy: str = "probit"
) -> None:
    name, now = f"s{number:05}", app.clock()
    started = execution(name, started_at=now, parameters={})
    context = {"issue_complexity": complexity, "project_language": language}
    choice = Decision(
        id=f"{name}d", execution_id=name, point="strategy", alternatives=("a@1", "b@1"), probabilities=(0.5, 0.5),
        chosen="a@1", propensity=0.5, policy=policy, context=context, at=now, latency_us=None,
    )  # fmt: skip
    app.ledger.start(started, choice)
    app.ledger.finish(outcome(started, success=good, status="succeeded" if good else "failed", ended_at=app.clock()))


def test_strategies_that_earn_less_are_noticed_and_what_was_learned_before_counts_no_more(quick: App) -> None:
    rng = random.Random(4)
    for number in range(200):
        followed(quick, number, good=rng.random() < 0.8)
    assert notice(quick) is None
    before = quick.clock()
    for number in range(200, 300):
        followed(quick, number, good=rng.random() < 0.3)
    found = notice(quick)
    assert found is not None
    assert found.data["after"] < found.data["before"]
    assert since_drift(quick, before - timedelta(days=9)) > before - timedelta(minutes=10)
    assert notice(quick) is None  # what came before is over
    assert last_drift(quick) == found
    assert "drift" in [alert.sort for alert in check_learning(quick)]
    quick.clock.now += timedelta(days=8)  # type: ignore[attr-defined]
    assert "drift" not in [alert.sort for alert in check_learning(quick)]


def test_a_drift_is_noticed_however_many_runs_there_were_since_the_last_look(quick: App) -> None:
    rng = random.Random(5)
    for number in range(520):
        followed(quick, number, good=rng.random() < 0.8)
    assert notice(quick) is None
    for number in range(520, 2_100):
        followed(quick, number, good=rng.random() < 0.3)
    found = notice(quick)
    assert found is not None
    assert found.data["before"] > 0.6
    assert found.data["after"] < 0.5


def test_what_a_test_tries_is_no_change_of_the_world(quick: App) -> None:
    rng = random.Random(7)
    for number in range(900):
        tried = number >= 500 and number % 2 == 0  # half of the work is given to what is worse
        followed(quick, number, good=rng.random() < (0.3 if tried else 0.8), policy="test/t1" if tried else "probit")
        if number % 100 == 99:
            assert notice(quick) is None
    for number in range(900, 1_100):
        tried = number % 2 == 0
        followed(quick, number, good=rng.random() < (0.1 if tried else 0.4), policy="test/t1" if tried else "probit")
    assert notice(quick) is not None


def test_that_a_test_of_a_part_of_the_work_ends_is_no_change_of_the_world(quick: App, workspace: Workspace) -> None:
    """While half of what is harder is given by a test, the rest is easier work than before, and than after."""
    text = "{name: hard, context_rules: [context.project_language = rust], retry_policy: {max_attempts: %d}}"
    versions = []
    for attempts in (1, 2):
        (workspace.config / "strategies" / "hard.yaml").write_text(text % attempts, encoding="utf-8")
        load(quick)
        versions.append(str(standing_of(quick, "hard").current))
    rng, test = random.Random(8), start(quick, versions[1], [versions[0]], by="person", reason="")
    for number in range(1_000):
        hard = rng.random() < 0.5
        tried = hard and number < 500 and rng.random() < 0.6
        good = rng.random() < (0.2 if hard else 0.9)
        policy = f"test/{test}" if tried else "probit"
        followed(quick, number, good=good, language="rust" if hard else "python", policy=policy)
        if number % 100 == 99:
            assert notice(quick) is None, number


def test_another_mix_of_work_is_no_drift(quick: App) -> None:
    rng = random.Random(6)
    for number in range(900):
        hard = rng.random() < (0.2 if number < 450 else 0.8)
        followed(quick, number, good=rng.random() < (0.2 if hard else 0.9), complexity="complex" if hard else "simple")
        if number % 150 == 149:
            assert notice(quick) is None
    assert last_drift(quick) is None


def test_a_drift_ends_the_tests_under_way(quick: App) -> None:
    from learning_loop.flows.ab_tests import experiment_named, start
    from learning_loop.flows.strategies import rows_of, standing_of
    from learning_loop.strategies import Strategy, version_of

    load(quick)
    made = Strategy.model_validate({"slug": "direct", "name": "d", "retry_policy": {"max_attempts": 2}})
    parent = str(standing_of(quick, "direct").current)
    rows = rows_of(made, "evolution", quick.clock(), parent=parent)
    name = start(quick, parent, [version_of(made)], by="loop", reason="", rows=rows)
    rng = random.Random(4)
    for number in range(300):
        followed(quick, number, good=rng.random() < (0.8 if number < 200 else 0.3))
        if number == 199:
            assert notice(quick) is None
            assert experiment_named(quick, name).stands
    assert notice(quick) is not None
    test = experiment_named(quick, name)
    assert not test.stands
    assert "the world changed" in test.moves[-1].data["reason"]


def test_choices_without_rewards_and_tests_without_units_are_told(quick: App) -> None:
    from learning_loop.flows.ab_tests import start
    from learning_loop.flows.strategies import rows_of, standing_of
    from learning_loop.strategies import Strategy, version_of

    load(quick)
    made = Strategy.model_validate({"slug": "direct", "name": "d", "retry_policy": {"max_attempts": 2}})
    parent = str(standing_of(quick, "direct").current)
    rows = rows_of(made, "evolution", quick.clock(), parent=parent)
    start(quick, parent, [version_of(made)], by="person", reason="", rows=rows)
    assert check_learning(quick) == []
    quick.clock.now += timedelta(days=8)  # type: ignore[attr-defined]
    for number in range(210):
        name, now = f"n{number:05}", quick.clock()
        started = execution(name, started_at=now, parameters={})
        choice = Decision(
            id=f"{name}d", execution_id=name, point="model", alternatives=("a", "b"), probabilities=(0.5, 0.5), chosen="a",
            propensity=0.5, policy="x", context={}, at=now, latency_us=None,
        )  # fmt: skip
        quick.ledger.start(started, choice)
        quick.ledger.finish(outcome(started, success=None, status="unknown", ended_at=quick.clock()))
    told = [write_alert(quick, alert) for alert in check_learning(quick)]
    assert sorted(alert.key.partition(":")[2].partition(":")[0] for alert in told if alert.sort == "stalled") == [
        "model",
        "test",
    ]


def test_a_part_of_a_reward_that_changes_is_told(quick: App) -> None:
    rng = random.Random(5)
    for number in range(300):
        name, now = f"c{number:05}", quick.clock()
        started = execution(name, started_at=now, parameters={})
        dear = 0.01 if number < 200 else 5.0
        quick.ledger.start(started)
        use = Usage(
            execution_id=name, step_id=None, model="m", provider=None, tokens=1, latency_ms=1.0,
            cost_usd=dear * rng.uniform(0.5, 1.5), success=True, error_code=None, error_message=None, at=now,
        )  # fmt: skip
        quick.ledger.finish(outcome(started, ended_at=quick.clock()), use)
    told = [alert for alert in check_learning(quick) if alert.sort == "reward_drift"]
    assert [alert.key for alert in told] == ["reward_drift:orchestra:cost:lower"]


# ------------------------------------------------------------------------------------------------------------ notices


@contextmanager
def listening(*statuses: int) -> Iterator[tuple[str, list[dict[str, Any]], list[str]]]:
    """Listen on a free port of this machine; answer with these statuses, the last of them for ever."""
    heard, keys, left = list[dict[str, Any]](), list[str](), list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            keys.append(self.headers.get("Authorization", ""))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", heard, keys
    finally:
        server.shutdown()
        server.server_close()


def test_a_notice_is_on_record_in_a_file_and_at_the_webhook(workspace: Workspace, clock: SteppingClock) -> None:
    with listening(503, 200) as (url, heard, keys):
        flags = {"notify.webhook": url}
        environ = {**WORDS_ONLY, "LEARNING_LOOP_WEBHOOK_TOKEN": "s3cret-token-of-mine"}
        with App.open(workspace, environ=environ, flags=flags, clock=clock) as app:
            tell(app, "alert", "key", "it fails", alert="1")
            app.drain()
            assert app.ledger.events(NOTICE)[0].data["text"] == "it fails"
    assert [body["text"] for body in heard] == ["it fails"] * 2  # the first was not taken
    assert keys == ["Bearer s3cret-token-of-mine"] * 2
    lines = (workspace.root / "metrics" / "notices.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["subject"] for line in lines] == ["key"]


def test_who_will_not_listen_is_asked_once_and_nothing_says_the_token() -> None:
    with listening(403) as (url, heard, _keys):
        with pytest.raises(DeliveryError, match="403") as caught:
            Webhook(url, timeout_s=2, retries=3, token="s3cret")({"a": 1})
        assert len(heard) == 1
        assert "s3cret" not in str(caught.value)


def test_nobody_there_is_one_line_and_holds_nothing_up(workspace: Workspace, clock: SteppingClock) -> None:
    flags = {"notify.webhook": "http://127.0.0.1:9/hook", "notify.retries": "0", "notify.timeout_s": "1"}
    with App.open(workspace, environ=WORDS_ONLY, flags=flags, clock=clock) as app:
        tell(app, "alert", "key", "it fails")
        app.drain()
    assert (workspace.root / "metrics" / "notices.jsonl").is_file()


def test_lines_of_many_threads_do_not_mix(workspace: Workspace, clock: SteppingClock) -> None:
    from learning_loop.flows.notices import _write

    with App.open(workspace, environ=WORDS_ONLY, flags={"notify.log": "false"}, clock=clock) as app:

        def many(thread: int) -> None:
            for number in range(50):
                data = {"sort": "x", "text": f"{thread} " * 500}
                _write(app, Event(kind=NOTICE, subject=str(number), at=app.clock(), data=data))

        threads = [threading.Thread(target=many, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = (workspace.root / "metrics" / "notices.jsonl").read_text(encoding="utf-8").splitlines()
    assert len([json.loads(line) for line in lines]) == 200
