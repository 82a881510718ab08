"""The extractor: what is captured of a task at each phase."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learning_loop.capture.dependencies import DependencyChecker
from learning_loop.capture.observed import observed
from learning_loop.capture.state import fast_state
from learning_loop.errors import UsageError
from learning_loop.records import (
    FAMILIES,
    Checkpoint,
    Clock,
    Decision,
    Pattern,
    Task,
    utc_now,
)

if TYPE_CHECKING:  # numpy is nothing that a run should wait for
    from learning_loop.patterns.candidates import Limits

PHASES = ("pre", "during", "post")
_CHECKLIST = re.compile(r"^[ \t]*[-*+][ \t]+(?:\[[ xX]\][ \t]+)?(.+?)[ \t]*$", re.MULTILINE)


@dataclass(slots=True)
class Observed:
    """What a run notes while it runs; appended to from any thread."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    discoveries: list[str] = field(default_factory=list)
    outcomes: dict[str, Any] = field(default_factory=dict)
    elapsed_s: float | None = None


class PatternExtractor:
    """Captures metadata of executions, and finds the patterns in what was captured."""

    def __init__(
        self,
        memory_path: str | Path = "memory",
        *,
        environ: Mapping[str, str] | None = None,
        environment: tuple[str, ...] = (),
        clock: Clock = utc_now,
    ) -> None:
        self.memory_path = Path(memory_path)
        self._clock = clock
        self._state = fast_state(environ or {}, environment)
        self._dependencies = DependencyChecker(self.memory_path.resolve().parent)
        self.patterns: dict[str, list[Pattern]] = {f"{family}_patterns": [] for family in FAMILIES}
        self._assumptions_file = str(self.memory_path / "working-memory" / "current-assumptions.md")
        self._assumptions: tuple[tuple[int, int], tuple[str, ...]] = ((-1, -1), ())

    def extract_patterns(self, execution_history: Iterable[Any], *, limits: "Limits | None" = None) -> dict[str, list[Pattern]]:
        """Return what recurs in a history, by family: `success_patterns`, `failure_patterns`, and so on, the strongest first.

        An item is an execution as the ledger gives it, or anything a task is read from that has a `score` (0-100) or
        `success`, and may have `started_at`, `ended_at`, `duration_s`, `cost_usd` and an `error`. Raise UsageError for an item
        that cannot be read.
        """
        from learning_loop.patterns.candidates import Limits
        from learning_loop.patterns.find import find_patterns

        runs = [observed(item, place) for place, item in enumerate(execution_history)]
        found = find_patterns(runs, limits or Limits()).patterns
        self.patterns = {
            f"{family}_patterns": [pattern for pattern in found if pattern.family == family] for family in FAMILIES
        }
        return self.patterns

    def capture_execution_metadata(self, task: Task | str, phase: str, observed: Observed | None = None) -> dict[str, Any]:
        """Return what there is to record of a task at a phase: `pre`, `during` or `post`.

        The answer has `task_id`, `phase`, `timestamp` and `data`. Raise UsageError for any other phase.
        """
        if phase not in PHASES:
            raise UsageError(f"{phase!r} is no phase: use one of {', '.join(PHASES)}")
        task = Task(id=task) if isinstance(task, str) else task
        seen = observed or Observed()
        data: dict[str, Any]
        if phase == "pre":
            data = {
                "initial_state": self.capture_state(),
                "assumptions": self.list_assumptions(task),
                "dependencies": self.check_dependencies(task),
            }
        elif phase == "during":
            data = {
                "decision_points": [decision.point for decision in seen.decisions],
                "alternatives_considered": {decision.point: list(decision.alternatives) for decision in seen.decisions},
                "checkpoints": [checkpoint.name for checkpoint in seen.checkpoints],
                "time_elapsed": seen.elapsed_s,
            }
        else:
            data = {"outcomes": seen.outcomes, "deviations": list(seen.deviations), "discoveries": list(seen.discoveries)}
        return {"task_id": task.id, "phase": phase, "timestamp": self._clock().isoformat(), "data": data}

    def capture_state(self) -> dict[str, Any]:
        """Return the state that is fast to know; git's is gathered off the run's path."""
        return self._state

    def list_assumptions(self, task: Task) -> dict[str, list[str]]:
        """Return the assumptions declared on the task, and those written in current-assumptions.md."""
        return {"declared": list(task.assumptions), "current": list(self._current())}

    def check_dependencies(self, task: Task) -> dict[str, dict[str, Any]]:
        return self._dependencies.check(task.dependencies)

    def _current(self) -> tuple[str, ...]:
        try:
            status = os.stat(self._assumptions_file)  # a string: a Path costs more than the call
            seen = (status.st_mtime_ns, status.st_size)
            if seen != self._assumptions[0]:
                self._assumptions = (
                    seen,
                    read_assumptions(Path(self._assumptions_file).read_text(encoding="utf-8", errors="replace")),
                )
        except FileNotFoundError:
            self._assumptions = ((-1, -1), ())
        return self._assumptions[1]


def read_assumptions(text: str) -> tuple[str, ...]:
    """Return the list items of an assumptions file, but for those under a heading that says they no longer hold."""
    held = re.split(r"^#+[ \t]+(?:no longer|contradicted)", text, maxsplit=1, flags=re.MULTILINE | re.IGNORECASE)[0]
    return tuple(match[1] for match in _CHECKLIST.finditer(held))
