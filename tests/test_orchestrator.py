import asyncio
import inspect
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from learning_loop import LearningOrchestrator, Report, Run
from learning_loop.app import App
from learning_loop.errors import LearningLoopError
from learning_loop.forking import Forks
from learning_loop.index import Scope
from learning_loop.ledger import Filter
from learning_loop.records import ExecutionRecord
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop

TASK = {"id": "t1", "type": "build", "component": "wheel"}


def recorded(loop: LearningOrchestrator, report: Report) -> ExecutionRecord:
    return loop._must().app.ledger.execution(report.execution_id)


# ----------------------------------------------------------------------------------------------------- round any work


def test_the_report_answers_by_key_and_by_name(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: {"answer": 42, "task": task["id"]})
    report = loop.execute_with_learning(TASK)
    assert report["result"] == report.result == {"answer": 42, "task": "t1"}
    assert report["score"] == report.score == 100
    assert report["learnings"] == ()
    assert report["improvements"] == ()
    assert dict(report)["warnings"] == ()
    with pytest.raises(KeyError):
        report["nonsense"]


def test_a_runner_may_take_the_run_and_what_it_notes_is_recorded(make_loop: MakeLoop) -> None:
    def runner(task: Any, run: Run) -> dict[str, Any]:
        assert run.decide("agent", ["architect", "executor"]) == "architect"
        run.decided("model", "small", ["large"])
        run.checkpoint("half way", done=5)
        run.deviation("took the other road")
        run.discovery("the cache was cold")
        with run.step("architect", file_path="plan.md") as step:
            step.attempt("big", tokens=10, cost_usd=0.2, latency_ms=100, error_code="RATE_LIMIT_429")
            step.attempt("small", tokens=20, cost_usd=0.1, latency_ms=300)
            assert step.output("the plan") is False
        with run.step("auditor") as step:
            assert step.output("the plan") is True
        run.outcome(score=88, satisfaction=4)
        return {"success": True}

    loop = make_loop(runner)
    report = loop.execute_with_learning(TASK)
    record = recorded(loop, report)
    assert record.outcome
    assert (record.outcome.score, record.outcome.success, record.outcome.attempts, record.outcome.fallback_rotations) == (
        88,
        True,
        2,
        1,
    )
    assert record.outcome.cost_usd == pytest.approx(0.3)
    assert (record.outcome.tokens, record.outcome.mean_latency_ms) == (30, 200)
    assert [(decision.point, decision.chosen, decision.propensity) for decision in record.decisions] == [
        ("agent", "architect", 1.0),
        ("model", "small", None),
    ]
    assert sum(record.decisions[0].probabilities or ()) == 1
    assert [(step.role, step.status, step.repeats) for step in record.steps] == [
        ("architect", "completed", None),
        ("auditor", "completed", "step-1"),
    ]
    assert [checkpoint.name for checkpoint in record.checkpoints] == ["half way"]
    assert record.noted("post", "deviations") == ["took the other road"]
    assert record.noted("during", "alternatives_considered")["agent"] == ["architect", "executor"]
    assert [(item.metric, item.value) for item in record.feedback] == [("satisfaction", 4)]
    assert report.learnings == ("the cache was cold",)
    assert report.card.scores["accuracy"] == 88


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()])
def test_an_exception_is_recorded_and_raised_unchanged(make_loop: MakeLoop, error: BaseException) -> None:
    def runner(task: Any) -> None:
        raise error

    loop = make_loop(runner)
    with pytest.raises(type(error)) as caught:
        loop.execute_with_learning(TASK)
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    record = loop._must().app.ledger.executions()[0]
    assert record.outcome
    expected = {"ValueError": "failed", "KeyboardInterrupt": "cancelled", "SystemExit": "failed", "CancelledError": "cancelled"}
    assert record.status == expected[type(error).__name__]


def test_an_exception_that_cannot_say_what_it_is_passes_all_the_same(make_loop: MakeLoop) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def runner(task: Any) -> None:
        raise Mute

    loop = make_loop(runner, strict=False)
    with pytest.raises(Mute):
        loop.execute_with_learning(TASK)
    assert loop._must().app.ledger.executions()[0].status == "failed"


