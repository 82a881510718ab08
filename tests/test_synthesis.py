"""The weekly synthesis: once is once, all or nothing, people outrank it, and what it writes can be read."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from learning_loop.app import App
from learning_loop.errors import ConflictError, UsageError, WorkspaceError
from learning_loop.flows.importing import import_history
from learning_loop.flows.synthesis import open_weeks, synthesize
from learning_loop.importers import RowMapping
from learning_loop.records import Event
from learning_loop.synthesis.periods import Period, month_of, parse_month, parse_week, week_of, weeks_before
from learning_loop.workspace import Workspace
from learning_loop.workspace.journal import FileChange
from learning_loop.workspace.notes import digest_of
from tests.conftest import WORDS_ONLY

ROWS = {
    "key": ["n"],
    "id": "{n}",
    "type": {"value": "build"},
    "component": "component",
    "agent": "agent",
    "started_at": "at",
    "duration": "took",
    "success": "ok",
    "error_message": "error",
    "cost_usd": "usd",
    "parameters": ["client", "shard"],
}
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
LATER = MONDAY + timedelta(weeks=20)


def rows(first: int, count: int, start: datetime, *, fails: float = 0.7, seed: int = 0) -> list[str]:
    """Return runs of one week: those with client httpx fail with a probability, others seldom."""
    rng, found = random.Random(seed + first), []
    for number in range(first, first + count):
        client = rng.choice(["httpx", "urllib"])
        ok = rng.random() > (fails if client == "httpx" else 0.1)
        at = start + timedelta(minutes=(number - first) * 7 * 24 * 60 // count)
        error = "" if ok else f"TimeoutError: no answer after {rng.randrange(90)} s"
        shard, took = rng.randrange(3), round(rng.lognormvariate(2, 0.2), 3)
        agent = rng.choice(["ann", "bob"])
        cells = (number, rng.choice(["api", "web"]), agent, at.isoformat(), took, ok, error, 0.01, client, shard)
        found.append(",".join(map(str, cells)))
    return found


def take_in(app: App, lines: list[str], folder: Path) -> None:
    file = folder / f"rows-{len(lines)}-{digest_of(lines[0].encode())}.csv"
    file.write_text("n,component,agent,at,took,ok,error,usd,client,shard\n" + "\n".join(lines) + "\n", encoding="utf-8")
    report = import_history(app, file, RowMapping.model_validate(ROWS), "csv")
    assert report.bad_count == 0


def state_of(root: Path) -> dict[str, str]:
    """Return what people see: every file of knowledge and of the reports, by its digest."""
    found = {}
    for folder in ("memory", "metrics/reports", "templates/successful-patterns"):
        for path in (root / folder).rglob("*"):
            if path.is_file():
                found[path.relative_to(root).as_posix()] = digest_of(path.read_bytes())
    return found


class Now:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def now() -> Now:
    return Now(MONDAY + timedelta(days=8))


@pytest.fixture
def week(workspace: Workspace, tmp_path: Path, now: Now) -> Iterator[App]:
    """Yield a workspace with one week of 200 runs in it."""
    with App.open(workspace, environ=WORDS_ONLY, clock=now, rng=random.Random(5)) as app:
        take_in(app, rows(0, 200, MONDAY), tmp_path)
        yield app


def rule_files(app: App) -> list[Path]:
    return sorted(path for path in (app.workspace.memory / "rules").glob("*.md"))


def test_a_week_becomes_patterns_rules_and_a_report(week: App) -> None:
    result = synthesize(week)
    assert result.period == "2026-W10"
    assert (result["patterns_identified"], result["rules_updated"], result["runs"]) == (2, True, 200)
    assert result["timestamp"] == week.clock().isoformat()
    titles = set(result.new_patterns)
    assert titles == {"parameter client = httpx goes badly", "parameter client = urllib goes well"}
    (note,) = (week.workspace.memory / "long-term" / "component-patterns").glob("*badly*.md")
    text = note.read_text(encoding="utf-8")
    assert "points" in text
    assert "import-" in text
    (rule,) = [week.notes.read(path) for path in rule_files(week)]
    assert rule.meta["then"] == {"advise": "avoid parameter client = httpx"}
    assert rule.meta["status"] == "trial"
    report = json.loads((week.workspace.reports / "2026-W10" / "report.json").read_text(encoding="utf-8"))
    assert report["counts"]["runs"] == 200
    assert {chart["file"] for chart in report["charts"]} <= {
        path.name for path in (week.workspace.reports / "2026-W10").iterdir()
    }
    markdown = (week.workspace.root / result.report).read_text(encoding="utf-8")
    for heading in ("# Week 2026-W10", "## What needs you", "## What changed", "## Patterns", "## Errors", "cannot tell"):
        assert heading in markdown
    linked = [line.split("](../../../")[1].split(")")[0] for line in markdown.splitlines() if "](../../../" in line]
    assert linked
    assert all((week.workspace.root / path).is_file() for path in linked)
    (change,) = week.ledger.events("rule_change")
    assert change.data["action"] == "add"
    assert "points" in change.data["reason"]


def test_the_same_week_twice_is_once(week: App) -> None:
    first = synthesize(week)
    before, events = state_of(week.workspace.root), len(week.ledger.events("rule_change"))
    again = synthesize(week, parse_week("2026-W10"))
    assert not again.changed
    for name in set(first) - {"changed"}:
        assert again[name] == first[name]
    assert state_of(week.workspace.root) == before
    assert len(week.ledger.events("rule_change")) == events
    assert len(week.ledger.events("synthesis")) == 1


def test_a_week_that_has_not_begun_is_refused_at_once(week: App) -> None:
    with pytest.raises(UsageError, match="has not begun"):
        synthesize(week, parse_week("9998-W19", UTC))


def test_it_tells_every_step_and_whoever_stops_it_at_one_leaves_all_as_it_was(week: App) -> None:
    heard: list[int] = []

    def stop(done: int, _total: int) -> None:
        if done == 5:
            raise ConflictError("that is enough")

    before = state_of(week.workspace.root)
    with pytest.raises(ConflictError):
        synthesize(week, told=stop)
    assert state_of(week.workspace.root) == before
    assert week.ledger.events("synthesis") == []
    assert synthesize(week, told=lambda done, _total: heard.append(done)).changed
    assert heard == [1, 2, 3, 4, 5, 6]


def test_a_dry_run_writes_nothing(week: App) -> None:
    before = state_of(week.workspace.root)
    result = synthesize(week, dry_run=True)
    assert result.rules_updated
    assert state_of(week.workspace.root) == before
    assert not week.ledger.events("synthesis")
    assert not week.ledger.events("alert")


def test_a_known_pattern_updates_its_note_and_one_that_is_gone_is_archived(week: App, tmp_path: Path, now: Now) -> None:
    synthesize(week)
    for number in range(1, 21):
        start = MONDAY + timedelta(weeks=number)
        take_in(week, rows(1_000 * number, 200, start, fails=0.7 if number < 2 else 0.1), tmp_path)
        now.now = start + timedelta(days=7)
        result = synthesize(week)
        if number == 1:
            assert (result.patterns_identified, result.new_patterns) == (2, ())
            (note,) = (week.workspace.memory / "long-term" / "component-patterns").glob("*badly*.md")
            assert week.notes.read(note).meta["confirmed"] == "2026-W11"
            assert week.notes.read(note).meta["found"] == "2026-W10"
    assert not list((week.workspace.memory / "long-term" / "component-patterns").glob("*.md"))
    assert not rule_files(week)
    archived = [week.notes.read(path) for path in (week.workspace.memory / "archive").glob("*.md")]
    assert {"pattern", "rule"} <= {note.category for note in archived}
    assert {note.meta["status"] for note in archived if note.category == "rule"} == {"retired"}
    assert week.ledger.events("rule_change")[-1].data["action"] == "retire"


def test_a_persons_rule_stays_and_a_proposal_is_put_beside_an_edited_pattern(week: App, tmp_path: Path, now: Now) -> None:
    synthesize(week)
    (rule,) = rule_files(week)
    mine = rule.read_text(encoding="utf-8").replace("avoid parameter client = httpx\n", "use urllib\n", 1)
    rule.write_text(mine, encoding="utf-8")
    (note,) = (week.workspace.memory / "long-term" / "component-patterns").glob("*badly*.md")
    edited = note.read_text(encoding="utf-8") + "\nI know why: the pool is too small.\n"
    note.write_text(edited, encoding="utf-8")
    take_in(week, rows(1_000, 200, MONDAY + timedelta(weeks=1)), tmp_path)
    now.now += timedelta(weeks=1)
    synthesize(week)
    assert rule.read_text(encoding="utf-8") == mine
    assert note.read_text(encoding="utf-8") == edited
    assert note.with_suffix(".proposal.md").is_file()
    assert len(rule_files(week)) == 1


@pytest.mark.parametrize("how", ["rejected", "removed"])
def test_what_a_person_rejected_needs_new_evidence(week: App, tmp_path: Path, now: Now, how: str) -> None:
    synthesize(week)
    (rule,) = rule_files(week)
    if how == "removed":
        rule.unlink()
    else:
        rule.write_text(rule.read_text(encoding="utf-8").replace("status: trial", "status: rejected"), encoding="utf-8")
    for number in (1, 2, 3):  # the same again is no news
        take_in(week, rows(1_000 * number, 200, MONDAY + timedelta(weeks=number)), tmp_path)
        now.now += timedelta(weeks=1)
        assert not [line for line in synthesize(week).rule_changes if "httpx" in line]
    take_in(week, rows(9_000, 5_200, MONDAY + timedelta(weeks=4), fails=0.97), tmp_path)
    now.now += timedelta(weeks=1)
    assert [line for line in synthesize(week).rule_changes if "httpx" in line] == ["add: Avoid parameter client = httpx"]
    assert len(list((week.workspace.memory / "rules").glob("*.md"))) == (2 if how == "rejected" else 1)
    assert rule.with_suffix(".proposal.md").is_file() == (how == "rejected")


def test_under_human_approval_rules_wait(week: App) -> None:
    with App.open(week.workspace, environ={**WORDS_ONLY, "LEARNING_LOOP_RULES_APPROVAL": "human"}, clock=week.clock) as careful:
        synthesize(careful)
        (rule,) = [careful.notes.read(path) for path in rule_files(careful)]
        assert rule.meta["status"] == "candidate"
        report = (careful.workspace.reports / "2026-W10" / "report.md").read_text(encoding="utf-8")
        assert "judge the new rule" in report


def test_an_empty_week_makes_a_short_honest_report(app: App) -> None:
    result = synthesize(app, parse_week("2026-W10"))
    text = (app.workspace.root / result.report).read_text(encoding="utf-8")
    assert "Nothing ran from 2026-03-02 to 2026-03-08" in text
    assert len(text.splitlines()) < 15
    assert result.patterns_identified == 0


def test_months_and_sprints_are_reviewed_and_change_nothing(week: App) -> None:
    synthesize(week)
    knowledge = {path: mark for path, mark in state_of(week.workspace.root).items() if path.startswith("memory/")}
    month = synthesize(week, parse_month("2026-03"))
    assert (week.workspace.root / month.report).is_file()
    sprint = synthesize(week, Period.of_sprint("spring"))
    assert "Nothing ran" in (week.workspace.root / sprint.report).read_text(encoding="utf-8")
    assert {path: mark for path, mark in state_of(week.workspace.root).items() if path.startswith("memory/")} == knowledge
    assert not month.rules_updated


def test_a_history_that_comes_after_an_empty_week_is_learned_from(app: App, tmp_path: Path) -> None:
    clock: Any = app.clock
    clock.now = LATER
    synthesize(app, week_of(LATER))
    take_in(app, rows(0, 200, MONDAY), tmp_path)
    assert [period.label for period in open_weeks(app)] == ["2026-W10"]
    assert synthesize(app, parse_week("2026-W10")).rules_updated
    take_in(app, rows(1_000, 10, MONDAY, seed=3), tmp_path)
    assert [period.label for period in open_weeks(app)] == ["2026-W10"]
    assert synthesize(app, parse_week("2026-W10")).changed


def test_versions_come_in_with_a_history_and_are_found(app: App, tmp_path: Path) -> None:
    file = tmp_path / "builds.csv"
    rng, lines = random.Random(4), ["n,at,ok,needs"]
    for number in range(300):
        later = number > 180
        ok = rng.random() > (0.6 if later else 0.1)
        lines.append(
            f"{number},{(MONDAY + timedelta(minutes=30 * number)).isoformat()},{ok},node=={'20.2' if later else '20.1'}"
        )
    file.write_text("\n".join(lines), encoding="utf-8")
    mapping = {"key": "n", "started_at": "at", "success": "ok", "dependencies": "needs", "type": {"value": "build"}}
    import_history(app, file, RowMapping.model_validate(mapping), "csv")
    clock: Any = app.clock
    clock.now = LATER
    assert synthesize(app).new_patterns == ("build fails since node changed from 20.1 to 20.2",)


def test_weeks_of_a_history_are_synthesised_in_order_and_older_ones_only_reviewed(week: App, tmp_path: Path, now: Now) -> None:
    for number in (1, 2):
        take_in(week, rows(1_000 * number, 60, MONDAY + timedelta(weeks=number)), tmp_path)
    now.now = LATER
    labels = [period.label for period in open_weeks(week)]
    assert labels == ["2026-W10", "2026-W11", "2026-W12"]
    synthesize(week, parse_week("2026-W11"))
    changes = len(week.ledger.events("rule_change"))
    synthesize(week, parse_week("2026-W10"))
    assert len(week.ledger.events("rule_change")) == changes
    assert [period.label for period in open_weeks(week)] == ["2026-W12"]


def test_kept_weeks_are_counted_again_only_when_runs_have_come_to_them(week: App, tmp_path: Path, now: Now) -> None:
    def counted(label: str) -> list[int]:
        return [event.data["runs"] for event in week.ledger.events("week", label)]

    now.now = LATER
    for number in (1, 2, 3):
        take_in(week, rows(1_000 * number, 40, MONDAY + timedelta(weeks=number)), tmp_path)
        synthesize(week, parse_week(f"2026-W{10 + number}"))
    assert [counted(f"2026-W{number}") for number in (10, 11, 12)] == [[200], [40], [40]]
    take_in(week, rows(9_000, 7, MONDAY + timedelta(weeks=1)), tmp_path)
    take_in(week, rows(9_500, 30, MONDAY + timedelta(weeks=4)), tmp_path)
    synthesize(week, parse_week("2026-W14"))
    assert (counted("2026-W10"), counted("2026-W11")) == ([200], [40, 47])


def test_one_at_a_time(week: App) -> None:
    done: list[str] = []

    def second() -> None:
        with App.open(week.workspace, environ=WORDS_ONLY, clock=week.clock) as other:
            done.append(synthesize(other).period)

    with week.journal.alone(wait_s=1):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        assert done == []
        busy = pytest.raises(WorkspaceError, match="another synthesis")
        with App.open(week.workspace, environ=WORDS_ONLY) as other, busy, other.journal.alone(wait_s=0.1):
            pass
    thread.join()
    assert done == ["2026-W10"]


def test_reflections_that_come_again_are_promoted_and_old_ones_archived(
    make_loop: Any, clock: Any, workspace: Workspace
) -> None:
    def runner(task: dict[str, Any]) -> None:
        raise ConnectionError(f"no route to {task['component']}")

    loop = make_loop(runner)
    for component, times in (("often", 4), ("once", 1)):
        for number in range(times):
            try:
                loop.execute_with_learning({"id": f"{component}-{number}", "type": "call", "component": component})
            except ConnectionError:
                pass
    result = loop.weekly_learning_synthesis()
    assert len(result.promoted) == 1
    assert "often" in (workspace.root / result.promoted[0]).read_text(encoding="utf-8")
    assert len(list((workspace.memory / "short-term").glob("*.md"))) == 1
    clock.now += timedelta(weeks=12)
    loop.weekly_learning_synthesis(week_of(clock.now).label)
    assert not list((workspace.memory / "short-term").glob("*.md"))
    assert any("once" in path.read_text(encoding="utf-8") for path in (workspace.memory / "archive").glob("*.md"))


def test_a_note_that_cannot_be_read_is_told_and_stops_nothing(week: App, tmp_path: Path, now: Now) -> None:
    synthesize(week)
    (note,) = (week.workspace.memory / "long-term" / "component-patterns").glob("*badly*.md")
    note.write_text("---\na: [\n---\nmine\n", encoding="utf-8")
    take_in(week, rows(1_000, 200, MONDAY + timedelta(weeks=1)), tmp_path)
    now.now += timedelta(weeks=1)
    result = synthesize(week)
    assert "mend this note" in (week.workspace.root / result.report).read_text(encoding="utf-8")
    assert note.read_text(encoding="utf-8").endswith("mine\n")


def test_what_a_person_adds_to_a_report_stays(week: App, tmp_path: Path) -> None:
    report = week.workspace.root / synthesize(week).report
    mine = report.read_text(encoding="utf-8") + "\nMonday: Ann looks at it.\n"
    report.write_text(mine, encoding="utf-8")
    take_in(week, rows(1_000, 5, MONDAY), tmp_path)
    assert synthesize(week).changed
    assert report.read_text(encoding="utf-8") == mine
    assert "205 runs" in report.with_name("report.proposal.md").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- crashes

SYNTHESISE = """
import sys, random
from datetime import datetime, UTC
from learning_loop.app import App
from learning_loop.flows.synthesis import synthesize
from learning_loop.workspace import Workspace
from pathlib import Path
root, at = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
environ = {"LEARNING_LOOP_MEMORY_EMBEDDER": "lexical"}
with App.open(Workspace(root), environ=environ, clock=lambda: at, rng=random.Random(1)) as app:
    print("ready", flush=True)
    sys.stdin.readline()
    synthesize(app)
    print("done", flush=True)
