"""Killed at any moment: what was acknowledged is there, no file is half written, the ledger is sound."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from learning_loop.app import App
from learning_loop.errors import NoteError
from learning_loop.flows.indexing import Indexing
from learning_loop.workspace import Workspace

WORKER = """
import sys
from learning_loop import LearningOrchestrator

def runner(task, run):
    with run.step("work"):
        run.checkpoint("half")
    if task["parameters"]["n"] % 3 == 0:
        raise ValueError(f"family {task['parameters']['n'] % 7} of trouble: {'abcdefg'[task['parameters']['n'] % 7]}")
    return {"success": True}

loop = LearningOrchestrator(runner, workspace=sys.argv[1], strict=True)
number = 0
while True:
    number += 1
    task = {"id": f"t{number}", "type": "crash", "component": "abc"[number % 3], "parameters": {"n": number}}
    run = loop.begin(task)
    print("begun", run.id, flush=True)
    try:
        ended = runner(task, run)
    except ValueError as error:
        ended = error
    report = loop.finish(run, ended)
    print("finished", run.id, " ".join(report.notes), flush=True)
"""


@pytest.mark.parametrize("moments", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments_loses_nothing_that_was_acknowledged(tmp_path: Path, moments: int) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    rng = random.Random(moments)
    begun: set[str] = set()
    finished: dict[str, list[str]] = {}
    for moment in range(moments):
        with subprocess.Popen([sys.executable, "-c", WORKER, str(workspace.root)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            first = process.stdout.readline()
            time.sleep(rng.uniform(0, 0.15))
            os.kill(process.pid, signal.SIGKILL)
            said = (first + process.stdout.read()).decode().splitlines(keepends=True)
        for line in said:
            words = line.split()
            if not line.endswith("\n") or not words:
                continue
            (begun.add(words[1]) if words[0] == "begun" else finished.__setitem__(words[1], words[2:]))
        if moment % 10 == 9 or moment == moments - 1:
            examine(workspace, begun, finished)


def examine(workspace: Workspace, begun: set[str], finished: dict[str, list[str]]) -> None:
    with App.open(workspace, environ={}) as app:
        assert app.ledger.faults() == []
        records = {record.execution.id: record for record in app.ledger.executions(limit=1_000_000)}
        assert begun <= set(records)
        for execution in finished:
            assert records[execution].status in ("succeeded", "failed")
        open_ones = [record for record in records.values() if record.outcome is None]
        assert open_ones == []
        indexing = Indexing(app)
        assert indexing.sync_notes() == []
        indexing.sync_executions()
        for path in app.notes.paths():
            note = app.notes.read(app.workspace.relative(path))
            assert not isinstance(note, NoteError)
            if note.category == "assumption":
                continue
            assert note.meta["id"]
            assert note.body.rstrip().endswith(("`", ")")), note.path
        for notes in finished.values():
            assert all((workspace.root / note).is_file() for note in notes)
        assert app.index.store.size()["executions"] == len(records)


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    (workspace.memory / "a.md").write_text("# Zorble\n")
    for damage in (b"", b"rubbish" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000):
        workspace.index.mkdir(parents=True, exist_ok=True)
        (workspace.index / "index.db").write_bytes(damage)
        done = subprocess.run(
            [sys.executable, "-m", "learning_loop", "query", "zorble", "--json"],
            cwd=workspace.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["results"][0]["title"] == "Zorble"
