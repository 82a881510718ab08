"""Order statistics and tail probabilities of small samples."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAD_TO_SIGMA = 1.4826  # makes the median absolute deviation consistent for a normal scale


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the quantile of an ascending, non-empty sample by linear interpolation (Hyndman & Fan's type 7)."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def median(values: Sequence[float]) -> float:
    return quantile(sorted(values), 0.5)


@dataclass(frozen=True, slots=True)
class Spread:
    """Centre and robust scale of `n` values."""

    n: int
    centre: float
    scale: float


def spread(ordered: Sequence[float], *, floor: float | Callable[[float], float]) -> Spread:
    """Return median and scaled median absolute deviation of an ascending, non-empty sample.

    The scale is at least `floor`, which may depend on the median.
    """
    centre = quantile(ordered, 0.5)
    floor = floor(centre) if callable(floor) else floor
    middle = (len(ordered) + 1) // 2, len(ordered) // 2 + 1  # the same, of an odd number
    scale = MAD_TO_SIGMA * sum(_reach(ordered, centre, count) for count in middle) / 2
    return Spread(n=len(ordered), centre=centre, scale=max(scale, floor))


def _reach(ordered: Sequence[float], centre: float, count: int) -> float:
    """Return how far the `count` values of an ascending sample that are nearest to a centre lie from it at most."""
    low, high = 0, len(ordered) - count
    while low < high:
        start = (low + high) // 2
        if centre - ordered[start] > ordered[start + count] - centre:
            low = start + 1
        else:
            high = start
    return max(centre - ordered[low], ordered[low + count - 1] - centre)


class Window:
    """The newest values of a stream, in ascending order at any time."""

    __slots__ = ("_newest", "ordered")

    def __init__(self, size: int) -> None:
        self._newest: deque[float] = deque(maxlen=size)
        self.ordered: list[float] = []

    def __len__(self) -> int:
        return len(self.ordered)

    def append(self, value: float) -> None:
        """Take in a value; where the window is full, the oldest leaves it."""
        if len(self._newest) == self._newest.maxlen:
            del self.ordered[bisect_left(self.ordered, self._newest[0])]
        self._newest.append(value)
        insort(self.ordered, value)


def two_sided_tail(value: float, known: Spread) -> float:
    """Return the probability of a new value at least as far from the centre, under Student's t.

    The predictive scale widens by sqrt(1 + 1/n), with n - 1 degrees of freedom; the t tail is taken through Wallace's
    normal approximation (D. L. Wallace, Bounds on normal approximations to Student's and the chi-square distributions,
    Annals of Mathematical Statistics 30, 1959), which is within .004 of the exact tail from three degrees of freedom.
    """
    degrees = max(known.n - 1, 1)
    t = abs(value - known.centre) / (known.scale * math.sqrt(1 + 1 / known.n))
    z = (8 * degrees + 1) / (8 * degrees + 3) * math.sqrt(degrees * math.log1p(t * t / degrees))
    return math.erfc(z / math.sqrt(2))


def fisher_greater(a: int, b: int, c: int, d: int) -> float:
    """Return Fisher's exact one-sided p-value that the first row holds more of the first column than chance gives.

    The table is [[a, b], [c, d]], all counts of executions.
    """
    row, other, column = a + b, c + d, a + c
    total = math.comb(row + other, column)
    most = min(row, column)
    return min(1.0, sum(math.comb(row, k) * math.comb(other, column - k) for k in range(a, most + 1)) / total)
