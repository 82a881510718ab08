"""The one guard round learning: what goes wrong inside it becomes a warning, and the wrapped work goes on."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from learning_loop.errors import LearningLoopError

log = logging.getLogger("learning_loop")
Result = TypeVar("Result")


class Guard:
    """Catches what learning raises. Each fault is logged once; under `strict` it is raised instead."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._logged: set[str] = set()

    @contextmanager
    def __call__(self, stage: str, warnings: list[str]) -> Iterator[None]:
        """Run a stage; a fault adds a line to `warnings`."""
        try:
            yield
        except Exception as error:
            if self.strict:
                raise
            self.warn(f"{stage}: {_say(error)}", warnings, error)

    def warn(self, message: str, warnings: list[str], error: Exception | None = None) -> None:
        warnings.append(message)
        if message not in self._logged:
            self._logged.add(message)
            unexpected = error is not None and not isinstance(error, LearningLoopError | OSError)
            log.warning("%s", message, exc_info=error if unexpected else None)

    def attempt(self, stage: str, warnings: list[str], work: Callable[[], Result], default: Any = None) -> Any:
        """Return what `work` returns, or the default where it fails."""
        with self(stage, warnings):
            return work()
        return default


def _say(error: Exception) -> str:
    return str(error) if isinstance(error, LearningLoopError) else f"{type(error).__name__}: {error}"
