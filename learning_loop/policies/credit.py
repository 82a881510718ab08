"""What each choice of an episode is owed of what came after it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learning_loop.errors import UsageError
from learning_loop.records import Experience

Floats = NDArray[np.float64]


def episodes(batch: Sequence[Experience]) -> list[list[Experience]]:
    """Return choices by episode, in the order in which these began; a choice without one is an episode by itself."""
    found: dict[object, list[Experience]] = {}
    for place, one in enumerate(batch):
        found.setdefault(place if one.episode is None else one.episode, []).append(one)
    return list(found.values())


def returns(rewards: Floats, discount: float) -> Floats:
    """Return the reward-to-go of each step, (steps,): its own reward and what came later, discounted for each step between."""
    found = np.zeros_like(rewards)
    after = 0.0
    for place in range(rewards.size - 1, -1, -1):
        after = rewards[place] + discount * after
        found[place] = after
    return found


def advantages(rewards: Floats, values: Floats, discount: float, trace: float) -> Floats:
    """Return how much better each step of an ended episode was than its state's value, (steps,).

    Generalized advantage estimation: J. Schulman et al., High-dimensional continuous control, ICLR 2016. With a `trace` of 1
    it is the reward-to-go less the value; with 0 it goes by the next state's value alone.
    """
    off = rewards + discount * np.append(values[1:], 0.0) - values
    return returns(off, discount * trace)


def checked(name: str, **settings: tuple[float, float, float]) -> None:
    """Raise UsageError where a setting, (value, least, most), is out of its bounds."""
    for setting, (value, least, most) in settings.items():
        if not least <= value <= most:
            raise UsageError(f"the policy {name} needs a {setting} from {least:g} to {most:g}, not {value}")


class Spread:
    """The usual size of what was met so far: the root of its mean square, from one that counts for nothing soon."""

    def __init__(self, squares: float = 1e-6, met: float = 1e-6) -> None:
        self._squares, self._met = squares, met

    @property
    def size(self) -> float:
        return math.sqrt(max(self._squares / self._met, 1e-12))

    def meet(self, values: Floats) -> None:
        self._squares += float(values @ values)
        self._met += values.size

    def state(self) -> list[float]:
        return [self._squares, self._met]
