import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.errors import NotFoundError, UsageError
from learning_loop.flows.backup import backup, restore
from learning_loop.flows.forget import forget, forget_expired
from learning_loop.flows.indexing import Indexing, indexed_together
from learning_loop.index import Scope
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop, SteppingClock

MARK = "zebra-crossing-7431"
TASK = {"id": "t", "type": "build", "component": "wheel"}


def failing(task: dict[str, Any]) -> None:
    raise ValueError(task["description"])


def fail(loop: LearningOrchestrator, description: str) -> str:
    with pytest.raises(ValueError):
        loop.execute_with_learning({**TASK, "description": description})
    return loop._must().app.ledger.executions(limit=1)[0].execution.id


def holding(root: Path, mark: str) -> list[str]:
    return [
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and mark.encode() in path.read_bytes()
    ]


def test_what_is_forgotten_or_edited_before_notes_are_indexed_together_is_not_found_as_it_was(
    make_loop: MakeLoop, workspace: Workspace
) -> None:
    loop = make_loop(failing)
    app = loop.app

    def said() -> dict[str, str]:
        return {hit.source: f"{hit.title} {hit.text}" for hit in app.index.newest(Scope(categories=("reflection",)), limit=5)}

    with indexed_together(app):
        fail(loop, f"{MARK} one")
        with pytest.raises(ValueError):
            loop.execute_with_learning({**TASK, "component": "spoke", "description": "flumox two"})
        gone, edited = sorted(workspace.memory.glob("short-term/*.md"), key=lambda path: MARK not in path.read_text())
        edited.write_text(edited.read_text().replace("flumox", "blagru"))
        forget(app, workspace.relative(gone), reason="r")
    assert list(said()) == [workspace.relative(edited)]
    (text,) = said().values()
    assert "blagru" in text
    assert "flumox" not in text


