"""An A/B test: one version in force, and one or more that may take its place, each unit being given one of them at random."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from learning_loop.experiments.gate import Status
from learning_loop.experiments.moves import ALL, Move, Phase, Told
from learning_loop.experiments.trials import Trials, Verdict
from learning_loop.records import Exposed
from learning_loop.settings import AbTesting, Limits
from learning_loop.stats.betting import Bets
from learning_loop.stats.ratio import log_ratio_evidence

LOST = math.log(20)  # evidence from which on the arms lose outcomes unequally
BETS = Bets(effects=(0.1,), horizons=(600.0, 1_500.0), weights=(0.1, 0.6, 0.3))  # finds 15 points by 600 units
UNLIKELY = 1.645  # standard errors
FEW_UNITS = 50  # of an arm, before it can be given up
RATIO = math.log(100)  # reached by one test in a hundred, over all its looks, of which nothing is wrong
FEW = 2.0  # lost outcomes that their being lost evenly weighs beforehand


class AbTest:
    """The evidence of one test. Every arm has an e-process for benefit and one for harm over all metrics, as rules have.

    A winner is watched, and taken back where it harms. Where its effect looks as if it were gone, it is tried anew, in force as
    it is: an estimate at the time of a promotion is too high more often than not, so that less of an effect is no evidence of
    none.

    Each arm is held against the one in force by the units that were drawn for one of these two, so that arms may come and go
    while their odds stay. Scores are weighted by the odds each unit was drawn with, so that no mixture of contexts, however
    their shares or their odds change, looks like an effect. `tried` arms were there before, in all tests, of which `found` won.
    `kept` is what `plain` gave before.
    """

    def __init__(
        self,
        control: str,
        candidates: Sequence[str],
        settings: AbTesting,
        now: datetime,
        *,
        tried: int = 0,
        found: int = 0,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        kept = kept or {}
        self.control, self.candidates, self.settings = control, tuple(candidates), settings
        limits = Limits(
            level=settings.level,
            harm_level=settings.harm_level,
            least_runs=settings.least_runs,
            most_runs=settings.most_units,
            at_once=len(self.candidates),
        )
        before = {"begun": tried, "discoveries": found}
        self.trials = Trials(self.candidates, limits, kept.get("trials") or before, exclusive=True, bets=BETS)
        self.since = datetime.fromisoformat(kept["since"]) if "since" in kept else now
        self.winner: str | None = kept.get("winner")
        self.phase = Phase(kept.get("phase", Phase.RUNNING))
        self.frozen = bool(kept.get("frozen", False))
        self.units = int(kept.get("units", 0))
        self.missed: dict[str, dict[str, list[int]]] = {
            arm: {odds: list(counts) for odds, counts in of.items()} for arm, of in kept.get("missed", {}).items()
        }
        if not kept:
            self.trials.admit(self.candidates)

    @property
    def alive(self) -> list[str]:
        """The candidates that units are still drawn for."""
        if self.phase is Phase.OVER:
            return []
        return [arm for arm in self.candidates if self.trials.status(arm) in (Status.TRIAL, Status.ACTIVE)]

    def take(self, unit: Exposed, arm: str, shares: Mapping[str, float], now: datetime) -> list[Told]:
        """Take a unit whose outcome is mature: which arm it was drawn for, and with which shares; return what that moved."""
        rivals = [one for one in ([arm] if arm != self.control else self.alive) if shares.get(one) and one in self.alive]
        if not rivals or not shares.get(self.control):
            return []
        self.units += 1
        odds = [self._odds(one, shares) for one in rivals]
        shown = {ALL} if arm == self.control else {ALL, arm}
        drawn = replace(unit, units=(ALL, *rivals), odds=(1.0, *odds), shown=frozenset(shown))
        frozen = self._freezes()  # before: what is missing may be what makes an arm look better
        self.trials.promotes = not self.frozen
        verdicts = self.trials.take(drawn)
        moved = [told for verdict in verdicts for told in self._moved(verdict, now)]
        return [*frozen, *(moved or self._hopeless(rivals))]

    def miss(self, arm: str, shares: Mapping[str, float]) -> None:
        """Take a unit whose outcome will never be known: where these are more of one arm, nothing can be concluded."""
        if not shares.get(self.control):
            return
        for one in [arm] if arm != self.control else self.alive:
            if shares.get(one) and one in self.alive:
                counts = self.missed.setdefault(one, {}).setdefault(repr(self._odds(one, shares)), [0, 0])
                counts[arm == one] += 1

    def passes(self, now: datetime) -> list[Told]:
        """Return what time alone moves: a test that lasts too long ends without a winner, a winner was watched long enough."""
        if self.phase is Phase.RUNNING and now - self.since >= timedelta(days=self.settings.most_days):
            self.trials.drop(self.alive)
            return [self._end("it lasted as long as a test may: nothing is known to be better")]
        if self.phase is Phase.WATCHING and now - self.since >= timedelta(days=self.settings.watch_days):
            return [self._end("its winner was watched, and stays")]
        return []

    def resume(self, phase: Phase, winner: str | None, dropped: Sequence[str]) -> None:
        """Go on from where a test stands, with no evidence: what was dropped stays so, and a winner is watched for harm."""
        self.phase, self.winner = phase, winner
        self.trials.drop(dropped)
        if winner is not None:
            self.trials.drop([arm for arm in self.candidates if arm != winner])
            self.trials.activate([winner])

    @property
    def skewed(self) -> list[str]:
        """The arms that lost more or fewer outcomes than the one in force, or have another number of units than was drawn."""
        return [
            arm
            for arm in self.alive
            if log_ratio_evidence(self.missed.get(arm, {}), strength=FEW) >= LOST
            or log_ratio_evidence(self.trials.draws(arm)) >= RATIO
        ]

    def known(self, arm: str) -> dict[str, float | int]:
        """Return what is known of a candidate: its units and those of the one in force, the effect, and both e-values."""
        row = self.candidates.index(arm)
        evidence = self.trials.gate.evidence
        control, units = evidence.runs[row]
        level = float(self.trials.gate.level[row])
        return {
            "control": int(control),
            "units": int(units),
            "effect": float(evidence.effect[row]),
            "log_benefit": float(evidence.log_benefit[row]),
            "log_benefit_bar": -math.log(level) if level else math.inf,
            "log_harm": float(evidence.log_harm[row]),
            "log_harm_bar": -math.log(self.settings.harm_level),
        }

    def plain(self) -> dict[str, Any]:
        """Return all of it as JSON keeps it."""
        return {
            "since": self.since.isoformat(),
            "winner": self.winner,
            "phase": self.phase.value,
            "frozen": self.frozen,
            "units": self.units,
            "missed": self.missed,
            "trials": self.trials.plain(),
        }

    def _hopeless(self, arms: Sequence[str]) -> list[Told]:
        """Drop the arms that are hardly as much better any more as they would have to be; a winner where it is doubted.

        To give up early adds no false winner, so that an interval that peeking widens will do.
        """
        evidence, found = self.trials.gate.evidence, list[Told]()
        for arm in arms:
            if self.trials.status(arm) != Status.TRIAL:
                continue
            row = self.candidates.index(arm)
            control, units = (float(count) for count in evidence.runs[row])
            if min(control, units) < max(FEW_UNITS, self.settings.least_runs):
                continue
            error = math.sqrt(float(evidence.variance[row]) * (1 / control + 1 / units))
            if float(evidence.effect[row]) + UNLIKELY * error < self.settings.least_effect:
                self.trials.drop([arm])
                figures: dict[str, Any] = {"control": int(control), "units": int(units), "effect": float(evidence.effect[row])}
                if arm == self.winner:
                    return [self._taken_back(arm, "its effect is gone", figures)]
                why = f"it is hardly better by {self.settings.least_effect:g} of the reward's range"
                found.append(Told(Move.DROPPED, arm, why, **figures))
        if found and not self.alive:
            found.append(self._end("no arm is known to be better"))
        return found

    def _odds(self, arm: str, shares: Mapping[str, float]) -> float:
        return shares[arm] / (shares[arm] + shares[self.control])

    def _moved(self, verdict: Verdict, now: datetime) -> list[Told]:
        figures: dict[str, Any] = {"control": verdict.withheld, "units": verdict.shown, "effect": verdict.effect}
        arm = verdict.unit
        if arm == self.winner and verdict.reason in ("benefit", "change"):  # watched for its time from then on
            self.since = now
            doubted = Told(Move.DOUBTED, arm, "its effect looks as if it were gone: it is tried anew", **figures)
            return [doubted] if verdict.reason == "change" else []
        if verdict.reason == "benefit":
            others = [one for one in self.alive if one != arm]
            self.trials.drop(others)
            self.phase, self.winner, self.since = Phase.WATCHING, arm, now
            return [Told(Move.PROMOTED, arm, "it helps", **figures)]
        if arm == self.winner:
            self.trials.drop([arm])
            return [self._taken_back(arm, "it harms" if verdict.reason == "harm" else "its effect is gone", figures)]
        why = "it harms" if verdict.reason == "harm" else "it is not known to help after as many units as a test has"
        found = [Told(Move.DROPPED, arm, why, **figures)]
        return found if self.alive else [*found, self._end("no arm is known to be better")]

    def _taken_back(self, arm: str, why: str, figures: Mapping[str, Any]) -> Told:
        self.phase, self.winner = Phase.OVER, None
        return Told(Move.TAKEN_BACK, arm, why, **figures)

    def _freezes(self) -> list[Told]:
        before, self.frozen = self.frozen, bool(self.skewed)
        if self.frozen and not before:
            return [Told(Move.FROZEN, None, "units are missing, or lose their outcomes, more in one arm than in another")]
        return []

    def _end(self, reason: str) -> Told:
        self.phase = Phase.OVER
        return Told(Move.ENDED, self.winner, reason)
