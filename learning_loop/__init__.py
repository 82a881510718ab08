"""A reflective learning memory for agents and task runners.

The public names are resolved on first use, so that importing the package costs nothing and has no effect.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` gives, for type checkers
    from learning_loop.capture import PatternExtractor as PatternExtractor
    from learning_loop.dashboard import LearningDashboard as LearningDashboard
    from learning_loop.errors import LearningLoopError as LearningLoopError
    from learning_loop.flows.query import LearningQueryInterface as LearningQueryInterface
    from learning_loop.flows.run import Run as Run
    from learning_loop.orchestrator import LearningOrchestrator as LearningOrchestrator
    from learning_loop.records import Briefing as Briefing
    from learning_loop.records import Report as Report
    from learning_loop.records import Task as Task
    from learning_loop.scoring import ExecutionScoreCard as ExecutionScoreCard

__version__ = "0.1.0"

_PUBLIC = {
    "Briefing": "records",
    "ExecutionScoreCard": "scoring",
    "LearningDashboard": "dashboard",
    "LearningLoopError": "errors",
    "LearningOrchestrator": "orchestrator",
    "LearningQueryInterface": "flows.query",
    "PatternExtractor": "capture",
    "Report": "records",
    "Run": "flows.run",
    "Task": "records",
}

__all__ = ["__version__", *sorted(_PUBLIC)]  # noqa: PLE0604  (the names are strings, resolved by __getattr__)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
