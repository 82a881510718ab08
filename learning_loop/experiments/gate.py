"""The gate: what is shown how often, and which evidence moves it on. Many things at a time, one row each."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_loop.experiments.evidence import Evidence, Floats, Rows
from learning_loop.settings import Limits
from learning_loop.stats.betting import Bets
from learning_loop.stats.online import level_of


class Status(IntEnum):
    """Where something stands in its life; what a person rejects is no concern of the gate any more."""

    CANDIDATE = 0
    TRIAL = 1
    ACTIVE = 2
    RETIRED = 3


class Move(NamedTuple):
    """One row that moved, why (`benefit`, `harm`, `futile` or `change`), and what was known of it then."""

    row: int
    status: Status
    reason: str
    withheld: int
    shown: int
    effect: float


DOUBT = 0.3  # of the bar for a change, from which on an active thing is withheld more often
REASONS = ("harm", "benefit", "futile", "change")


class Gate:
    """Statuses, levels and evidence of `rows` things; `families` are those whose errors are controlled together.

    `weights` are those of harm to each metric, as `Evidence` has them.

    Only `admit` and `judge` move anything.
    """

    def __init__(
        self,
        rows: int,
        *,
        limits: Limits,
        weights: Sequence[float] = (1.0,),
        bets: Bets | None = None,
        families: ArrayLike | None = None,
    ) -> None:
        self.limits = limits
        self.status = np.full(rows, Status.CANDIDATE, np.int8)
        self.level = np.zeros(rows)
        self.active_runs = np.zeros(rows)
        self.family = np.zeros(rows, np.intp) if families is None else np.asarray(families, np.intp)
        count = int(self.family.max(initial=0)) + 1
        self.begun = np.zeros(count)
        self.discoveries = np.zeros(count)
        self.evidence = Evidence(rows, weights, benefit_at=1.0, harm_at=1 / limits.harm_level, bets=bets or Bets())

    def admit(self, rows: ArrayLike) -> None:
        """Begin the trial of these rows: what was seen before counts for nothing, and each gets its level."""
        chosen = np.asarray(rows, np.intp)
        families, batch = np.unique(self.family[chosen], return_counts=True)
        levels = np.zeros(self.begun.size)
        levels[families] = level_of(self.begun[families], batch, self.discoveries[families], self.limits.level)
        self.begun[families] += batch
        self.level[chosen] = levels[self.family[chosen]]
        self.status[chosen] = Status.TRIAL
        self.active_runs[chosen] = 0
        self.evidence.restart(chosen, 1 / self.level[chosen], 1 / self.limits.harm_level)

    def activate(self, rows: ArrayLike) -> None:
        """Take these rows as active, without a trial."""
        chosen = np.asarray(rows, np.intp)
        self.status[chosen], self.level[chosen] = Status.ACTIVE, 0.0
        self.active_runs[chosen] = 0
        self.evidence.restart(chosen, 1 / self.limits.level, 1 / self.limits.harm_level)

    @property
    def helps(self) -> NDArray[np.bool_]:
        """Of which rows it is shown that they help, though nothing may have moved them."""
        evidence = self.evidence
        enough = evidence.runs.min(axis=1) >= self.limits.least_runs
        with np.errstate(divide="ignore"):
            return enough & (self.level > 0) & (evidence.log_benefit >= -np.log(self.level))  # type: ignore[no-any-return]

    def probabilities(self, rows: ArrayLike) -> Floats:
        """Return how likely each of these rows is shown in the next run that it is eligible for."""
        chosen, limits = np.asarray(rows, np.intp), self.limits
        bar = DOUBT * self.evidence.change_bar(limits.false_alarm_runs, limits.active)[chosen]
        doubtful = (self.level[chosen] > 0) & (self.evidence.change[chosen] >= bar)
        active = np.where(doubtful, limits.active_doubtful, limits.active)
        active = np.where(self.active_runs[chosen] < limits.first_runs, np.minimum(active, limits.active_first), active)
        status = self.status[chosen]
        return np.select([status == Status.TRIAL, status == Status.ACTIVE], [np.full(chosen.size, limits.trial), active], 0.0)

    def learn(
        self,
        rows: ArrayLike,
        runs: ArrayLike,
        shown: ArrayLike,
        propensity: ArrayLike,
        outcomes: Floats,
        predicted: Floats | None = None,
    ) -> None:
        """Take exposures of runs whose outcome is mature, as `Evidence.learn` does."""
        self.evidence.learn(rows, runs, shown, propensity, outcomes, predicted)
        self.active_runs[np.asarray(rows, np.intp)] += 1

    def judge(self, blocked: ArrayLike | None = None) -> list[Move]:
        """Move what the evidence moves, and return it; rows that are `blocked` are not promoted."""
        limits, evidence, status = self.limits, self.evidence, self.status
        trial, active = status == Status.TRIAL, status == Status.ACTIVE
        looked = trial | active
        if not looked.any():
            return []
        enough = evidence.runs.min(axis=1) >= limits.least_runs
        harms = looked & enough & (evidence.log_harm >= -np.log(limits.harm_level))
        proven = trial & ~harms & self.helps
        helps = proven if blocked is None else proven & ~np.asarray(blocked, bool)
        futile = trial & ~harms & ~proven & (evidence.runs.sum(axis=1) >= limits.most_runs)
        bar = evidence.change_bar(limits.false_alarm_runs, limits.active)
        changed = active & ~harms & (self.level > 0) & (evidence.change >= bar)  # what was not promoted has no effect to lose
        runs, effect = evidence.runs.copy(), evidence.effect
        self._retire(np.flatnonzero(harms | futile))
        self._promote(np.flatnonzero(helps))
        if changed.any():
            self.admit(np.flatnonzero(changed))
        masks = zip((harms, helps, futile, changed), REASONS, strict=True)
        return [
            Move(int(row), Status(int(status[row])), reason, int(runs[row, 0]), int(runs[row, 1]), float(effect[row]))
            for mask, reason in masks
            for row in np.flatnonzero(mask)
        ]

    def pack(self, row: int) -> dict[str, Any]:
        """Return one row as JSON keeps it; `unpack` takes it."""
        own = {"status": int(self.status[row]), "level": float(self.level[row]), "active_runs": float(self.active_runs[row])}
        return own | {"evidence": self.evidence.pack(row)}

    def unpack(self, row: int, packed: Mapping[str, Any]) -> None:
        self.status[row], self.level[row], self.active_runs[row] = packed["status"], packed["level"], packed["active_runs"]
        self.evidence.unpack(row, packed["evidence"])

    def _retire(self, rows: Rows) -> None:
        self.status[rows] = Status.RETIRED

    def _promote(self, rows: Rows) -> None:
        self.status[rows] = Status.ACTIVE
        self.active_runs[rows] = 0
        self.evidence.change[rows] = 0.0
        np.add.at(self.discoveries, self.family[rows], 1)