"""


def killed_after(root: Path, at: datetime, seconds: float | None) -> float:
    """Synthesise in a process of its own that is killed so long after it began; return how long it took."""
    command = [sys.executable, "-c", SYNTHESISE, str(root), at.isoformat()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        process.stdin.write("\n")
        process.stdin.flush()
        if seconds is not None:
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
        process.stdout.readline()
        return time.monotonic() - started


def crash_at(moments: int, week: App, tmp_path: Path) -> set[str]:
    """Kill a synthesis at so many moments, each time from the same state; return which states were found afterwards."""
    import shutil

    root, at = week.workspace.root, week.clock()
    week.close()
    template = tmp_path / "template"
    shutil.copytree(root, template)
    old = state_of(template)
    whole = killed_after(root, at, None)
    new = state_of(root)
    assert new != old
    seen = set()
    for number in range(moments):
        shutil.rmtree(root)
        shutil.copytree(template, root)
        killed_after(root, at, whole * (number + 0.5) / moments)
        with App.open(Workspace(root), environ=WORDS_ONLY, clock=lambda: at) as again:  # recovers
            found = state_of(root)
            done = bool(again.ledger.events("synthesis"))
            rules = len(again.ledger.events("rule_change"))
        assert found in (old, new), sorted({*found.items()} ^ {*(new if done else old).items()})
        assert (found == new) == done
        assert rules == (1 if done else 0)
        seen.add("new" if done else "old")
    return seen


def test_a_crash_leaves_the_old_state_or_the_new_one(week: App, tmp_path: Path) -> None:
    assert "old" in crash_at(6, week, tmp_path)


@pytest.mark.slow
def test_a_hundred_crashes_leave_the_old_state_or_the_new_one(week: App, tmp_path: Path) -> None:
    assert crash_at(100, week, tmp_path) == {"old", "new"}


STEPS = """
import os, sys
from learning_loop.workspace import files, journal
left = int(sys.argv.pop())

