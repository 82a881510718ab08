"""Imitation: choose as the log did, whatever came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.policies.columns import Columns
from learning_loop.records import Experience

Floats = NDArray[np.float64]


class Imitation:
    """Gives each option the share that a log gave it in such a context: softmax regression on what was chosen among what.

    Behaviour cloning (D. A. Pomerleau, Efficient training of artificial neural networks for autonomous navigation, Neural
    Computation 3, 1991), a step of AdaGrad for each choice (J. Duchi, E. Hazan, Y. Singer, JMLR 12, 2011). Rewards do not
    count. An option that was never on offer is like the average one.
    """

    name = "imitation"

    def __init__(self, *, rate: float = 0.5, decay: float = 1e-3) -> None:
        self._rate, self._decay = rate, decay
        self._columns = Columns()
        self._arms: dict[str, int] = {}
        self._weights, self._squares = np.zeros((0, 1)), np.zeros((0, 1))  # (arms, columns)
        self._seen = 0

    @property
    def version(self) -> str:
        return f"{self.name}/1#{self._seen}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        rows = np.array([self._arms.get(option, -1) for option in options])
        x = self._columns.vector(context).astype(float)
        scores = np.zeros(len(options))
        known = rows >= 0
        scores[known] = self._weights[rows[known], : x.size] @ x
        found: list[float] = softmax(scores).tolist()
        return found

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            self._columns.meet(one.context)
            for option in one.options:
                self._arms.setdefault(option, len(self._arms))
            wider = (len(self._arms) - self._weights.shape[0], len(self._columns) - self._weights.shape[1])
            if any(wider):
                room = ((0, wider[0]), (0, wider[1]))
                self._weights, self._squares = np.pad(self._weights, room), np.pad(self._squares, room)
            rows = np.array([self._arms[option] for option in one.options])
            x = self._columns.vector(one.context).astype(float)
            off = softmax(self._weights[rows] @ x) - [option == one.chosen for option in one.options]
            slope = off[:, None] * x + self._decay * self._weights[rows]
            self._squares[rows] += slope**2
            self._weights[rows] -= self._rate * slope / np.sqrt(self._squares[rows] + 1e-8)
        self._seen += len(batch)

    def state(self) -> dict[str, Any]:
        return {
            "columns": self._columns.names,
            "arms": list(self._arms),
            "weights": self._weights.copy(),
            "squares": self._squares.copy(),
            "seen": self._seen,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._columns = Columns(state["columns"])
        self._arms = {arm: row for row, arm in enumerate(state["arms"])}
        self._weights, self._squares = np.array(state["weights"]), np.array(state["squares"])
        self._seen = int(state["seen"])


def softmax(scores: Floats) -> Floats:
    """Return the share of each of several scores, (options,)."""
    weights: Floats = np.exp(scores - scores.max())
    weights /= weights.sum()
    return weights
