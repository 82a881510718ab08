"""Series and trends by ranks: where a series changes, whether it drifts, by how much, each with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning_loop.stats.student import Z95

Floats = npt.NDArray[np.float64]
Series = Sequence[float] | Floats

MOST_SHARED = 20  # series whose shared days are counted, the longest
MOST_PAIRS = 400  # values a side whose pairwise differences are all looked at; longer series are thinned evenly


def _ranks(values: Floats) -> tuple[Floats, Floats]:
    """Return mid-ranks, and how often each distinct value stands there."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place], counts.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Change:
    """The most likely change of a series: it begins at place `at`; the p-value is two-sided."""

    at: int
    p_value: float


def inflation(residuals: Series) -> float:
    """Return by how much serial correlation inflates the variance of a sum: (1 + r) / (1 - r) of the first lag, at least 1.

    S. Yue & C. Wang, The Mann-Kendall test modified by effective sample size, Water Resources Management 18, 2004.
    """
    series = np.asarray(residuals, dtype=np.float64)
    series = series - series.mean()
    spread = float(series @ series)
    lag = float(series[1:] @ series[:-1]) / spread if spread > 0 else 0.0
    lag = min(max(lag, 0.0), 0.95)
    return (1 + lag) / (1 - lag)


def change_point(values: Series) -> Change | None:
    """Return where a series most likely changes its level; None for fewer than ten values, or where none varies.

    A. N. Pettitt, A non-parametric approach to the change-point problem, Applied Statistics 28, 1979, with his approximation
    of the p-value on mid-ranks; the variance is corrected for ties, and for serial correlation about the levels.
    """
    n = len(values)
    if n < 10:
        return None
    ranks, counts = _ranks(np.asarray(values, dtype=np.float64))
    ties = 1 - float(np.sum(counts**3 - counts)) / (n**3 - n)
    if ties <= 0:
        return None
    sums = 2 * np.cumsum(ranks)[:-1] - np.arange(1, n) * (n + 1)
    at = int(np.argmax(np.abs(sums)))
    most = float(abs(sums[at]))
    serial = inflation(np.concatenate([part - part.mean() for part in (ranks[: at + 1], ranks[at + 1 :])]))
    return Change(at=at + 1, p_value=min(1.0, 2 * math.exp(-6 * most * most / ((n**3 + n**2) * ties * serial))))


def drift(values: Series) -> float:
    """Return the two-sided p-value that a series has no monotone trend; 1 for fewer than ten values.

    H. B. Mann, Nonparametric tests against trend, Econometrica 13, 1945; normal approximation, the variance corrected for ties
    and for serial correlation about a straight line.
    """
    series = np.asarray(values, dtype=np.float64)
    n = series.size
    if n < 10:
        return 1.0
    score = 0.0
    for place in range(n - 1):
        score += float(np.sum(np.sign(series[place + 1 :] - series[place])))
    ranks, counts = _ranks(series)
    variance = (n * (n - 1) * (2 * n + 5) - float(np.sum(counts * (counts - 1) * (2 * counts + 5)))) / 18
    if variance <= 0:
        return 1.0
    places = np.arange(n)
    variance *= inflation(ranks - np.polyval(np.polyfit(places, ranks, 1), places))
    return math.erfc(max(abs(score) - 1, 0) / math.sqrt(2 * variance))


