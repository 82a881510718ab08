"""Git's answer on where the work stands, gathered off the path of runs."""

import time
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.capture import GitState, git_state
from learning_loop.records import Phase

GIT_FRESH_S = 1.0  # runs that begin within so long share one look at git


class GitWatch:
    """Asks git off the path: a run that begins soon after takes the answer along, an earlier one gets it added."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._waiting: list[str] = []
        self._seen: tuple[float, GitState | None] = (-GIT_FRESH_S, None)

    @property
    def state(self) -> dict[str, Any]:
        """Return what git said less than a second ago, if anything."""
        return {"git": self._seen[1].data} if self._fresh and self._seen[1] else {}

    def began(self, execution_id: str) -> None:
        """Add git's answer to an execution that began without one."""
        if not self._fresh:
            self._waiting.append(execution_id)
            self._app.later("state", self._gather)

    @property
    def _fresh(self) -> bool:
        return time.monotonic() - self._seen[0] < GIT_FRESH_S

    def _gather(self) -> None:
        found = git_state(Path.cwd())
        self._seen = (time.monotonic(), found)
        waiting = []
        while self._waiting:
            waiting.append(self._waiting.pop())
        if found is not None:
            data = {"initial_state": {"git": found.data}}
            self._app.ledger.append(
                *(Phase(execution_id=run, phase="state", at=self._app.clock(), data=data) for run in waiting)
            )
