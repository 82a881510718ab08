#!/usr/bin/env python
"""What the loop adds to a runner that does nothing, against the parts of it that cannot be avoided.

For each number of notes a workspace is filled with generated notes of fifty words, and a hundred runs warm it up. Then, in turn:
a run with the loop round it, and its floor: the two ledger commits of that same run (the rows the loop itself wrote, appended by
the ledger's own `start` and `finish` under new ids) and the full-text search that its briefing takes. Turn by turn, so that a noisy
machine weighs on both alike. Beside them, to orient: the same rows by hand through sqlite3, and where the time goes, step by step.
"""

import dataclasses
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _harness

from learning_loop import LearningOrchestrator
from learning_loop.ledger import EVERYTHING
from learning_loop.records import Task
from learning_loop.workspace import Workspace

SIZES = (0, 1_000, 10_000, 100_000)
WORDS = [
    f"{a}{b}"
    for a in ("book", "pay", "ship", "log", "cache", "queue", "auth", "mail", "sync", "index")
    for b in ("ing", "er", "form", "api", "flow")
]


def fill(workspace: Workspace, count: int, rng: random.Random) -> None:
    """Write notes as a person would have them: half about the benched component or type, half about others."""
    for number in range(count):
        folder = workspace.memory / "long-term" / f"part-{number // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        component = "api" if number % 200 == 0 else rng.choice(WORDS)
        body = " ".join(rng.choice(WORDS) for _ in range(50))
        head = f"---\nid: note-{number}\nkind: lesson\ntitle: About {component} {number}\ntask_type: test\ncomponent: {component}\n---\n"
        (folder / f"note-{number}.md").write_text(f"{head}{body}\n")


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


@contextmanager
def stopwatch(totals: dict[str, list[float]], owner: Any, name: str, label: str) -> Any:
    """Measure one step of the loop by standing round it."""
    inner = getattr(owner, name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            totals.setdefault(label, []).append((time.perf_counter() - started) * 1000)

    setattr(owner, name, outer)
    try:
        yield
    finally:
        delattr(owner, name)


def by_hand(path: Path) -> Callable[[], None]:
    """Return a floor below the floor: two commits of two and four rows through sqlite3 alone."""
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


def measure(bench: _harness.Bench, notes: int, rounds: int) -> None:
    rng = random.Random(bench.seed)
    with tempfile.TemporaryDirectory() as folder:
        workspace, _ = Workspace.init(Path(folder))
        fill(workspace, notes, rng)
        with LearningOrchestrator(lambda task: None, workspace=folder, strict=True) as loop:
            parts = loop._must()  # noqa: SLF001
            parts.app.sync_index()

            def task(number: int) -> dict[str, Any]:
                return {
                    "id": f"t{number}",
                    "type": "test",
                    "component": "api",
                    "parameters": {"depth": number % 5, "mode": "fast"},
                }

            for number in range(100):
                report = loop.execute_with_learning(task(number))
            parts.app.drain()
            ledger = parts.app.ledger
            like = ledger.execution(report.execution_id)
            pre = [phase for phase in like.phases if phase.phase == "pre"]
            after = [phase for phase in like.phases if phase.phase in ("during", "post")]

            def floor(number: int) -> None:
                name = f"floor-{notes}-{number}"
                renamed = [dataclasses.replace(phase, execution_id=name) for phase in (*pre, *after)]
                assert like.outcome is not None
                assert like.score is not None
                parts.brief(Task.of(task(number)))
                ledger.start(dataclasses.replace(like.execution, id=name), *renamed[: len(pre)])
                outcome = dataclasses.replace(like.outcome, execution_id=name, task_type="floor")
                ledger.finish(outcome, *renamed[len(pre) :], dataclasses.replace(like.score, execution_id=name))

            raw = by_hand(Path(folder, "hand.db"))
            runs: list[float] = []
            floors: list[float] = []
            hands: list[float] = []
            for number in bench.progress(range(rounds), f"{notes} notes", rounds):
                runs.append(timed(lambda number=number: loop.execute_with_learning(task(number))))
                floors.append(timed(lambda number=number: floor(number)))
                hands.append(timed(raw))
            steps: dict[str, list[float]] = {}
            with (
                stopwatch(steps, parts, "brief", "recall"),
                stopwatch(steps, parts.histories, "predict", "history"),
                stopwatch(steps, ledger, "start", "commit start"),
                stopwatch(steps, ledger, "finish", "commit end"),
                stopwatch(steps, parts.histories, "score", "score"),
            ):
                for number in range(rounds // 4):
                    loop.execute_with_learning(task(number))
            assert len(ledger.executions(limit=5, parts=EVERYTHING)) == 5
    p50, floor_p50 = _harness.percentile(runs, 0.5), _harness.percentile(floors, 0.5)
    bench.row(
        notes=notes,
        p50_ms=p50,
        p99_ms=_harness.percentile(runs, 0.99),
        floor_p50_ms=floor_p50,
        floor_p99_ms=_harness.percentile(floors, 0.99),
        ratio_p50=p50 / floor_p50,
        ratio_p99=_harness.percentile(runs, 0.99) / _harness.percentile(floors, 0.99),
        by_hand_p50_ms=_harness.percentile(hands, 0.5),
        **{f"{name.replace(' ', '_')}_ms": _harness.percentile(values, 0.5) for name, values in steps.items()},
    )
    bench.goal(f"added p50 over its floor, {notes} notes", p50 / floor_p50, 1.5)
    bench.goal(
        f"added p99 over its floor, {notes} notes", _harness.percentile(runs, 0.99) / _harness.percentile(floors, 0.99), 1.5
    )
    if notes <= 1_000:
        bench.goal(f"added p50 in ms, {notes} notes", p50, 2.0)


def work(bench: _harness.Bench) -> None:
    for notes in SIZES[:3] if bench.quick else SIZES:
        measure(bench, notes, 1_000 if bench.quick else 4_000)


if __name__ == "__main__":
    _harness.run("loop", __doc__.splitlines()[0], work)
