"""What the parts of strategies seem to do, over all runs and versions: what proposals rest on, and nothing else does."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

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
MOST_VALUES = 2_000  # columns of the model: those of options before those of options in contexts, the commonest first
MOST_CONTEXTS = 500


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one option seems than another, with its standard deviation; `runs` had it, in whatever context."""

    value: float
    error: float
    runs: int

    @property
    def promise(self) -> float:
        """What it may well be: what is not known of it counts as gain, too."""
        return self.value + CURIOSITY * self.error


def options_of(strategy: Strategy, facts: Facts, agents: Sequence[str], decided: Way = MappingProxyType({})) -> dict[str, str]:
    """Return what a strategy does at each decision point that can be changed; `decided` is what was done there otherwise."""
    found = {DECOMPOSE: strategy.decomposition_approach, RETRY: str(strategy.retry_policy.max_attempts)}
    found |= {SELECT_AGENT: strategy.agents(facts, agents)[0]} if agents else {}
    found |= decided
    return found | {PARALLELIZE: str(strategy.parallelism_config.max_parallel) if found[DECOMPOSE] != "single" else "-"}


class Effects:
    """A linear model of rewards over contexts, options, and options in contexts; normal, with a prior that expects little.

    `runs` are (facts, options by decision point, reward from 0 to 1). What varies between projects counts against an option:
    a change is to carry over to the next one. Of a number that nobody had, the one next to it says most. What strategies say of
    `idle` decision points, at which nothing comes to be decided, does nothing.
    """

    def __init__(self, runs: Sequence[tuple[Facts, Way, float]], *, idle: Collection[str] = ()) -> None:
        self._idle = idle
        runs = [(facts, self._counting(options), reward) for facts, options, reward in runs]
        self._had = Counter(pair for _, options, _ in runs for pair in options.items())
        self._numbers = sorted({(point, int(option)) for point, option in self._had if option.isdigit()})
        self._coarse = _coarse([facts for facts, _, _ in runs])
        projects = {facts.get(PROJECT[:-1]) for facts, _, _ in runs} - {None}
        self._told = list(dict.fromkeys((*self._coarse, *([PROJECT[:-1]] if len(projects) > 1 else []))))  # however many
        named = [self._features(facts, options) for facts, options, _ in runs]
        counts = Counter(name for names in named for name in names)
        kept = sorted(counts, key=lambda name: (len(name), -counts[name], name))[:MOST_VALUES]
        self._columns = {name: place for place, name in enumerate(kept)}
        design = np.zeros((len(runs), len(kept)))
        for row, names in enumerate(named):
            design[row, [self._columns[name] for name in names if name in self._columns]] = 1.0
        reward = np.array([reward for _, _, reward in runs])
        self._middle = float(reward.mean()) if runs else 0.0
        variance = max(float(reward.var()), NOISE) if runs else NOISE
        prior = np.array([_variance(name) for name in kept])
        self._covariance = np.linalg.inv(design.T @ design / variance + np.diag(1 / prior)) if kept else np.zeros((0, 0))
        self._weights = self._covariance @ (design.T @ (reward - self._middle)) / variance
        self._projects = [name[0] for name in kept if len(name) == 1 and name[0].startswith(PROJECT)]

    def ways(self, strategies: Sequence[Strategy], where: Iterable[Context], agents: Sequence[str]) -> dict[Context, Way]:
        """Return what is done in each of these contexts: by the strategy that seems the best of those that are for it."""
        found = dict[Context, Way]()
        for context in where:
            facts = dict(context)
            fitting = [self._counting(options_of(one, facts, agents)) for one in strategies if one.is_for(facts)]
            if fitting:
                found[context] = max(fitting, key=lambda way: self._believed(facts, way)) if len(fitting) > 1 else fitting[0]
        return found

    def compare(
        self, new: Strategy, ways: Mapping[Context, Way], where: Mapping[Context, int], agents: Sequence[str]
    ) -> Gain | None:
        """Return how much better a strategy seems in these contexts than what is done there; None where it is the same in all.

        `where` says how often each context was met; what nobody does there yet is not compared with anything.
        """
        shares, differing = defaultdict[tuple[str, ...], float](float), defaultdict[tuple[str, str], float](float)
        had: set[tuple[str, str]] = set()
        total = sum(count for context, count in where.items() if context in ways)
        for context, count in where.items():
            if context not in ways:
                continue
            facts, did = dict(context), ways[context]
            for point, option in self._counting(options_of(new, facts, agents)).items():
                if option == did.get(point):
                    continue
                had.add((point, option))
                for sign, one in ((1.0, option), (-1.0, did.get(point, "-"))):
                    differing[point, one] += sign * count / total
                    for name in self._names(facts, point, one):
                        if not name[-1].startswith(PROJECT):
                            shares[name] += sign * count / total
        if not had:
            return None
        contrast, unknown = self._contrast(shares)
        error = float(np.sqrt(contrast @ self._covariance @ contrast + unknown))
        runs = min(self._had[one] for one in had)
        return Gain(float(contrast @ self._weights) - CAUTION * self._between(differing), error, runs)

    def contexts(self, facts: Sequence[Facts], asked: Iterable[str] = ()) -> Counter[Context]:
        """Return which contexts there were, as far as they are told apart or `asked` about, and how often each."""
        names, found = dict.fromkeys((*self._coarse, *ASKED, *asked)), Counter[Context]()
        for one in reversed(facts):  # the newest
            context = tuple((name, one[name]) for name in names if name in one)
            if context in found or len(found) < MOST_CONTEXTS:
                found[context] += 1
        return found

    @property
    def features(self) -> Sequence[str]:
        """The features of contexts that are told apart."""
        return self._coarse

    def _counting(self, options: Way) -> Way:
        return {point: option for point, option in options.items() if point not in self._idle}

    def _contrast(self, shares: Mapping[tuple[str, ...], float]) -> tuple[Floats, float]:
        """Return what of each weight a difference is made of, and the variance of what no run had."""
        contrast, unknown = np.zeros(len(self._columns)), 0.0
        for name, share in shares.items():
            place = self._columns.get(name)
            if place is None:
                unknown += _variance(name) * share**2
                place = self._columns.get(self._next_to(name))
            if place is not None:
                contrast[place] += share
        return contrast, unknown

    def _next_to(self, name: tuple[str, ...]) -> tuple[str, ...]:
        """Return the weight of the number that is nearest to one that no run had; the same where it is no number."""
        point, option, *rest = name
        known = [number for of, number in self._numbers if of == point] if option.isdigit() else []
        return (point, str(min(known, key=lambda number: abs(number - int(option)))), *rest) if known else name

    def _believed(self, facts: Facts, way: Way) -> float:
        names = {name: 1.0 for point, option in way.items() for name in self._names(facts, point, option)}
        contrast, _ = self._contrast({name: one for name, one in names.items() if not name[-1].startswith(PROJECT)})
        return float(contrast @ self._weights)

    def _between(self, differing: Mapping[tuple[str, str], float]) -> float:
        """Return what a difference varies by between projects beyond what chance gives."""
        found = []
        for project in self._projects:
            parts = {(*one, project): share for one, share in differing.items() if (*one, project) in self._columns}
            if parts:
                places, shares = np.array([self._columns[name] for name in parts]), np.array(list(parts.values()))
                noise = float(shares @ self._covariance[np.ix_(places, places)] @ shares)
                found.append((float(shares @ self._weights[places]), noise))
        if len(found) < 2:
            return 0.0
        values, noises = zip(*found, strict=True)
        return float(np.sqrt(max(np.var(values, ddof=1) - np.mean(noises), 0.0)))

    def _features(self, facts: Facts, options: Way) -> list[tuple[str, ...]]:
        names: list[tuple[str, ...]] = [(value,) for value in self._values(facts)]
        return names + [name for point, option in options.items() for name in self._names(facts, point, option)]

    def _names(self, facts: Facts, point: str, option: str) -> list[tuple[str, ...]]:
        return [(point, option), *((point, option, value) for value in self._values(facts))]

    def _values(self, facts: Facts) -> list[str]:
        found = []
        for name in self._told:
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
