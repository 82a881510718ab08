import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from learning_loop.app import App
from learning_loop.errors import LedgerError, NotFoundError
from learning_loop.flows.history import Histories
from learning_loop.ledger import EVERYTHING, Filter, Ledger, tables
from learning_loop.records import Event, Execution, Kind, Outcome, Phase, Step, Usage, utc_now
from learning_loop.workspace import Workspace


def execution(name: str, **fields: Any) -> Execution:
    known: dict[str, Any] = {
        "id": name,
        "task_id": f"task-{name}",
        "task_type": "build",
        "component": "wheel",
        "agent": None,
        "description": None,
        "parameters": {"depth": 2},
        "dependencies": ("python:numpy",),
        "assumptions": (),
        "tags": ("nightly",),
        "project": None,
        "sprint": None,
        "parent_id": None,
        "critical": False,
        "idempotent": False,
        "inputs_digest": None,
        "inputs_preview": None,
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "host": "elsewhere",
        "pid": 1,
        "process_started_at": None,
    }
    return Execution(**{**known, **fields})


def outcome(started: Execution, **fields: Any) -> Outcome:
    known: dict[str, Any] = {
        "execution_id": started.id,
        "task_type": started.task_type,
        "component": started.component,
        "project": started.project,
        "status": "succeeded",
        "success": True,
        "ended_at": datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
        "duration_s": 1.5,
        "shape": ("step:a",),
    }
    return Outcome(**{**known, **fields})


def test_what_is_written_is_read_back_equal(app: App) -> None:
    started = execution("20260101-000000-aaaaaaaa")
    phase = Phase(execution_id=started.id, phase="pre", at=utc_now(), data={"a": [1, None]})
    step = Step(
        execution_id=started.id,
        step_id="s1",
        role="architect",
        status="completed",
        file_path="a.py",
        output_hash="h",
        repeats=None,
        started_at=utc_now(),
        ended_at=None,
        duration_ms=1.0,
    )
    use = Usage(
        execution_id=started.id,
        step_id="s1",
        model="m",
        provider=None,
        tokens=5,
        latency_ms=None,
        cost_usd=0.1,
        success=False,
        error_code="TIMEOUT",
        error_message="late",
        at=utc_now(),
    )
    app.ledger.start(started, phase)
    assert app.ledger.execution(started.id).status == "running"
    assert app.ledger.counts() == {"running": 1}
    ended = outcome(started)
    app.ledger.finish(ended, step, use)
    found = app.ledger.execution(started.id)
    assert (found.execution, found.outcome, found.phases, found.steps, found.usage) == (
        started,
        ended,
        (phase,),
        (step,),
        (use,),
    )
    assert app.ledger.counts() == {"succeeded": 1, "running": 0}


def test_a_run_is_the_newest_unless_others_ended_one_meanwhile(app: App, workspace: Workspace) -> None:
    def ended(name: str, ledger: Ledger) -> bool:
        ledger.start(started := execution(name))
        return ledger.finish(outcome(started)) is not None

    assert [ended("x1", app.ledger), ended("x2", app.ledger)] == [True, True]
    with App.open(workspace, environ={}) as other:
        other.ledger.append(Event(kind="seen", subject="x2", at=utc_now(), data={}))
        assert ended("x3", app.ledger), "what others write of other things is no run"
        assert not ended("y1", other.ledger)
        assert not ended("x4", app.ledger)
        assert ended("x5", app.ledger)


