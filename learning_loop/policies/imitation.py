"""Imitation: choose as the log did, whatever came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from learning_loop.policies.softmax import SoftmaxArms, softmax
from learning_loop.records import Experience


class Imitation:
    """Gives each option the share that a log gave it in such a context: softmax regression on what was chosen among what.

    Behaviour cloning (D. A. Pomerleau, Efficient training of artificial neural networks for autonomous navigation, Neural
    Computation 3, 1991), a step for each choice. Rewards do not count. An option that was never on offer is like the average
    one.
    """

    name = "imitation"

    def __init__(self, *, rate: float = 0.5, decay: float = 1e-3) -> None:
        self._decay = decay
        self._arms = SoftmaxArms(rate=rate)
        self._seen = 0

    @property
    def version(self) -> str:
        return f"{self.name}/1#{self._seen}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        found: list[float] = softmax(self._arms.scores(context, options)).tolist()
        return found

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            rows, x = self._arms.meet(one)
            weights = self._arms.weights[rows]
            off = softmax(weights @ x) - [option == one.chosen for option in one.options]
            self._arms.step(rows, off[:, None] * x + self._decay * weights)
        self._seen += len(batch)

    def state(self) -> dict[str, Any]:
        return {**self._arms.state(), "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        self._arms.load(state)
        self._seen = int(state["seen"])
