"""Shares by a softmax over scores that are linear in the context, an arm's weights each a row, learned by AdaGrad."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.policies.columns import Columns
from learning_loop.records import Experience

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


class SoftmaxArms:
    """Weights, (arms, columns), and how far they were moved; arms and columns come as they are met, with weights of 0."""

    def __init__(self, *, rate: float) -> None:
        self.rate = rate
        self.columns = Columns()
        self.arms: dict[str, int] = {}
        self.weights, self._squares = np.zeros((0, 1)), np.zeros((0, 1))

    def scores(self, context: Mapping[str, Any], options: Sequence[str]) -> Floats:
        """Return the score of each option, (options,): 0 for one that was never met."""
        rows = np.array([self.arms.get(option, -1) for option in options])
        x = self.columns.vector(context).astype(float)
        found, known = np.zeros(len(options)), rows >= 0
        found[known] = self.weights[rows[known]] @ x
        return found

    def meet(self, one: Experience) -> tuple[Places, Floats]:
        """Return the rows of the options of a choice and its context as a vector, with room made for both."""
        self.columns.meet(one.context)
        for option in one.options:
            self.arms.setdefault(option, len(self.arms))
        wider = (len(self.arms) - self.weights.shape[0], len(self.columns) - self.weights.shape[1])
        if any(wider):
            room = ((0, wider[0]), (0, wider[1]))
            self.weights, self._squares = np.pad(self.weights, room), np.pad(self._squares, room)
        rows = np.array([self.arms[option] for option in one.options])
        return rows, self.columns.vector(one.context).astype(float)

    def step(self, rows: Places | slice, slope: Floats) -> None:
        """Go down a slope, (rows, columns): J. Duchi, E. Hazan & Y. Singer, JMLR 12, 2011."""
        self._squares[rows] += slope**2
        self.weights[rows] -= self.rate * slope / np.sqrt(self._squares[rows] + 1e-8)

    def state(self) -> dict[str, Any]:
        return {
            "columns": self.columns.names,
            "arms": list(self.arms),
            "weights": self.weights.copy(),
            "squares": self._squares.copy(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.columns = Columns(state["columns"])
        self.arms = {arm: row for row, arm in enumerate(state["arms"])}
        self.weights, self._squares = np.array(state["weights"]), np.array(state["squares"])


def softmax(scores: Floats) -> Floats:
    """Return the share of each of several scores, along the last axis."""
    weights: Floats = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights
