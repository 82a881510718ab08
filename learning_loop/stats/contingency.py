"""Two-by-two tables, many at a time: exact tests, intervals for shares and their differences."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from learning_loop.stats.student import Z95

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NEGLIGIBLE = 1e-14  # of what has been added up: what follows in the tail adds nothing


def _log_factorials(most: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1, dtype=np.float64)))])


def fisher_greater_many(a: Counts, row: Counts, column: Counts, total: Counts) -> Floats:
    """Return Fisher's exact one-sided p-value of each table: chance of `a` or more in its first cell, given its margins.

    Arrays of one shape: the first cell, its row's sum, its column's sum, the sum of all four. Tables whose first cell is not
    above what chance gives get 1.
    """
    a, row, column, total = (np.asarray(item, dtype=np.int64) for item in (a, row, column, total))
    found = np.ones(a.shape)
    above = np.flatnonzero(a * total > row * column)
    if not above.size:
        return found
    a, row, column, total = a[above], row[above], column[above], total[above]
    logs = _log_factorials(int(total.max()))
    other = total - row
    term = np.exp(
        logs[row] - logs[a] - logs[row - a]
        + logs[other] - logs[column - a] - logs[other - column + a]
        - logs[total] + logs[column] + logs[total - column]
    )  # fmt: skip
    added, k = term.copy(), a.astype(np.float64)
    while True:  # the tail beyond the mean falls off geometrically
        term = term * (row - k) * (column - k) / ((k + 1) * (other - column + k + 1))
        k += 1
        added += term
        if not np.any(term > added * _NEGLIGIBLE):
            break
    found[above] = np.minimum(added, 1.0)
    return found


def least_p_value(row: Counts, column: Counts, total: Counts) -> Floats:
    """Return the smallest p-value that `fisher_greater_many` can give for these margins, whatever the cells are.

    R. E. Tarone, A modified Bonferroni method for discrete data, Biometrics 46, 1990: a table that cannot become significant
    need not be counted among those that were tested.
    """
    row, column, total = (np.asarray(item, dtype=np.int64) for item in (row, column, total))
    return fisher_greater_many(np.minimum(row, column), row, column, total)


def mantel_haenszel(strata: Sequence[tuple[float, float, float, float]]) -> float:
    """Return the one-sided p-value that the first cell is larger than chance gives, over strata (a, row, column, total).

    N. Mantel & W. Haenszel, Statistical aspects of the analysis of data from retrospective studies of disease, JNCI 22, 1959;
    without continuity correction. Strata in which nothing varies say nothing; 1 where all are so.
    """
    excess = variance = 0.0
    for a, row, column, total in strata:
        if total < 2:
            continue
        excess += a - row * column / total
        variance += row * (total - row) * column * (total - column) / (total * total * (total - 1))
    if variance <= 0:
        return 1.0
    return 0.5 * math.erfc(excess / math.sqrt(2 * variance))


def synergy_p_value(hits: Counts, runs: Counts) -> float:
    """Return the one-sided p-value that two conditions together do more than the sum of what each does alone.

    Both of shape (2, 2), with and without one along one axis, the other along the other: the interaction contrast of the four
    shares (K. J. Rothman, The estimation of synergy or antagonism, American Journal of Epidemiology 103, 1976), each with one
    hit and one miss added, so that a cell of few runs has much variance and not none. 1 where a cell has no run.
    """
    if not runs.all():
        return 1.0
    counts = runs + 2
    shares = (hits + 1) / counts
    contrast = shares[1, 1] - shares[1, 0] - shares[0, 1] + shares[0, 0]
    variance = (shares * (1 - shares) / counts).sum()
    return 0.5 * math.erfc(float(contrast) / math.sqrt(2 * float(variance)))


def serial_p_value(exposed: npt.NDArray[np.bool_], label: npt.NDArray[np.bool_], lags: int) -> float:
    """Return the one-sided p-value that exposure and label go together, where either comes in runs.

    Both are in the order of time. The score statistic's variance is estimated with Bartlett's weights over so many lags (W. K.
    Newey & K. D. West, A simple positive semi-definite, heteroskedasticity and autocorrelation consistent covariance matrix,
    Econometrica 55, 1987), and is never taken for smaller than that of independent observations.
    """
    parts = (exposed - exposed.mean()) * (label - label.mean())
    about = parts - parts.mean()
    alone = variance = float(about @ about)
    for lag in range(1, min(lags, parts.size - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(about[lag:] @ about[:-lag])
    if alone <= 0:
        return 1.0
    return 0.5 * math.erfc(float(parts.sum()) / math.sqrt(2 * max(variance, alone)))


def risk_difference(strata: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float] | None:
    """Return the difference of two shares over strata (a of n, b of m), with its 95 % interval; None where no stratum has both.

    Mantel and Haenszel's weights, variance after S. Greenland & J. M. Robins, Estimation of a common effect parameter from
    sparse follow-up data, Biometrics 41, 1985.
    """
    weight = difference = variance = 0.0
    for a, n, b, m in strata:
        if n and m:
            weight += n * m / (n + m)
            difference += (a * m - b * n) / (n + m)
            variance += (a * (n - a) * m**3 + b * (m - b) * n**3) / (n * m * (n + m) ** 2)
    if not weight:
        return None
    value, half = difference / weight, Z95 * math.sqrt(variance) / weight
    return value, max(value - half, -1.0), min(value + half, 1.0)


def wilson(successes: float, runs: float, z: float = Z95) -> tuple[float, float]:
    """Return the interval of a share (E. B. Wilson, Probable inference, JASA 22, 1927); (0, 1) where there are no runs."""
    if runs <= 0:
        return 0.0, 1.0
    share, zz = successes / runs, z * z
    middle = (share + zz / (2 * runs)) / (1 + zz / runs)
    half = z / (1 + zz / runs) * math.sqrt(share * (1 - share) / runs + zz / (4 * runs * runs))
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(a: float, n: float, b: float, m: float) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two shares, a/n - b/m.

    R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17, 1998,
    method 10; (-1, 1) where one of them has no runs.
    """
    if not n or not m:
        return -1.0, 1.0
    first, second = a / n, b / m
    low1, high1 = wilson(a, n)
    low2, high2 = wilson(b, m)
    difference = first - second
    return (
        difference - math.sqrt((first - low1) ** 2 + (high2 - second) ** 2),
        difference + math.sqrt((high1 - first) ** 2 + (second - low2) ** 2),
    )
