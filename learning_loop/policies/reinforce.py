"""REINFORCE: more of what came out better than expected, in whole episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.policies.credit import Spread, checked, episodes, returns
from learning_loop.policies.imitation import Imitation
from learning_loop.policies.linear import LinearArms
from learning_loop.policies.softmax import SoftmaxArms, softmax
from learning_loop.records import Experience

Floats = NDArray[np.float64]

VALUE = "value"  # the only arm of the baseline
START = 1e-3  # of the squares that steps are measured by, so that the first ones are no leaps
CERTAIN = 1e-9  # a share below it counts as this


class Reinforce:
    """A softmax over linear scores that goes up the slope of the reward.

    R. J. Williams, Simple statistical gradient-following algorithms, Machine Learning 8, 1992, with what it needs to be of use:
    a choice is owed its reward-to-go less a baseline (ridge regression of past returns on the context), in units of its usual
    size; an `entropy` bonus and a pull of `kl` towards what was imitated; slopes no longer than `clip`. Every `batch` episodes
    are gone over in several `passes`. Where it is known how likely a choice was, it counts by how much likelier it is now, and
    no more once that is beyond `limit` or below its reciprocal (the bound of J. Schulman et al., Proximal policy optimization
    algorithms, 2017). Without `baseline`, `entropy` and `kl`, in one pass, it is as Williams wrote it.
    """

    name = "reinforce"

    def __init__(  # noqa: PLR0913  (what there is to set)
        self,
        *,
        rate: float = 0.7,
        discount: float = 1.0,
        batch: int = 20,
        entropy: float = 0.01,
        kl: float = 0.005,
        clip: float = 1.0,
        limit: float = 3.0,
        passes: int = 3,
        baseline: bool = True,
    ) -> None:
        checked(self.name, rate=(rate, 0, 100), discount=(discount, 0, 1), batch=(batch, 1, 1e6), clip=(clip, 1e-9, 1e9))
        checked(self.name, entropy=(entropy, 0, 100), kl=(kl, 0, 100), limit=(limit, 1, 1e9))
        self._discount, self._batch, self._passes = discount, batch, passes
        self._entropy, self._kl, self._clip, self._limit = entropy, kl, clip, limit
        self._arms, self._compared = SoftmaxArms(rate=rate), baseline
        self._start = Imitation()
        self._baseline = LinearArms(variance=100.0)
        self._usual = Spread()
        self._seen = 0

    @property
    def version(self) -> str:
        return f"{self.name}/1#{self._seen}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        found: list[float] = softmax(self._arms.scores(context, options)).tolist()
        return found

    def imitate(self, batch: Sequence[Experience]) -> None:
        for _ in range(self._passes):
            self._start.update(batch)
        state = self._start.state()
        self._arms.load({**state, "squares": np.full_like(state["squares"], START)})
        self._learn_values(episodes(batch))

    def update(self, batch: Sequence[Experience]) -> None:
        whole = episodes(batch)
        for first in range(0, len(whole), self._batch):
            self._step(whole[first : first + self._batch])
        self._seen += len(batch)

    def _step(self, batch: Sequence[Sequence[Experience]]) -> None:
        better = []
        for episode in batch:
            values = [float(self._baseline.predict(one.context, (VALUE,))[0][0]) for one in episode]
            better.append(self._owed(episode) - (values if self._compared else 0.0))
        self._learn_values(batch)
        self._usual.meet(np.concatenate(better))
        advantages = np.concatenate(better) / self._usual.size
        steps = [(self._arms.meet(one), one) for episode in batch for one in episode]
        for _ in range(self._passes):
            slope = np.zeros_like(self._arms.weights)
            for ((rows, x), one), advantage in zip(steps, advantages, strict=True):
                slope[rows, : x.size] += np.outer(self._pull(rows, x, one, float(advantage)), x)
            slope /= len(steps)
            length = float(np.linalg.norm(slope))
            self._arms.step(slice(None), slope * min(1.0, self._clip / length) if length else slope)

    def _pull(self, rows: NDArray[np.intp], x: Floats, one: Experience, advantage: float) -> Floats:
        """Return the slope of the loss along the scores of the options, (options,)."""
        shares = softmax(self._arms.weights[rows][:, : x.size] @ x)
        chosen = np.array([option == one.chosen for option in one.options])
        weight = float(shares[chosen][0]) / one.propensity if one.propensity else 1.0
        if (weight > self._limit) if advantage > 0 else (weight < 1 / self._limit):  # it has come as far as one choice bears
            weight = 0.0
        weight = min(weight, self._limit)
        log = np.log(np.maximum(shares, CERTAIN))
        start = np.log(np.maximum(self._start.distribution(one.context, one.options), CERTAIN))
        apart = log - start
        found: Floats = weight * advantage * (shares - chosen)
        found += self._entropy * shares * (log - shares @ log)
        found += self._kl * shares * (apart - shares @ apart)
        return found

    def _owed(self, episode: Sequence[Experience]) -> Floats:
        return returns(np.array([one.reward for one in episode]), self._discount)

    def _learn_values(self, batch: Sequence[Sequence[Experience]]) -> None:
        for episode in batch:
            for one, owed in zip(episode, self._owed(episode), strict=True):
                self._baseline.regress(one.context, VALUE, float(owed))

    def state(self) -> dict[str, Any]:
        parts = {"arms": self._arms.state(), "start": self._start.state(), "baseline": self._baseline.state()}
        return {**parts, "usual": self._usual.state(), "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        self._arms.load(state["arms"])
        self._start.load(state["start"])
        self._baseline.load(state["baseline"])
        self._usual = Spread(*state["usual"])
        self._seen = int(state["seen"])