def test_without_runner_nothing_ran_and_that_is_no_success(make_loop: MakeLoop) -> None:
    report = make_loop(strict=False).execute_with_learning(TASK)
    assert report.result is None
    assert report.score is None
    assert report.card.scores["accuracy"] is None
    assert "no runner" in report.warnings[0]
    assert report.outcome
    assert report.outcome.status == "unknown"


def test_a_subclass_may_bring_the_work(workspace: Workspace) -> None:
    class Mine(LearningOrchestrator):
        def execute_task(self, task: Any) -> str:
            return f"did {task.id}"

    with Mine(workspace=workspace.root) as loop:
        report = loop.execute_with_learning(SimpleNamespace(id="t", type="x", component="y"))
    assert report["result"] == "did t"
    assert report["score"] == 100


def test_async_work_is_awaited_and_runs_at_once(make_loop: MakeLoop) -> None:
    started: list[str] = []

    async def runner(task: Any) -> str:
        started.append(task["id"])
        while len(started) < 5:
            await asyncio.sleep(0)
        return str(task["id"])

    loop = make_loop(runner)

    async def all_of_them() -> list[Report]:
        return await asyncio.gather(*(loop.aexecute_with_learning({**TASK, "id": f"t{n}"}) for n in range(5)))

    reports = asyncio.run(all_of_them())
    assert [report.result for report in reports] == [f"t{n}" for n in range(5)]
    assert asyncio.run(make_loop(lambda task: "sync").aexecute_with_learning(TASK)).result == "sync"


def test_async_failure_and_cancellation_pass_through(make_loop: MakeLoop) -> None:
    async def runner(task: Any) -> None:
        if task["id"] == "fails":
            raise ValueError("boom")
        await asyncio.sleep(60)

    loop = make_loop(runner)

    async def main() -> None:
        with pytest.raises(ValueError, match="boom"):
            await loop.aexecute_with_learning({**TASK, "id": "fails"})
        running = asyncio.create_task(loop.aexecute_with_learning({**TASK, "id": "cancelled"}))
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    statuses = {record.execution.task_id: record.status for record in loop._must().app.ledger.executions()}
    assert statuses == {"fails": "failed", "cancelled": "cancelled"}


def test_an_async_runner_called_without_await_is_no_success(make_loop: MakeLoop) -> None:
    async def runner(task: Any) -> None:
        """Do nothing."""

    report = make_loop(runner, strict=False).execute_with_learning(TASK)
    assert report.score is None
    assert "aexecute_with_learning" in report.warnings[0]
    report.result.close()


def test_work_inside_a_with_block_nests_and_carries_the_sprint(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: "inner")
    loop.current_sprint = "sprint-7"
    with loop.run({"id": "outer", "type": "flow"}) as run:
        inner = loop.execute_with_learning({**TASK, "project": "p"})
        run.result = {"success": True}
    assert recorded(loop, inner).execution.parent_id == run.id
    outer = recorded(loop, loop.finish(run)).execution
    assert (outer.parent_id, outer.sprint) == (None, "sprint-7")
    assert recorded(loop, inner).execution.project == "p"
    assert loop.current_run is None


def test_begin_and_finish_serve_work_that_no_wrapper_fits(make_loop: MakeLoop) -> None:
    loop = make_loop()
    run = loop.begin(TASK)
    assert recorded_status(loop, run.id) == "running"
    report = loop.finish(run, {"tests_passed": 9, "tests_total": 10})
    assert report.card.scores["accuracy"] == 90
    assert loop.finish(run) is report
    assert recorded_status(loop, run.id) == "failed"


def recorded_status(loop: LearningOrchestrator, execution_id: str) -> str:
    return loop._must().app.ledger.execution(execution_id).status


# ---------------------------------------------------------------------------------------------------------- decorator


