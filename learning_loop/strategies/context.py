"""What a strategy is chosen by: the task, the project, and how such work went so far, in few and coarse features."""

import re
from collections.abc import Mapping
from typing import Any

from learning_loop.features.workload import workload_of
from learning_loop.records import Task

NAMES = (
    "type", "component", "project", "issue_type", "issue_complexity", "issue_has_code_refs", "labels", "description_length",
    "project_language", "project_size", "project_test_coverage", "project_historical_success_rate",
)  # fmt: skip
LENGTHS = ((200, "short"), (1_000, "medium"))  # of descriptions, in characters, each below; "long" beyond
SIZES = ((10_000, "small"), (100_000, "medium"), (1_000_000, "large"))  # of projects, in lines of code; "huge" beyond
COVERAGES = ((0.4, "low"), (0.75, "medium"))  # of tests, as a share; "high" beyond
OF_PROJECT = ("language", "loc", "test_coverage")
MOST_READ = 1_000  # characters of a description that are read
MOST_LABELS = 12
_CODE = re.compile(
    r"```|`[^`\n]+`|\b[\w/-]+\.(?:py|rb|js|ts|go|rs|java|c|cpp|h|cs|php|sql|sh|ya?ml|toml|json)\b|Traceback|\w+\(\)"
)


def context_of(task: Task, *, success_rate: float | None, project: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the context of a task; what is not known is left out.

    A task says of its project `language`, `loc` and `test_coverage` (or these after `project_`) among its parameters; `project`
    is what the configuration says of it. `success_rate` is how often such work succeeded so far.
    """
    text = (task.description or task.id)[:MOST_READ]
    asked = workload_of(text, {**task.parameters, "type": task.type, "critical": task.critical})
    known = {name: _said(task, project or {}, name) for name in OF_PROJECT}
    found = {
        "type": task.type,
        "component": task.component,
        "project": task.project,
        "issue_type": asked.task_type,
        "issue_complexity": asked.complexity,
        "issue_has_code_refs": bool(_CODE.search(text)),
        "labels": list(task.tags[:MOST_LABELS]) or None,
        "description_length": None if task.description is None else _bucket(len(task.description), LENGTHS, "long"),
        "project_language": None if known["language"] is None else str(known["language"]).lower(),
        "project_size": _bucket(_number(known["loc"]), SIZES, "huge"),
        "project_test_coverage": _bucket(_number(known["test_coverage"]), COVERAGES, "high"),
        "project_historical_success_rate": success_rate,
    }
    return {name: value for name, value in found.items() if value is not None}


def _said(task: Task, project: Mapping[str, Any], name: str) -> Any:
    given = task.parameters
    return given.get(f"project_{name}", given.get(name, project.get(name)))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _bucket(value: float | None, limits: tuple[tuple[float, str], ...], beyond: str) -> str | None:
    if value is None:
        return None
    return next((name for limit, name in limits if value < limit), beyond)
