"""Where an A/B test stands, and what moves it."""

from dataclasses import dataclass
from enum import StrEnum

ALL = "all"  # the unit of an exposure that is always shown: all there is


class Phase(StrEnum):
    """Where a test stands: under way, its winner watched, or over."""

    RUNNING = "running"
    WATCHING = "watching"
    OVER = "over"


class Move(StrEnum):
    """What evidence, or time, did to a test."""

    DROPPED = "drop"  # an arm harms, or is not known to help
    PROMOTED = "promote"  # an arm helps, and takes the place of the one in force
    DOUBTED = "doubt"  # the effect of a winner looks as if it were gone: it is tried anew
    TAKEN_BACK = "rollback"  # a winner harms, or its effect is gone
    FROZEN = "freeze"  # units are missing: nothing is concluded until they are not
    ENDED = "end"


@dataclass(frozen=True, slots=True)
class Told:
    """A move of a test: the arm it is about, why, and what was known then: units of the one in force and of the arm."""

    move: Move
    arm: str | None
    reason: str
    control: int = 0
    units: int = 0
    effect: float | None = None