def rank_sum_greater(later: Series, earlier: Series) -> float:
    """Return the one-sided p-value that `later` values are not larger than `earlier` ones (Mann & Whitney 1947, with ties)."""
    m, n = len(later), len(earlier)
    if not m or not n:
        return 1.0
    ranks, counts = _ranks(np.concatenate([np.asarray(later, dtype=np.float64), np.asarray(earlier, dtype=np.float64)]))
    u = float(np.sum(ranks[:m])) - m * (m + 1) / 2
    size = m + n
    variance = m * n / 12 * (size + 1 - float(np.sum(counts**3 - counts)) / (size * (size - 1)))
    if variance <= 0:
        return 1.0
    return 0.5 * math.erfc((u - m * n / 2 - 0.5) / math.sqrt(2 * variance))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval and what it rests on; the interval is None where too little is known."""

    value: float
    low: float | None
    high: float | None
    n: int


def shift(later: Series, earlier: Series) -> Estimate:
    """Return how much larger `later` values are: the median of all differences (Hodges & Lehmann 1963), with its interval."""
    after, before = _thinned(later), _thinned(earlier)
    m, n = len(later), len(earlier)
    differences = np.sort((after[:, None] - before[None, :]).ravel())
    rank = m * n / 2 - Z95 * math.sqrt(m * n * (m + n + 1) / 12)
    low = high = None
    if rank >= 1:  # of thinned values the place is the same share of all
        place = int((int(rank) - 1) * differences.size / (m * n))
        low, high = float(differences[place]), float(differences[differences.size - 1 - place])
    return Estimate(float(np.median(differences)), low, high, len(later) + len(earlier))


def _covariance(one: tuple[Series, Series], other: tuple[Series, Series]) -> float:
    """Return the covariance of Mann's statistics of two series, over the times they have in common."""
    _, first, second = np.intersect1d(np.asarray(one[0]), np.asarray(other[0]), return_indices=True)
    n = first.size
    if n < 3:
        return 0.0
    x, y = np.asarray(one[1], dtype=np.float64)[first], np.asarray(other[1], dtype=np.float64)[second]
    i, j = np.triu_indices(n, 1)
    concordance = float(np.sum(np.sign((x[j] - x[i]) * (y[j] - y[i]))))
    return (concordance + 4 * float(_ranks(x)[0] @ _ranks(y)[0]) - n * (n + 1) ** 2) / 3


def _thinned(values: Series) -> Floats:
    series = np.asarray(values, dtype=np.float64)
    if series.size <= MOST_PAIRS:
        return series
    chosen: Floats = np.sort(series)[np.linspace(0, series.size - 1, MOST_PAIRS).astype(int)]
    return chosen


def regional_slope(series: Sequence[tuple[Series, Series]]) -> Estimate | None:
    """Return the common slope of several series of (times, values), with its interval; None where there is none to be had.

    The median of the slopes between any two points of the same series, so that a change in how many points each series
    contributes is no trend (D. R. Helsel & L. M. Frans, Regional Kendall test for trend, Environmental Science & Technology 40,
    2006; interval after P. K. Sen, JASA 63, 1968). Bad days that the longest series share widen the interval (E. J. Dietz &
    T. J. Killeen, A nonparametric multivariate test for monotone trend, JASA 76, 1981). The unit is that of the values per
    unit of time.
    """
    slopes, variance, points = [], 0.0, 0
    for times, values in series:
        t, v = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
        if t.size < 2:
            continue
        first, second = np.triu_indices(t.size, 1)
        apart = t[second] - t[first]
        known = apart != 0
        slopes.append((v[second] - v[first])[known] / apart[known])
        _, counts = _ranks(v)
        n = t.size
        variance += (n * (n - 1) * (2 * n + 5) - float(np.sum(counts * (counts - 1) * (2 * counts + 5)))) / 18
        points += n
    if not slopes or not (found := np.sort(np.concatenate(slopes))).size:
        return None
    slope = float(np.median(found))
    longest = sorted(series, key=lambda item: -len(item[0]))[:MOST_SHARED]
    flat = [(times, np.asarray(values) - slope * np.asarray(times)) for times, values in longest]  # the trend is shared as well
    for place, one in enumerate(flat):
        variance += 2 * sum(_covariance(one, other) for other in flat[place + 1 :])
    half = Z95 * math.sqrt(max(variance, 0.0))
    low = high = None
    lower, upper = (found.size - half) / 2, (found.size + half) / 2
    if lower >= 1 and upper <= found.size - 1:
        low, high = float(found[int(lower) - 1]), float(found[math.ceil(upper)])
    return Estimate(slope, low, high, points)
