import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.index import Document, MemoryIndex, Scope
from learning_loop.providers import HashingEmbedder
from learning_loop.retrieval import Vocabulary, read_question, terms
from learning_loop.retrieval.chunks import chunks_of
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop, SteppingClock

LESSONS = {
    "reiki_patterns": ["Use a soft color palette for the healing UI", "Booking flow has at most 3 steps"],
    "square_api": ["Always validate webhook signatures", "Cache payment methods for returning clients"],
}


@pytest.fixture
def loop(make_loop: MakeLoop) -> LearningOrchestrator:
    def runner(task: dict[str, Any]) -> None:
        if task.get("parameters", {}).get("broken"):
            raise ConnectionRefusedError("[Errno 111] Connection refused")

    made = make_loop(runner)
    made.memory.update(LESSONS)
    made.save_memory()
    for number, (kind, component, broken) in enumerate(
        [
            ("component", "booking-form", False),
            ("component", "booking-form", True),
            ("integration", "square-api", True),
            ("component", "bio", False),
        ]
    ):
        task = {"id": f"t{number}", "type": kind, "component": component, "parameters": {"broken": broken}}
        try:
            made.execute_with_learning(task)
        except ConnectionRefusedError:
            pass
    return made


def test_the_last_failure_of_a_component_is_the_ledgers_last(loop: LearningOrchestrator) -> None:
    answer = loop.query("What failed last time we tried booking-form component?")
    assert answer[0].title == "component / booking-form: t1 failed"
    assert "Connection refused" in answer[0].memory
    assert answer[1].source.startswith("memory/short-term/")
    assert answer[0].evidence == answer[1].evidence[:1]


def test_lessons_are_found_by_category_and_words(loop: LearningOrchestrator) -> None:
    found = loop.query_interface.query("Show me all Reiki-specific UI patterns that worked")
    assert {insight.memory for insight in found} >= {LESSONS["reiki_patterns"][0]}
    common = loop.query_interface.query("Common Square API integration issues")
    assert any("webhook" in insight.memory for insight in common)
    assert any("square-api" in insight.title for insight in common)


def test_failure_patterns_are_the_reflections_on_failures(loop: LearningOrchestrator) -> None:
    found = loop.query_interface.query("show all failure patterns")
    assert len(found) == 2
    assert {insight.outcome for insight in found} == {"failed"}


def test_nonsense_finds_nothing_and_says_so(loop: LearningOrchestrator) -> None:
    answer = loop.query("frobnicate the zorble quux")
    assert not answer
    assert "Nothing is known" in str(answer)


def test_similar_executions_are_a_briefing(loop: LearningOrchestrator) -> None:
    briefing = loop.query_interface.get_similar_executions({"id": "x", "type": "component", "component": "booking-form"})
    assert [run.status for run in briefing.executions] == ["failed", "succeeded"]
    assert "Booking flow has at most 3 steps" in briefing.markdown
    assert "square" not in briefing.markdown
    assert not loop.query_interface.get_similar_executions({"id": "x", "type": "unheard", "component": "of"})


def test_what_a_task_says_is_embedded_once_as_long_as_the_index_is_the_same(workspace: Workspace, clock: SteppingClock) -> None:
    asked: list[str] = []

    class Counting(HashingEmbedder):
        def embed_query(self, text: str) -> Any:
            asked.append(text)
            return super().embed_query(text)

    path = workspace.memory / "long-term" / "integration-gotchas" / "dns.md"
    path.write_text("# Resolver\n\nThe flumox resolver caches for an hour.\n")
    task = {"id": "x", "type": "resolver", "description": "the flumox resolver"}
    with LearningOrchestrator(workspace=workspace.root, environ={}, embedder=Counting(), clock=clock) as loop:
        recall = loop.query_interface.get_similar_executions

        def known_by_heart() -> bool:
            """Say whether a task is embedded no more, once what is done in the background has changed the index for good."""
            for _ in range(200):
                asked.clear()
                recall(task)
                if not asked:
                    return True
                time.sleep(0.02)
            return False

        assert known_by_heart()
        assert "an hour" in recall(task).markdown
        recall({**task, "description": "another resolver"})
        assert asked == ["another resolver"]
        path.write_text("# Resolver\n\nThe flumox resolver caches for two hours.\n")
        assert "two hours" in recall(task).markdown
        assert known_by_heart()
        path.write_text("---\nproject: borealis\n---\n# Resolver\n\nThe flumox resolver caches for two hours.\n")
        assert "two hours" in recall({**task, "project": "borealis"}).markdown
        assert known_by_heart()
        for project in ("atlas", None):
            assert "two hours" not in recall({**task, "project": project}).markdown
        clock.now += timedelta(hours=2)
        asked.clear()
        recall(task)
        assert asked == ["the flumox resolver"]


def test_a_project_sees_only_its_own(loop: LearningOrchestrator) -> None:
    loop.execute_with_learning({"id": "p1", "type": "component", "component": "booking-form", "project": "atlas"})
    assert all("p1" not in insight.title for insight in loop.query("booking form", k=50))
    within = loop.query("booking form", project="atlas")
    assert [insight.title for insight in within] == ["atlas / component / booking-form: p1 succeeded"]


