"""What the parts of strategies seem to do, over all runs and versions: what proposals rest on, and nothing else does."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning_loop.features.conditions import CONTEXT, Facts
from learning_loop.strategies.analysis import COARSE
from learning_loop.strategies.fitness import CAUTION
from learning_loop.strategies.strategy import DECOMPOSE, PARALLELIZE, RETRY, SELECT_AGENT, Strategy

Floats = NDArray[np.float64]
Context = tuple[tuple[str, str | tuple[str, ...]], ...]  # the coarse features of a context, with their values
Way = Mapping[str, str]  # how work is done: an option at each decision point

OF_CONTEXT, OF_OPTION, OF_BOTH = 1.0, 0.12**2, 0.1**2  # variances of weights: of contexts, of options, of options in a context
ASKED = ("type", "component", "project")  # what conditions may ask about as well
PROJECT = f"{CONTEXT}.project="  # how what an option does in one project is named
CURIOSITY = 0.675  # standard deviations of what is not known that count as gain: one time in four it is more
NOISE = 0.2  # the least variance that rewards are taken to have
MOST_VALUES = 2_000  # columns of the model


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one option seems than another, with its standard deviation; `runs` had it, in such contexts."""

    value: float
    error: float
    runs: int

    @property
    def promise(self) -> float:
        """What it may well be: what is not known of it counts as gain, too."""
        return self.value + CURIOSITY * self.error


def options_of(strategy: Strategy, facts: Facts, agents: Sequence[str]) -> dict[str, str]:
    """Return what a strategy does at each decision point that can be changed."""
    found = {
        DECOMPOSE: strategy.decomposition_approach,
        PARALLELIZE: str(strategy.parallelism_config.max_parallel) if strategy.decomposition_approach != "single" else "-",
        RETRY: str(strategy.retry_policy.max_attempts),
    }
    return found | ({SELECT_AGENT: strategy.agents(facts, agents)[0]} if agents else {})


class Effects:
    """A linear model of rewards over contexts, options, and options in contexts; normal, with a prior that expects little.

    `runs` are (facts, options by decision point, reward from 0 to 1). What varies between projects counts against an option:
    a change is to carry over to the next one.
    """

    def __init__(self, runs: Sequence[tuple[Facts, Mapping[str, str], float]]) -> None:
        self._had = Counter(pair for _, options, _ in runs for pair in options.items())
        self._coarse = _coarse([facts for facts, _, _ in runs])
        self._columns: dict[tuple[str, ...], int] = {}
        rows = [self._features(facts, options, grow=True) for facts, options, _ in runs]
        size = len(self._columns)
        design = np.zeros((len(runs), size))
        for row, places in enumerate(rows):
            design[row, places] = 1.0
        reward = np.array([reward for _, _, reward in runs])
        self._middle = float(reward.mean()) if runs else 0.0
        variance = max(float(reward.var()), NOISE) if runs else NOISE
        prior = np.array([_variance(name) for name in self._columns])
        self._covariance = np.linalg.inv(design.T @ design / variance + np.diag(1 / prior)) if size else np.zeros((0, 0))
        self._weights = self._covariance @ (design.T @ (reward - self._middle)) / variance

    def ways(self, strategies: Sequence[Strategy], where: Iterable[Context], agents: Sequence[str]) -> dict[Context, Way]:
        """Return what is done in each of these contexts: by the strategy that seems the best of those that are for it."""
        found = dict[Context, Way]()
        for context in where:
            facts = dict(context)
            fitting = [options_of(one, facts, agents) for one in strategies if one.is_for(facts)]
            if fitting:
                found[context] = max(fitting, key=lambda way: self._believed(facts, way)) if len(fitting) > 1 else fitting[0]
        return found

    def compare(
        self, new: Strategy, ways: Mapping[Context, Way], where: Mapping[Context, int], agents: Sequence[str]
    ) -> Gain | None:
        """Return how much better a strategy seems in these contexts than what is done there; None where it is the same in all.

        `where` says how often each context was met.
        """
        contrast, unknown, differs = np.zeros(len(self._columns)), 0.0, 0
        total = sum(where.values())
        had: set[tuple[str, str]] = set()
        for context, count in where.items():
            facts, did = dict(context), ways.get(context, {})
            for point, option in options_of(new, facts, agents).items():
                if option == did.get(point):
                    continue
                differs += 1
                had.add((point, option))
                for sign, one in ((1.0, option), (-1.0, did.get(point, "-"))):
                    for name in self._names(facts, point, one):
                        if name[-1].startswith(PROJECT):
                            continue
                        place = self._columns.get(name)
                        if place is None:
                            unknown += _variance(name) * (count / total) ** 2
                        else:
                            contrast[place] += sign * count / total
        if not differs:
            return None
        between = max((self._between(point, option) for point, option in had), default=0.0)
        error = float(np.sqrt(contrast @ self._covariance @ contrast + unknown))
        runs = min(self._had[one] for one in had)
        return Gain(float(contrast @ self._weights) - CAUTION * between, error, runs)

    def _believed(self, facts: Facts, way: Way) -> float:
        places = [
            self._columns[name] for point, option in way.items() for name in self._names(facts, point, option)
            if name in self._columns and not name[-1].startswith(PROJECT)
        ]  # fmt: skip
        return float(self._weights[places].sum())

    def contexts(self, facts: Sequence[Facts]) -> Counter[Context]:
        """Return which contexts there were, as far as they are told apart, and how often each."""
        return Counter(tuple((name, one[name]) for name in (*self._coarse, *ASKED) if name in one) for one in facts)

    @property
    def features(self) -> Sequence[str]:
        """The features of contexts that are told apart."""
        return self._coarse

    def _between(self, point: str, option: str) -> float:
        """Return what the effect of an option varies by between projects."""
        found = [
            self._weights[place] for name, place in self._columns.items()
            if name[:2] == (point, option) and name[-1].startswith(PROJECT)
        ]  # fmt: skip
        return float(np.std(found)) if len(found) > 1 else 0.0

    def _features(self, facts: Facts, options: Mapping[str, str], *, grow: bool) -> list[int]:
        names: list[tuple[str, ...]] = [(value,) for value in self._values(facts)]
        names += [name for point, option in options.items() for name in self._names(facts, point, option)]
        if grow:
            for name in names:
                if len(self._columns) < MOST_VALUES:
                    self._columns.setdefault(name, len(self._columns))
        return [self._columns[name] for name in names if name in self._columns]

    def _names(self, facts: Facts, point: str, option: str) -> list[tuple[str, ...]]:
        return [(point, option), *((point, option, value) for value in self._values(facts))]

    def _values(self, facts: Facts) -> list[str]:
        found = []
        for name in self._coarse:
            value = facts.get(name)
            found += [f"{name}={one}" for one in ((value,) if isinstance(value, str) else value or ())]
        return found


def _variance(name: tuple[str, ...]) -> float:
    return {1: OF_CONTEXT, 2: OF_OPTION}.get(len(name), OF_BOTH)


def _coarse(facts: Sequence[Facts]) -> list[str]:
    """Return the features of contexts that have a few values."""
    values: dict[str, set[str]] = {}
    for one in facts:
        for name, value in one.items():
            if name.startswith(f"{CONTEXT}."):
                values.setdefault(name, set()).update((value,) if isinstance(value, str) else value)
    return [name for name, of in sorted(values.items()) if 1 < len(of) <= COARSE]
