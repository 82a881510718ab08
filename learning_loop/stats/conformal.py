"""Noticing that a series has become worse, whatever it looks like, with a false-alarm rate that is known beforehand."""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import NamedTuple

EXPONENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the bets that are mixed
LEAST_P = 1e-12


class Change(NamedTuple):
    """Where an alarm was raised, and where the change is taken to have begun; both are places in the series."""

    noticed: int
    began: int


def worsened(
    values: Sequence[float], draws: Callable[[int], float], *, alarm: float, kinds: Sequence[Hashable] | None = None
) -> Change | None:
    """Return the first place at which a series has become larger beyond doubt; None where it has not.

    Each value's rank among those of its kind before it gives a p-value, ties being broken by `draws` (of a place, uniform
    between 0 and 1), and these are uniform and independent as long as the values of each kind are exchangeable, whatever their
    distribution, and whatever the mix of kinds (V. Vovk, D. Lindsay, I. Nouretdinov & A. Gammerman, Mondrian confidence
    machine, 2003). Bets that they are small start anew at every place and are added up (Shiryaev and Roberts), so that their
    sum has the mean t after t values: it reaches `alarm` within n values with the probability n / alarm at most. V. Vovk, I.
    Petej, I. Nouretdinov, E. Ahlberg, L. Carlsson & A. Gammerman, Retrain or not retrain: conformal test martingales for
    change-point detection, COPA 2021.
    """
    before: dict[Hashable, list[float]] = {}
    sums = [0.0] * len(EXPONENTS)
    alone = [0.0] * len(EXPONENTS)  # the logarithm of each bet from where it was last at nothing
    began = [0] * len(EXPONENTS)
    bar = alarm * len(EXPONENTS)
    for place, value in enumerate(values):
        ordered = before.setdefault(kinds[place] if kinds is not None else None, [])
        insort(ordered, value)
        above = len(ordered) - bisect_right(ordered, value)
        same = len(ordered) - above - bisect_left(ordered, value)
        p_value = max((above + draws(place) * same) / len(ordered), LEAST_P)
        log_p = math.log(p_value)
        for bet, exponent in enumerate(EXPONENTS):
            log_bet = math.log(exponent) + (exponent - 1) * log_p
            sums[bet] = min((1 + sums[bet]) * math.exp(log_bet), 1e300)
            alone[bet] += log_bet
            if alone[bet] <= 0:
                alone[bet], began[bet] = 0.0, place + 1
        if sum(sums) >= bar:
            best = max(range(len(EXPONENTS)), key=lambda bet: alone[bet])
            return Change(place, min(began[best], place))
    return None


def chance(name: str) -> float:
    """Return a number between 0 and 1 that is as good as random, and the same whenever it is asked for."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest()) / 2**48
