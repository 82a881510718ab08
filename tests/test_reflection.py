import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from learning_loop import LearningOrchestrator, Run
from learning_loop.errors import NotFoundError
from learning_loop.flows import earlier
from learning_loop.flows.earlier import Earlier
from learning_loop.flows.reflect import Reflection
from learning_loop.ledger import Filter
from learning_loop.records import Phase
from learning_loop.reflection import Contradiction, with_contradiction
from learning_loop.workspace import Note, Workspace
from tests.conftest import MakeLoop

TASK = {"id": "t", "type": "build", "component": "wheel"}


def attempt(loop: LearningOrchestrator, **fields: Any) -> Any:
    """Run a task whose failure is part of the story."""
    try:
        return loop.execute_with_learning({**TASK, **fields})
    except ArithmeticError:
        return loop._must().app.ledger.executions(limit=1)[0]


def notes(workspace: Workspace, pattern: str) -> list[Note]:
    return [Note.parse(workspace.relative(path), path.read_bytes()) for path in sorted(workspace.root.glob(pattern))]


def fails_when(predicate: Callable[[dict[str, Any]], bool], message: str = "bad sums") -> Callable[..., Any]:
    def runner(task: dict[str, Any], run: Run) -> None:
        for point, chosen in task.get("choose", {}).items():
            run.decided(point, chosen, ["a", "b"])
        if predicate(task):
            raise ArithmeticError(message)

    return runner


def test_a_changed_parameter_is_named_as_the_cause(make_loop: MakeLoop) -> None:
    loop = make_loop(fails_when(lambda task: task["parameters"]["load"] == 2))
    for _ in range(3):
        attempt(loop, parameters={"load": 1, "mode": "x"})
    attempt(loop, parameters={"load": 2, "mode": "x"})
    cause = loop.root_cause_analysis("t")
    assert cause.findings[0].subject == "parameter:load"
    assert "changed from 1 to 2" in cause.findings[0].text
    assert cause.error == "ArithmeticError: bad sums"
    assert len(cause.findings[0].executions) == 2


def test_what_failures_share_outranks_what_merely_changed(make_loop: MakeLoop) -> None:
    rng = random.Random(2)
    loop = make_loop(fails_when(lambda task: task["choose"]["agent"] == "b"))
    for number in range(30):
        agent = "b" if number in (3, 8, 13, 18, 23, 29) else "a"
        attempt(loop, choose={"agent": agent}, parameters={"shard": rng.randrange(100), "zone": rng.choice("xyz")})
    cause = loop.root_cause_analysis(loop._must().app.ledger.executions(Filter(status="failed"), limit=1)[0].execution.id)
    assert cause.findings[0].subject == "decision:agent"
    assert "6 of 6 failures and 0 of 24 successes" in cause.findings[0].text
    assert "Fisher p" in cause.findings[0].text
    assert any(finding.kind == "recurrence" and "5 times before" in finding.text for finding in cause.findings)


def test_how_the_same_error_went_away_before_is_remembered(make_loop: MakeLoop) -> None:
    loop = make_loop(fails_when(lambda task: task["parameters"]["retries"] == 0))
    for retries in (1, 0, 3, 0):
        attempt(loop, parameters={"retries": retries})
    cause = loop.root_cause_analysis("t")
    assert "went away when parameter retries changed from 0 to 3" in cause.findings[0].text


def test_a_missing_dependency_is_found_before_and_confirmed_by_the_error(make_loop: MakeLoop, workspace: Workspace) -> None:
    needed = workspace.root / "data.csv"
    needed.write_text("x")

    def runner(task: Any) -> None:
        needed.read_text()

    loop = make_loop(runner)
    loop.execute_with_learning({**TASK, "dependencies": ["file:data.csv"]})
    needed.unlink()
    loop._must().app.extractor._dependencies._seen.clear()
    with pytest.raises(FileNotFoundError):
        loop.execute_with_learning({**TASK, "dependencies": ["file:data.csv"]})
    cause = loop.root_cause_analysis("t")
    assert cause.summary.startswith("the file data.csv is not there; it was there in the last success")
    assert [finding.kind for finding in cause.findings].count("missing dependency") >= 1


