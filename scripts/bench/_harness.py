"""What the benches share: options, progress, percentiles, goals, and one table or one JSON object at the end."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # what generates histories is the tests'

from learning_loop import __version__
from learning_loop.app import App
from learning_loop.protocols import Embedder, Vectors
from learning_loop.workspace import Workspace


@dataclass
class Bench:
    """One bench under way: its rows and the goals they are held against."""

    name: str
    quick: bool
    data: Path | None
    seed: int
    as_json: bool
    only: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    goals: list[dict[str, Any]] = field(default_factory=list)

    def wants(self, part: str) -> bool:
        """Say whether a part of the bench is to be done."""
        return self.only in (None, part)

    def say(self, text: str) -> None:
        """Tell at once what is known of work that goes on for long."""
        print(text, file=sys.stderr, flush=True)

    def row(self, **values: Any) -> None:
        self.rows.append(values)

    def goal(self, name: str, measured: float, at_most: float | None = None, *, at_least: float | None = None) -> None:
        """Hold a figure against its limit."""
        met = (at_most is None or measured <= at_most) and (at_least is None or measured >= at_least)
        limit = f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}"
        self.goals.append({"name": name, "measured": round(measured, 4), "goal": limit, "met": met})

    def telling(self, label: str) -> Callable[[int, int], None]:
        """Return who is told how far something is, and says so on a terminal."""

        def tell(done: int, total: int) -> None:
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{label}: {done}/{total}   " + ("\r" + " " * 70 + "\r" if done >= total else ""))

        return tell

    def progress(self, items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
        """Yield items, saying on a terminal how far it is and how long it will take."""
        started = time.monotonic()
        for number, item in enumerate(items, 1):
            yield item
            if sys.stderr.isatty():
                left = (time.monotonic() - started) / number * (total - number)
                sys.stderr.write(f"\r{label}: {number}/{total}, {left:.0f} s left   ")
        if sys.stderr.isatty():
            sys.stderr.write("\r" + " " * 60 + "\r")


class Stopwatch:
    """Times single steps by standing round them; what was spent on each, in milliseconds, is added up in a dict."""

    def __init__(self, spent: dict[str, float]) -> None:
        self.spent = spent

    def stand_round(self, owner: Any, method: str, name: str) -> Callable[[], None]:
        """Time every call of a method from now on; return what ends that."""
        inner, own = getattr(owner, method), method in vars(owner)

        def outer(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.spent[name] = self.spent.get(name, 0.0) + (time.perf_counter() - started) * 1000

        def undo() -> None:
            setattr(owner, method, inner) if own else delattr(owner, method)

        setattr(owner, method, outer)
        return undo


class RandomDocuments:
    """The model for questions; for documents, vectors drawn at random round one where questions lie, so that they are found."""

    def __init__(self, model: Embedder) -> None:
        self.identity = f"random/{model.identity}"
        self.dimension, self.unrelated = model.dimension, model.unrelated
        self._model = model
        self._rng, self._middle = np.random.default_rng(0), model.embed_query("what do we know about this")

    def embed(self, texts: Sequence[str]) -> Vectors:
        drawn = self._rng.standard_normal((len(texts), self.dimension), dtype=np.float32)
        found: Vectors = 0.5 * self._middle + drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def embed_query(self, text: str) -> Vectors:
        return self._model.embed_query(text)


def model(*, quiet: bool, threads: int = 0) -> Embedder:
    """Return the model that is configured by default; raise OSError where none can be had."""
    with tempfile.TemporaryDirectory() as folder:
        workspace, _ = Workspace.init(Path(folder))
        with App.open(workspace) as app:
            if (found := app.model) is None:
                raise OSError("no model can be had: pip install 'learning-loop[offline]'")
            return found.open(None if quiet else print, threads=threads)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(name: str, description: str, work: Callable[[Bench], None]) -> None:
    """Read the options, do the work, print, and end with 1 where a goal is missed or 2 where it could not run."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="end within 50 s on two cores, at a smaller size")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, help="a folder of data sets, where the bench takes one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="PART", help="do but one part, where the bench has several")
    given = parser.parse_args()
    bench = Bench(name, quick=given.quick, data=given.data, seed=given.seed, as_json=given.json, only=given.only)
    try:
        work(bench)
    except (ImportError, OSError) as error:
        print(f"{name} could not run: {error}", file=sys.stderr)
        sys.exit(2)
    _print(bench)
    sys.exit(0 if all(goal["met"] for goal in bench.goals) else 1)


def _print(bench: Bench) -> None:
    machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
    if bench.as_json:
        found = {
            "bench": bench.name,
            "version": __version__,
            "machine": machine,
            "quick": bench.quick,
            "rows": bench.rows,
            "goals": bench.goals,
        }
        print(json.dumps(found, indent=2))
        return
    where = f"{machine['system']}, Python {machine['python']}, {machine['cores']} cores"
    print(f"{bench.name} {__version__} ({where}){' quick' if bench.quick else ''}")
    columns = list(dict.fromkeys(name for row in bench.rows for name in row))
    cells = [
        columns,
        *[
            [f"{row.get(name, ''):.3f}" if isinstance(row.get(name), float) else str(row.get(name, "")) for name in columns]
            for row in bench.rows
        ],
    ]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for goal in bench.goals:
        print(f"{'met   ' if goal['met'] else 'MISSED'}  {goal['name']}: {goal['measured']} (goal {goal['goal']})")
