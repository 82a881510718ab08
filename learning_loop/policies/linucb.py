"""Linear upper confidence bounds, and Thompson sampling from the same belief."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.errors import UsageError
from learning_loop.policies.linear import LinearArms
from learning_loop.policies.normal import largest
from learning_loop.records import Experience

Floats = NDArray[np.float64]

STEPS = 50  # in which a half life is gone through


class LinUCB:
    """Takes the arm whose value may be the highest: ridge regression for each arm, and `width` standard deviations on top.

    L. Li, W. Chu, J. Langford, R. E. Schapire, A contextual-bandit approach to personalized news article recommendation, WWW
    2010. Rewards are taken as they are; `ridge` is the penalty on the weights, in runs. Where the world changes, a run counts
    for half as much after another `half_life` runs; None forgets nothing.
    """

    name = "linucb"

    def __init__(self, *, width: float = 0.5, ridge: float = 1.0, half_life: float | None = None) -> None:
        if not ridge > 0 or not width >= 0:
            raise UsageError(f"the policy {self.name} needs a ridge (or variance) above 0 and a width of 0 or more")
        if half_life is not None and not half_life > 0:
            raise UsageError(f"the policy {self.name} needs a half_life above 0, or none")
        self._width, self._half_life = width, half_life
        self._arms = LinearArms(variance=1 / ridge)
        self._seen = 0

    @property
    def version(self) -> str:
        return f"{self.name}/1#{self._seen}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        mean, variance = self._arms.predict(context, options)
        found: list[float] = self._probabilities(mean, self._width * np.sqrt(variance)).tolist()
        return found

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            self._arms.regress(one.context, one.chosen, one.reward)
            self._count()

    def _count(self) -> None:
        """Count a run, and now and then let those before it count less."""
        self._seen += 1
        if self._half_life is not None and self._seen % (step := max(int(self._half_life / STEPS), 1)) == 0:
            self._arms.forget(0.5 ** (step / self._half_life))

    def state(self) -> dict[str, Any]:
        return {**self._arms.state(), "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        self._arms.load(state)
        self._seen = int(state["seen"])

    def _probabilities(self, mean: Floats, width: Floats) -> Floats:
        return largest(mean + width, np.zeros_like(mean))


class LinTS(LinUCB):
    """Takes each arm as often as its value would be the highest: Thompson sampling, with the probabilities worked out.

    S. Agrawal & N. Goyal, Thompson sampling for contextual bandits with linear payoffs, ICML 2013.
    """

    name = "lints"

    def __init__(self, *, width: float = 0.3, ridge: float = 1.0, half_life: float | None = None) -> None:
        super().__init__(width=width, ridge=ridge, half_life=half_life)

    def _probabilities(self, mean: Floats, width: Floats) -> Floats:
        return largest(mean, width)


class ProbitUCB(LinUCB):
    """Upper confidence bounds for rewards that are successes and failures, a part of them told wrongly.

    A success is as likely as the normal distribution function of a linear value says, but for `noise`, which is told the other
    way round. The belief is kept normal by matching its moments after each run: T. Graepel, J. Q. Candela, T. Borchert, R.
    Herbrich, Web-scale Bayesian click-through rate prediction, ICML 2010. A reward between 0 and 1 counts as both in its share;
    beyond, it is taken for the nearer. `start` is the value of what nothing is known of.
    """

    name = "probit"

    def __init__(
        self,
        *,
        width: float = 0.4,
        variance: float = 0.5,
        noise: float = 0.05,
        start: float = -0.5,
        half_life: float | None = None,
    ) -> None:
        if not variance > 0 or not 0 <= noise < 0.5:
            raise UsageError("the policy probit needs a variance above 0, and noise from 0 to less than .5")
        super().__init__(width=width, ridge=1 / variance, half_life=half_life)
        self._noise, self._start = noise, start

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            row, x = self._arms.meet(one.context, one.chosen)
            mean, across = self._arms.seen(row, x)
            spread = math.sqrt(1 + max(float(x @ across), 0.0))
            share = min(max(one.reward, 0.0), 1.0)
            shift = shrink = 0.0
            for sign, weight in ((1.0, share), (-1.0, 1 - share)):
                if weight:
                    slope, bend = self._slope(sign * (mean + self._start) / spread)
                    shift += weight * sign * slope / spread
                    shrink += weight * bend / spread**2
            self._arms.learn(row, across, shift, shrink)
            self._count()

    def _slope(self, value: float) -> tuple[float, float]:
        """Return the slope of the log likelihood of what was seen, and by how much it bends, never less than not at all."""
        clear = 1 - 2 * self._noise
        likely = self._noise + clear * 0.5 * math.erfc(-value / math.sqrt(2))
        if likely < 1e-300:
            return -value, 1.0
        slope = clear * math.exp(-value * value / 2) / math.sqrt(2 * math.pi) / likely
        return slope, max(slope * (slope + value), 0.0)
