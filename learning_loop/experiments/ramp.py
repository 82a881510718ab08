"""A candidate's way from few units to all: a share that grows only with evidence, and falls at once with harm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from learning_loop.experiments.gate import Status
from learning_loop.experiments.trials import Trials, Verdict
from learning_loop.records import Exposed
from learning_loop.settings import Limits, Ramp
from learning_loop.stats.ratio import SKEWED, log_ratio_evidence


class Step(StrEnum):
    """What the evidence did to a ramp."""

    ADVANCED = "advanced"
    COMPLETE = "complete"
    FROZEN = "frozen"
    ROLLED_BACK = "rolled back"
    FUTILE = "futile"
    DOUBTED = "doubted"


OVER = (Step.ROLLED_BACK, Step.FUTILE)
LOST = math.log(20)  # evidence from which on the arms lose outcomes unequally
FEW = 2.0  # lost outcomes that their being lost evenly weighs beforehand: where they are not, nearly all are of one arm


@dataclass(frozen=True, slots=True)
class Told:
    """A step of a ramp: the share from then on, the units of the rules and of the candidate, and the effect, 0 to 1."""

    step: Step
    share: float
    withheld: int
    taken: int
    effect: float


class Climb:
    """The ramp of one candidate. One e-process for benefit and one for harm of each metric go through all its stages.

    A stage is left once it lasted long enough, had its units, and the evidence of benefit has come as far towards the bar as
    the stage is towards the last: so that what does nothing gets everything with the probability `level` at most (Ville), and
    what harms seldom more than a little. Where the two arms lose outcomes unequally, or end up with other numbers of units than
    they were drawn with, nothing is concluded any more. `kept` is what `plain` gave before.
    """

    def __init__(
        self,
        candidate: str,
        ramp: Ramp,
        now: datetime,
        *,
        tried: int = 0,
        found: int = 0,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        self.candidate, self.ramp = candidate, ramp
        kept = kept or {}
        limits = Limits(level=ramp.level, harm_level=ramp.harm_level, most_runs=ramp.most_units, at_once=1)
        self.trials = Trials([candidate], limits, kept.get("trials") or {"begun": tried, "discoveries": found}, promotes=False)
        self.stage = ramp.reached(kept)
        self.units = int(kept.get("units", 0))
        self.since = datetime.fromisoformat(kept["since"]) if "since" in kept else now
        self.over = Step(kept["over"]) if kept.get("over") else None
        self.anew = bool(kept.get("anew", False))  # it had everything, and is on its way again
        self.missed: dict[str, list[int]] = {odds: list(counts) for odds, counts in kept.get("missed", {}).items()}
        if not kept:
            self.trials.admit([candidate])

    @property
    def share(self) -> float:
        """The share of units that the candidate chooses for."""
        if self.over in OVER:
            return 0.0
        return min(self.ramp.stages[self.stage] / 100, 1 - self.ramp.holdout)

    @property
    def last(self) -> bool:
        return self.stage == len(self.ramp.stages) - 1

    @property
    def quickest(self) -> int:
        """The stage in which a unit says most: the one nearest to half. No harm is shown where there is but doubt."""
        stages = self.ramp.stages
        return min(range(len(stages) - 1), key=lambda stage: abs(stages[stage] - 50))

    @property
    def bar(self) -> float:
        """The logarithm of the e-value that the evidence of benefit must reach for the next stage."""
        stages = len(self.ramp.stages)
        return -math.log(float(self.trials.gate.level[0])) * (self.stage + 1) / max(stages - 1, 1)

    @property
    def benefit(self) -> float:
        return float(self.trials.gate.evidence.log_benefit[0])

    @property
    def harm(self) -> float:
        return float(self.trials.gate.evidence.log_harm[0])

    def take(self, run: Exposed, now: datetime) -> Told | None:
        """Take a unit whose outcome is mature, and return what that moved."""
        if self.over in OVER:
            return None
        verdicts = self.trials.take(run)
        self.units += 1
        for verdict in verdicts:
            if verdict.reason == "change":  # it helped, and looks as if it did no more: it has to show anew that it does
                self.stage, self.units, self.since, self.over, self.anew = self.quickest, 0, now, Step.DOUBTED, True
                return Told(Step.DOUBTED, self.share, verdict.withheld, verdict.shown, verdict.effect)
            return self._end(Step.ROLLED_BACK if verdict.reason == "harm" else Step.FUTILE, verdict)
        return self._advance(now)

    def miss(self, odds: float, *, taken: bool) -> None:
        """Take a unit whose outcome will never be known: where these are more of one arm, nothing can be concluded."""
        if self.over not in OVER:
            self.missed.setdefault(repr(odds), [0, 0])[taken] += 1

    @property
    def skewed(self) -> bool:
        """Say whether the arms lost outcomes unequally, or have other numbers of units than they were drawn with."""
        lost = log_ratio_evidence(self.missed, strength=FEW) >= LOST
        return lost or log_ratio_evidence(self.trials.draws(self.candidate)) >= SKEWED

    def _advance(self, now: datetime) -> Told | None:
        if self.skewed:
            already, self.over = self.over, Step.FROZEN
            return None if already is Step.FROZEN else self._told(Step.FROZEN)
        if self.over is Step.FROZEN:
            self.over = None
        waited = now - self.since >= timedelta(hours=self.ramp.hours)
        if self.last or not waited or self.units < self.ramp.least_units or self.benefit < self.bar:
            return None
        self.stage, self.units, self.since, self.over = self.stage + 1, 0, now, None
        if self.last:
            self.trials.keep([self.candidate])
            self.anew = False
        return self._told(Step.COMPLETE if self.last else Step.ADVANCED)

    def _end(self, step: Step, verdict: Verdict) -> Told:
        self.over = step
        return Told(step, 0.0, verdict.withheld, verdict.shown, verdict.effect)

    def _told(self, step: Step) -> Told:
        withheld, taken = self.trials.gate.evidence.runs[0]
        return Told(step, self.share, int(withheld), int(taken), float(self.trials.gate.evidence.effect[0]))

    def plain(self) -> dict[str, Any]:
        """Return all of it as JSON keeps it."""
        return {
            "stage": self.stage,
            "units": self.units,
            "since": self.since.isoformat(),
            "missed": self.missed,
            "over": self.over.value if self.over else None,
            "anew": self.anew,
            "complete": self.trials.status(self.candidate) == Status.ACTIVE,
            "trials": self.trials.plain(),
        }
