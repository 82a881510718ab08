"""Error control over many tests at one look, and over many looks."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def share_of_level(look: int) -> float:
    """Return which share of the level the n-th look may spend, counted from 1: 6 / (pi n)^2, which sums to one over all.

    Whoever looks every week and adds up chances of error (Bonferroni over the looks) stays below the level for ever.
    """
    return 6 / (math.pi * look) ** 2


def weighted_holm(p_values: Floats, weights: Floats) -> Floats:
    """Return adjusted p-values: at a level, the chance that any true null hypothesis is among those below it is within it.

    S. Holm's step-down procedure with weights (A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979): `weights` are positive, each test has its share of the level by them. The share of false findings is
    within the level as well. A step-up procedure for that share alone would find more, but not once findings that say the same
    are joined: of two hundred that come down to one true pattern, ten may be false.
    """
    if not p_values.size:
        return p_values
    ratio = p_values / weights
    order = np.argsort(ratio, kind="stable")
    left = np.cumsum(weights[order][::-1])[::-1]
    adjusted = np.empty_like(ratio)
    adjusted[order] = np.minimum(np.maximum.accumulate(ratio[order] * left), 1.0)
    return adjusted


def can_be_found(least: Floats, level: float) -> npt.NDArray[np.bool_]:
    """Return which tests can become significant at all, once only they are counted.

    `least` are the smallest p-values that their margins allow (Tarone 1990, see `contingency.least_p_value`). The margins are
    fixed under the null hypothesis, so leaving the others out costs no validity.
    """
    ordered = np.sort(least)
    counted = np.arange(1, least.size + 1)
    fitting = np.flatnonzero(ordered <= level / counted)
    most = int(fitting[-1]) + 1 if fitting.size else 0
    found: npt.NDArray[np.bool_] = least <= (level / most if most else 0.0)
    return found
