"""What showing something did to the outcome, with an interval that holds however often one looks."""

from collections.abc import Mapping, Sequence
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


def lifts(runs: Sequence[Exposed], checks: Mapping[str, Mapping[str, bool]], *, level: float = 0.95) -> dict[str, Lift]:
    """Return the lift of every unit that was ever drawn; `runs` in the order they ended, `checks` by unit and run.

    Of the runs from which memory as a whole was withheld only that is learned; runs whose score is unknown are left out.
    """
    scored = [run for run in runs if run.score is not None]
    outcome = np.array([(run.score or 0.0) / 100 for run in scored])
    expected = _expected(scored, outcome)
    drawn: dict[str, tuple[list[int], list[bool], list[float]]] = {}
    for place, run in enumerate(scored):
        whole = run.units[0]
        units = zip(run.units, run.odds, strict=True) if whole in run.shown else [(whole, run.odds[0])]
        for unit, odds in units:
            if 0 < odds < 1:
                places, shown, chances = drawn.setdefault(unit, ([], [], []))
                places.append(place)
                shown.append(unit in run.shown)
                chances.append(odds)
    found = {}
    for unit, (places, shown, chances) in drawn.items():
        lift = _lift(unit, np.array(shown), np.array(chances), outcome[places], expected[places], level)
        found[unit] = _followed(lift, checks.get(unit, {}))
    return found


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
