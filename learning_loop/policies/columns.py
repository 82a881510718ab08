"""Contexts as vectors of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BIAS = ""  # the name of the column that is always one


class Columns:
    """Gives each thing a context may say its column, in the order they were met; the first is always one.

    A number fills the column of its name, as its inverse hyperbolic sine: about as it is where it is small, its logarithm where
    it is large. A truth value counts as 0 or 1. Any other value has a column of its own, as has each item of a list. What is
    None, or has no column yet, fills none.
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
            self._places.setdefault(name, len(self._places))

    def vector(self, context: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return a context as (columns,)."""
        found = np.zeros(len(self._places), dtype=np.float32)
        places = self._places
        for name, value in _parts(context):
            if (place := places.get(name)) is not None:
                found[place] = value
        found = np.arcsinh(found)
        found[0] = 1.0
        return found


def _parts(context: Mapping[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in context.items():
        if isinstance(value, float | int):
            found.append((name, value))
        elif isinstance(value, list | tuple):
            found += [(f"{name}={item}", 1.0) for item in value]
        elif value is not None:
            found.append((f"{name}={value}", 1.0))
    return found
