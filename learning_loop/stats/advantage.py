"""What an option is worth beside the others, from choices that were left to chance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learning_loop.stats.student import quantile

Floats = NDArray[np.float64]


class Advantage(NamedTuple):
    """By how much an option is better than what else was drawn, with its 95 % interval, over so many choices.

    `taken` is how often it was the one that was taken.
    """

    value: float
    low: float
    high: float
    choices: int
    taken: int


def pseudo_outcomes(reward: Floats, taken: NDArray[np.bool_], probability: Floats, predicted: Floats) -> Floats:
    """Return what each option would have given at each choice: right in the mean where the probabilities or predictions are.

    `reward` is (choices,), the others (choices, options); NaN where an option could not be drawn. J. M. Robins, A. Rotnitzky &
    L. P. Zhao, JASA 89, 1994; as targets of a regression: E. H. Kennedy, Towards optimal doubly robust estimation of
    heterogeneous causal effects, Electronic Journal of Statistics 17, 2023.
    """
    possible = np.where(probability > 0, probability, np.nan)
    off = np.where(taken, (reward[:, None] - predicted) / possible, 0.0)
    return np.where(np.isnan(possible), np.nan, predicted + off)


def advantage(
    outcomes: Floats, probability: Floats, taken: NDArray[np.bool_], option: int, groups: NDArray[np.int64]
) -> Advantage | None:
    """Return the advantage of one option over the others as they were drawn; None where too few choices could tell.

    `outcomes` are `pseudo_outcomes`, (choices, options). Choices count at which it and another one could be drawn. Those of one
    of the `groups`, (choices,), may depend on each other: the interval is robust to that. K.-Y. Liang & S. L. Zeger,
    Longitudinal data analysis using generalized linear models, Biometrika 73, 1986.
    """
    own = probability[:, option]
    told = (own > 0) & (own < 1)
    among = np.unique(groups[told], return_inverse=True)[1]
    many = int(among.max(initial=-1)) + 1
    if many < 3:
        return None
    others = np.where(np.arange(probability.shape[1]) == option, 0.0, probability)[told]
    rest = np.nansum(outcomes[told] * others, axis=1) / others.sum(axis=1)
    difference = outcomes[told, option] - rest
    count, value = int(told.sum()), float(difference.mean())
    sums = np.bincount(among, weights=difference - value, minlength=many)
    half = quantile(many - 1) * float((sums**2).sum() * many / (many - 1)) ** 0.5 / count
    return Advantage(value, value - half, value + half, count, int(taken[told, option].sum()))
