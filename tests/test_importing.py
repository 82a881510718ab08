"""Importing: idempotent, nothing dropped in silence, resumable; exports come back as they were."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from learning_loop.app import App
from learning_loop.errors import MappingError
from learning_loop.flows.importing import export_history, import_history, load_mapping
from learning_loop.flows.measuring import counted_weeks
from learning_loop.importers import RowMapping, format_of
from learning_loop.ledger import EVERYTHING, Filter
from learning_loop.workspace import Workspace

MAPPING = {
    "source": "ci",
    "key": ["build", "job"],
    "id": "{build}-{job}",
    "type": {"value": "build"},
    "component": "job",
    "ended_at": {"column": "finished", "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
    "duration": {"column": "took_ms", "unit": "ms"},
    "success": {"column": "result", "yes": ["green"], "no": ["red"], "missing": ["-"]},
    "error_message": "reason",
    "tags": {"column": "tags", "split": ";"},
    "parameters": ["os"],
}
HEADER = "build,job,finished,took_ms,result,reason,tags,os"
ROWS = [
    "101,wheel,02.03.2026 09:10,61000,green,,a;b,linux",
    '102,wheel,02.03.2026 10:12,64000,red,"error: no\nlib 17",,alpine',
    "103,wheel,someday,60000,green,,,linux",
    "104,wheel,02.03.2026 11:12,1,blue,,,linux",
    "105,wheel,02.03.2026 11:12",
    "106,wheel,02.03.2026 11:12,-5,green,,,linux",
    "107,docs,02.03.2026 12:00,9000,-,,,linux",
]


def mapping(**changes: Any) -> RowMapping:
    return RowMapping.model_validate({**MAPPING, **changes})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "builds.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n", encoding="utf-8")
    return path


def test_rows_become_executions_and_bad_ones_are_set_aside(app: App, file: Path) -> None:
    report = import_history(app, file, mapping(), "csv")
    assert (report.read, report.added, report.bad_count) == (7, 3, 4)
    assert [(row.line, row.problem.split(":")[0]) for row in report.bad] == [
        (5, "ended_at"),
        (6, "success"),
        (7, "has 3 columns, the header 8"),
        (8, "duration"),
    ]
    assert report.set_aside is not None
    aside = [json.loads(line) for line in (app.workspace.root / report.set_aside).read_text(encoding="utf-8").splitlines()]
    assert [line["line"] for line in aside] == [5, 6, 7, 8]
    assert "someday" in aside[0]["text"]
    first, failed, unknown = app.ledger.executions(order="oldest", parts=EVERYTHING)
    assert first.execution.started_at == datetime(2026, 3, 2, 8, 8, 59, tzinfo=UTC)
    assert (first.execution.task_id, first.execution.tags, first.execution.parameters) == (
        "101-wheel",
        ("a", "b"),
        {"os": "linux"},
    )
    assert first.outcome is not None
    assert (first.outcome.duration_s, first.outcome.status) == (61.0, "succeeded")
    assert first.score is not None
    assert first.score.accuracy == 100
    assert failed.outcome is not None
    assert (failed.outcome.error_message, failed.status) == ("error: no\nlib 17", "failed")
    assert failed.outcome.error_fingerprint
    assert unknown.outcome is not None
    assert (unknown.outcome.success, unknown.status) == (None, "unknown")


def test_importing_twice_is_importing_once(app: App, file: Path) -> None:
    import_history(app, file, mapping(), "csv")
    before = app.ledger.executions(parts=EVERYTHING)
    again = import_history(app, file, mapping(), "csv")
    assert (again.added, again.known) == (0, 3)
    assert app.ledger.executions(parts=EVERYTHING) == before
    longer = file.read_text(encoding="utf-8") + "201,wheel,03.03.2026 09:10,61000,green,,,linux\n"
    other = file.with_name("next-week.csv")
    other.write_text(longer, encoding="utf-8")
    assert import_history(app, other, mapping(), "csv").added == 1
    assert import_history(app, other, mapping(source="another ci"), "csv").added == 4


def test_gzip_jsonl_and_bytes_that_are_no_text(app: App, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl.gz"
    lines = [
        b'{"when": 1772000000, "result": {"code": 0}, "kind": "a"}',
        b'{"when": 1772000100000, "result": {"code": 3}, "kind": "a"}',
        b"[1]",
        b"{nonsense",
        b'{"when": 1772000200, "kind": "\xff"}',
        b"",
        b'{"when": "2026-02-25T06:20:00+02:00", "result": {}, "kind": "a"}',
    ]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    rows = RowMapping.model_validate({"type": "kind", "started_at": "when", "exit_code": "result.code", "score": "nothing"})
    report = import_history(app, path, rows, format_of(path))
    assert (report.added, report.bad_count, report.unseen) == (3, 3, ("nothing",))
    assert [record.status for record in app.ledger.executions(order="oldest")] == ["unknown", "succeeded", "failed"]
    broken = tmp_path / "cut.csv.gz"
    broken.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5_000)[:-20])
    with pytest.raises(MappingError, match="breaks off"):
        import_history(app, broken, RowMapping.model_validate({"started_at": {"value": "2026-01-01"}}), "csv")


def test_secrets_in_rows_do_not_reach_disk(app: App, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("at,ok,reason\n2026-01-01,no,password=hunter22\n2026-01-01,password=hunter22,x\n", encoding="utf-8")
    columns = {"started_at": "at", "success": "ok", "error_message": "reason"}
    report = import_history(app, path, RowMapping.model_validate(columns), "csv")
    assert report.added == report.bad_count == 1
    assert "hunter22" not in report.bad[0].problem
    assert report.set_aside is not None
    written = (app.workspace.root / report.set_aside).read_text(encoding="utf-8") + str(app.ledger.executions())
    assert "hunter22" not in written


def test_a_dry_run_shows_and_writes_nothing(app: App, file: Path) -> None:
    report = import_history(app, file, mapping(), "csv", dry_run=True)
    assert [item.execution.task_id for item in report.shown] == ["101-wheel", "102-wheel", "107-docs"]
    assert report.bad_count == 4
    assert not app.ledger.executions()
    assert not (app.workspace.metrics / "imports").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("typ: a\nstarted_at: b", ":1: typ: extra inputs are not permitted; a mapping knows source, key"),
        ("type: a", "started_at or ended_at is needed"),
        ("started_at: {column: a, zone: Mars/Base}", ":1: started_at.zone: 'Mars/Base' is no time zone"),
        ("started_at: {columns: a}", "started_at.columns"),
        ("started_at: {}", "exactly one of column, text and value"),
        ("- a", "must hold"),
        ("a: [", ":2:"),
        ("started_at: a\nagent: {column: b, pattern: '('}", ":2: agent.pattern: '(' is no regular expression"),
    ],
)
def test_mappings_are_checked_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MappingError) as caught:
        load_mapping(path)
    assert says in str(caught.value)


def test_a_column_that_is_not_there_is_named(app: App, file: Path) -> None:
    with pytest.raises(MappingError, match="has no column 'agnet', which agent names; it has build, job"):
        import_history(app, file, mapping(agent="agnet"), "csv")
    with pytest.raises(MappingError, match="say --format"):
        format_of(Path("history.dat"))


JUNIT = """<?xml version="1.0"?>
<testsuites><testsuite name="api" timestamp="2026-03-02T09:00:00" hostname="box">
<testcase classname="api.test_login" name="test_ok" time="0.25"/>
<testcase classname="api.test_login" name="test_bad" time="1,200.5">
<failure type="AssertionError" message="expected 200">trace</failure></testcase>
<testcase classname="api.test_login" name="test_later"><skipped/></testcase>
</testsuite></testsuites>"""


def test_junit_cases_are_executions(app: App, tmp_path: Path) -> None:
    path = tmp_path / "results.xml"
    path.write_text(JUNIT, encoding="utf-8")
    assert import_history(app, path, None, format_of(path)).added == 3
    assert import_history(app, path, None, "junit").known == 3
    found = {record.execution.task_id: record for record in app.ledger.executions()}
    failed = found["api.test_login.test_bad"].outcome
    assert failed is not None
    assert (failed.status, failed.error_type, failed.error_message, failed.duration_s) == (
        "failed",
        "AssertionError",
        "expected 200",
        1200.5,
    )
    assert {name: record.status for name, record in found.items()} == {
        "api.test_login.test_ok": "succeeded",
        "api.test_login.test_bad": "failed",
        "api.test_login.test_later": "unknown",
    }
    timeless = tmp_path / "timeless.xml"
    timeless.write_text(JUNIT.replace(' timestamp="2026-03-02T09:00:00"', ""), encoding="utf-8")
    assert import_history(app, timeless, None, "junit").added == 3
    assert import_history(app, timeless, None, "junit").known == 3
    bomb = tmp_path / "bomb.xml"
    bomb.write_text('<!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>', encoding="utf-8")
    with pytest.raises(MappingError, match="no JUnit XML"):
        import_history(app, bomb, None, "junit")


def test_an_export_comes_back_as_it_was(app: App, make_loop: Any, tmp_path: Path) -> None:
    def runner(task: Any, run: Any) -> Any:
        run.decide("model", ["small", "large"])
        run.checkpoint("half")
        with run.step("draft") as step:
            step.attempt("small", tokens=3)
        run.outcome(delight=3)
        if task["id"] == "2":
            raise ValueError("no such thing")
        return {"success": True}

    loop = make_loop(runner)
    for number in range(3):
        try:
            loop.execute_with_learning({"id": str(number), "type": "write", "component": "docs", "tags": ["x"]})
        except ValueError:
            pass
    file = tmp_path / "out.jsonl.gz"
    assert export_history(app, file) == 3
    other, _ = Workspace.init(tmp_path / "other")
    with App.open(other, clock=app.clock) as copy:
        assert import_history(copy, file, None, format_of(file)).added == 3
        assert import_history(copy, file, None, format_of(file)).known == 3
        assert copy.ledger.executions(parts=EVERYTHING) == app.ledger.executions(parts=EVERYTHING)


def test_an_import_that_is_killed_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    path, rows = tmp_path / "long.csv", 12_000
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["n", "at", "ok"])
        writer.writerows([number, f"2026-03-{1 + number % 28:02}T10:00:00", number % 3] for number in range(rows))
    map_ = tmp_path / "map.yaml"
    map_.write_text("key: n\nid: n\nstarted_at: at\nsuccess: {column: ok, yes: [0, 2], no: [1]}\n", encoding="utf-8")
    command = [sys.executable, "-m", "learning_loop", "-C", str(workspace.root), "import", str(path), "--map", str(map_)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with App.open(workspace) as app:
        while not app.ledger.executions(limit=1):
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        there = app.ledger.tally(Filter(ended=True))[0].runs
        assert 0 < there < rows
        assert there % 1_000 == 0
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        assert app.ledger.tally(Filter(ended=True))[0].runs == rows
        assert len({record.execution.task_id for record in app.ledger.executions(limit=rows)}) == rows


def test_lists_of_failures_count_in_no_rate(app: App, tmp_path: Path) -> None:
    path = tmp_path / "failures.csv"
    path.write_text("at,reason\n" + "".join(f"2026-01-05T10:{n:02},no route {n}\n" for n in range(9)), encoding="utf-8")
    columns = {"started_at": "at", "error_message": "reason", "only_failures": True, "agent": {"value": "ann"}}
    import_history(app, path, RowMapping.model_validate(columns), "csv")
    (week,) = counted_weeks(app)
    assert (week.runs, week.failed, week.agents, week.scored) == (9, 0, {}, 0)
    assert [error.count for error in week.errors.values()] == [9]
    with pytest.raises(ValueError, match="leave success out"):
        RowMapping.model_validate({**columns, "success": "x"})
