"""An index that knows how many choices are left, over arms and kinds of context that learn from each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.errors import UsageError
from learning_loop.policies.normal import cdf, largest
from learning_loop.records import Experience

Floats = NDArray[np.float64]

# What is believed of rewards that lie in a range of one before any was seen, and how many arms, kinds or runs that weighs.
BETWEEN_ARMS, ARMS = 0.25, 8.0  # the variance of the arms' means
BETWEEN_KINDS, KINDS = 0.02, 5.0  # that of an arm's means by kind of context, beyond what the kind does to all arms
HARDNESS, ROUNDS = 0.05, 3  # that of what a kind does to all arms, and how often it and the arms are told apart in turn
WITHIN, RUNS, RUNS_OF_ONE = 1 / 6, 10.0, 50.0  # that of the rewards of one arm in one kind: over all arms, and of one
MIDDLE = 0.5
TRIES = 2.0 ** np.arange(10)  # how often in a row an arm might be tried, before it is kept or given up


@dataclass(frozen=True, slots=True)
class _Belief:
    """What is believed of the arms, (arms,) where nothing else is said."""

    middle: float
    between_kinds: float
    mean: Floats  # (arms, kinds), without what the kind does to all arms
    arm: Floats
    arm_variance: Floats  # and of an arm never met, as the last one
    within: Floats  # and of an arm never met, as the last one


class Horizon:
    """Takes the arm that may be worth most, as far as there is still time for it to pay.

    An arm's value in a kind of context is the arm's own, which lies round that of all arms, with what the kind does to all arms
    and what it does to this one; how much each of them varies is estimated from the rewards (a hierarchical normal model,
    empirical Bayes). An arm is worth the sure reward that one could as well take in all choices that are left of the `horizon`,
    instead of trying the arm some times and keeping it only if it is better: the index of J. Gittins, K. Glazebrook & R. Weber,
    Multi-armed bandit allocation indices, 2011, from below, since one stops only once. The number of tries counts that is best
    for the arm, as in P. Frazier & W. Powell, Paradoxes in learning and the marginal value of information, Decision Analysis 7,
    2010. `jitter` standard deviations of chance keep an arm that began unluckily from being lost for ever. After a horizon the
    next one begins.

    `by` names what of a context tells its kind; nothing by default. Rewards lie mostly between `low` and `high`.
    """

    name = "horizon"

    def __init__(
        self,
        *,
        horizon: int = 1_000,
        by: Sequence[str] = (),
        low: float = 0.0,
        high: float = 1.0,
        jitter: float = 0.15,
    ) -> None:
        if horizon < 1 or high <= low or jitter < 0:
            raise UsageError("the policy horizon needs a horizon of 1 or more, high above low, a jitter of 0 or more")
        self._horizon, self._by = horizon, (by,) if isinstance(by, str) else tuple(by)
        self._low, self._range = low, high - low
        self._jitter = jitter
        self._arms: dict[str, int] = {}
        self._kinds: dict[str, int] = {}
        self._runs, self._mean, self._squares = (np.zeros((0, 0)) for _ in range(3))  # (arms, kinds)
        self._seen = 0
        self._belief = self._believe()

    @property
    def version(self) -> str:
        return f"{self.name}/2#{self._seen}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        kind = self._kinds.get(self._kind(context), -1)
        rows = np.array([self._arms.get(option, -1) for option in options])
        mean, variance, within = self._predict(rows, kind)
        left = self._horizon - self._seen % self._horizon
        found: list[float] = largest(mean + _hope(variance, within, left), self._jitter * np.sqrt(variance)).tolist()
        return found

    def update(self, batch: Sequence[Experience]) -> None:
        for one in batch:
            row = self._arms.setdefault(one.chosen, len(self._arms))
            column = self._kinds.setdefault(self._kind(one.context), len(self._kinds))
            wider = (len(self._arms) - self._runs.shape[0], len(self._kinds) - self._runs.shape[1])
            if any(wider):
                room = tuple((0, more) for more in wider)
                self._runs, self._mean, self._squares = (np.pad(a, room) for a in (self._runs, self._mean, self._squares))
            self._runs[row, column] += 1
            off = (one.reward - self._low) / self._range - self._mean[row, column]
            self._mean[row, column] += off / self._runs[row, column]
            self._squares[row, column] += off * off * (1 - 1 / self._runs[row, column])
        self._seen += len(batch)
        self._belief = self._believe()

    def state(self) -> dict[str, Any]:
        return {
            "arms": list(self._arms),
            "kinds": list(self._kinds),
            "runs": self._runs.copy(),
            "mean": self._mean.copy(),
            "squares": self._squares.copy(),
            "seen": self._seen,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._arms = {name: row for row, name in enumerate(state["arms"])}
        self._kinds = {name: column for column, name in enumerate(state["kinds"])}
        self._runs, self._mean, self._squares = (np.array(state[name], dtype=float) for name in ("runs", "mean", "squares"))
        self._seen = int(state["seen"])
        self._belief = self._believe()

    def _kind(self, context: Mapping[str, Any]) -> str:
        return "\n".join(str(context.get(name)) for name in self._by)

    def _predict(self, rows: NDArray[np.int64], kind: int) -> tuple[Floats, Floats, Floats]:
        """Return mean, variance and that of a reward of arms in a kind of context; -1 is one that was never met."""
        belief = self._belief
        known = rows >= 0
        arm = np.full(rows.size, belief.middle)
        arm[known] = belief.arm[rows[known]]
        arm_variance, within = belief.arm_variance[rows], belief.within[rows]
        runs, mean = np.zeros(rows.size), np.zeros(rows.size)
        if kind >= 0:
            runs[known], mean[known] = self._runs[rows[known], kind], belief.mean[rows[known], kind]
        own = belief.between_kinds * runs / (belief.between_kinds * runs + within)  # how far the kind's own runs count
        if not self._by:
            return arm, arm_variance, within
        variance = (1 - own) ** 2 * arm_variance + belief.between_kinds * (1 - own)
        return own * mean + (1 - own) * arm, variance, within

    def _believe(self) -> _Belief:
        """Return what the rewards so far say of the arms."""
        runs, mean = self._runs, self._eased()
        of_arm, tried = runs.sum(axis=1), runs > 0
        free = np.maximum(runs - 1, 0).sum(axis=1)
        squares = self._squares.sum(axis=1)
        common = (squares.sum() + RUNS * WITHIN) / (free.sum() + RUNS)
        within = (squares + RUNS_OF_ONE * common) / (free + RUNS_OF_ONE)
        kinds = self._between_kinds(mean, within) if self._by else 0.0
        precision = np.where(tried, runs / (kinds * runs + within[:, None]), 0.0)
        total = precision.sum(axis=1)
        has = of_arm > 0
        mean_of = np.divide((precision * mean).sum(axis=1), total, out=np.zeros_like(total), where=has)
        error = np.divide(1.0, total, out=np.zeros_like(total), where=has)
        weight = has / (BETWEEN_ARMS + error)
        start = 1 / (BETWEEN_ARMS + common)
        middle = float(((weight * mean_of).sum() + MIDDLE * start) / (weight.sum() + start))
        arms = int(has.sum())
        beyond = ((mean_of - middle)[has] ** 2).sum() - error[has].sum() * (1 - 1 / max(arms, 2))
        between = (max(beyond, 0.0) + ARMS * BETWEEN_ARMS) / (max(arms - 1, 0) + ARMS)
        variance = 1 / (1 / between + total)
        arm = variance * (middle / between + (precision * mean).sum(axis=1))
        return _Belief(middle, kinds, mean, arm, np.append(variance, between), np.append(within, common))

    def _eased(self) -> Floats:
        """Return the means of arms by kind without what the kind does to all arms: one that is hard makes none a bad arm."""
        runs, mean = self._runs, self._mean
        hard, total = np.zeros(runs.shape[1]), runs.sum()
        if not self._by or not total:
            return mean
        middle = (runs * mean).sum() / total
        arm_runs, kind_runs = WITHIN / BETWEEN_ARMS, WITHIN / HARDNESS  # that their being like all others is worth
        for _ in range(ROUNDS):
            arm = ((runs * (mean - hard)).sum(axis=1) + arm_runs * middle) / (runs.sum(axis=1) + arm_runs)
            hard = (runs * (mean - arm[:, None])).sum(axis=0) / (runs.sum(axis=0) + kind_runs)
        return np.where(runs > 0, mean - hard, 0.0)

    def _between_kinds(self, mean: Floats, within: Floats) -> float:
        """Return the variance of an arm's means by kind: what they differ by, beyond what the runs in each do."""
        runs, of_arm = self._runs, self._runs.sum(axis=1)
        several = (runs > 0).sum(axis=1) > 1
        if not several.any():
            return BETWEEN_KINDS
        runs, mean, of_arm = runs[several], mean[several], of_arm[several]
        free = (runs > 0).sum(axis=1) - 1.0
        centre = (runs * mean).sum(axis=1) / of_arm
        beyond = (runs * (mean - centre[:, None]) ** 2).sum() - (free * within[several]).sum()
        size = (of_arm - (runs**2).sum(axis=1) / of_arm).sum() / free.sum()  # runs in a cell that it is worth
        return float((max(beyond, 0.0) / size + KINDS * BETWEEN_KINDS) / (free.sum() + KINDS))


