"""Trials under way: the gate over named things, fed with runs one at a time, as it is kept between processes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.experiments.evidence import Evidence, Floats
from learning_loop.experiments.gate import Gate, Status
from learning_loop.records import Exposed
from learning_loop.settings import Limits
from learning_loop.stats.betting import Bets
from learning_loop.stats.ratio import SKEWED, log_ratio_evidence

METRICS = ("score", "success", "duration", "cost", "safety")  # the first is what is to get better, harm to any demotes
TAKEN = (2, 3)  # those of them that are what a run took: less is better
WEIGHTS = (0.5, 0.3, 0.05, 0.05, 0.1)  # of harm to each in the mean; most for what runs nearly always have
STRATA = 8  # kinds of task that harm is looked for in by themselves; what comes after them shares the last
IDLE = 500  # runs without an eligible one, after which a trial starves
LARGE = 0.2  # share of the runs from which on a kind of task has a say
SOONER = Bets(effects=(0.2,), horizons=(100.0, 400.0), weights=(0.2, 0.4, 0.4))  # there are fewer runs of one kind
NOTHING_S = 0.005  # counts as no time: below, one measures the scheduler
SHRUNK = 4.0  # runs of all kinds that what is expected of one kind starts from


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate moved: the thing, where to and why, and what was known of it then."""

    unit: str
    status: Status
    reason: str
    withheld: int
    shown: int
    effect: float


