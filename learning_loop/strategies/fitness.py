"""How good something is in a project it has not seen: its mean over projects, less by what it varies between them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CAUTION = 0.675  # standard deviations below the mean: three projects of four are expected to do better
LEAST_RUNS = 5  # of a project before it counts by itself
SHORT = 0.25  # variance of what a project has few runs of


class Fitness(NamedTuple):
    """The mean over projects with its standard error, what it varies by between them, and what counts: the lower quartile.

    `projects` are those that count by themselves; with fewer than two nothing is known of how it carries over, and the mean
    counts.
    """

    mean: float
    error: float
    between: float | None
    projects: int
    runs: int

    @property
    def value(self) -> float:
        return self.mean - CAUTION * (self.between or 0.0)


def fitness(values: Mapping[str | None, Sequence[float]]) -> Fitness | None:
    """Return the fitness of what gave these values, by project; None of none.

    Projects are taken as drawn from many: R. DerSimonian & N. Laird, Meta-analysis in clinical trials, Controlled Clinical
    Trials 7, 1986.
    """
    groups = [list(of) for of in values.values() if len(of) >= LEAST_RUNS]
    everything = [value for of in values.values() for value in of]
    if not everything:
        return None
    if len(groups) < 2:
        mean = sum(everything) / len(everything)
        return Fitness(mean, math.sqrt(_variance(everything) / len(everything)), None, len(groups), len(everything))
    means = [sum(of) / len(of) for of in groups]
    errors = [_variance(of) / len(of) for of in groups]
    weights = [1 / error for error in errors]
    total = sum(weights)
    fixed = sum(weight * mean for weight, mean in zip(weights, means, strict=True)) / total
    spread = sum(weight * (mean - fixed) ** 2 for weight, mean in zip(weights, means, strict=True))
    scale = total - sum(weight**2 for weight in weights) / total
    between = max(spread - (len(groups) - 1), 0.0) / scale
    random = [1 / (error + between) for error in errors]
    mean = sum(weight * one for weight, one in zip(random, means, strict=True)) / sum(random)
    return Fitness(mean, math.sqrt(1 / sum(random)), math.sqrt(between), len(groups), len(everything))


def _variance(values: Sequence[float]) -> float:
    """Return a variance drawn towards that of a coin, so that few equal values do not look certain."""
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) + SHORT) / len(values)
