"""What showing something did to the outcome, with an interval that holds however often one looks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.records import Exposed, Kind
from learning_loop.stats.betting import confidence_sequence
from learning_loop.stats.effects import effect_scores
from learning_loop.stats.ratio import SKEWED, log_ratio_evidence

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Places = NDArray[np.int64]

PRIOR_RUNS, PRIOR_VARIANCE = 4.0, 0.25


@dataclass(frozen=True, slots=True)
class Lift:
    """The effect of showing one thing on the score, in points, with a 95 % interval; None where nothing is known.

    `followed` is the share of runs it was shown to, of those with a check, that passed it; `as_followed` the effect on runs
    that follow it, if not following it is as good as not being shown it (the effect as assigned, over that share).
    """

    unit: str
    shown: int
    withheld: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    followed: float | None = None
    as_followed: float | None = None
    skewed: bool = False


class Lifts:
    """The lifts of all that was drawn in `runs`, which come in the order they ended; each is counted when it is asked for.

    Of the runs from which memory as a whole was withheld only that is learned; runs whose score is unknown are left out.
    """

    def __init__(self, runs: Sequence[Exposed], *, level: float = 0.95) -> None:
        scored = [run for run in runs if run.score is not None]
        self._outcome = np.array([(run.score or 0.0) / 100 for run in scored])
        self._expected = _expected(scored, self._outcome)
        self._level = level
        names: dict[str, int] = {}
        self._types = np.array([names.setdefault(run.kind.type, len(names)) for run in scored], dtype=np.int64)
        self._names = list(names)
        self._drawn: dict[str, tuple[list[int], list[bool], list[float]]] = {}
        for place, run in enumerate(scored):
            whole = run.units[0]
            units = zip(run.units, run.odds, strict=True) if whole in run.shown else [(whole, run.odds[0])]
            for unit, odds in units:
                if 0 < odds < 1:
                    places, shown, chances = self._drawn.setdefault(unit, ([], [], []))
                    places.append(place)
                    shown.append(unit in run.shown)
                    chances.append(odds)

    @property
    def units(self) -> Iterator[str]:
        """All that was ever drawn."""
        return iter(self._drawn)

    def of(self, unit: str, check: Mapping[str, bool] | None = None) -> Lift:
        """Return the lift of one unit; `check` says by run whether it was followed."""
        places, shown, odds = map(np.array, self._drawn.get(unit, ((), (), ())))
        return _followed(self._lift(unit, places, shown, odds), check or {}) if places.size else Lift(unit, 0, 0)

    def by_type(self, unit: str) -> dict[str, Lift]:
        """Return the lift of one unit by type of task; none where it was drawn for one type only.

        What was to be expected of a run comes from the runs before it of its kind, and less from those of all types.
        """
        places, shown, odds = map(np.array, self._drawn.get(unit, ((), (), ())))
        types = self._types[places] if places.size else places
        here = {self._names[code]: types == code for code in np.unique(types)}
        if len(here) < 2:
            return {}
        return {name: self._lift(unit, places[those], shown[those], odds[those]) for name, those in sorted(here.items())}

    def _lift(self, unit: str, places: Places, shown: Flags, odds: Floats) -> Lift:
        return _lift(unit, shown, odds, self._outcome[places], self._expected[places], self._level)


def _lift(unit: str, shown: Flags, odds: Floats, outcome: Floats, expected: Floats, level: float) -> Lift:
    draws = {
        repr(float(chance)): [int((~shown[odds == chance]).sum()), int(shown[odds == chance].sum())] for chance in set(odds)
    }
    skewed = log_ratio_evidence(draws) >= SKEWED
    counts: dict[str, Any] = {"shown": int(shown.sum()), "withheld": int((~shown).sum())}
    if not all(counts.values()):
        return Lift(unit, **counts, skewed=skewed)
    scores = effect_scores(shown, odds, outcome, expected)
    squares = np.concatenate([[0.0], np.cumsum((outcome - expected) ** 2)[:-1]])
    variance = (squares + PRIOR_RUNS * PRIOR_VARIANCE) / (np.arange(shown.size) + PRIOR_RUNS) * scores.spread
    low, high = confidence_sequence(scores.value, variance=variance, lowest=scores.lowest, highest=scores.highest, level=level)
    effect = float(np.average(scores.value, weights=1 / scores.spread))
    return Lift(unit, **counts, skewed=skewed, effect=100 * min(max(effect, low), high), low=100 * low, high=100 * high)


def _followed(lift: Lift, checks: Mapping[str, bool]) -> Lift:
    if not checks:
        return lift
    share = sum(checks.values()) / len(checks)
    return replace(lift, followed=share, as_followed=None if lift.effect is None or not share else lift.effect / share)


def _expected(runs: Sequence[Exposed], outcome: Floats) -> Floats:
    """Return what was to be expected of each run from those of its kind before it, drawn towards all that were before it."""
    found = np.empty(len(runs))
    count, total = 0.0, 0.0
    kinds: dict[Kind, tuple[float, float]] = {}
    for place, run in enumerate(runs):
        prior = (total + PRIOR_RUNS / 2) / (count + PRIOR_RUNS)
        own_count, own_total = kinds.get(run.kind, (0.0, 0.0))
        found[place] = (own_total + PRIOR_RUNS * prior) / (own_count + PRIOR_RUNS)
        kinds[run.kind] = own_count + 1, own_total + outcome[place]
        count, total = count + 1, total + outcome[place]
    return found