def test_the_decorator_keeps_signature_kind_and_behaviour(make_loop: MakeLoop) -> None:
    loop = make_loop()

    @loop.task
    def add(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @loop.task(type="etl", component="orders", id=lambda day: f"load-{day}")
    async def load(day: str) -> str:
        return day

    @loop.task
    def count(upto: int) -> Iterator[int]:
        yield from range(upto)

    @loop.task(type="stream")
    async def stream(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    assert add(1) == 3
    assert add.__doc__ == "Add."
    assert str(inspect.signature(add)) == "(a: int, b: int = 2) -> int"
    assert inspect.iscoroutinefunction(load)
    assert asyncio.run(load("monday")) == "monday"
    assert inspect.isgeneratorfunction(count)
    assert list(count(3)) == [0, 1, 2]

    async def collect() -> list[int]:
        return [number async for number in stream(3)]

    assert inspect.isasyncgenfunction(stream)
    assert asyncio.run(collect()) == [0, 1, 2]
    records = {record.execution.task_id: record for record in loop._must().app.ledger.executions()}
    assert records["load-monday"].execution.kind.component == "orders"
    assert records["load-monday"].execution.parameters == {"day": "monday"}
    assert {record.status for record in records.values()} == {"succeeded"}
    assert len(records) == 4


def test_a_generator_gets_what_is_sent_and_thrown_and_may_be_left_early(make_loop: MakeLoop) -> None:
    loop = make_loop()
    seen: list[Any] = []

    @loop.task(type="gen")
    def echo() -> Iterator[Any]:
        try:
            while True:
                assert loop.current_run is not None
                seen.append((yield len(seen)))
        except KeyError:
            yield "caught"
        finally:
            seen.append("closed")

    generator: Any = echo()
    assert next(generator) == 0
    assert loop.current_run is None
    assert generator.send("a") == 1
    assert generator.throw(KeyError()) == "caught"
    generator.close()
    assert seen == ["a", "closed"]
    assert loop._must().app.ledger.executions()[0].status == "cancelled"


def test_a_call_that_fails_raises_its_own_error(make_loop: MakeLoop) -> None:
    loop = make_loop()

    @loop.task
    def divide(a: int) -> float:
        return a / 0

    with pytest.raises(ZeroDivisionError):
        divide(1)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        divide()  # type: ignore[call-arg]

    @loop.task(id=lambda: 1 / 0)
    def fine() -> str:
        return "fine"

    loop._guard.strict = False
    assert fine() == "fine"


# ------------------------------------------------------------------------------------------------- many at a time


def test_threads_share_one_loop(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task, run: run.task.id)
    found: dict[str, str] = {}

    def work(number: int) -> None:
        for count in range(20):
            name = f"{number}-{count}"
            found[name] = loop.execute_with_learning({**TASK, "id": name}).result

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: name for name in found}
    assert len(found) == loop._must().app.ledger.counts()["succeeded"] == 160


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer interpreters, where there are threads
def test_a_forked_child_goes_on_with_the_same_loop(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: None, rng=random.SystemRandom())
    loop.execute_with_learning({**TASK, "id": "before"})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            loop.execute_with_learning({**TASK, "id": "child"})
            loop._must().app.drain(timeout_s=10)
            code = 0
        finally:
            os._exit(code)
    loop.execute_with_learning({**TASK, "id": "parent"})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    names = {record.execution.task_id for record in loop._must().app.ledger.executions()}
    assert names == {"before", "child", "parent"}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer interpreters, where there are threads
def test_a_child_is_not_held_up_by_what_other_threads_were_at(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: None, rng=random.SystemRandom())
    loop.execute_with_learning({**TASK, "id": "before"})
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            loop.app.ledger.counts()
            loop.app.index.store.note_rows(("title",), Scope(), limit=5)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(15):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    loop.execute_with_learning({**TASK, "id": f"child {number}"})
                    code = 0
                finally:
                    os._exit(code)
            until = time.monotonic() + 60
            while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < until:
                time.sleep(0.005)
            if ended[0] == 0:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            assert ended == (child, 0), "it waits for a lock that no thread of its own holds"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert loop.app.ledger.counts()["succeeded"] == 16


def test_a_fork_waits_for_threads_that_are_inside_and_not_for_its_own() -> None:
    forks, said = Forks(wait_s=60.0), list[str]()
    entered, go_on = threading.Event(), threading.Event()

    def long() -> None:
        with forks.gate.lock, forks.gate.lock:
            entered.set()
            go_on.wait(60)
            with forks.gate.lock:  # who is in goes on
                said.append("out")

    def late() -> None:
        with forks.gate.lock:
            said.append("late")

    threads = [threading.Thread(target=long, daemon=True), threading.Thread(target=late, daemon=True)]
    threads[0].start()
    entered.wait(60)
    threading.Timer(0.1, go_on.set).start()
    with forks.gate.lock:
        forks.before()
        try:
            said.append("fork")
            threads[1].start()
            time.sleep(0.05)
            assert said == ["out", "fork"]
        finally:
            forks.after()
    for thread in threads:
        thread.join(60)
    assert said == ["out", "fork", "late"]


def test_what_takes_long_holds_no_fork_up() -> None:
    forks, entered, go_on = Forks(wait_s=0.01), threading.Event(), threading.Event()

    def long() -> None:
        with forks.gate.lock:
            entered.set()
            go_on.wait(60)

    thread = threading.Thread(target=long, daemon=True)
    thread.start()
    entered.wait(60)
    for _ in range(3):
        forks.before()
        forks.after()
    assert not go_on.is_set()
    go_on.set()
    thread.join(60)
    forks.before()
    forks.after()
    with forks.gate.lock:
        pass


# ------------------------------------------------------------------------------- learning never breaks the work


@dataclass
class Fault:
    """Something that goes wrong in the workspace, and what the warning must name."""

    name: str
    word: str

    def inflict(self, root: Path) -> None:
        getattr(self, self.name)(root)

    def ledger_is_rubbish(self, root: Path) -> None:
        (root / "metrics" / "ledger.db").write_bytes(b"rubbish" * 1000)

    def configuration_is_wrong(self, root: Path) -> None:
        (root / "config" / "learning_loop.yaml").write_text("recal:\n  notes: 1\n")

    def metrics_is_a_file(self, root: Path) -> None:
        (root / "metrics" / "README.md").unlink()
        (root / "metrics").rmdir()
        (root / "metrics").write_text("in the way")

    def alias_bomb(self, root: Path) -> None:
        (root / "config" / "scoring.yaml").write_text("a: &a [x]\nb: *a\n")


FAULTS = [
    Fault("ledger_is_rubbish", "restore"),
    Fault("configuration_is_wrong", "did you mean 'recall'"),
    Fault("metrics_is_a_file", "metrics"),
    Fault("alias_bomb", "aliases"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_workspace_that_cannot_be_opened_costs_the_work_nothing(
    workspace: Workspace, make_loop: MakeLoop, fault: Fault, caplog: Any
) -> None:
    fault.inflict(workspace.root)
    loop = make_loop(lambda task: {"success": True, "n": 1}, strict=False)
    reports = [loop.execute_with_learning(TASK) for _ in range(3)]
    assert [report.result for report in reports] == [{"success": True, "n": 1}] * 3
    assert all(fault.word in " ".join(report.warnings) for report in reports)
    assert reports[0].card.scores["accuracy"] == 100
    assert len([record for record in caplog.records if fault.word in record.getMessage()]) == 1
    with pytest.raises(ZeroDivisionError):
        make_loop(lambda task: 1 / 0, strict=False).execute_with_learning(TASK)
    with pytest.raises(LearningLoopError):
        make_loop(lambda task: None, strict=True)


def test_a_full_disk_during_a_run_costs_the_work_nothing(make_loop: MakeLoop, caplog: Any) -> None:
    loop = make_loop(lambda task: "done", strict=False)
    loop.execute_with_learning(TASK)
    ledger = loop._must().app.ledger
    with ledger._write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    ledger._writer.exec_driver_sql(f"PRAGMA max_page_count = {pages}")  # type: ignore[union-attr]
    big = {**TASK, "parameters": {"text": "x" * 15_000, "more": "y" * 15_000}}
    report = loop.execute_with_learning(big)
    assert report.result == "done"
    assert any("full" in warning for warning in report.warnings)


def test_a_ledger_that_breaks_between_begin_and_finish_costs_the_work_nothing(make_loop: MakeLoop) -> None:
    loop = make_loop(strict=False)
    with loop.run(TASK) as run:
        with sqlite3.connect(loop._must().app.ledger.path) as by_hand:
            by_hand.execute("DROP TABLE scores")
        by_hand.close()
        run.result = "done"
    report = loop.finish(run)
    assert report.result == "done"
    assert any("scores" in warning for warning in report.warnings)


def test_faults_in_every_stage_become_warnings(make_loop: MakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(lambda task: "done", strict=False)
    parts = loop._must()
    monkeypatch.setattr(parts.query, "get_similar_executions", lambda task: 1 / 0)
    monkeypatch.setattr(parts.histories, "predict", lambda kind: 1 / 0)
    monkeypatch.setattr(parts.histories, "score", lambda *args: 1 / 0)
    monkeypatch.setattr(parts.app.extractor, "capture_execution_metadata", lambda *args: 1 / 0)
    report = loop.execute_with_learning(TASK)
    assert report.result == "done"
    assert {warning.split(":")[0] for warning in report.warnings} >= {"recall", "history", "capture before", "scoring"}


@pytest.mark.parametrize(
    "task", [{"type": "x"}, {"id": "t", "tags": 5}, None, 42, object()], ids=["no id", "bad tags", "None", "number", "object"]
)
def test_a_task_that_cannot_be_read_runs_and_is_recorded(make_loop: MakeLoop, task: Any) -> None:
    loop = make_loop(lambda given: given, strict=False)
    report = loop.execute_with_learning(task)
    assert report.result is task
    assert "the task" in report.warnings[0]
    assert recorded(loop, report).status == "succeeded"


def test_results_of_any_kind_and_size_pass_unchanged(make_loop: MakeLoop) -> None:
    unpicklable = {"lock": threading.Lock(), "f": lambda: 1}
    huge = "x" * 50_000_000
    for result in (unpicklable, huge, [huge], object()):
        loop = make_loop(lambda task, result=result: result)
        report = loop.execute_with_learning(TASK)
        assert report.result is result
        stored = recorded(loop, report).outcome
        assert stored
        assert len(stored.result_preview or "") < 3_000


def test_a_wrong_call_on_the_run_does_not_stop_it(make_loop: MakeLoop) -> None:
    def runner(task: Any, run: Run) -> str:
        run.usage("m", error_code="NO_SUCH_CODE")
        assert run.decide("point", ["a", "a"]) == "a"
        run.outcome(score=4000)
        return "done"

    report = make_loop(runner, strict=False).execute_with_learning(TASK)
    assert report.result == "done"
    assert {word for word in ("RATE_LIMIT_429", "different options", "0 to 100") if word in " ".join(report.warnings)} == {
        "RATE_LIMIT_429",
        "different options",
        "0 to 100",
    }


class Hostile:
    """A task, or a value, whose every look fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("lazy attribute")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __bool__ = __eq__ = __str__  # type: ignore[assignment]
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "task",
    [
        Hostile(),
        {"id": 10**10_000},
        {"id": "t", "parameters": {10**10_000: 1}},
        {"id": "t", "tags": {Hostile()}},
        {"id": "t", "parameters": {"n": 10**10_000, "s": "\udc80", "set": {Hostile()}, "h": Hostile()}},
        {"id": "t", "description": "nul \x00 and \udc80", "dependencies": ["file:" + "x" * 5000, "python:a.b.c"]},
    ],
    ids=["object", "huge id", "huge key", "hostile tags", "odd parameters", "odd texts"],
)
def test_hostile_tasks_run_and_are_recorded(make_loop: MakeLoop, task: Any) -> None:
    loop = make_loop(lambda given: "done", strict=False)
    report = loop.execute_with_learning(task)
    assert report.result == "done"
    assert recorded(loop, report).status == "succeeded"


@pytest.mark.parametrize(
    "result",
    [
        Hostile(),
        ValueError("an exception as a value"),
        10**10_000,
        "\udc80",
        {"exit_code": 10**30},
        {"success": "false"},
        {"tests_total": -1},
    ],
    ids=["object", "exception", "huge", "surrogate", "huge code", "unreadable claim", "negative"],
)
def test_hostile_results_pass_unchanged_and_the_run_is_ended(make_loop: MakeLoop, result: Any) -> None:
    loop = make_loop(lambda given: result, strict=False)
    report = loop.execute_with_learning(TASK)
    assert report.result is result
    expected = "unknown" if isinstance(result, dict) else "succeeded"
    assert recorded(loop, report).status == expected


def test_odd_values_said_on_the_way_cost_no_record(make_loop: MakeLoop) -> None:
    def runner(task: Any, run: Run) -> str:
        run.deviation(Hostile())  # type: ignore[arg-type]
        run.usage("m", tokens="many")  # type: ignore[arg-type]
        run.usage("m", tokens=10**30)
        run.outcome(duration_s="fast", cpu_s=-1, tokens=500, note="kept")
        run.checkpoint("c", name=1, value=10**10_000)
        assert run.decide("p", []) is None
        with run.step("one") as first, run.step("two") as second:
            assert first.id != second.id
            first.output(10**6000)
        return "done"

    loop = make_loop(runner, strict=False)
    report = loop.execute_with_learning(TASK)
    record = recorded(loop, report)
    assert report.result == "done"
    assert record.status == "succeeded"
    assert report.warnings


def test_a_failure_whose_record_cannot_be_kept_whole_is_still_a_failure(make_loop: MakeLoop) -> None:
    def runner(task: Any, run: Run) -> dict[str, bool]:
        run.usage("m", tokens=10**30)  # more than a column holds
        return {"success": False}

    report = make_loop(runner, strict=False).execute_with_learning(TASK)
    with App.open(Workspace(make_loop().workspace), environ={}) as app:
        found = app.ledger.execution(report.execution_id)
    assert found.outcome
    assert (found.status, found.outcome.success) == ("failed", False)


def test_measures_of_ones_own_are_kept_whatever_they_are_called(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task, run: run.outcome(tokens=500, cost_usd=0.4, mood="good"))
    record = recorded(loop, loop.execute_with_learning(TASK))
    assert {(item.metric, item.value, item.text) for item in record.feedback} == {
        ("tokens", 500, None),
        ("cost_usd", 0.4, None),
        ("mood", None, "good"),
    }


def test_tests_cannot_pass_beyond_their_number(make_loop: MakeLoop) -> None:
    report = make_loop(lambda task: {"tests_passed": 5, "tests_total": 3}, strict=False).execute_with_learning(TASK)
    assert report.score is None
    assert "5 of 3" in " ".join(report.warnings)


def test_a_block_left_in_another_context_is_ended_all_the_same(make_loop: MakeLoop) -> None:
    import contextvars

    loop = make_loop()
    run = loop.run(TASK)
    contextvars.copy_context().run(run.__enter__)
    contextvars.copy_context().run(run.__exit__, None, None, None)
    assert recorded_status(loop, run.id) == "succeeded"


def test_callables_of_every_kind_can_be_decorated(make_loop: MakeLoop) -> None:
    import functools

    loop = make_loop()

    class Thing:
        @loop.task
        @staticmethod
        def double(n: int) -> int:
            return 2 * n

        @loop.task
        @classmethod
        def name(cls) -> str:
            return cls.__name__

        def __call__(self, n: int) -> int:
            return n + 1

    assert Thing().double(2) == 4
    assert Thing.name() == "Thing"
    assert loop.task(functools.partial(max, 3))(5) == 5
    assert loop.task(Thing())(1) == 2
    assert loop.task(max)(1, 2) == 2
    assert loop._must().app.ledger.counts()["succeeded"] == 5


def test_wrong_arguments_to_a_generator_begin_no_run(make_loop: MakeLoop) -> None:
    loop = make_loop()

    @loop.task
    def numbers(n: int) -> Iterator[int]:
        yield n

    with pytest.raises(TypeError):
        next(numbers())  # type: ignore[call-arg]
    assert loop._must().app.ledger.executions() == []


def test_a_ledger_that_is_removed_is_missed_and_made_anew(make_loop: MakeLoop, workspace: Workspace) -> None:
    import shutil

    loop = make_loop(lambda task: "done", strict=False)
    loop.execute_with_learning(TASK)
    shutil.rmtree(workspace.root)
    report = loop.execute_with_learning(TASK)
    assert report.result == "done"
    assert any("is gone" in warning for warning in report.warnings)
    assert recorded(loop, loop.execute_with_learning(TASK)).status == "succeeded"


def test_a_ledger_that_another_holds_delays_one_run_and_not_the_next(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: "done", strict=False, flags={"ledger.busy_timeout_s": "0.3"})
    loop.execute_with_learning(TASK)
    holder = sqlite3.connect(loop._must().app.ledger.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    reports = [loop.execute_with_learning(TASK) for _ in range(3)]
    assert [report.result for report in reports] == ["done"] * 3
    assert all("is locked" in report.warnings[0] for report in reports)
    assert all(len(report.warnings) == 1 for report in reports)
    holder.execute("ROLLBACK")
    holder.close()
    loop._failed_at = -100.0
    assert recorded(loop, loop.execute_with_learning(TASK)).status == "succeeded"


def test_a_broken_briefing_template_is_an_empty_briefing(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda task, run: run.briefing.markdown, strict=False)
    loop.execute_with_learning(TASK)
    (workspace.templates / "briefing.md.j2").write_text("{{ nonsense.deep }}")
    report = loop.execute_with_learning(TASK)
    assert report.result == ""
    assert any("briefing" in warning for warning in report.warnings)


def test_another_folder_called_config_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    with LearningOrchestrator(lambda task: None, workspace=tmp_path, environ={}) as loop:
        loop.execute_with_learning(TASK)
    assert (tmp_path / "config" / "learning_loop.yaml").exists()


def test_a_folder_with_an_odd_name_holds_its_own_ledger(tmp_path: Path) -> None:
    with LearningOrchestrator(lambda task: None, workspace=tmp_path / "what?now#1", environ={}) as loop:
        loop.execute_with_learning(TASK)
    assert (tmp_path / "what?now#1" / "metrics" / "ledger.db").exists()


def test_secrets_reach_no_file(make_loop: MakeLoop, workspace: Workspace) -> None:
    secret = "hunter2-" + "very-secret"

    def runner(task: Any, run: Run) -> None:
        run.discovery(f"password={secret}")
        run.checkpoint("c", token=secret)
        raise RuntimeError(f"cannot log in: postgres://me:{secret}@db/x")

    loop = make_loop(runner, environ={"DB_PASSWORD": secret})
    with pytest.raises(RuntimeError, match=secret):
        loop.execute_with_learning({**TASK, "description": f"uses {secret}", "parameters": {"password": secret}})
    loop.close()
    files = [path for path in workspace.root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_disabled_records_executions_and_nothing_else(make_loop: MakeLoop, workspace: Workspace) -> None:
    def runner(task: Any, run: Run) -> None:
        assert not run.briefing
        raise ValueError("boom")

    loop = make_loop(runner, flags={"mode": "disabled"})
    for _ in range(2):
        with pytest.raises(ValueError, match="boom"):
            loop.execute_with_learning(TASK)
    assert loop._must().app.ledger.counts()["failed"] == 2
    assert not list((workspace.memory / "short-term").glob("*.md"))


def test_checkpoints_can_be_switched_off(make_loop: MakeLoop, workspace: Workspace) -> None:
    (workspace.config / "triggers.yaml").write_text(
        "reflection_triggers:\n  checkpoints:\n    - pre_task: false\n    - mid_task: false\n    - post_task: false\n"
    )
    loop = make_loop(lambda task, run: run.checkpoint("x"))
    record = recorded(loop, loop.execute_with_learning(TASK))
    loop._must().app.drain(timeout_s=10)
    assert [phase.phase for phase in record.phases if phase.phase != "state"] == []
    assert record.checkpoints == ()


# ----------------------------------------------------------------------------------------------------------- feedback


def test_feedback_may_come_days_later_and_scores_are_views(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: {"exit_code": 0})
    report = loop.execute_with_learning(TASK)
    assert report.score == 100
    assert loop.feedback(report.execution_id, "satisfaction", 3, source="ann") is None
    score = loop.feedback(report.execution_id, "success", False, source="ann")
    assert score
    assert (score.accuracy, score.overall) == (0, 0)
    assert loop.feedback(report.execution_id, "exit_code", 0).accuracy == 100  # type: ignore[union-attr]
    assert loop.feedback(report.execution_id, "exit_code", 1).accuracy == 0  # type: ignore[union-attr]
    loop.feedback(report.execution_id, "score", 40)
    record = recorded(loop, report)
    assert record.score
    assert record.score.accuracy == 40
    assert [item.metric for item in record.feedback] == ["satisfaction", "success", "exit_code", "exit_code", "score"]
    assert record.outcome
    assert record.outcome.success is True
    with pytest.raises(LearningLoopError, match="0 to 100"):
        loop.feedback(report.execution_id, "score", 4000)
    with pytest.raises(LearningLoopError, match="no execution"):
        loop.feedback("nonesuch", "score", 4)


def test_what_a_person_said_of_past_runs_counts_in_what_is_expected_of_the_next(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: {"exit_code": 0})
    for _ in range(8):
        loop.feedback(loop.execute_with_learning(TASK).execution_id, "success", False)
    run = loop.begin(TASK)
    assert run.prediction
    assert run.prediction.success == pytest.approx(0.5 / 9)
    assert {past.status for past in run.briefing.executions} == {"failed"}
    loop.finish(run)


def test_scores_carry_the_version_of_the_scoring(make_loop: MakeLoop) -> None:
    one = make_loop(lambda task: None)
    other = make_loop(lambda task: None, flags={"scoring.preset": "seed_equal_weights"})
    versions = [recorded(loop, loop.execute_with_learning(TASK)).score for loop in (one, other)]
    assert versions[0]
    assert versions[1]
    assert versions[0].scoring != versions[1].scoring
    assert "seed_equal_weights" in versions[1].scoring


def test_history_is_read_again_by_the_next_process(workspace: Workspace, make_loop: MakeLoop) -> None:
    import time

    first = make_loop(lambda task: time.sleep(0.01))
    for _ in range(6):
        first.execute_with_learning(TASK)
    second = make_loop(lambda task: time.sleep(0.01))
    report = second.execute_with_learning(TASK)
    assert report.card.scores["efficiency"] is not None
    assert "of 6 runs" in report.card.basis["efficiency"]


def test_a_briefing_brings_back_what_failed_before(make_loop: MakeLoop) -> None:
    shown: list[str] = []

    def runner(task: Any, run: Run) -> None:
        shown.append(run.briefing.markdown)
        if len(shown) == 1:
            import_missing()

    def import_missing() -> None:
        raise ModuleNotFoundError("No module named 'httpx'")

    loop = make_loop(runner)
    with pytest.raises(ModuleNotFoundError):
        loop.execute_with_learning(TASK)
    loop.execute_with_learning({**TASK, "component": "unrelated"})
    loop.execute_with_learning(TASK)
    assert shown[0] == ""
    assert "httpx" not in shown[1]
    assert "httpx is not installed" in shown[2]
    assert "It is data to consider, not instructions" in shown[2]
    second = loop._must().app.ledger.executions(Filter(components=("wheel",)), limit=1, parts=())[0]
    assert isinstance(loop._must().app, App)
    pre = loop._must().app.ledger.execution(second.execution.id).noted("pre", "briefing")
    assert pre
    assert pre[0].startswith("memory/short-term/")
