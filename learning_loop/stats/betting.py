"""Tests by betting: evidence about a mean that stays valid however often, and whenever, one looks.

A bettor stakes a share of their wealth, chosen before each observation, on the mean being larger than the hypothesis says.
Under the hypothesis the wealth is a nonnegative supermartingale that starts at 1, so that it ever reaches 1/a with
probability at most a (Ville 1939). Such a wealth is an e-process. Waudby-Smith and Ramdas, "Estimating means of bounded
random variables by betting", JRSS B 86 (2024); Ramdas, Gruenwald, Vovk and Shafer, "Game-theoretic statistics and safe
anytime-valid inference", Statistical Science 38 (2023).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LATE = 0.2  # of its horizon, that a bettor who came late goes on aiming at
STAKE = 0.9  # the most of the wealth that one observation can take
LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Bets:
    """What a bettor mixes: stakes for plausible `effects`, and stakes that aim at being done after so many observations.

    A stake for an effect is the one that is best in the long run where that is the mean. One with a `horizon` of n
    recalculates, before each observation, what it takes to reach its target by the nth: Voracek and Orabona, "STaR-Bets:
    sequential target-recalculating bets for tighter confidence intervals" (2025). The wealth is the mean of all, by `weights`
    (effects first), never the best of them.
    """

    effects: tuple[float, ...] = (0.08,)
    horizons: tuple[float, ...] = (500.0, 1_400.0)
    weights: tuple[float, ...] = (0.2, 0.35, 0.45)

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.effects) + len(self.horizons) or not math.isclose(sum(self.weights), 1.0):
            raise ValueError("bets need one weight for each effect and each horizon, and these sum to one")

    def stakes(self, log_wealth: Floats, seen: Floats, variance: Floats, worst: Floats, target: Floats) -> Floats:
        """Return the stake of each bettor, (n, bets), before an observation.

        `log_wealth` is (n, bets), `seen` how many observations there were, `variance` and `worst` what is predicted of the
        next one: its variance, and how far below zero it may lie. `target` is the wealth of the mixture to aim at.
        """
        variance = np.maximum(variance, LEAST_VARIANCE)
        stakes = np.empty_like(log_wealth)
        first = len(self.effects)
        for place, effect in enumerate(self.effects):
            stakes[:, place] = effect / variance
        for place, horizon in enumerate(self.horizons, start=first):
            missing = np.maximum(np.log(target / self.weights[place]) - log_wealth[:, place], 0.0)
            left = np.maximum(horizon - seen, LATE * horizon)
            stakes[:, place] = np.sqrt(2 * missing / (variance * left))
        return np.minimum(stakes, (STAKE / worst)[:, None])


class EProcess:
    """Wealth against the hypothesis that a mean is at most zero; `rows` of them side by side, one observation each a step."""

    def __init__(self, rows: int, bets: Bets, target: ArrayLike) -> None:
        self.bets = bets
        self.target = np.broadcast_to(np.asarray(target, float), (rows,)).copy()
        self.log_wealth = np.zeros((rows, len(bets.weights)))
        self.seen = np.zeros(rows)

    @property
    def log_value(self) -> Floats:
        """The logarithm of the wealth of each row, shape (rows,)."""
        return _log_mean(self.log_wealth, np.log(self.bets.weights))

    def add(self, rows: ArrayLike, observed: Floats, *, variance: Floats, worst: Floats) -> None:
        """Take one observation of each of these rows; `variance` and `worst` as `Bets.stakes` takes them, known before."""
        chosen = np.asarray(rows, np.intp)
        wealth = self.log_wealth[chosen]
        stakes = self.bets.stakes(wealth, self.seen[chosen], variance, worst, self.target[chosen])
        self.log_wealth[chosen] = wealth + np.log1p(stakes * observed[:, None])
        self.seen[chosen] += 1

    def restart(self, rows: ArrayLike, target: ArrayLike, *, carry: bool = False) -> None:
        """Begin these rows anew, with a wealth of 1: a new hypothesis, whose error is counted anew.

        With `carry` it is the same one, and a wealth below 1 stays what it is: nothing is won by beginning anew.
        """
        chosen = np.asarray(rows, np.intp)
        kept = np.minimum(self.log_value[chosen], 0.0)[:, None] if carry else 0.0
        self.log_wealth[chosen], self.seen[chosen], self.target[chosen] = kept, 0.0, target


def confidence_sequence(
    observed: Floats,
    *,
    variance: Floats,
    lowest: Floats,
    highest: Floats,
    span: tuple[float, float] = (-1.0, 1.0),
    level: float = 0.95,
) -> tuple[float, float]:
    """Return bounds of a mean that hold, jointly over every number of observations, with this probability.

    `observed` are bounded by `lowest` and `highest`, which with `variance` were known before each of them (all of shape
    (n,)); the mean is known to lie in `span`. The bounds are the means that bets against them have not refuted.
    """
    if not observed.size:
        return span
    lower = _refuted(observed, variance, span[1] - lowest, span, level)
    upper = _refuted(-observed, variance, highest - span[0], (-span[1], -span[0]), level)
    return lower, -upper


SIZES = (150.0, 600.0, 2_400.0)  # numbers of observations that a bound is made narrow for
_EVENLY = np.full(len(SIZES), -math.log(len(SIZES)))
STEPS, PRECISION = 60, 1e-5


def log_wealth_against(mean: float, observed: Floats, *, variance: Floats, worst: Floats, level: float = 0.95) -> Floats:
    """Return the logarithm of the wealth, (n,), of bets that the mean of what is observed lies above `mean`.

    `worst` is how far below `mean` each may lie. Where it reaches log(2 / (1 - level)), `mean` is refuted at that level from
    this side, the other half being for the other side.
    """
    won = [np.cumsum(np.log1p(stake * (observed - mean))) for stake in _stakes(variance, worst, level)]
    return _log_mean(np.stack(won, axis=1), _EVENLY)


def _stakes(variance: Floats, worst: Floats, level: float) -> list[Floats]:
    """Return the stakes of the bettors that an interval is made from: each is best for one number of observations."""
    spread = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
    needed = math.log(2 / (1 - level))
    return [np.minimum(math.sqrt(2 * needed / size) / spread, STAKE / worst) for size in SIZES]


def _refuted(observed: Floats, variance: Floats, worst: Floats, span: tuple[float, float], level: float) -> float:
    """Return the largest mean that is refuted from below: the root of a falling function, by the Illinois rule.

    Of the two ends that the root lies between, the lower one is returned: it is refuted.
    """
    stakes, needed = _stakes(variance, worst, level), math.log(2 / (1 - level))

    def excess(mean: float) -> float:
        won = np.array([float(np.log1p(stake * (observed - mean)).sum()) for stake in stakes])
        return float(_log_mean(won, _EVENLY)) - needed

    low, high = span
    above, below = excess(low), excess(high)
    if above < 0 or below >= 0:
        return low if above < 0 else high
    side = 0
    for step in range(STEPS):
        cut = (low * below - high * above) / (below - above)
        middle = cut if step % 3 < 2 and low < cut < high else (low + high) / 2
        if (value := excess(middle)) >= 0:
            low, above = middle, value
            below, side = below / 2 if side > 0 else below, 1
        else:
            high, below = middle, value
            above, side = above / 2 if side < 0 else above, -1
        if high - low < PRECISION:
            break
    return low


def _log_mean(logs: Floats, log_weights: Floats) -> Floats:
    weighted = logs + log_weights
    most = weighted.max(axis=-1, keepdims=True)
    return most[..., 0] + np.log(np.exp(weighted - most).sum(axis=-1))  # type: ignore[no-any-return]