class Trials:
    """Evidence and statuses of named `units`; `kept` is what `plain` gave before, in this process or another one.

    Of units that are not asked for any more nothing is kept, but that they were tried. Where it promotes nothing, a person
    does. Of `exclusive` units one is shown at most, in the place of all others: each is held against the runs that none was
    shown, and their odds are those among these two.
    """

    def __init__(
        self,
        units: Sequence[str],
        limits: Limits,
        kept: Mapping[str, Any] | None = None,
        *,
        promotes: bool = True,
        exclusive: bool = False,
        bets: Bets | None = None,
    ) -> None:
        kept = kept or {}
        self.promotes, self._exclusive = promotes, exclusive
        self.units = tuple(dict.fromkeys(units))
        self.gate = Gate(len(self.units), limits=limits, weights=WEIGHTS, bets=bets)
        self.gate.begun[0], self.gate.discoveries[0] = kept.get("begun", 0), kept.get("discoveries", 0)
        self._row = {unit: row for row, unit in enumerate(self.units)}
        self._harmed_at = 1 / limits.harm_level  # for each kind: to hold a promotion up is no verdict
        self._strata = Evidence(len(self.units) * STRATA, (1.0,), benefit_at=1.0, harm_at=self._harmed_at, bets=SOONER)
        self._slots: dict[str, dict[str, int]] = {unit: {} for unit in self.units}
        self._idle = dict.fromkeys(self.units, 0)  # runs since one was eligible for it
        self._draws: dict[str, dict[str, list[int]]] = {unit: {} for unit in self.units}  # withheld and shown, by odds
        self._means: dict[str, list[list[float]]] = {
            kind: [list(item) for item in of] for kind, of in kept.get("means", {}).items()
        }
        for unit, packed in kept.get("units", {}).items():
            if (row := self._row.get(unit)) is not None:
                self.gate.unpack(row, packed["gate"])
                self._slots[unit], self._idle[unit] = dict(packed["slots"]), packed["idle"]
                self._draws[unit] = {odds: list(counts) for odds, counts in packed["draws"].items()}
                for slot, evidence in enumerate(packed["strata"]):
                    self._strata.unpack(row * STRATA + slot, evidence)

    @property
    def waiting(self) -> list[str]:
        """The units that are neither on trial nor active, nor over."""
        return [unit for unit in self.units if self.gate.status[self._row[unit]] == Status.CANDIDATE]

    def admit(self, units: Iterable[str]) -> list[str]:
        """Begin the trial of as many of these as there is room for, the first ones first; return them.

        One that no run was eligible for lately takes no evidence from the others, and so no room.
        """
        busy = [unit for unit in self.units if self.status(unit) == Status.TRIAL and self._idle[unit] < IDLE]
        wanted = [unit for unit in units if unit not in busy]
        chosen = wanted[: max(self.gate.limits.at_once - len(busy), 0)]
        if chosen:
            self.gate.admit([self._row[unit] for unit in chosen])
            self._idle |= dict.fromkeys(chosen, 0)
            self._draws |= {unit: {} for unit in chosen}
        return chosen

    def activate(self, units: Iterable[str]) -> None:
        """Watch these as active: a person says that they are."""
        chosen = list(units)
        self.gate.activate([self._row[unit] for unit in chosen])
        self._draws |= {unit: {} for unit in chosen}

    def keep(self, units: Iterable[str]) -> None:
        """Take these as active with the evidence they have: their trial is over, their harm is still watched."""
        self.gate.status[[self._row[unit] for unit in units]] = Status.ACTIVE

    def drop(self, units: Iterable[str]) -> None:
        """End the trials of these: somebody else decided."""
        self.gate.status[[self._row[unit] for unit in units]] = Status.RETIRED

    def draws(self, unit: str) -> Mapping[str, Sequence[int]]:
        """Return how often a unit was withheld and shown, by its odds."""
        return self._draws[unit]

    def status(self, unit: str) -> Status:
        return Status(int(self.gate.status[self._row[unit]]))

    def helping(self) -> list[str]:
        """Return the units on trial that are shown to help, and wait for a person to make them active."""
        found = self.gate.helps
        return [unit for unit, row in self._row.items() if found[row] and self.status(unit) == Status.TRIAL]

    def odds(self) -> dict[str, float]:
        """Return how likely each unit is shown from now on."""
        found = self.gate.probabilities(np.arange(len(self.units)))
        return {unit: float(found[row]) for unit, row in self._row.items()}

    def take(self, run: Exposed) -> list[Verdict]:
        """Take a run whose outcome is mature, and return what it moved."""
        drawn = [
            (self._row[unit], unit in run.shown, odds)
            for unit, odds in zip(run.units, run.odds, strict=True)
            if unit in self._row and 0 < odds < 1 and self.status(unit) in (Status.TRIAL, Status.ACTIVE)
        ]
        self._idle = {unit: 0 if unit in run.units else idle + 1 for unit, idle in self._idle.items()}
        outcome, predicted = self._read(run)
        nothing = run.units[0] not in run.shown  # all of memory was withheld, so that nothing else was drawn
        if not drawn or nothing or not np.isfinite(outcome[0]):
            return []
        for row, was_shown, chance in drawn:
            self._draws[self.units[row]].setdefault(repr(chance), [0, 0])[was_shown] += 1
        rows, shown, odds = (np.array(column) for column in zip(*drawn, strict=True))
        runs = np.arange(len(rows)) if self._exclusive else np.zeros(len(rows), np.intp)  # else adjusted for each other
        outcomes, expected = np.tile(outcome, (len(rows), 1)), np.tile(predicted, (len(rows), 1))
        self.gate.learn(rows, runs, shown, odds, outcomes, expected)
        places = [row * STRATA + self._slot(self.units[row], run.kind.type) for row in rows]
        self._strata.learn(places, runs, shown, odds, outcomes[:, :1], expected[:, :1])
        return [Verdict(self.units[move.row], *move[1:]) for move in self.gate.judge(self._blocked())]

    def plain(self) -> dict[str, Any]:
        """Return all of it as JSON keeps it."""
        units = {
            unit: {
                "gate": self.gate.pack(row),
                "slots": self._slots[unit],
                "idle": self._idle[unit],
                "draws": self._draws[unit],
                "strata": [self._strata.pack(row * STRATA + slot) for slot in range(len(set(self._slots[unit].values())))],
            }
            for unit, row in self._row.items()
        }
        begun, discoveries = int(self.gate.begun[0]), int(self.gate.discoveries[0])
        return {"begun": begun, "discoveries": discoveries, "means": self._means, "units": units}

    def restart(self, units: Iterable[str]) -> None:
        """Begin the evidence of these anew, for something they rested on is none. What was lost of a wealth stays lost."""
        rows = [self._row[unit] for unit in units if unit in self._row]
        self.gate.evidence.restart(rows, self.gate.evidence.benefit.target[rows], 1 / self.gate.limits.harm_level, carry=True)
        strata = [row * STRATA + slot for row in rows for slot in range(STRATA)]
        self._strata.restart(strata, 1.0, self._harmed_at, carry=True)

    def _blocked(self) -> NDArray[np.bool_]:
        """Say which are not to be promoted: all where people do that, and what harms somewhere or loses outcomes."""
        if not self.promotes:
            return np.ones(len(self.units), bool)
        strata, limits = self._strata, self.gate.limits
        runs = strata.runs.sum(axis=1).reshape(-1, STRATA)
        harmed = (strata.log_harm >= np.log(self._harmed_at)).reshape(-1, STRATA)
        large = runs >= np.maximum(LARGE * runs.sum(axis=1, keepdims=True), 2 * limits.least_runs)
        skewed = [log_ratio_evidence(self._draws[unit]) >= SKEWED for unit in self.units]
        return np.asarray((harmed & large).any(axis=1) | np.array(skewed))

    def _slot(self, unit: str, name: str) -> int:
        slots = self._slots[unit]
        return slots.setdefault(name, min(len(slots), STRATA - 1))

    def _read(self, run: Exposed) -> tuple[Floats, Floats]:
        """Return the metrics of a run in [0, 1], and what was expected of them before it: NaN where unknown."""
        key = run.kind.key
        means = self._means.setdefault(key, [[0.0, 0.0] for _ in METRICS])
        every = self._means.setdefault("", [[0.0, 0.0] for _ in METRICS])
        raw = (
            None if run.score is None else run.score / 100,
            None if run.success is None else float(run.success),
            None if run.duration_s is None else run.duration_s + NOTHING_S,
            run.cost_usd,
            run.safety,
        )
        outcome, predicted = np.full(len(METRICS), np.nan), np.full(len(METRICS), np.nan)
        for place, value in enumerate(raw):
            if value is None or value < 0 or (place not in TAKEN and value > 1):
                continue  # unknown, or no such measure
            count, total = means[place]
            if place in TAKEN:  # 0.5 where it takes what it takes in the mean, more where less
                usual = total / count if count else None
                if usual:
                    outcome[place], predicted[place] = usual / (usual + value), 0.5
            else:
                all_count, all_total = every[place]
                prior = (all_total + SHRUNK / 2) / (all_count + SHRUNK)
                outcome[place], predicted[place] = value, (total + SHRUNK * prior) / (count + SHRUNK)
                every[place] = [all_count + 1, all_total + value]
            means[place] = [count + 1, total + value]
        return outcome, predicted
