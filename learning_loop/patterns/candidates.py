"""What was tested and may become a pattern: one candidate a hypothesis, with its p-value, whatever that says."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from learning_loop.features.conditions import Comparison, Condition, all_of
from learning_loop.records import Observation, Pattern

DAY = 86_400.0
DOUBTED = 0.05  # p-values below this are held against runs of good and bad luck as well
PASSING = ("state:git.changed_files", "state:git.branch", "state:git.dirty")  # change from run to run without meaning anything
Extent = npt.NDArray[np.bool_]  # one truth value for each run


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What counts as good and bad, and what is worth reporting.

    `level` is the chance that anything false is among the patterns found, over all looks. `least_effect` is in points,
    `least_ratio` how many times as long; `least_runs` is how many runs a series must have.
    """

    success_above: float = 80.0
    failure_below: float = 60.0
    level: float = 0.05
    least_support: int = 5
    least_effect: float = 10.0
    least_ratio: float = 1.2
    least_runs: int = 20
    most_executions: int = 20


@dataclass(frozen=True, slots=True)
class Contrasted:
    """A conjunction of conditions, the runs each part holds of, and the runs that have the consequent."""

    conditions: tuple[Comparison, ...]
    extents: tuple[Extent, ...]
    label: Extent
    alike: tuple[Comparison, ...] = ()

    @property
    def condition(self) -> Condition:
        return all_of(self.conditions)

    @property
    def runs(self) -> Extent:
        return self.extents[0] if len(self.extents) == 1 else self.extents[0] & self.extents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One hypothesis that was tested.

    `tier` is the group of tests it shares its part of the level with. Candidates of one `hypothesis` are one test seen from
    two sides. `least` is the smallest p-value it could have had. `state` makes a pattern of it, given its adjusted p-value.
    """

    family: str
    tier: str
    key: str
    p_value: float
    state: Callable[[float | None], Pattern] = field(repr=False)
    least: float = 0.0
    hypothesis: bytes | None = None
    contrast: Contrasted | None = field(default=None, repr=False)


def lags_of(runs: Sequence[Observation]) -> int:
    """Return over how many runs good and bad luck may last: those of two days, but no more than twice the root of all."""
    if len(runs) < 2:
        return 0
    days = max((runs[-1].started - runs[0].started) / DAY, 1.0)
    return int(2 * min(len(runs) / days, math.sqrt(len(runs))))
