#!/usr/bin/env python
"""What a person waits for before anything happens: importing the package, and the quickest command.

Each statement runs in a fresh process, in turn with the one it is held against, so that a noisy machine weighs on both alike.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _harness

from learning_loop import LearningOrchestrator

RUNS = 30


def seconds(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def work(bench: _harness.Bench) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LearningOrchestrator(lambda _: None, workspace=folder) as loop:
            for number in range(1_000):
                loop.execute_with_learning({"id": f"t{number}", "type": "test", "component": "api"})
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "import learning_loop": [sys.executable, "-c", "import learning_loop"],
            "import sqlalchemy, click": [sys.executable, "-c", "import sqlalchemy, click"],
            "learning-loop status --json": [sys.executable, "-m", "learning_loop", "status", "--json"],
            "learning-loop query": [sys.executable, "-m", "learning_loop", "query", "how often did api succeed", "--json"],
        }
        for command in commands.values():
            seconds(command, folder)
        times: dict[str, list[float]] = {label: [] for label in commands}
        rounds = RUNS // 2 if bench.quick else RUNS
        for _ in bench.progress(range(rounds), "rounds", rounds):
            for label, command in commands.items():
                times[label].append(seconds(command, folder))
    medians = {label: _harness.percentile(values, 0.5) for label, values in times.items()}
    for label, median in medians.items():
        bench.row(command=label, p50_ms=median * 1000, best_ms=min(times[label]) * 1000)
    added = (medians["import learning_loop"] - medians["python"]) * 1000
    bench.goal("import learning_loop over bare Python, in ms", added, 100)
    bench.goal(
        "status --json over importing sqlalchemy and click",
        medians["learning-loop status --json"] / medians["import sqlalchemy, click"],
        2.0,
    )


if __name__ == "__main__":
    _harness.run("startup", __doc__.splitlines()[0], work)
