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


def advantage(outcomes: Floats, probability: Floats, taken: NDArray[np.bool_], option: int) -> Advantage | None:
    """Return the advantage of one option over the others as they were drawn; None where too few choices could tell.

    `outcomes` are `pseudo_outcomes`, (choices, options). Choices count at which it and another one could be drawn.
    """
    own = probability[:, option]
    told = (own > 0) & (own < 1)
    if told.sum() < 3:
        return None
    others = np.where(np.arange(probability.shape[1]) == option, 0.0, probability)[told]
    rest = np.nansum(outcomes[told] * others, axis=1) / others.sum(axis=1)
    difference = outcomes[told, option] - rest
    count, value = int(told.sum()), float(difference.mean())
    half = quantile(count - 1) * float(difference.std(ddof=1)) / count**0.5
    return Advantage(value, value - half, value + half, count, int(taken[told, option].sum()))
