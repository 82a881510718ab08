"""The one guard round learning: what goes wrong inside it becomes a warning, and the wrapped work goes on."""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from learning_loop.errors import LearningLoopError

log = logging.getLogger("learning_loop")
MOST_LOGGED = 1_000
Result = TypeVar("Result")


class Guard:
    """Catches what learning raises. Each fault is logged once; under `strict` it is raised instead.

    `with guard("scoring", warnings): ...` runs a stage; a fault adds a line to `warnings`.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._logged: set[str] = set()

    def __call__(self, stage: str, warnings: list[str]) -> "_Stage":
        return _Stage(self, stage, warnings)

    def attempt(self, stage: str, warnings: list[str], work: Callable[[], Result], default: Any = None) -> Any:
        """Return what `work` returns, or the default where it fails."""
        try:
            return work()
        except Exception as error:
            if not self.caught(stage, warnings, error):
                raise
            return default

    def caught(self, stage: str, warnings: list[str], error: Exception) -> bool:
        """Note a fault; false where it is to be raised."""
        if not self.strict:
            said = str(error) if isinstance(error, LearningLoopError) else f"{type(error).__name__}: {error}"
            self.warn(f"{stage}: {said}", warnings, error)
        return not self.strict

    def warn(self, message: str, warnings: list[str], error: Exception | None = None) -> None:
        """Add a line to `warnings`, and log it the first time; of an unexpected fault with its traceback."""
        warnings.append(message)
        if message not in self._logged:
            if len(self._logged) > MOST_LOGGED:
                self._logged.clear()
            self._logged.add(message)
            unexpected = error is not None and not isinstance(error, LearningLoopError | OSError)
            log.warning("%s", message, exc_info=error if unexpected else None)


class _Stage:
    """One stage in the guard, as a context manager."""

    __slots__ = ("_guard", "_stage", "_warnings")

    def __init__(self, guard: Guard, stage: str, warnings: list[str]) -> None:
        self._guard, self._stage, self._warnings = guard, stage, warnings

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> bool:
        return isinstance(error, Exception) and self._guard.caught(self._stage, self._warnings, error)
