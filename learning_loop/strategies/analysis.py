"""How a strategy has done: how often its runs succeeded, and what those that failed have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from learning_loop.features.conditions import CONTEXT, Facts, quoted
from learning_loop.stats.contingency import fisher_greater_many

ONES = (f"{CONTEXT}.project", f"{CONTEXT}.component")  # what a change made for would not carry over to others
COARSE = 8  # values of a feature beyond which it tells runs apart rather than kinds of them
LEAST_RUNS = 10  # with a condition, and without it, before it is looked at
LEVEL = 0.1  # of all conditions looked at, that chance gives one
PASSING = ("TimeoutError", "ConnectionError", "RATE_LIMIT_429", "TIMEOUT", "API_ERROR")  # errors that may go by themselves
MOST_SAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run under a strategy: its context, how it went, what it was worth (0 to 1), and how often it was tried."""

    id: str
    version: str
    facts: Facts
    success: bool | None
    reward: float
    attempts: int
    project: str | None = None
    error: str | None = None
    error_text: str | None = None


@dataclass(frozen=True, slots=True)
class FailurePattern:
    """Where runs fail more often than elsewhere: a condition on the context, and of how many runs how many failed."""

    condition: str
    runs: int
    failed: int
    others: int
    others_failed: int
    p_value: float

    @property
    def says(self) -> str:
        here, there = 100 * self.failed / self.runs, 100 * self.others_failed / self.others
        return f"where {self.condition} {here:.0f} % of {self.runs} runs failed, elsewhere {there:.0f} % of {self.others}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What is known of a strategy's runs; `conditions` are all that hold of a good part of them, with that part."""

    runs: int
    success_rate: float | None
    mean_attempts: float
    patterns: tuple[FailurePattern, ...]
    conditions: Mapping[str, float]
    errors: Mapping[str, int]
    passing: float  # the share of failures whose error may go by itself
    failures: tuple[Ran, ...]
    successes: tuple[Ran, ...]


def analysis_of(runs: Sequence[Ran]) -> Analysis:
    """Analyse runs, the oldest first."""
    judged = [run for run in runs if run.success is not None]
    failed = [run for run in judged if not run.success]
    errors = Counter(run.error or "no error" for run in failed)
    extents = _extents(judged)
    return Analysis(
        runs=len(runs),
        success_rate=1 - len(failed) / len(judged) if judged else None,
        mean_attempts=sum(run.attempts for run in runs) / len(runs) if runs else 0.0,
        patterns=_patterns(judged, extents),
        conditions={condition: float(extent.mean()) for condition, extent in extents.items()},
        errors=dict(errors.most_common()),
        passing=sum(errors[name] for name in PASSING) / len(failed) if failed else 0.0,
        failures=tuple(failed[-MOST_SAMPLES:][::-1]),
        successes=tuple([run for run in judged if run.success][-MOST_SAMPLES:][::-1]),
    )


def _extents(runs: Sequence[Ran]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return the conditions that hold of enough of the runs and not of enough others, and of which runs they hold."""
    values: dict[str, Counter[str]] = {}
    for run in runs:
        for name, value in run.facts.items():
            if name.startswith(f"{CONTEXT}.") and name not in ONES:
                values.setdefault(name, Counter()).update(value if isinstance(value, tuple) else (value,))
    found, marks = {}, set[bytes]()
    for name, counts in sorted(values.items()):
        if len(counts) > COARSE:
            continue
        for value in sorted(counts):
            extent = np.array([_has(run.facts.get(name), value) for run in runs])
            if LEAST_RUNS <= extent.sum() <= len(runs) - LEAST_RUNS and extent.tobytes() not in marks:
                marks.add(extent.tobytes())
                found[f"{quoted(name)} = {quoted(value)}"] = extent
    return found


def _has(found: str | tuple[str, ...] | None, value: str) -> bool:
    return value in found if isinstance(found, tuple) else value == found


def _patterns(
    runs: Sequence[Ran], extents: Mapping[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]
) -> tuple[FailurePattern, ...]:
    """Return where failures are commoner than chance gives, by Fisher's exact test over all conditions (Bonferroni)."""
    if not extents:
        return ()
    failed = np.array([not run.success for run in runs])
    matrix = np.stack(list(extents.values()))
    rows, cells = matrix.sum(axis=1), (matrix & failed).sum(axis=1)
    total, column = np.full(len(rows), len(runs)), np.full(len(rows), int(failed.sum()))
    p_values = fisher_greater_many(cells, rows, column, total)
    found = [
        FailurePattern(name, int(row), int(cell), int(len(runs) - row), int(failed.sum() - cell), float(p_value))
        for name, row, cell, p_value in zip(extents, rows, cells, p_values, strict=True)
        if p_value * len(rows) <= LEVEL
    ]
    return tuple(sorted(found, key=lambda one: one.p_value))
