"""What a policy would have earned, from what another one logged: every choice with how likely it was."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learning_loop.stats.student import quantile

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean reward with its 95 % interval."""

    value: float
    low: float
    high: float


class Overlap(NamedTuple):
    """How far a log can speak for a policy.

    `effective` is how many runs of the policy's own the log is worth: (sum w)^2 / sum w^2, or what is to be expected of it.
    `mean_weight` is 1 in the mean where the log tried all that the policy does, `error` its standard error; `largest` the
    share of the weightiest run.
    """

    runs: int
    effective: float
    mean_weight: float
    error: float
    largest: float


def overlap(weight: Floats, expected: float | None = None) -> Overlap:
    """Return what weights, (runs,), the policy's probability of what was chosen over the log's, say of a log.

    `expected` is what the log is to be expected to be worth, where that is known.
    """
    total, squares = float(weight.sum()), float((weight**2).sum())
    return Overlap(
        runs=weight.size,
        effective=expected if expected is not None else total * total / squares if squares else 0.0,
        mean_weight=total / weight.size if weight.size else 0.0,
        error=float(weight.std(ddof=1)) / math.sqrt(weight.size) if weight.size > 1 else math.inf,
        largest=float(weight.max()) / total if total else 0.0,
    )


def ips(reward: Floats, weight: Floats, effective: float | None = None) -> Estimate:
    """Return the inverse-propensity estimate; unbiased, and wide where weights are large. Both of shape (runs,).

    D. G. Horvitz & D. J. Thompson, A generalization of sampling without replacement from a finite universe, JASA 47, 1952.
    """
    worth = overlap(weight, effective).effective
    return _mean(
        weight * reward, worth, least=float((reward**2).mean()) / worth - float((weight * reward).mean()) ** 2 / weight.size
    )


def snips(reward: Floats, weight: Floats, effective: float | None = None) -> Estimate:
    """Return the self-normalised estimate, whose value lies within the rewards; interval by the delta method.

    A. Swaminathan & T. Joachims, The self-normalized estimator for counterfactual learning, NeurIPS 2015.
    """
    value = float((weight * reward).sum() / weight.sum())
    spread = weight * (reward - value) / weight.mean()
    worth = overlap(weight, effective).effective
    variance = max(float(spread.var(ddof=1)) / weight.size, float(reward.var(ddof=1)) / worth)
    return _around(value, math.sqrt(variance), worth)


def doubly_robust(
    reward: Floats, weight: Floats, predicted: Floats, expected: Floats, effective: float | None = None
) -> Estimate:
    """Return the doubly robust estimate: right where either the propensities or the predictions are.

    All of shape (runs,): `predicted` is the reward foretold of what was chosen, `expected` that of the policy in the same
    context, both by a model that has not seen the run. M. Dudik, J. Langford, L. Li, Doubly robust policy evaluation and
    learning, ICML 2011; cross-fitting after V. Chernozhukov and others, The Econometrics Journal 21, 2018.
    """
    worth, off = overlap(weight, effective).effective, reward - predicted
    least = float((off**2).mean()) / worth + float(expected.var(ddof=1)) / weight.size
    return _mean(expected + weight * off, worth, least=least)


def per_decision(reward: Floats, weight: Floats, *, discount: float = 1.0) -> Estimate:
    """Return what episodes would have earned: each reward weighted by the choices up to it alone.

    Both of shape (episodes, steps): 0 and 1 beyond an episode's end. D. Precup, R. S. Sutton, S. Singh, Eligibility traces for
    off-policy policy evaluation, ICML 2000.
    """
    steps = discount ** np.arange(reward.shape[1])
    reached = np.cumprod(weight, axis=1, dtype=np.float64)
    return _mean((reached * reward * steps).sum(axis=1), overlap(reached[:, -1]).effective)


def _mean(values: Floats, effective: float, *, least: float = 0.0) -> Estimate:
    """Return a mean whose variance is taken to be that of the values, and `least` at least.

    Where what weighs most was drawn a few times, their variance is a matter of luck; what is to be expected of it is not.
    """
    return _around(float(values.mean()), math.sqrt(max(float(values.var(ddof=1)) / values.size, least)), effective)


def _around(value: float, error: float, effective: float) -> Estimate:
    """Return an interval by Student's t, with as many degrees of freedom as the log is worth runs."""
    half = quantile(max(effective - 1, 1.0)) * error
    return Estimate(value, value - half, value + half)