def test_a_note_that_cannot_be_read_keeps_no_other_from_being_found(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(failing)
    with indexed_together(loop.app):
        for name in ("one", "two", "three"):
            with pytest.raises(ValueError):
                loop.execute_with_learning({**TASK, "component": name, "description": f"{name} failed"})
        broken, gone, kept = sorted(workspace.memory.glob("short-term/*.md"))
        broken.write_text("---\nid: [half edited\n", encoding="utf-8")
        gone.unlink()
    found = loop.app.index.newest(Scope(categories=("reflection",)), limit=5)
    assert [hit.source for hit in found] == [workspace.relative(kept)]


def test_forgetting_an_execution_leaves_its_id_a_tombstone_and_nothing_else(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(failing)
    kept = fail(loop, "ordinary trouble")
    gone = fail(loop, f"secret customer {MARK}")
    app = loop._must().app
    loop.query("customer")
    assert len(holding(workspace.root, MARK)) >= 3
    found = forget(app, gone, reason="asked by Ann")
    assert found.erased[0] == f"execution:{gone}"
    loop.close()
    assert holding(workspace.root, MARK) == []
    with App.open(workspace, environ={}) as again:
        assert again.ledger.forgotten(gone)
        assert again.ledger.events("forgotten", gone)[0].data["reason"] == "asked by Ann"
        assert again.ledger.execution(gone).execution.task_id == "(forgotten)"
        assert again.ledger.execution(gone).outcome is None
        assert again.ledger.execution(kept).outcome is not None
        assert again.ledger.faults() == []
    assert holding(workspace.root / "memory", "ordinary trouble")


def test_what_other_runs_support_is_written_again_without_the_forgotten_one(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(failing)
    first = fail(loop, "job 1 lost")
    second = fail(loop, "job 2 lost")
    found = forget(loop._must().app, second, reason="r")
    assert len(found.rewritten) == 1
    text = (workspace.root / found.rewritten[0]).read_text()
    assert first in text
    assert second not in text
    assert "job 2" not in text


def test_a_persons_note_only_loses_the_lines_that_name_the_execution(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(failing)
    gone = fail(loop, "x")
    note = workspace.memory / "mine.md"
    note.write_text(
        f"---\ntitle: Mine   # as I like it\nevidence: [{gone}, other]\n---\n# Mine\n\nkeep this\nsee {gone}\nand this\n"
    )
    forget(loop._must().app, gone, reason="r")
    assert note.read_text() == "---\ntitle: Mine   # as I like it\nevidence:\n- other\n---\n# Mine\n\nkeep this\nand this\n"


def test_a_note_is_forgotten_by_id_or_path(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(failing)
    fail(loop, MARK)
    path = next((workspace.memory / "short-term").glob("*.md"))
    found = forget(loop._must().app, workspace.relative(path), reason="r")
    assert not path.exists()
    assert loop._must().app.ledger.forgotten(found.id)
    assert holding(workspace.memory, MARK) == []
    with pytest.raises(NotFoundError, match="no note"):
        forget(loop._must().app, "config/scoring.yaml", reason="r")
    with pytest.raises(NotFoundError):
        forget(loop._must().app, "nonesuch", reason="r")


def test_retention_is_off_until_it_is_set(workspace: Workspace, make_loop: MakeLoop, clock: SteppingClock) -> None:
    loop = make_loop(failing)
    old = fail(loop, "old")
    clock.now = datetime(2026, 6, 1, tzinfo=UTC)
    new = fail(loop, "new")
    assert forget_expired(loop._must().app) == []
    limited = make_loop(failing, flags={"ledger.retention_days": "30"})
    app = limited._must().app
    app.drain("retention")  # done when a workspace is opened
    assert app.ledger.forgotten(old)
    assert forget_expired(app) == []
    assert app.ledger.execution(new).outcome


def test_a_backup_comes_back_whole(make_loop: MakeLoop, workspace: Workspace, tmp_path: Path, clock: SteppingClock) -> None:
    loop = make_loop(failing)
    execution = fail(loop, "trouble")
    (workspace.config / "scoring.yaml").write_text("scoring:\n  window: 50\n")
    archive = backup(loop._must().app, tmp_path / "b.tar.gz")
    with pytest.raises(UsageError, match="is there already"):
        backup(loop._must().app, archive)
    fail(loop, "after the backup")
    target = tmp_path / "restored"
    assert restore(archive, target, replace=False, clock=clock) is None
    with App.open(Workspace(target), environ={}) as app:
        assert [record.execution.id for record in app.ledger.executions()] == [execution]
        assert app.settings.scoring.window == 50
        indexing = Indexing(app)
        assert indexing.sync_notes() == []
        indexing.sync_executions()
    assert len(list((target / "memory" / "short-term").glob("*.md"))) == 1


def test_a_restore_keeps_aside_what_it_replaces_and_asks_first(
    make_loop: MakeLoop, workspace: Workspace, tmp_path: Path, clock: SteppingClock
) -> None:
    loop = make_loop(failing)
    archive = backup(loop._must().app, tmp_path / "b.tar.gz")
    fail(loop, MARK)
    loop.close()
    with pytest.raises(UsageError, match="--replace"):
        restore(archive, workspace.root, replace=False, clock=clock)
    aside = restore(archive, workspace.root, replace=True, clock=clock)
    assert aside
    assert holding(aside, MARK)
    assert not holding(workspace.memory, MARK)
    with App.open(workspace, environ={}) as app:
        assert app.ledger.executions() == []


def test_what_is_no_backup_changes_nothing(workspace: Workspace, tmp_path: Path, clock: SteppingClock) -> None:
    rubbish = tmp_path / "rubbish.tar.gz"
    rubbish.write_bytes(b"rubbish")
    foreign = tmp_path / "foreign.tar.gz"
    with tarfile.open(foreign, "w:gz") as archive:
        entry = tarfile.TarInfo("../../escape.txt")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    for path in (rubbish, foreign):
        with pytest.raises(UsageError):
            restore(path, workspace.root, replace=True, clock=clock)
    assert (workspace.config / "learning_loop.yaml").exists()
    assert not (tmp_path / "escape.txt").exists()


def test_a_report_forgets_what_only_forgotten_runs_were_called(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(failing)
    for number in range(3):
        task = {"id": f"wombat-{number}", "type": "build", "agent": "quoll", "description": "always the same"}
        with pytest.raises(ValueError):
            loop.execute_with_learning(task)
    gone = [run.execution.id for run in loop.app.ledger.executions(limit=10)]
    fail(loop, "another thing that went wrong")
    loop.weekly_learning_synthesis()
    (report,) = (workspace.root / "metrics" / "reports").glob("*/report.md")
    assert "wombat-2" in report.read_text()
    for name in gone[:2]:
        forget(loop.app, name, reason="asked")
    assert "quoll" in report.read_text(), "one run still has this agent"
    forget(loop.app, gone[2], reason="asked")
    for word in ("wombat", "quoll", *gone):
        assert not [path for path in report.parent.iterdir() if word in path.read_text()], word
    assert json.loads(report.with_suffix(".json").read_text())["counts"]["runs"] == 4


def test_forgetting_reaches_reports_alerts_and_events_and_leaves_the_rules(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop, word = make_loop(failing), "quokkaville"
    gone = [fail(loop, f"secret customer {word} {number}") for number in range(3)]
    loop._must().look()
    (alert,) = loop.alerts()
    loop.weekly_learning_synthesis()
    held = holding(workspace.root, word)
    assert any("reports" in path for path in held)
    assert any("alerts" in path for path in held)
    for name in gone:
        forget(loop.app, name, reason="asked")
    loop.close()
    assert holding(workspace.root, word) == []
    readable = [path for path in (workspace.root / "metrics" / "reports").rglob("*") if path.is_file()]
    assert not [path for path in readable if any(name in path.read_text(encoding="utf-8") for name in gone)]
    with App.open(workspace, environ={}) as again:
        assert again.ledger.faults() == []
        assert again.ledger.events("alert")[0].data["id"] == alert.id
