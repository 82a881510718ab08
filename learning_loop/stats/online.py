"""Control of error over hypotheses that come one after the other, each with an e-value, and are never forgotten."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def level_of(place: Floats, batch: NDArray[Any], discoveries: Floats, level: float) -> Floats:
    """Return the level of each of `batch` hypotheses that begin together, after `place` were begun before them.

    A hypothesis is rejected once its e-value reaches 1 / level. Over all there ever are, the expected share of false ones
    among those rejected is then at most `level`; until the first is rejected, so is the probability that any is. Shares are
    1 / (n (n + 1)) of the level, which sum to one; a batch parts those of its places evenly, and what was rejected before
    multiplies them. Xu and Ramdas, "Online multiple testing with e-values", AISTATS 2024 (e-LOND).
    """
    first = place + 1
    return np.asarray(level * (discoveries + 1) / (first * (first + batch)), float)