def test_one_failure_family_is_one_note_that_grows(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(fails_when(lambda task: True, "job 4711 lost"))
    attempt(loop)
    first = notes(workspace, "memory/short-term/*.md")
    other = make_loop(fails_when(lambda task: True, "job 815 lost"))
    attempt(other)
    again = notes(workspace, "memory/short-term/*.md")
    assert len(first) == len(again) == 1
    assert first[0].id == again[0].id
    assert (first[0].meta["seen"], again[0].meta["seen"]) == (1, 2)
    assert len(again[0].meta["evidence"]) == 2
    assert again[0].meta["kind"] == "reflection"
    assert again[0].meta["outcome"] == "failed"
    for execution in again[0].meta["evidence"]:
        assert execution in again[0].body


def test_a_reflection_that_is_done_again_counts_once(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(fails_when(lambda task: True, "job 4711 lost"))
    for _ in range(3):
        attempt(loop)
    (before,) = notes(workspace, "memory/short-term/*.md")
    for record in loop._must().app.ledger.executions(order="oldest"):  # as after a crash before they were on record
        assert record.outcome is not None
        loop.perform_reflection("mandatory_reflection", "again", record.outcome, Reflection())
    (after,) = notes(workspace, "memory/short-term/*.md")
    assert (after.meta["seen"], after.meta["evidence"]) == (before.meta["seen"], before.meta["evidence"])
    assert before.meta["seen"] == 3


def test_a_note_that_a_person_edited_is_theirs_and_gets_a_proposal_beside_it(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(fails_when(lambda task: True))
    attempt(loop)
    path = next((workspace.memory / "short-term").glob("*.md"))
    edited = path.read_bytes() + b"\nAnn: this is the disk again.\n"
    path.write_bytes(edited)
    for _ in range(2):
        attempt(loop)
    assert path.read_bytes() == edited
    proposals = notes(workspace, "memory/short-term/*.proposal.md")
    assert len(proposals) == 1
    assert proposals[0].meta["proposes_for"] == workspace.relative(path)
    assert proposals[0].meta["seen"] == 2


def test_a_note_that_was_moved_is_revised_where_it_stands(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(fails_when(lambda task: True))
    attempt(loop)
    path = next((workspace.memory / "short-term").glob("*.md"))
    moved = workspace.memory / "long-term" / "integration-gotchas" / "renamed.md"
    path.rename(moved)
    loop.query("anything")
    attempt(loop)
    assert not path.exists()
    assert notes(workspace, "memory/long-term/integration-gotchas/*.md")[0].meta["seen"] == 2


def test_a_template_is_extracted_from_three_good_runs_and_updated(make_loop: MakeLoop, workspace: Workspace) -> None:
    def runner(task: Any, run: Run) -> None:
        with run.step("plan"):
            pass
        with run.step("carry out"):
            pass
        run.decided("agent", "small", ["large"])

    loop = make_loop(runner)
    skill = "templates/successful-patterns/build-wheel/SKILL.md"
    for number in range(3):
        assert not (workspace.root / skill).exists()
        report = attempt(loop, parameters={"level": 9, "day": number}, dependencies=["python:pytest"], description="Build it.")
    assert report.notes == (skill,)
    note = notes(workspace, skill)[0]
    assert note.meta["name"] == "build-wheel"
    assert note.meta["description"]
    assert len(note.meta["evidence"]) == 3
    for text in (
        "1. plan",
        "2. carry out",
        "| level | `9` |",
        "| day | varies: `2`, `1`, `0` |",
        "`python:pytest` is there",
        "agent: small (3 of 3)",
        "Build it.",
    ):
        assert text in note.body
    before = note.content
    attempt(loop, parameters={"level": 9, "day": 7}, dependencies=["python:pytest"], description="Build it.")
    assert notes(workspace, skill)[0].content == before
    for number in range(6):
        attempt(loop, parameters={"level": 9, "day": number}, dependencies=["python:pytest"], description="Build it.")
    assert notes(workspace, skill)[0].meta["id"] == note.meta["id"]
    assert notes(workspace, skill)[0].meta["seen"] > 3
    assert len(list((workspace.root / "templates/successful-patterns").iterdir())) == 1


def test_a_template_is_compared_with_where_its_runs_are_no_longer_on_record(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda task: None)
    for _ in range(3):
        attempt(loop, parameters={"level": 9})
    loop.close()
    workspace.ledger.unlink()
    fresh = make_loop(lambda task: None)
    fresh.query("level")
    alike, other = attempt(fresh, parameters={"level": 9}), make_loop(lambda task: None)
    assert alike.card.scores["reusability"] == 100
    assert attempt(other, component="never seen", parameters={"level": 9}).card.scores["reusability"] is None


def test_nothing_is_extracted_from_runs_that_recorded_nothing(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda task: None)
    for _ in range(5):
        loop.execute_with_learning(TASK)
    assert not list((workspace.root / "templates/successful-patterns").iterdir())


def test_a_surprise_enters_the_assumptions_with_its_evidence(make_loop: MakeLoop, workspace: Workspace) -> None:
    workspace.assumptions.write_text("# Current assumptions\n\n- the wheel always builds\n\n## Notes by Ann\n\nkeep me\n")
    loop = make_loop(fails_when(lambda task: task["parameters"]["load"] == 2))
    for _ in range(22):
        attempt(loop, parameters={"load": 1})
    attempt(loop, parameters={"load": 2})
    text = workspace.assumptions.read_text()
    assert text.startswith("# Current assumptions\n\n- the wheel always builds\n\n## Notes by Ann\n\nkeep me\n")
    failed = loop._must().app.ledger.executions(Filter(status="failed"), limit=1)[0]
    assert (
        f"- build / wheel succeeds: it failed: bad sums (predicted with 98% from 22 runs; execution {failed.execution.id}"
        in text
    )
    decision = notes(workspace, "memory/long-term/architectural-decisions/*.md")[0]
    assert decision.meta["evidence"] == [failed.execution.id]
    assert "parameter load changed from 1 to 2" in decision.body
    attempt(loop, parameters={"load": 2})
    assert workspace.assumptions.read_text().count("build / wheel succeeds:") == 1


def test_a_slow_run_is_compared_with_the_last_ordinary_one(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda task, run: run.outcome(duration_s=task["parameters"]["load"] * 10.0))
    for _ in range(12):
        attempt(loop, parameters={"load": 1})
    report = attempt(loop, parameters={"load": 2})
    assert "takes about as long as usual" in report.learnings[0]
    assert "it took longer: 20 s" in report.learnings[0]
    assert "parameter load changed from 1 to 2" in report.learnings[0]
    assert report.card.scores["surprise"] > 70


def test_a_stated_assumption_that_the_cause_names_is_the_one_contradicted(make_loop: MakeLoop, workspace: Workspace) -> None:
    def runner(task: Any) -> None:
        if task["id"] == "last":
            raise ModuleNotFoundError("No module named 'httpx'")

    loop = make_loop(runner)
    for number in range(22):
        attempt(loop, id=f"t{number}", assumptions=["httpx is part of the image"])
    with pytest.raises(ModuleNotFoundError):
        loop.execute_with_learning({**TASK, "id": "last", "assumptions": ["httpx is part of the image"]})
    assert "- httpx is part of the image: the Python package httpx is not installed" in workspace.assumptions.read_text()


def test_entering_a_contradiction_keeps_every_other_character() -> None:
    found = Contradiction("x holds", "5 runs", "it did not")
    once = with_contradiction("", found, reference="r")
    assert once == "## No longer holds\n\n- x holds: it did not (5 runs; r)\n"
    assert with_contradiction(once, found, reference="other") == once
    text = "# A\n\n- a\n\n## No longer holds\n\n- old: gone (x; y)\n\n# Later\n\nkept\n"
    assert with_contradiction(text, found, reference="r") == text.replace(
        "(x; y)\n", "(x; y)\n- x holds: it did not (5 runs; r)\n"
    )
    assert with_contradiction("# A", found, reference="r").startswith("# A\n\n## No longer holds\n")


def test_root_cause_of_an_unknown_task_says_where_to_look(make_loop: MakeLoop) -> None:
    with pytest.raises(NotFoundError, match="executions list"):
        make_loop().root_cause_analysis("never heard of")


def test_where_nothing_more_is_known_the_error_itself_is_said(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(fails_when(lambda task: True))
    attempt(loop)
    cause = loop.root_cause_analysis("t")
    assert cause.summary == "it ended with ArithmeticError: bad sums"
    assert [finding.kind for finding in cause.findings] == ["error"]
    assert "confidence" not in notes(workspace, "memory/short-term/*.md")[0].meta


def test_a_run_of_another_project_is_no_evidence(make_loop: MakeLoop) -> None:
    loop = make_loop(fails_when(lambda task: task["parameters"]["load"] == 2))
    for _ in range(5):
        attempt(loop, parameters={"load": 1}, project="other")
    attempt(loop, parameters={"load": 2})
    cause = loop.root_cause_analysis("t")
    assert cause.compared_with == 0
    assert [finding.kind for finding in cause.findings] == ["error"]


def test_what_varies_between_successes_is_no_cause(make_loop: MakeLoop) -> None:
    loop = make_loop(fails_when(lambda task: task["parameters"]["day"] == 6, "bad row"))
    for day in range(7):
        attempt(loop, parameters={"day": day})
    cause = loop.root_cause_analysis("t")
    assert cause.summary == "it ended with ArithmeticError: bad row"
    assert not any(finding.subject == "parameter:day" for finding in cause.findings)


def test_template_evidence_grows_and_is_never_lost(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda task: None)
    lengths = []
    for _ in range(12):
        attempt(loop, parameters={"level": 9})
        lengths += [len(note.meta["evidence"]) for note in notes(workspace, "templates/successful-patterns/*/SKILL.md")]
    assert lengths == sorted(lengths)
    assert lengths[0] == 3


def test_what_a_person_wrote_among_the_assumptions_is_not_redacted(make_loop: MakeLoop, workspace: Workspace) -> None:
    own = "# Current assumptions\r\n\r\n- the staging login uses password: see-vault-12\r\n\r\n## No longer holds\r\n"
    workspace.assumptions.write_bytes(own.encode())
    loop = make_loop(fails_when(lambda task: task["parameters"]["load"] == 2))
    for _ in range(22):
        attempt(loop, parameters={"load": 1})
    attempt(loop, parameters={"load": 2})
    text = workspace.assumptions.read_bytes().decode()
    assert text.startswith(own)
    assert text.count("## No longer holds") == 1
    assert "\n" not in text.replace("\r\n", "")


def test_notes_are_written_by_one_at_a_time(make_loop: MakeLoop, workspace: Workspace) -> None:
    import threading

    loop = make_loop(fails_when(lambda task: True, "same trouble"), rng=random.SystemRandom())
    threads = [threading.Thread(target=attempt, args=(loop,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = notes(workspace, "memory/short-term/*.md")
    assert [note.meta["seen"] for note in found] == [8]


def test_templates_can_be_overridden_and_a_wrong_one_costs_nothing(make_loop: MakeLoop, workspace: Workspace) -> None:
    own = workspace.templates / "notes" / "reflection.md.j2"
    own.write_text("{% extends 'default:notes/reflection.md.j2' %}")
    loop = make_loop(fails_when(lambda task: True))
    attempt(loop)
    assert "## Likely causes" in notes(workspace, "memory/short-term/*.md")[0].body
    own.write_text("{{ nonsense.deep }}")
    broken = make_loop(fails_when(lambda task: True, "another error"), strict=False)
    attempt(broken)
    assert len(notes(workspace, "memory/short-term/*.md")) == 1


def test_the_clock_is_the_only_source_of_time(make_loop: MakeLoop, workspace: Workspace, clock: Any) -> None:
    clock.now += timedelta(days=400)
    loop = make_loop(fails_when(lambda task: True))
    attempt(loop)
    note = notes(workspace, "memory/short-term/*.md")[0]
    assert note.created
    assert note.created.year == 2027
    assert Path(note.path).name.startswith("2027-")


def test_earlier_runs_are_read_once_and_only_those_that_ended(
    make_loop: MakeLoop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # where git answers nothing by itself
    loop = make_loop(lambda task: True)
    under_way = loop.begin({"id": "t", "type": "build", "parameters": {"load": 0}})
    for load in range(1, 4):
        attempt(loop, parameters={"load": load})
    wanted, ledger = Filter(task_id="t"), loop._must().app.ledger
    every = Earlier(ledger)
    first = every.runs(wanted, limit=10)
    assert [run.features["parameter:load"] for run in first] == ["3", "2", "1"]
    loop.finish(under_way)
    attempt(loop, parameters={"load": 4})
    again = every.runs(wanted, limit=10)
    assert [run.features["parameter:load"] for run in again] == ["4", "3", "2", "1", "0"]
    assert all(old is new for old, new in zip(first, again[1:4], strict=True))
    state = {"initial_state": {"git": {"commit": "c0ffee"}}}
    ledger.append(Phase(execution_id=first[0].id, phase="state", at=first[0].started_at, data=state))  # git answers late
    again = every.runs(wanted, limit=10)
    assert [run.features.get("state:git.commit") == "c0ffee" for run in again] == [False, True, False, False, False]
    monkeypatch.setattr(earlier, "KEPT", 2)
    few = Earlier(ledger)
    for _ in range(3):  # more than it keeps is found all the same
        assert few.runs(wanted, limit=10) == again
    assert len(few.runs(wanted, limit=2)) == 2
