"""The normal distribution, many values at a time, and how likely each of several is the largest."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 32  # of the grid that is integrated over, besides those of each variable
NODES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])  # where each variable has points of its own, in standard deviations
REACH = 4.5  # standard deviations to either side that count
LEAST = 1e-6  # what is narrower than this part of the widest is taken to be as wide
_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_P = 0.3275911


def cdf(values: Floats) -> Floats:
    """Return the standard normal distribution function, to 1e-7.

    M. Abramowitz & I. A. Stegun, Handbook of Mathematical Functions, 1964, 7.1.26.
    """
    half = np.abs(values) * np.sqrt(0.5)
    t = 1 / (1 + _P * half)
    tail: Floats = 0.5 * np.exp(-half * half) * t * (_A[0] + t * (_A[1] + t * (_A[2] + t * (_A[3] + t * _A[4]))))
    found: Floats = np.where(values >= 0, 1 - tail, tail)
    return found


def largest(mean: Floats, spread: Floats) -> Floats:
    """Return how likely each of several independent normal variables is the largest of all; sums to one.

    `mean` and `spread`, their standard deviations, are of shape (K,). Integrates each one's density times the distribution
    functions of all others over one grid, finer where one of them varies little. Where nothing spreads, the largest means
    share alike.
    """
    if mean.size == 1:
        return np.ones(1)
    widest = float(spread.max())
    if widest <= 0:
        best = mean >= mean.max()
        shared: Floats = best / best.sum()
        return shared
    sigma = np.maximum(spread, LEAST * widest)
    low, high = float((mean - REACH * sigma).max()), float((mean + REACH * sigma).max())
    own = (mean[:, None] + sigma[:, None] * NODES).ravel()
    points = np.concatenate([np.linspace(low, high, POINTS), own[(own > low) & (own < high)]])
    points.sort()
    below = cdf((points - mean[:, None]) / sigma[:, None])  # (K, points)
    step = np.diff(below, axis=1, prepend=0.0, append=1.0)  # what lies between two points, and beyond both ends
    middle = np.empty_like(step)
    middle[:, 1:-1] = (below[:, 1:] + below[:, :-1]) / 2
    middle[:, 0], middle[:, -1] = below[:, 0] / 2, (1 + below[:, -1]) / 2
    logs = np.log(np.maximum(middle, 1e-300))
    found: Floats = (step * np.exp(logs.sum(axis=0) - logs)).sum(axis=1)
    found /= found.sum()
    return found
