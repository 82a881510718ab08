"""Which errors are likely to come back next week, learned from which did in the weeks before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning_loop.synthesis.statistics import WeekCounts

Floats = npt.NDArray[np.float64]

MEMORY = 12  # weeks that an error is remembered
LEARNED_FROM = 26  # weeks whose successors the weights are learned from
FEWEST = 3  # such weeks before anything is said
ROUNDS, RIDGE = 15, 1.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """A family of errors, and the probability that it comes again in the next week."""

    error: str
    text: str
    probability: float


def outlook(weeks: Sequence[WeekCounts], most: int = 20) -> list[Outlook]:
    """Return the errors likeliest to come next week, the likeliest first; none where too few weeks are known.

    A logistic regression with a ridge penalty, on how often and how lately each came, fitted anew to which of the errors
    known at the end of each earlier week came in the week after it.
    """
    if len(weeks) <= FEWEST:
        return []
    features, came = [], []
    for place in range(max(1, len(weeks) - LEARNED_FROM), len(weeks)):
        names = _known(weeks, place)
        features.append(_features(weeks, place, names))
        came.append(np.array([name in weeks[place].errors for name in names], dtype=np.float64))
    known = np.concatenate(came)
    names = _known(weeks, len(weeks))
    if not names or known.min(initial=1.0) == known.max(initial=0.0):
        return []
    weights = _fit(np.vstack(features), known)
    chances = _logistic(_features(weeks, len(weeks), names) @ weights)
    order = sorted(range(len(names)), key=lambda place: (-chances[place], names[place]))[:most]
    return [Outlook(names[place], _text(weeks, names[place]), float(chances[place])) for place in order]


def _known(weeks: Sequence[WeekCounts], place: int) -> list[str]:
    """Return the errors of the weeks before a place."""
    return sorted({name for week in weeks[max(0, place - MEMORY) : place] for name in week.errors})


def _text(weeks: Sequence[WeekCounts], name: str) -> str:
    return next(week.errors[name].text for week in reversed(weeks) if name in week.errors)


def _features(weeks: Sequence[WeekCounts], place: int, names: Sequence[str]) -> Floats:
    """Return for each error: 1, its counts of the last days and of nearer and farther weeks, how steady and how fresh it is."""
    before = weeks[max(0, place - MEMORY) : place][::-1]
    found = np.zeros((len(names), 8))
    for row, name in enumerate(names):
        counts = [week.errors[name].count if name in week.errors else 0 for week in before]
        days = before[0].errors[name].days if name in before[0].errors else [0] * 7
        latest = max((day for day, count in enumerate(days) if count), default=0)
        found[row] = (
            1.0,
            math.log1p(sum(days[5:])),
            math.log1p(counts[0]),
            math.log1p(sum(counts[1:4])),
            math.log1p(sum(counts[4:])),
            sum(count > 0 for count in counts) / len(counts),
            float(counts[0] > 0),
            latest / 6,
        )
    return found


def _logistic(values: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return found


def _fit(features: Floats, came: Floats) -> Floats:
    """Return the weights by Newton's method."""
    penalty = RIDGE * np.eye(features.shape[1])
    penalty[0, 0] = 1e-6  # the constant is hardly held
    weights = np.zeros(features.shape[1])
    for _ in range(ROUNDS):
        chances = _logistic(features @ weights)
        gradient = features.T @ (came - chances) - penalty @ weights
        curvature = (features * (chances * (1 - chances))[:, None]).T @ features + penalty
        weights = weights + np.linalg.solve(curvature, gradient)
    return weights
