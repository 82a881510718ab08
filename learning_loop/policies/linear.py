"""What is believed of the weights that make a context's value, for each arm: a normal distribution over them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.policies.columns import Columns

Vector = NDArray[np.float32]
Floats = NDArray[np.float64]


class LinearArms:
    """One normal distribution over weights an arm, (columns,) and (columns, columns); arms and columns come as they are met.

    An arm that was never tried is at the prior: weights of 0 that vary by `variance`.
    """

    def __init__(self, *, variance: float) -> None:
        self.variance = variance
        self.columns = Columns()
        self.arms: dict[str, int] = {}
        self._weights = np.zeros((0, 1), dtype=np.float32)
        self._covariance = np.zeros((0, 1, 1), dtype=np.float32)

    def predict(self, context: Mapping[str, Any], options: Sequence[str]) -> tuple[Floats, Floats]:
        """Return mean and variance of each option's value, both of shape (options,)."""
        x = self.columns.vector(context)
        mean, variance = np.zeros(len(options)), np.full(len(options), self.variance * float(x @ x))
        rows = [self.arms.get(option, -1) for option in options]
        known = [place for place, row in enumerate(rows) if row >= 0]
        if known:
            chosen = [rows[place] for place in known]
            few = 2 * len(chosen) < len(self.arms)  # else to copy theirs takes longer than to look at all
            weights, covariance = (part[chosen] if few else part for part in (self._weights, self._covariance))
            of = slice(None) if few else chosen
            mean[known] = (weights @ x)[of]
            variance[known] = ((covariance.reshape(-1, x.size) @ x).reshape(-1, x.size) @ x)[of]
        return mean, np.maximum(variance, 0.0)

    def meet(self, context: Mapping[str, Any], arm: str) -> tuple[int, Vector]:
        """Return an arm's row and a context's vector, with room made for both."""
        self.columns.meet(context)
        row = self.arms.setdefault(arm, len(self.arms))
        arms, columns = self._weights.shape
        if len(self.arms) > arms or len(self.columns) > columns:
            self._grow(len(self.arms), len(self.columns))
        return row, self.columns.vector(context)

    def seen(self, row: int, x: Vector) -> tuple[float, Vector]:
        """Return an arm's mean in a context, and its covariance with every weight."""
        return float(self._weights[row] @ x), self._covariance[row] @ x

    def learn(self, row: int, across: Vector, shift: float, shrink: float) -> None:
        """Move an arm's weights by `shift`, and take `shrink` from its variance, along what `seen` gave."""
        self._weights[row] += shift * across
        self._covariance[row] -= shrink * np.outer(across, across)

    def regress(self, context: Mapping[str, Any], arm: str, value: float) -> None:
        """Learn a value with an error of variance one: a step of ridge regression."""
        row, x = self.meet(context, arm)
        mean, across = self.seen(row, x)
        total = 1 + max(float(x @ across), 0.0)
        self.learn(row, across, (value - mean) / total, 1 / total)

    def forget(self, kept: float) -> None:
        """Let what was learned count for a part `kept` of what it did: all beliefs move towards the prior by the rest.

        Of the normal belief both natural parameters are mixed with those of the prior, as in exponential forgetting: R.
        Kulhavy & M. B. Zarrop, On a general concept of forgetting, International Journal of Control 58, 1993.
        """
        if not self._weights.size:
            return
        precision = np.linalg.inv(self._covariance.astype(np.float64))
        shift = kept * np.einsum("aij,aj->ai", precision, self._weights)
        covariance = np.linalg.inv(kept * precision + (1 - kept) / self.variance * np.eye(precision.shape[1]))
        self._covariance = covariance.astype(np.float32)
        self._weights = np.einsum("aij,aj->ai", covariance, shift).astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {
            "columns": self.columns.names,
            "arms": list(self.arms),
            "weights": self._weights.copy(),
            "covariance": self._covariance.copy(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.columns = Columns(state["columns"])
        self.arms = {arm: row for row, arm in enumerate(state["arms"])}
        self._weights, self._covariance = (np.array(state[name], dtype=np.float32) for name in ("weights", "covariance"))

    def _grow(self, arms: int, columns: int) -> None:
        before, wide = self._weights.shape
        weights = np.zeros((arms, columns), dtype=np.float32)
        covariance = np.broadcast_to(self.variance * np.eye(columns, dtype=np.float32), (arms, columns, columns)).copy()
        weights[:before, :wide], covariance[:before, :wide, :wide] = self._weights, self._covariance
        self._weights, self._covariance = weights, covariance