def _hope(variance: Floats, within: Floats, left: float) -> Floats:
    """Return how far arms are worth more than their means, for what may be found out in so many choices.

    After m tries the mean will have moved by s = variance sqrt(m / (m variance + within)), so that a sure reward z s above it
    is as good where m z = (left - m) E[max(Z - z, 0)], Z being standard normal.
    """
    tries = TRIES[left > TRIES]
    if not tries.size:
        return np.zeros_like(variance)
    moved = variance[:, None] * np.sqrt(tries / (tries * variance[:, None] + within[:, None]))
    found: Floats = (moved * np.interp(np.log(left / tries - 1), LOGS, _HOPES)).max(axis=1)
    return found


def _hopes(ratio: Floats) -> Floats:
    """Return the z with z = ratio E[max(Z - z, 0)], by bisection."""
    low, high = np.zeros_like(ratio), np.full_like(ratio, 10.0)
    for _ in range(40):
        z = (low + high) / 2
        above = ratio * (np.exp(-z * z / 2) / np.sqrt(2 * np.pi) - z * cdf(-z)) > z
        low, high = np.where(above, z, low), np.where(above, high, z)
    return low


LOGS = np.linspace(-7.0, 14.0, 400)  # of choices left for each try
_HOPES = _hopes(np.exp(LOGS))
