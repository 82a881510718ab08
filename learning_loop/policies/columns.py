"""Contexts as vectors of numbers."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 500  # columns
NUMBERS = (float, int, Real)  # the common ones first, for they are found sooner
BIAS = ""  # the name of the column that is always one


class Columns:
    """Gives each thing a context may say its column, in the order they were met; the first is always one.

    A number fills the column of its name, as its inverse hyperbolic sine: about as it is where it is small, its logarithm where
    it is large. A truth value counts as 0 or 1. Any other value has a column of its own, as has each item of a list. What is
    None or no finite number, or has no column, fills none; there are at most MOST, so that free text cannot fill the memory.
    """

    def __init__(self, names: Sequence[str] = (BIAS,)) -> None:
        self._places = {name: place for place, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def meet(self, context: Mapping[str, Any]) -> None:
        """Give a column to all that this context says."""
        for name, _ in _parts(context):
            if len(self._places) < MOST:
                self._places.setdefault(name, len(self._places))

    def vector(self, context: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return a context as (columns,)."""
        found = np.zeros(len(self._places), dtype=np.float32)
        found[0] = 1.0
        places = self._places
        for name, value in _parts(context):
            if (place := places.get(name)) is not None:
                found[place] = value
        return found


def _size(value: Any) -> float:
    try:
        return math.asinh(value)
    except OverflowError:  # a whole number or a fraction that a float cannot hold
        return math.nan


def _parts(context: Mapping[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in context.items():
        if isinstance(value, NUMBERS):
            if math.isfinite(number := _size(value)):
                found.append((name, number))
        elif isinstance(value, list | tuple):
            found += [(f"{name}={item}", 1.0) for item in value]
        elif value is not None:
            found.append((f"{name}={value}", 1.0))
    return found
