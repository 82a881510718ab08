"""Advantage actor-critic: two networks, one that chooses and one that foretells the reward."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.policies.columns import Columns
from learning_loop.policies.credit import Spread, advantages, checked, episodes
from learning_loop.policies.imitation import Imitation
from learning_loop.policies.networks import Network, train
from learning_loop.policies.softmax import softmax
from learning_loop.records import Experience

Floats = NDArray[np.float64]

HIDDEN = (256, 128)
CERTAIN = 1e-9  # a share below it counts as this


class ActorCritic:
    """Advantage actor-critic (A2C): an actor and a critic, each with hidden layers of 256 and 128, trained by Adam at `rate`.

    V. Mnih et al., Asynchronous methods for deep reinforcement learning, ICML 2016, in the synchronous form, with generalized
    advantage estimation (`trace`). The actor's scores are added to those of what was imitated, which is its start, and pulls by
    `kl`. What is given is gone over in several `passes`, `batch` choices a step, each choice as far as `limit` allows: see
    `Reinforce`. Training takes torch.
    """

    name = "a2c"

    def __init__(  # noqa: PLR0913  (what there is to set)
        self,
        *,
        rate: float = 5e-4,
        discount: float = 1.0,
        trace: float = 0.95,
        batch: int = 128,
        entropy: float = 0.01,
        kl: float = 0.005,
        clip: float = 0.5,
        limit: float = 2.0,
        passes: int = 10,
        seed: int = 0,
    ) -> None:
        checked(self.name, rate=(rate, 0, 1), discount=(discount, 0, 1), trace=(trace, 0, 1), batch=(batch, 1, 1e6))
        checked(self.name, entropy=(entropy, 0, 100), kl=(kl, 0, 100), clip=(clip, 1e-9, 1e9), limit=(limit, 1, 1e9))
        self._rate, self._discount, self._trace, self._batch, self._passes = rate, discount, trace, batch, passes
        self._entropy, self._kl, self._clip, self._limit, self._seed = entropy, kl, clip, limit, seed
        self._columns = Columns()
        self._arms: dict[str, int] = {}
        self._start = Imitation()
        self._actor = Network.made((1, *HIDDEN, 0), np.random.default_rng(seed))
        self._critic = Network.made((1, *HIDDEN, 1), np.random.default_rng(seed + 1))
        self._usual = Spread()
        self._seen = 0

    @property
    def version(self) -> str:
        return f"{self.name}/1#{self._seen}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        own = self._actor(self._columns.vector(context)[None].astype(float))[0]
        rows = [self._arms.get(option, -1) for option in options]
        scores = np.array([own[row] if row >= 0 else 0.0 for row in rows])
        found: list[float] = softmax(scores + self._begun(context, options)).tolist()
        return found

    def imitate(self, batch: Sequence[Experience]) -> None:
        for _ in range(self._passes):
            self._start.update(batch)

    def update(self, batch: Sequence[Experience]) -> None:
        whole = episodes(batch)
        steps = [one for episode in whole for one in episode]
        if not steps:
            return
        for one in steps:
            self._columns.meet(one.context)
            for option in one.options:
                self._arms.setdefault(option, len(self._arms))
        rng = np.random.default_rng([self._seed, self._seen])
        self._actor.widen(len(self._columns), len(self._arms), rng)
        self._critic.widen(len(self._columns), 1, rng)
        x = np.stack([self._columns.vector(one.context) for one in steps]).astype(float)
        values = self._critic(x)[:, 0] * self._usual.size
        better = self._better(whole, values)
        self._usual.meet(better)
        data = {
            "x": x,
            "better": better / self._usual.size,
            "owed": (better + values) / self._usual.size,
            **self._chosen(steps),
        }
        size = len(steps)
        orders = [rng.permutation(size) for _ in range(self._passes)]
        batches = [order[first : first + self._batch] for order in orders for first in range(0, size, self._batch)]
        train((self._actor, self._critic), self._loss, data, batches, rate=self._rate, clip=self._clip)
        self._seen += size

    def _better(self, whole: Sequence[Sequence[Experience]], values: Floats) -> Floats:
        """Return the advantage of each step, one episode after the other."""
        found, first = [], 0
        for episode in whole:
            rewards = np.array([one.reward for one in episode])
            found.append(advantages(rewards, values[first : first + rewards.size], self._discount, self._trace))
            first += rewards.size
        return np.concatenate(found)

    def _chosen(self, steps: Sequence[Experience]) -> dict[str, NDArray[Any]]:
        """Return of each step the arms on offer, the scores of what was imitated, what was chosen, and how likely it was."""
        offered = np.zeros((len(steps), len(self._arms)), dtype=bool)
        begun = np.zeros((len(steps), len(self._arms)))
        for place, one in enumerate(steps):
            rows = [self._arms[option] for option in one.options]
            offered[place, rows] = True
            begun[place, rows] = self._begun(one.context, one.options)
        chosen = np.array([self._arms[one.chosen] for one in steps])
        likely = np.array([one.propensity or np.nan for one in steps])
        return {"offered": offered, "begun": begun, "chosen": chosen, "likely": likely}

    def _loss(self, said: Sequence[Any], data: Mapping[str, Any]) -> Any:
        import torch

        scores, values = said[0] + data["begun"], said[1][:, 0]
        log = torch.log_softmax(scores.masked_fill(~data["offered"], -torch.inf), dim=1).masked_fill(~data["offered"], 0.0)
        shares = log.exp() * data["offered"]
        taken = log.gather(1, data["chosen"][:, None])[:, 0]
        before = torch.where(data["likely"].isnan(), taken.detach(), data["likely"].log())  # unknown: as likely as now
        weight = (taken - before).exp()
        better = data["better"]
        gain = torch.minimum(weight * better, weight.clamp(1 / self._limit, self._limit) * better)
        entropy, apart = -(shares * log).sum(dim=1), (shares * (log - data["begun"])).sum(dim=1)
        loss = -gain - self._entropy * entropy + self._kl * apart + 0.5 * (values - data["owed"]) ** 2
        return loss.mean()

    def _begun(self, context: Mapping[str, Any], options: Sequence[str]) -> Floats:
        """Return the scores of what was imitated: logarithms of its shares."""
        return np.log(np.maximum(self._start.distribution(context, options), CERTAIN))

    def state(self) -> dict[str, Any]:
        return {
            "columns": self._columns.names,
            "arms": list(self._arms),
            "start": self._start.state(),
            "actor": self._actor.state(),
            "critic": self._critic.state(),
            "usual": self._usual.state(),
            "seen": self._seen,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._columns = Columns(state["columns"])
        self._arms = {arm: row for row, arm in enumerate(state["arms"])}
        self._start.load(state["start"])
        self._actor, self._critic = Network.of(state["actor"]), Network.of(state["critic"])
        self._usual = Spread(*state["usual"])
        self._seen = int(state["seen"])