def counted(inner):
    def outer(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return inner(*args, **kwargs)
    return outer

os.replace, journal.shutil.rmtree = counted(os.replace), counted(journal.shutil.rmtree)
"""


def test_a_crash_at_every_step_of_the_commit(week: App, tmp_path: Path) -> None:
    """Die before each file that takes its place, one after the other, until a synthesis comes through."""
    import shutil

    root, at = week.workspace.root, week.clock()
    week.close()
    template = tmp_path / "template"
    shutil.copytree(root, template)
    old, seen = state_of(template), set()
    for step in range(200):
        shutil.rmtree(root)
        shutil.copytree(template, root)
        command = [sys.executable, "-c", STEPS + SYNTHESISE, str(root), at.isoformat(), str(step)]
        done = subprocess.run(command, input="\n", capture_output=True, text=True, check=False)
        with App.open(Workspace(root), environ=WORDS_ONLY, clock=lambda: at) as again:
            committed = bool(again.ledger.events("synthesis"))
        found = state_of(root)
        assert (found != old) == committed
        seen.add(tuple(sorted(found.items())))
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr
    assert len(seen) == 2


def test_a_crash_while_the_journal_is_cleared_is_recovered_from(week: App) -> None:
    """Whatever is left of the folder: the files are in their places, so that nothing of it is needed."""
    journal, target = week.journal, week.workspace.reports / "note.md"
    for left in (["0"], ["1"], ["0", "1"], []):
        with journal.alone(wait_s=1):
            changes = [FileChange(f"metrics/reports/{name}", name.encode(), None) for name in ("note.md", "other.md")]
            target.unlink(missing_ok=True)
            target.with_name("other.md").unlink(missing_ok=True)
            journal.prepare("one", changes)
            folder = week.workspace.reports / ".pending-one"
            kept = {name: (folder / name).read_bytes() for name in left}
            journal.carry_out("one")
            folder.mkdir()
            for name, content in kept.items():
                (folder / name).write_bytes(content)
        journal.recover(lambda _: True)
        assert not folder.exists()
        assert target.read_text() == "note.md"


def test_what_a_person_wrote_between_a_crash_and_recovery_stays(week: App) -> None:
    from learning_loop.workspace.journal import FileChange

    target = week.workspace.memory / "rules" / "a.md"
    target.write_text("mine\n", encoding="utf-8")
    with week.journal.alone(wait_s=1):
        week.journal.prepare("x", [FileChange("memory/rules/a.md", b"theirs\n", None)])
    week.ledger.append(Event(kind="files", subject="x", at=week.clock(), data={}))
    with App.open(week.workspace, environ=WORDS_ONLY):
        pass
    assert target.read_text(encoding="utf-8") == "mine\n"
    assert target.with_name("a.proposal.md").read_text(encoding="utf-8") == "theirs\n"


# ------------------------------------------------------------------------------------------------------------- periods


def test_periods() -> None:
    assert week_of(datetime(2026, 1, 1, tzinfo=UTC)).label == "2026-W01"
    assert parse_week("2026w9").label == "2026-W09"
    assert parse_week("2026-W10").start == MONDAY
    assert [week.label for week in weeks_before(parse_week("2026-W01"), 2)] == ["2025-W51", "2025-W52"]
    december = month_of(datetime(2026, 12, 31, 23, tzinfo=UTC))
    assert (december.label, december.end) == ("2026-12", datetime(2027, 1, 1, tzinfo=UTC))
    for wrong in ("2026-W60", "w10", "2026-13"):
        with pytest.raises(UsageError):
            parse_week(wrong) if "W" in wrong.upper() else parse_month(wrong)
