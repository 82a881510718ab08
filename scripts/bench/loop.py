#!/usr/bin/env python
"""What the loop adds to a runner that does nothing, against the parts of it that cannot be avoided.

For each number of notes a workspace is filled with generated notes of fifty words, and three hundred runs warm it up.
Then every run is timed as a whole, and in it, at the same time, its unavoidable parts: the two ledger commits and the
search that its briefing takes; with an embedder, that is one embedding, the full-text and the vector search. Documents have
vectors drawn at random there, for a hundred thousand real ones would take an hour; the task's is the model's. The runner does
nothing, so all that is timed is what the loop adds. Beside them, to orient: the other steps, and six rows in two commits by
hand through sqlite3.
"""

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _harness

from learning_loop import LearningOrchestrator
from learning_loop.index import memory
from learning_loop.protocols import Embedder
from learning_loop.workspace import Workspace

LEXICAL = {"memory.embedder": "lexical"}
SIZES = (0, 1_000, 10_000, 100_000)
UNAVOIDABLE = ("search", "embedding", "words", "vectors", "commit_start", "commit_end")
STEMS = ("book", "pay", "ship", "log", "cache", "queue", "auth", "mail", "sync", "index")
WORDS = [stem + ending for stem in STEMS for ending in ("ing", "er", "form", "api", "flow")]


def fill(workspace: Workspace, count: int, rng: random.Random) -> None:
    """Write notes on fifty components, one in two hundred of them on the benched one."""
    for number in range(count):
        folder = workspace.memory / "long-term" / f"part-{number // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        component = "api" if number % 200 == 0 else rng.choice(WORDS)
        keys = {
            "id": f"note-{number}",
            "kind": "lesson",
            "title": f"About {component}",
            "task_type": "test",
            "component": component,
        }
        head = "".join(f"{name}: {value}\n" for name, value in keys.items())
        body = " ".join(rng.choice(WORDS) for _ in range(50))
        (folder / f"note-{number}.md").write_text(f"---\n{head}---\n{body}\n")


def by_hand(path: Path) -> Callable[[], None]:
    """Return two commits of two and four rows through sqlite3 alone."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE evidence (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, data TEXT)")
    count = iter(range(10**9))

    def work() -> None:
        for rows in (2, 4):
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(rows):
                connection.execute("INSERT INTO evidence (id, data) VALUES (?, ?)", (str(next(count)), "x" * 400))
            connection.execute("COMMIT")

    return work


def measure(bench: _harness.Bench, notes: int, rounds: int, embedder: Embedder | None = None) -> None:
    rng = random.Random(bench.seed)
    with tempfile.TemporaryDirectory() as folder:
        workspace, _ = Workspace.init(Path(folder))
        fill(workspace, notes, rng)
        with LearningOrchestrator(lambda _: None, workspace=folder, strict=True, flags=LEXICAL, embedder=embedder) as loop:
            parts = loop._must()  # noqa: SLF001
            parts.indexing.complete()

            def task(number: int) -> dict[str, Any]:
                return {
                    "id": f"t{number}",
                    "type": "test",
                    "component": "api",
                    "parameters": {"depth": number % 5, "mode": "fast"},
                }

            for number in range(300):
                loop.execute_with_learning(task(number))
            watch = _harness.Stopwatch({})
            undo = []
            if embedder is None:
                watch.stand_round(parts.app.index, "search", "search")
            else:
                watch.stand_round(embedder, "embed_query", "embedding")
                undo.append(watch.stand_round(memory.Finder, "by_words", "words"))
                undo.append(watch.stand_round(memory.Finder, "by_meaning", "vectors"))
            watch.stand_round(parts.app.ledger, "start", "commit_start")
            watch.stand_round(parts.app.ledger, "finish", "commit_end")
            watch.stand_round(parts.histories, "predict", "predict")
            watch.stand_round(parts.histories, "score", "score")
            hand = by_hand(Path(folder, "hand.db"))
            runs, hands, steps = [], [], []
            for number in bench.progress(range(rounds), f"{notes} notes", rounds):
                watch.spent = {}
                started = time.perf_counter()
                loop.execute_with_learning(task(number))
                between = time.perf_counter()
                hand()
                hands.append((time.perf_counter() - between) * 1000)
                runs.append((between - started) * 1000)
                steps.append(watch.spent)
        for step in undo:
            step()
    floors = [sum(step.get(name, 0.0) for name in UNAVOIDABLE) for step in steps]
    ratios = {share: _harness.percentile(runs, share) / _harness.percentile(floors, share) for share in (0.5, 0.99)}
    bench.row(
        notes=notes,
        embedder="model" if embedder is not None else "none",
        p50_ms=_harness.percentile(runs, 0.5),
        p99_ms=_harness.percentile(runs, 0.99),
        floor_p50_ms=_harness.percentile(floors, 0.5),
        floor_p99_ms=_harness.percentile(floors, 0.99),
        ratio_p50=ratios[0.5],
        ratio_p99=ratios[0.99],
        **{f"{name}_ms": _harness.percentile([step.get(name, 0.0) for step in steps], 0.5) for name in steps[0]},
        by_hand_ms=_harness.percentile(hands, 0.5),
    )
    label = f"{notes} notes, with the model" if embedder is not None else f"{notes} notes"
    bench.goal(f"added p50 over its floor, {label}", ratios[0.5], 1.5)
    bench.goal(f"added p99 over its floor, {label}", ratios[0.99], 1.5)
    if notes <= 1_000 and embedder is None:
        bench.goal(f"added p50 in ms, {notes} notes", _harness.percentile(runs, 0.5), 2.0)


def work(bench: _harness.Bench) -> None:
    for notes in SIZES[:3] if bench.quick else SIZES:
        measure(bench, notes, 4_000 if bench.quick else 10_000)
    model = _harness.RandomDocuments(_harness.model(quiet=bench.as_json, threads=1))
    for notes in SIZES[2:3] if bench.quick else SIZES[1:]:
        measure(bench, notes, 2_000, model)


if __name__ == "__main__":
    _harness.run("loop", __doc__.splitlines()[0], work)
