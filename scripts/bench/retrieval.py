#!/usr/bin/env python
"""Whether the memory finds what answers a question, and what a question costs.

Quality, with `--data DIR`: three collections of documents and questions (conversations, developer notes, post-mortems) go
through the same index and search as notes do; beside it stand grep, plain BM25, vectors alone, and chromadb with the same
vectors. Cost: on generated notes, each question is timed as a whole and, in it, at the same time, what cannot be avoided: one
embedding, the full-text search, the vector search. Document vectors are drawn at random there, for a hundred thousand real ones
would take an hour; the question's is the model's. Cold start, indexing and opening are timed against what they cannot avoid.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _harness

from learning_loop.app import App
from learning_loop.flows.evaluation import Doc, Query, Ranker, dense, embed_whole, evaluate, read_docs, read_queries
from learning_loop.flows.indexing import Indexing
from learning_loop.flows.query import LearningQueryInterface
from learning_loop.index import memory
from learning_loop.index.tables import embedded_text
from learning_loop.protocols import Embedder, Vectors
from learning_loop.workspace import Workspace

SETS = ("locomo_dev", "til", "postmortems")
QUICK_SAMPLES = 2  # conversations of the first set: the others are left out
GOALS = {
    "locomo_dev": ("recall_10", 0.77),
    "til": ("mrr_10", 0.840),
    "postmortems": ("mrr_10", 0.917),
}
QUERIES = 300
IMPORTS = "import numpy, onnxruntime, sqlalchemy"


SYLLABLES = [first + second for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u", "ar", "en")]
VOCABULARY, COMMON = 20_000, 30


def words(rng: random.Random, count: int, *, rarest: int = 1) -> list[str]:
    """Return words as texts have them: few very often, most hardly ever (Zipf); of rank `rarest` and above."""
    found = []
    for _ in range(count):
        rank, word = int(rarest * (VOCABULARY / rarest) ** rng.random()), ""
        while rank or not word:
            rank, syllable = divmod(rank, len(SYLLABLES))
            word += SYLLABLES[syllable]
        found.append(word)
    return found


def fill(workspace: Workspace, count: int, rng: random.Random) -> list[list[str]]:
    """Write notes of sixty words on a hundred components; return the rarer words of each."""
    rare = []
    for number in range(count):
        folder = workspace.memory / "long-term" / f"part-{number // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        head = f"id: n{number}\nkind: lesson\ntitle: About {' '.join(words(rng, 4))}\ncomponent: part-{number % 100}\n"
        rare.append(words(rng, 20, rarest=COMMON))
        body = " ".join([*words(rng, 40), *rare[-1]])
        (folder / f"n{number}.md").write_text(f"---\n{head}---\n{body}\n", encoding="utf-8")
    return rare


def asked(rng: random.Random, rare: Sequence[Sequence[str]]) -> str:
    """Return a question with five words of one note, as who looks for it remembers them."""
    return f"what do we know about {' '.join(rng.sample(rng.choice(rare), 5))}"


def quality(bench: _harness.Bench, data: Path, embedder: Embedder) -> None:
    for name in SETS[:1] if bench.quick else SETS:
        docs, queries = read_docs(data / f"{name}_docs.jsonl.gz"), read_queries(data / f"{name}_queries.jsonl.gz")
        if bench.quick:
            kept = sorted({doc.sample or "" for doc in docs})[:QUICK_SAMPLES]
            docs = [doc for doc in docs if doc.sample in kept]
            queries = [query for query in queries if query.sample in kept]
        whole = embed_whole(docs, embedder, bench.telling(f"{name}: embedding whole documents"))
        others: dict[str, Ranker] = {"dense": dense(docs, whole, embedder)}
        if (peer := chroma(docs, whole, embedder)) is not None:
            others["chromadb"] = peer
        else:
            bench.row(set=name, method="chromadb", note="not installed: pip install 'learning-loop[bench]'")
        with tempfile.TemporaryDirectory() as folder:
            rows = evaluate(
                docs,
                queries,
                folder=Path(folder),
                embedder=embedder,
                progress=lambda label, name=name: bench.telling(f"{name}: {label}"),  # type: ignore[misc]
                others=others,
            )
        for row in rows:
            bench.row(set=name, **asdict(row))
        found = {row.method: asdict(row) for row in rows}
        measure, least = GOALS[name]
        if not bench.quick:
            bench.goal(f"{measure} on {name}", found["memory"][measure], at_least=least)
        if "chromadb" in found:
            bench.goal(
                f"{measure} on {name} over chromadb's", found["memory"][measure] / found["chromadb"][measure], at_least=1.0
            )


def chroma(docs: Sequence[Doc], whole: Vectors, embedder: Embedder) -> Ranker | None:
    """Return documents as chromadb finds them, given the same vectors."""
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError:
        return None
    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    places: dict[str | None, Any] = {}
    for sample in {doc.sample for doc in docs}:
        collection = client.create_collection(f"c{len(places)}-{os.getpid()}-{id(docs)}", metadata={"hnsw:space": "cosine"})
        here = [place for place, doc in enumerate(docs) if doc.sample == sample]
        for start in range(0, len(here), 1_000):
            part = here[start : start + 1_000]
            collection.add(ids=[str(place) for place in part], embeddings=whole[part])
        places[sample] = collection

    def ranked(query: Query) -> list[str]:
        if query.sample not in places:
            return []
        found = places[query.sample].query(query_embeddings=[embedder.embed_query(query.text)], n_results=10)
        return [docs[int(place)].id for place in found["ids"][0]]

    return ranked


def warm(bench: _harness.Bench, count: int, model: Embedder) -> None:
    """Time questions as a whole and, in them, what cannot be avoided; then opening, and a cold command."""
    rng = random.Random(bench.seed)
    with tempfile.TemporaryDirectory() as folder:
        workspace, _ = Workspace.init(Path(folder))
        rare = fill(workspace, count, rng)
        embedder = _harness.RandomDocuments(model)
        with App.open(workspace, embedder=embedder) as app:
            Indexing(app).complete(reading=bench.telling(f"{count} notes: reading"), embedding=bench.telling("vectors"))
        with App.open(workspace, embedder=embedder) as app:
            indexing = Indexing(app)
            indexing.watch()
            while not indexing.watching:
                time.sleep(0.05)
            app.drain()
            query = LearningQueryInterface(app, indexing=indexing)
            for _ in range(20):
                query.query(asked(rng, rare))
            spent: dict[str, float] = {}
            watch = _harness.Stopwatch(spent)
            undo = [
                watch.stand_round(embedder, "embed_query", "embedding"),
                watch.stand_round(memory.Finder, "by_words", "words"),
                watch.stand_round(memory.Finder, "by_meaning", "vectors"),
            ]
            whole, floors, steps = [], [], []
            for _ in bench.progress(range(QUERIES), f"{count} notes: questions", QUERIES):
                spent.clear()
                text = asked(rng, rare)
                started = time.perf_counter()
                query.query(text)
                whole.append((time.perf_counter() - started) * 1000)
                floors.append(sum(spent.values()))
                steps.append(dict(spent))
            for step in undo:
                step()
            indexing.close()
        p50, floor = statistics.median(whole), statistics.median(floors)
        opening = []
        for _ in range(5):
            started = time.perf_counter()
            with App.open(workspace, embedder=embedder) as app:
                Indexing(app).refresh()
                opening.append((time.perf_counter() - started) * 1000)
        opened = statistics.median(opening)
        parts = {f"{name}_ms": statistics.median(step.get(name, 0.0) for step in steps) for name in steps[0]}
        bench.row(
            set=f"{count} notes",
            p50_ms=p50,
            p95_ms=_harness.percentile(whole, 0.95),
            floor_ms=floor,
            **parts,
            opening_ms=opened,
        )
        bench.goal(f"warm question p50 over its floor, {count} notes", p50 / floor, 1.3)
        if count == 10_000:
            bench.goal("opening 10,000 unchanged notes, over ten questions", opened / (10 * p50), 1.0)


def cold(bench: _harness.Bench, model: Embedder) -> None:
    """Time a whole command on ten thousand embedded notes, against importing what it cannot do without."""
    rng = random.Random(bench.seed)
    with tempfile.TemporaryDirectory() as folder:
        workspace, _ = Workspace.init(Path(folder))
        rare = fill(workspace, 10_000, rng)
        named = _harness.RandomDocuments(model)
        named.identity = model.identity  # so that the command, with the model itself, takes the vectors for its own
        with App.open(workspace, embedder=named) as app:
            Indexing(app).complete()
        command = [sys.executable, "-m", "learning_loop", "-C", folder, "query", "--json"]
        took: dict[str, list[float]] = {"command": [], "imports": []}
        for _ in range(5 if bench.quick else 9):
            for name, line in (("command", [*command, asked(rng, rare)]), ("imports", [sys.executable, "-c", IMPORTS])):
                started = time.perf_counter()
                done = subprocess.run(line, capture_output=True, check=False)
                took[name].append((time.perf_counter() - started) * 1000)
                if done.returncode not in (0, 1):
                    raise OSError(done.stderr.decode()[-300:])
    command_ms, imports_ms = (statistics.median(took[name]) for name in ("command", "imports"))
    bench.row(set="10000 notes, cold", p50_ms=command_ms, floor_ms=imports_ms)
    bench.goal(f"a cold question over `{IMPORTS}`", command_ms / imports_ms, 3.0)


def indexing_time(bench: _harness.Bench, model: Embedder) -> None:
    """Time making an index of real length notes against embedding their texts alone, in turns."""
    count = 100 if bench.quick else 1_000
    rng = random.Random(bench.seed)
    ratios = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            workspace, _ = Workspace.init(Path(folder))
            fill(workspace, count, rng)
            with App.open(workspace, embedder=model) as app:
                started = time.perf_counter()
                Indexing(app).complete(embedding=bench.telling("indexing"))
                whole = time.perf_counter() - started
                with app.index.store.use() as connection:
                    rows = connection.execute(
                        "SELECT notes.title, heading, dated, who, text FROM chunks JOIN notes ON notes.rowid = note"
                    ).fetchall()
            names = ("title", "heading", "dated", "who", "text")
            texts = [embedded_text(**dict(zip(names, row, strict=True))) for row in rows]
            started = time.perf_counter()
            model.embed(texts)
            ratios.append(whole / (time.perf_counter() - started))
    bench.row(set=f"indexing {count} notes", ratio=statistics.median(ratios))
    bench.goal("indexing over the embedder's own time", statistics.median(ratios), 1.15)


def work(bench: _harness.Bench) -> None:
    model = _harness.model(quiet=bench.as_json)
    if bench.data is not None:
        quality(bench, bench.data, model)
        if bench.quick:
            bench.row(set=", ".join(SETS[1:]), note="left out: quick")
    else:
        bench.row(set="quality", note="left out: give --data DIR")
    for count in (10_000,) if bench.quick else (10_000, 100_000):
        warm(bench, count, model)
    cold(bench, model)
    indexing_time(bench, model)


if __name__ == "__main__":
    _harness.run("retrieval", __doc__.splitlines()[0], work)
