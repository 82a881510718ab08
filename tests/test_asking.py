"""Questions asked of small histories: what is counted, listed and held to is exact."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from learning_loop.errors import UsageError
from learning_loop.retrieval import Vocabulary, read_question
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop
from tests.questions.world import NOW
from tests.test_index import note


def test_lists_and_counts_of_notes_are_held_to_all_that_was_named(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda _: None)
    for kind, component in (("deploy", "booking-form"), ("test", "square-api"), ("test", "web")):
        loop.execute_with_learning({"id": kind, "type": kind, "component": component})
    for number, component in enumerate(["booking-form", "square-api", "square-api", "web"]):
        note(workspace, f"l{number}", f"about {number}", kind="lesson", component=component, task_type="test")
    note(workspace, "d", "ship it", kind="lesson", task_type="deploy")
    listed = loop.query("show all lessons on booking-form and square-api")
    assert {insight.source for insight in listed} == {f"memory/l{number}.md" for number in range(3)}
    assert loop.query("how many lessons on booking-form and square-api").headline.startswith("3 lessons")
    assert [insight.source for insight in loop.query("show all lessons on deploys")] == ["memory/d.md"]


def test_counts_of_notes_count_what_was_asked_for_and_nothing_near_it(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda _: None)
    for number in range(12):
        note(workspace, f"l{number}", f"case {number} of idempotency keys", kind="lesson")
    note(workspace, "other", "something else", kind="lesson")
    note(workspace, "r", "a failed attempt", kind="reflection", outcome="failed")
    assert loop.query("how many lessons about idempotency").headline == "12 lessons with idempotency."
    assert not loop.query("how many failure patterns").headline


def test_what_is_asked_of_runs_with_a_word_is_asked_of_all_of_them(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda _: None)
    for number in range(1_020):
        loop.execute_with_learning({"id": f"k{number}", "type": "boil", "description": "the kettle sings"})
    assert loop.query("how many boil runs with kettle")[0].count == 1_020
    assert "k1019" in loop.query("last boil run with kettle")[0].title


def test_what_was_left_out_is_said_and_what_was_used_is_not(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda _: None)
    loop.execute_with_learning({"id": "a", "type": "boil", "component": "stove", "description": "the kettle sings"})
    loop.execute_with_learning({"id": "b", "type": "boil", "component": "stove"})
    used = loop.query("last run of the stove with the kettle")
    assert "a" in used[0].title
    assert not used.warnings
    assert "brillig" in loop.query("last run of the stove with brillig").warnings[-1]


@pytest.mark.parametrize(
    "text",
    [
        "how does the payment webhook work",
        "how do we break up the booking form",
        "what is the kill switch of the api",
        "what does pass through mean for the cache",
        "where do the nightly jobs die",
        "how should the api bounce requests",
    ],
)
def test_questions_that_want_an_explanation_are_searched_for(text: str) -> None:
    known = Vocabulary({"component": ("payment-webhook", "booking-form", "api", "cache"), "tag": ("nightly",)})
    question = read_question(text, known, NOW)
    assert (question.intent, question.outcome) == ("find", None)


@pytest.mark.parametrize(
    ("text", "intent", "names"),
    [
        ("how many rule-engine runs failed", "count", {"component": ("rule-engine",)}),
        ("how many task-queue runs failed", "count", {"component": ("task-queue",)}),
        ("what worked last time", "last", {}),
        ("how many runs were loaded by the authors", "count", {}),
        ("last run of the workers", "last", {"component": ("worker",)}),
        ("last run of junniper", "last", {"agent": ("juniper",)}),
    ],
)
def test_names_are_told_from_words_like_them(text: str, intent: str, names: dict[str, tuple[str, ...]]) -> None:
    components = ("rule-engine", "task-queue", "message-queue", "worker", "loader", "auth")
    question = read_question(text, Vocabulary({"component": components, "agent": ("juniper",)}), NOW)
    assert (question.intent, question.names) == (intent, names)


@pytest.mark.parametrize(
    "text", ["how many runs failed other than on web", "failed runs not by ann", "all rules except those about web"]
)
def test_what_takes_something_out_is_searched_for_and_said(text: str) -> None:
    question = read_question(text, Vocabulary({"component": ("web",), "agent": ("ann",)}), NOW)
    assert question.intent == "find"
    assert question.excluding


def test_two_of_a_kind_are_compared(make_loop: MakeLoop) -> None:
    def runner(task: dict[str, str]) -> None:
        if task["agent"] == "bob" and task["id"] in "024":
            raise ValueError("broken")

    loop = make_loop(runner)
    for agent in ("alice", "bob", "carol"):
        for number in range(6):
            with contextlib.suppress(ValueError):
                loop.execute_with_learning({"id": str(number), "type": "test", "agent": agent, "component": "web"})
    answer = loop.query("who is better at web, alice or bob")
    assert answer.intent == "best"
    assert {insight.id for insight in answer} == {"alice", "bob"}
    assert loop.query("how many agents never failed")[0].count == 2
    assert loop.query("how many agents failed")[0].count == 1


def test_levels_are_told_with_what_they_rest_on(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda task: time.sleep(0.01) if task["id"] != "3" else 1 / 0)
    for number in range(8):
        with contextlib.suppress(ZeroDivisionError):
            loop.execute_with_learning({"id": str(number), "type": "test", "agent": "ann", "component": "web"})
    for text in ("how reliable is ann", "success rate of ann on the web"):
        answer = loop.query(text)
        assert (answer.intent, answer[0].value, answer[0].count) == ("level", "88%", 8)
        assert "95 % interval" in answer.headline
    assert "over 8 runs" in loop.query("how long does web take").headline
    assert loop.query("average cost of web").headline == "The cost of none of these runs is known (web)."
    assert loop.query("how many runs per component").headline == "Most often web: 8 of 8 runs."
    assert loop.query("what is the most expensive component").intent == "find"
    assert loop.query("what failed on the web in 2019").headline == "No failed runs (web), in 2019."


def test_no_runs_are_only_said_where_there_are_none(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda _: None)
    loop.execute_with_learning({"id": "a", "type": "test", "component": "web"})  # by no agent that is known
    assert not loop.query("which agent has the most runs on web").headline
    assert loop.query("which agent has the most runs on web in 2019").headline == "No ended runs (web), in 2019."


def test_a_kind_that_was_filtered_by_asks_for_notes(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda _: None)
    loop.execute_with_learning({"id": "a", "type": "deploy", "component": "web"})
    note(workspace, "r", "deploy the web at night", kind="rule")
    answer = loop.query("last deploy of the web", filters={"kind": "rule"})
    assert [insight.category for insight in answer] == ["rule"]


@pytest.mark.parametrize(("text", "most"), [("the last five runs of web", 5), ("last 12 web runs", 12), ("last web run", None)])
def test_as_many_as_were_asked_for(text: str, most: int | None) -> None:
    assert read_question(text, Vocabulary({"component": ("web",)}), NOW).most == most


def test_explicit_filters_are_kept_whatever_is_asked(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda _: None)
    for kind in ("test", "deploy", "test"):
        loop.execute_with_learning({"id": kind, "type": kind, "component": "web"})
    note(workspace, "a", "flumox", kind="lesson", created="2026-01-05")
    assert not loop.query("show all lessons", filters={"since": "2026-02-01"})
    assert not loop.query("show all lessons", filters={"component": "nothere"})
    assert not loop.query("show all lessons", filters={"kind": "pattern"})
    assert loop.query("how many runs of web", filters={"type": "deploy"})[0].count == 1
    for wrong, said in (
        ({"since": "99th of foo yesterday bar"}, "is no time"),
        ({"since": "2026/11/25"}, "is no time"),
        ({"kind": "leson"}, "assumption, decision, gotcha, lesson"),
    ):
        with pytest.raises(UsageError, match=said):
            loop.query("runs", filters=wrong)
    with pytest.raises(UsageError):
        loop.query("runs", k=0)


def test_a_project_is_seen_where_the_question_names_it(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda _: None)
    loop.execute_with_learning({"id": "a", "type": "deploy", "component": "gallery", "project": "web shop"})
    note(workspace, "a", "the flumox resolver", project="web shop")
    assert not loop.query("the flumox resolver")
    assert loop.query("the flumox resolver in project web shop")
    assert loop.query("how many deploys of the gallery in the Web Shop project")[0].count == 1
    assert not loop.query("how many deploys of the gallery are in a project")


def test_names_of_one_project_are_no_names_in_another(make_loop: MakeLoop) -> None:
    loop = make_loop(lambda _: None)
    loop.execute_with_learning({"id": "a", "type": "deploy", "component": "gallery", "project": "atelier"})
    loop.execute_with_learning({"id": "b", "type": "deploy", "description": "the gallery of the museum"})
    assert loop.query("last run with the gallery")[0].title == "deploy: b succeeded"
    assert loop.query("last run with the gallery", project="atelier")[0].title == "atelier / deploy / gallery: a succeeded"


def test_months_begin_by_the_clock_as_it_went_then(tmp_path: Path) -> None:
    code = (
        "from datetime import UTC, datetime\n"
        "from learning_loop.flows.asking import ask\n"
        "from learning_loop.retrieval import Vocabulary\n"
        "for text in ('failed in march', 'since 0001-01-01', 'before 9999-12-31'):\n"
        "    runs = ask(text, (Vocabulary(), Vocabulary()), now=datetime(2026, 11, 21, 12, tzinfo=UTC)).runs\n"
        "    print(runs.since and runs.since.isoformat(), runs.before and runs.before.isoformat())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TZ": "Europe/Berlin"}, capture_output=True, text=True, check=True
    )
    first, *others = told.stdout.splitlines()
    assert first == "2026-03-01T00:00:00+01:00 2026-04-01T00:00:00+02:00"
    assert [line.split()[0][:4] for line in others] == ["1970", "None"]