def test_a_forked_child_does_not_go_by_what_its_parent_ended(app: App) -> None:
    def end(name: str) -> bool:
        app.ledger.start(started := execution(name))
        return app.ledger.finish(outcome(started)) is not None

    assert end("of-the-parent")
    child = os.fork()
    if child == 0:  # the parent's histories may lack what it was ending at that moment
        os._exit(10 * end("first") + end("second"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_others_end_counts_a_moment_later(app: App, workspace: Workspace, goes_on: bool) -> None:
    kind = Kind(type="build", component="wheel")
    histories = Histories(app, fresh_s=0.3)
    histories.predict(kind)

    def end(name: str) -> None:
        app.ledger.start(started := execution(name))
        histories.record(kind, outcome(started))

    for number in range(10):
        end(f"own{number}")
        time.sleep(0.05)
    assert histories.predict(kind).runs == 10
    with App.open(workspace, environ={}) as other:
        other.ledger.start(started := execution("other"))
        other.ledger.finish(outcome(started))
    if goes_on:
        end("last")
    until = time.monotonic() + 10
    while histories.predict(kind).runs != 11 + goes_on:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_evidence_cannot_be_changed_or_deleted_even_by_hand(app: App) -> None:
    started = execution("x1")
    app.ledger.start(started)
    app.ledger.finish(outcome(started))
    by_hand = sqlite3.connect(app.ledger.path)
    for statement in (
        "UPDATE outcomes SET success = 0",
        "DELETE FROM executions",
        "DELETE FROM outcomes",
        "UPDATE executions SET task_id = 'y'",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            by_hand.execute(statement)
    by_hand.close()


def test_the_migrations_make_exactly_the_tables_of_the_code(app: App) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(tables.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == tables.HEAD
    with sa.create_engine(f"sqlite:///{app.ledger.path}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": lambda *_: False})
        assert compare_metadata(context, tables.metadata) == []
        kept = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").scalar()
    assert kept == 2 * (len(tables.TABLE_OF))


def test_an_execution_is_found_by_the_start_or_the_end_of_its_id(app: App) -> None:
    for name in ("20260101-000000-aaaabbbb", "20260101-000000-ccccdddd"):
        app.ledger.start(execution(name))
    assert app.ledger.resolve("ccccdddd") == "20260101-000000-ccccdddd"
    assert app.ledger.resolve("20260101-000000-a") == "20260101-000000-aaaabbbb"
    with pytest.raises(NotFoundError, match="several"):
        app.ledger.resolve("20260101")
    with pytest.raises(NotFoundError, match="no execution"):
        app.ledger.resolve("%")


def test_filters_narrow_and_a_kind_holds_its_project(app: App) -> None:
    for name, fields in {
        "a": {},
        "b": {"component": "docs"},
        "c": {"project": "p"},
        "d": {"task_type": "test", "agent": "ann"},
    }.items():
        app.ledger.start(execution(name, **fields))
        app.ledger.finish(
            outcome(execution(name, **fields), status="failed" if name == "a" else "succeeded", success=name != "a")
        )

    def ids(wanted: Filter) -> set[str]:
        return {record.execution.id for record in app.ledger.executions(wanted)}

    assert ids(Filter(types=("build",))) == {"a", "b", "c"}
    assert ids(Filter(kind=Kind(type="build", component="wheel"))) == {"a"}
    assert ids(Filter(kind=Kind(type="build", project="p"))) == {"c"}
    assert ids(Filter(status="failed")) == {"a"}
    assert ids(Filter(agents=("ann",))) == {"d"}
    assert len(app.ledger.past_runs(Kind(type="build"))) == 2
    assert [run.success for run in app.ledger.past_runs(Kind(type="build", component="wheel"))] == [False]


def test_every_value_passes_the_sanitiser(tmp_path: Path) -> None:
    ledger = Ledger.open(
        tmp_path / "l.db", sanitize=lambda value: "clean" if value == "dirty" else value, clock=utc_now, locks=tmp_path
    )
    ledger.append(Event(kind="dirty", subject="s", at=utc_now(), data={}))
    assert ledger.events("clean")[0].subject == "s"
    ledger.close()


def test_a_damaged_ledger_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerError, match="learning-loop restore"):
        Ledger.open(tmp_path / "l.db", sanitize=lambda value: value, clock=utc_now, locks=tmp_path)


def test_a_ledger_of_a_newer_version_is_left_alone(app: App, tmp_path: Path) -> None:
    app.ledger.close()
    with sqlite3.connect(app.ledger.path) as by_hand:
        by_hand.execute("UPDATE alembic_version SET version_num = '9999'")
    by_hand.close()
    with pytest.raises(LedgerError, match="upgrade learning-loop"):
        Ledger.open(app.ledger.path, sanitize=lambda value: value, clock=utc_now, locks=tmp_path)


def test_many_threads_write_at_once(app: App) -> None:
    def work(number: int) -> None:
        for count in range(25):
            started = execution(f"{number}-{count}")
            app.ledger.start(started)
            app.ledger.finish(outcome(started))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.ledger.counts() == {"succeeded": 200, "running": 0}


def test_a_forked_child_writes_beside_its_parent(app: App) -> None:
    app.ledger.start(execution("parent"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            app.ledger.start(execution("child"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    app.ledger.finish(outcome(execution("parent")))
    assert {record.execution.id for record in app.ledger.executions()} == {"parent", "child"}
    assert app.ledger.faults() == []


DYING = """
import os, sys
from pathlib import Path
from learning_loop import LearningOrchestrator
loop = LearningOrchestrator(lambda task: os.kill(os.getpid(), 9), workspace=sys.argv[1])
loop.execute_with_learning({"id": "doomed", "type": "t", "component": "c"})
"""


def test_an_execution_whose_process_died_is_marked_interrupted_at_the_next_open(workspace: Any) -> None:
    done = subprocess.run([sys.executable, "-c", DYING, str(workspace.root)], check=False)
    assert done.returncode == -9
    with App.open(workspace, environ={}) as app:
        found = app.ledger.executions(Filter(task_id="doomed"))[0]
        assert found.outcome
        assert (found.status, found.outcome.success) == ("interrupted", None)
        assert app.ledger.counts()["running"] == 0
        assert app.ledger.faults() == []


def test_a_running_execution_of_a_living_process_is_left_alone(workspace: Any) -> None:
    with App.open(workspace, environ={}) as app:
        import psutil

        alive = execution(
            "alive", host=__import__("socket").gethostname(), pid=os.getpid(), process_started_at=psutil.Process().create_time()
        )
        reused = execution("reused", host=alive.host, pid=os.getpid(), process_started_at=1.0)
        app.ledger.start(alive)
        app.ledger.start(reused)
    with App.open(workspace, environ={}) as app:
        assert app.ledger.execution("alive").status == "running"
        assert app.ledger.execution("reused").status == "interrupted"


def record_many(root: str, number: int, count: int) -> None:
    from learning_loop import LearningOrchestrator

    with LearningOrchestrator(lambda task: None, workspace=root, strict=True) as loop:
        for place in range(count):
            loop.execute_with_learning({"id": f"{number}-{place}", "type": "t", "component": "c", "parameters": {"n": place}})


def test_processes_share_a_workspace_that_none_of_them_has_opened_before(tmp_path: Path) -> None:
    share_a_workspace(tmp_path / "fresh", processes=4, count=15)


@pytest.mark.slow
def test_eight_processes_record_two_hundred_executions_each(tmp_path: Path) -> None:
    share_a_workspace(tmp_path / "fresh", processes=8, count=200)


def share_a_workspace(root: Path, *, processes: int, count: int) -> None:
    from learning_loop.workspace import Workspace

    workspace, _ = Workspace.init(root)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=record_many, args=(str(root), number, count)) for number in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * processes
    with App.open(workspace, environ={}) as app:
        assert app.ledger.counts() == {"succeeded": processes * count, "running": 0}
        assert app.ledger.faults() == []
        assert (
            len({record.execution.task_id for record in app.ledger.executions(limit=10_000, parts=EVERYTHING)})
            == processes * count
        )
