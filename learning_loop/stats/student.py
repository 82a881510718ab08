"""Means of few values, with their intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

Z95 = 1.959963984540054


class Mean(NamedTuple):
    """The mean `of` so many values with its 95 % interval, None where there are too few for one."""

    value: float
    low: float | None
    high: float | None
    of: int


def quantile(degrees: float) -> float:
    """Return the .975 quantile of Student's t.

    R. A. Fisher & E. A. Cornish, The percentile points of distributions having known cumulants, Technometrics 2, 1960; to 3 %
    from two degrees of freedom, to .1 % from five.
    """
    z = Z95
    first = (z**3 + z) / (4 * degrees)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return z + first + second + third


def mean_of(values: Sequence[float]) -> Mean | None:
    """Return the mean of values, with an interval by Student's t from three on; None of none."""
    if not values:
        return None
    count, value = len(values), sum(values) / len(values)
    if count < 3:
        return Mean(value, None, None, count)
    spread = math.sqrt(sum((one - value) ** 2 for one in values) / (count - 1))
    half = quantile(count - 1) * spread / math.sqrt(count)
    return Mean(value, value - half, value + half, count)


def difference_of(first: Sequence[float], second: Sequence[float]) -> Mean | None:
    """Return how much the mean of the first is above that of the second; interval by B. L. Welch, Biometrika 34, 1947."""
    if not first or not second:
        return None
    one, other = mean_of(first), mean_of(second)
    value = sum(first) / len(first) - sum(second) / len(second)
    count = len(first) + len(second)
    if one is None or other is None or min(len(first), len(second)) < 3:
        return Mean(value, None, None, count)
    errors = [sum((item - sum(of) / len(of)) ** 2 for item in of) / (len(of) - 1) / len(of) for of in (first, second)]
    total = sum(errors)
    if not total:
        return Mean(value, value, value, count)
    degrees = total**2 / sum(error**2 / (len(of) - 1) for error, of in zip(errors, (first, second), strict=True))
    half = quantile(degrees) * math.sqrt(total)
    return Mean(value, value - half, value + half, count)
