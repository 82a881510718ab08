"""Noticing that an effect is gone: a cumulative sum that is sensitive rather than certain."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_LOSS = 0.9  # of a step's ratio, so that one score of a rare arm does not decide alone
OVERSHOOT = 1.166  # of a bar, in standard deviations of a step: both sides of Siegmund's correction


def next_sum(before: Floats, score: Floats, *, effect: Floats, variance: Floats) -> Floats:
    """Return the sums after one more score of each row: they grow where scores lie below half the effect, and end at zero.

    Page, "Continuous inspection schemes", Biometrika 41 (1954), on the ratio of a bet that the effect has gone.
    """
    stake = effect / variance
    return np.maximum(before + np.log1p(np.maximum(stake * (effect / 2 - score), -MOST_LOSS)), 0.0)


def bar_of(runs: float, *, effect: Floats, variance: Floats) -> Floats:
    """Return the bar that the sum of an effect that goes on reaches once in so many runs, in the mean.

    A step then has the mean -d and the variance d for d = effect^2 / variance, so that the mean time to a bar b is
    (exp(2 b) - 2 b - 1) / (2 d): Siegmund, "Sequential Analysis" (1985), chapter 2 and 10.
    """
    drift = effect**2 / variance
    wanted = 2 * runs * drift
    bar = np.log1p(wanted) / 2
    for _ in range(20):  # a contraction: exp(2 b) = 1 + 2 b + wanted
        bar = np.log1p(wanted + 2 * bar) / 2
    return np.maximum(bar - OVERSHOOT * np.sqrt(drift) / 2, 0.0)
