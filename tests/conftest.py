"""Fixtures: real workspaces in real folders, with a clock and an rng that tests hold in their hands."""

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.workspace import Workspace

EVERYTHING_SHOWN = {
    f"LEARNING_LOOP_EVIDENCE_{name}": value
    for name, value in {"HOLDOUT": "0", "KIND_HOLDOUT": "0", "TRIAL": "1", "ACTIVE_FIRST": "1", "ACTIVE": "1"}.items()
}  # a test that is not about what is withheld sees all there is
WORDS_ONLY = {"LEARNING_LOOP_MEMORY_EMBEDDER": "lexical", **EVERYTHING_SHOWN}  # nor is a model exported for one not about it
os.environ |= WORDS_ONLY


class SteppingClock:
    """A clock that moves on by a second with every look."""

    def __init__(
        self, start: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC), step: timedelta = timedelta(seconds=1)
    ) -> None:
        self.now = start
        self.step = step

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "workspace")[0]


@pytest.fixture
def app(workspace: Workspace, clock: SteppingClock) -> Iterator[App]:
    with App.open(workspace, environ=WORDS_ONLY, clock=clock, rng=random.Random(7)) as opened:
        yield opened


MakeLoop = Callable[..., LearningOrchestrator]


@pytest.fixture
def make_loop(workspace: Workspace, clock: SteppingClock) -> Iterator[MakeLoop]:
    """Return a maker of loops on one workspace, strict unless told otherwise; they are closed in the end."""
    made: list[LearningOrchestrator] = []

    def make(runner: Callable[..., Any] | None = None, **options: Any) -> LearningOrchestrator:
        given = {
            "workspace": workspace.root,
            "strict": True,
            "environ": WORDS_ONLY,
            "clock": clock,
            "rng": random.Random(11),
            **options,
        }
        made.append(LearningOrchestrator(runner, **given))
        return made[-1]

    yield make
    for loop in made:
        loop.close()
