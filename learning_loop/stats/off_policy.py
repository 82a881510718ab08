"""What a policy would have earned, from what another one logged: every choice with how likely it was."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z95 = 1.959963984540054


class Estimate(NamedTuple):
    """A mean reward with its 95 % interval."""

    value: float
    low: float
    high: float


class Overlap(NamedTuple):
    """How far a log can speak for a policy.

    `effective` is how many runs of the policy's own the log is worth, (sum w)^2 / sum w^2; `mean_weight` is 1 in the mean where
    the log tried all that the policy does, `error` its standard error; `largest` the share of the weightiest run.
    """

    runs: int
    effective: float
    mean_weight: float
    error: float
    largest: float


def overlap(weight: Floats) -> Overlap:
    """Return what weights, (runs,), the policy's probability of what was chosen over the log's, say of a log."""
    total, squares = float(weight.sum()), float((weight**2).sum())
    return Overlap(
        runs=weight.size,
        effective=total * total / squares if squares else 0.0,
        mean_weight=total / weight.size if weight.size else 0.0,
        error=float(weight.std(ddof=1)) / math.sqrt(weight.size) if weight.size > 1 else math.inf,
        largest=float(weight.max()) / total if total else 0.0,
    )


def ips(reward: Floats, weight: Floats) -> Estimate:
    """Return the inverse-propensity estimate; unbiased, and wide where weights are large. Both of shape (runs,).

    D. G. Horvitz & D. J. Thompson, A generalization of sampling without replacement from a finite universe, JASA 47, 1952.
    """
    return _mean(weight * reward)


def snips(reward: Floats, weight: Floats) -> Estimate:
    """Return the self-normalised estimate, whose value lies within the rewards; interval by the delta method.

    A. Swaminathan & T. Joachims, The self-normalized estimator for counterfactual learning, NeurIPS 2015.
    """
    value = float((weight * reward).sum() / weight.sum())
    spread = weight * (reward - value) / weight.mean()
    return _around(value, float(spread.std(ddof=1)) / math.sqrt(weight.size))


def doubly_robust(reward: Floats, weight: Floats, predicted: Floats, expected: Floats) -> Estimate:
    """Return the doubly robust estimate: right where either the propensities or the predictions are.

    All of shape (runs,): `predicted` is the reward foretold of what was chosen, `expected` that of the policy in the same
    context, both by a model that has not seen the run. M. Dudik, J. Langford, L. Li, Doubly robust policy evaluation and
    learning, ICML 2011; cross-fitting after V. Chernozhukov and others, The Econometrics Journal 21, 2018.
    """
    return _mean(expected + weight * (reward - predicted))


def per_decision(reward: Floats, weight: Floats, *, discount: float = 1.0) -> Estimate:
    """Return what episodes would have earned: each reward weighted by the choices up to it alone.

    Both of shape (episodes, steps): 0 and 1 beyond an episode's end. D. Precup, R. S. Sutton, S. Singh, Eligibility traces for
    off-policy policy evaluation, ICML 2000.
    """
    steps = discount ** np.arange(reward.shape[1])
    return _mean((np.cumprod(weight, axis=1) * reward * steps).sum(axis=1))


def _mean(values: Floats) -> Estimate:
    return _around(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size))


def _around(value: float, error: float) -> Estimate:
    return Estimate(value, value - Z95 * error, value + Z95 * error)
