"""Epsilon-greedy: the best so far, and now and then any."""

from collections.abc import Mapping, Sequence
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.records import Experience


class EpsilonGreedy:
    """Takes the arm with the highest mean reward, and with probability `epsilon` any, whatever the context.

    R. S. Sutton & A. G. Barto, Reinforcement Learning, 2nd edition, 2018, chapter 2. Each arm begins with `pseudo` runs of
    the reward `start`, which for an optimistic one has every arm tried.
    """

    name = "epsilon"

    def __init__(self, *, epsilon: float = 0.1, start: float = 1.0, pseudo: float = 1.0) -> None:
        if not 0 <= epsilon <= 1 or not pseudo >= 0:
            raise UsageError("the policy epsilon needs an epsilon from 0 to 1, and pseudo runs of 0 or more")
        self._epsilon, self._start, self._pseudo = epsilon, start, pseudo
        self._runs: dict[str, int] = {}
        self._total: dict[str, float] = {}

    @property
    def version(self) -> str:
        return f"{self.name}/1#{sum(self._runs.values())}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        means = [self._mean(option) for option in options]
        best = [mean == max(means) for mean in means]
        return [self._epsilon / len(options) + (1 - self._epsilon) * one / sum(best) for one in best]

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            self._runs[one.chosen] = self._runs.get(one.chosen, 0) + 1
            self._total[one.chosen] = self._total.get(one.chosen, 0.0) + one.reward

    def state(self) -> dict[str, Any]:
        arms = list(self._runs)
        return {"arms": arms, "runs": [self._runs[arm] for arm in arms], "total": [self._total[arm] for arm in arms]}

    def load(self, state: Mapping[str, Any]) -> None:
        self._runs = dict(zip(state["arms"], map(int, state["runs"]), strict=True))
        self._total = dict(zip(state["arms"], map(float, state["total"]), strict=True))

    def _mean(self, arm: str) -> float:
        runs = self._runs.get(arm, 0) + self._pseudo
        return (self._total.get(arm, 0.0) + self._pseudo * self._start) / runs if runs else self._start