def test_a_note_written_edited_or_removed_by_hand_is_seen_by_the_next_question(
    loop: LearningOrchestrator, workspace: Workspace
) -> None:
    path = workspace.memory / "long-term" / "integration-gotchas" / "dns.md"
    path.write_text("# Resolver\n\nThe flumox resolver caches for an hour.\n")
    assert loop.query("flumox")[0].source == "memory/long-term/integration-gotchas/dns.md"
    path.write_text("# Resolver\n\nThe blagru resolver caches for two hours.\n")
    assert not loop.query("flumox")
    renamed = path.rename(path.with_name("other.md"))
    assert loop.query("blagru")[0].source.endswith("other.md")
    renamed.unlink()
    assert not loop.query("blagru")


def test_an_unreadable_note_is_named_and_the_rest_is_found(loop: LearningOrchestrator, workspace: Workspace) -> None:
    (workspace.memory / "bad.md").write_bytes(b"\xff\xfe\x00 binary")
    (workspace.memory / "bomb.md").write_text("---\na: &a [x]\nb: *a\n---\n")
    answer = loop.query("webhook signatures")
    assert answer[0].memory == "Always validate webhook signatures"
    assert len(answer.warnings) == 2
    assert "not UTF-8" in answer.warnings[0]


@given(st.text(max_size=200))
def test_no_question_breaks_the_search(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    index = shared_index(tmp_path_factory)
    index.search(terms(text), Scope(), limit=5, now=NOW, text=text, embedder=EMBEDDER)
    read_question(text, Vocabulary({"type": ("build",), "component": ("a-b",)}, {"f": "TimeoutError: timed out"}), NOW)


NOW = datetime(2026, 3, 2, tzinfo=UTC)
EMBEDDER = HashingEmbedder()
_SHARED: list[MemoryIndex] = []


def shared_index(factory: pytest.TempPathFactory) -> MemoryIndex:
    if not _SHARED:
        _SHARED.append(MemoryIndex(factory.mktemp("index")))
        chunks = chunks_of("three")
        _SHARED[0].store.put([Document(source="a", id="a", category="note", title="one two", summary="s", chunks=chunks)])
        _SHARED[0].vectors.embed_missing(EMBEDDER)
    return _SHARED[0]


@pytest.mark.parametrize(
    "question", ["", "   ", "👍👍👍", "x" * 1_000_000, "'; DROP TABLE docs; --", 'a" OR "b', "NEAR(a b)", "(.*)+$", "title: x*"]
)
def test_odd_questions_are_answered_or_not_but_never_fail(loop: LearningOrchestrator, question: str) -> None:
    loop.query(question)


def test_the_index_is_derived_and_comes_back_equal(loop: LearningOrchestrator) -> None:
    app = loop._must().app
    before = loop.query("booking")
    app.index.delete()
    assert loop.query("booking") == before
    app.index.close()
    app.index.store.path.write_bytes(b"rubbish" * 500)
    assert loop.query("booking") == before


def test_lessons_are_written_once_and_read_back(loop: LearningOrchestrator, make_loop: MakeLoop, workspace: Workspace) -> None:
    assert loop.save_memory() == []
    again = make_loop()
    assert {name: sorted(lessons) for name, lessons in again.memory.items()} == {
        name: sorted(lessons) for name, lessons in LESSONS.items()
    }
    again.memory["square_api"].append("Convert time zones")
    written = again.save_memory()
    assert len(written) == 1
    assert written[0].startswith("memory/long-term/square-api/")
    assert Path(workspace.root, written[0]).read_text().endswith("---\nConvert time zones\n")


def test_terms_keep_what_can_be_searched_for() -> None:
    assert terms("What failed last time we tried the booking-form in v2?") == ["failed", "booking", "form", "v2"]
    assert terms("the and of") == []


@pytest.mark.parametrize(
    ("text", "intent", "outcome", "kinds"),
    [
        ("What failed last time we tried booking?", "last", "failed", ()),
        ("show all failure patterns", "all", "failed", ("pattern",)),
        ("which templates worked", "all", "succeeded", ("template",)),
        ("what do we assume about disks", "find", None, ("assumption",)),
        ("how often did booking crash", "count", "failed", ()),
        ("which agent is best at booking", "best", None, ()),
        ("is booking getting slower", "trend", None, ()),
        ("hw mny failurs in booking", "count", "failed", ()),
        ("show all paterns that went south", "all", "failed", ("pattern",)),
        ("how many runs of booking, failed or not", "count", None, ()),
        ("which agent has the lowest failure rate on booking", "best", None, ()),
        ("does booking fail as often as it did a year ago", "trend", "failed", ()),
        ("We touched booking twice. Could you list the runs?", "runs", None, ()),
        ("similar tasks to component with booking", "similar", None, ()),
    ],
)
def test_questions_are_read(text: str, intent: str, outcome: str | None, kinds: tuple[str, ...]) -> None:
    question = read_question(text, Vocabulary({"component": ("booking",)}), NOW)
    assert (question.intent, question.outcome, question.kinds) == (intent, outcome, kinds)


def test_the_app_can_be_asked_without_a_loop(app: App) -> None:
    from learning_loop import LearningQueryInterface

    assert not LearningQueryInterface(app).query("anything at all")
