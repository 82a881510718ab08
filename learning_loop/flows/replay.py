"""Replay: what a policy would have earned on a logged matrix, in which every arm was tried on every task."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from learning_loop.decider import Decider
from learning_loop.errors import MappingError, UsageError
from learning_loop.importers import BadRow, format_of, rows_of
from learning_loop.protocols import Learner
from learning_loop.records import Experience
from learning_loop.rewards.expression import Expression
from learning_loop.stats.contingency import Z95

YES, NO = ("true", "yes"), ("false", "no")
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Logged:
    """One task: what is known of it beforehand, and the reward of each arm that was tried on it."""

    context: Mapping[str, str]
    rewards: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The tasks of a log in which several arms were tried, with what of it could not be used."""

    tasks: tuple[Logged, ...]
    arms: Mapping[str, float]
    random: float
    unused: tuple[str, ...] = ()

    @property
    def best(self) -> str:
        return max(self.arms, key=lambda arm: self.arms[arm])


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a policy earned a task, in the mean over shuffles, with a 95 % interval for that mean.

    `share` is how much of the gap between an arm taken at random and the best one for all tasks it closed; above 1 it knows
    more than one arm. `shuffled` is the same policy's mean where each task has the context of another: what it is above that,
    it owes to the context.
    """

    policy: str
    mean: float
    low: float
    high: float
    share: float | None
    shuffled: float | None
    shuffles: int


def read_matrix(path: Path, *, arm: str, reward: str, context: Sequence[str] = (), unit: str | None = None) -> Matrix:
    """Read a CSV or JSONL file with a row for each task and arm; raise MappingError, and UsageError of the reward.

    `unit` names the column that tells tasks apart, by default the first. An arm that was tried several times on a task has the
    mean. Tasks on which fewer than two arms were tried are left out.
    """
    worth, found, unused = Expression(reward), {}, []  # type: ignore[var-annotated]
    for row in rows_of(path, format_of(path)):
        if isinstance(row, BadRow):
            unused.append(f"line {row.line} {row.problem}")
            continue
        first = unit or next(iter(row.values))
        if missing := [name for name in (first, arm, *context, *worth.names) if name not in row.values]:
            raise MappingError(f"{path}: there is no column {missing[0]!r}: it has {', '.join(row.values)}")
        try:
            value = worth.value({name: _number(row.values[name]) for name in worth.names})
        except (ValueError, ZeroDivisionError):
            unused.append(f"line {row.line}: {reward!r} cannot be worked out")
            continue
        known = {name: str(row.values[name]) for name in context}
        tried = found.setdefault((str(row.values[first]), *known.values()), (known, {}))[1]
        tried.setdefault(str(row.values[arm]), []).append(value)
    tasks = tuple(
        Logged(known, {name: sum(values) / len(values) for name, values in tried.items()})
        for known, tried in found.values()
        if len(tried) > 1
    )
    if not tasks:
        raise MappingError(f"{path}: no task has two arms: name the column that tells tasks apart with --unit")
    arms: dict[str, list[float]] = {}
    for task in tasks:
        for name, value in task.rewards.items():
            arms.setdefault(name, []).append(value)
    means = {name: sum(values) / len(values) for name, values in arms.items()}
    drawn = sum(sum(task.rewards.values()) / len(task.rewards) for task in tasks) / len(tasks)
    return Matrix(tasks, means, drawn, tuple(unused))


def replay(
    matrix: Matrix,
    make: Callable[[], Learner],
    *,
    name: str,
    shuffles: int,
    seed: int = 0,
    floor: float = 0.0,
    told: Told = lambda _done, _total: None,
) -> Replayed:
    """Return what a policy earns in one pass over the tasks, over so many orders of them.

    Each pass begins with a new policy, chooses by the Decider, with every arm at least as likely as `floor`, and shows it the
    reward of what was chosen alone.
    """
    if shuffles < 1:
        raise UsageError("a replay needs one shuffle at least")
    has_context = any(task.context for task in matrix.tasks)
    means, control = [], []
    for number in range(shuffles):
        rng = random.Random(f"{seed} {number}")  # noqa: S311  (repeatable, not secret)
        order = rng.sample(matrix.tasks, len(matrix.tasks))
        means.append(_earned(order, [task.context for task in order], make(), f"{seed}-{number}", floor))
        if has_context:
            others = rng.sample([task.context for task in order], len(order))
            control.append(_earned(order, others, make(), f"{seed}-{number}-control", floor))
        told(number + 1, shuffles)
    mean = sum(means) / shuffles
    variance = sum((value - mean) ** 2 for value in means) / max(shuffles - 1, 1)
    half = Z95 * math.sqrt(variance / shuffles) if shuffles > 1 else math.inf
    gap = matrix.arms[matrix.best] - matrix.random
    return Replayed(
        policy=name,
        mean=mean,
        low=mean - half,
        high=mean + half,
        share=(mean - matrix.random) / gap if gap > 0 else None,
        shuffled=sum(control) / shuffles if control else None,
        shuffles=shuffles,
    )


def _earned(
    tasks: Sequence[Logged], contexts: Sequence[Mapping[str, Any]], policy: Learner, stream: str, floor: float
) -> float:
    ids = (f"{stream}-{number}" for number in count())
    decider = Decider(clock=lambda: datetime.min.replace(tzinfo=UTC), ids=lambda: next(ids))
    total = 0.0
    for task, context in zip(tasks, contexts, strict=True):
        options = tuple(task.rewards)
        decision = decider.decide("replay", options, context=context, policy=policy, floor=floor)
        reward = task.rewards[decision.chosen]
        total += reward
        policy.update(
            [
                Experience(
                    context=context, options=options, chosen=decision.chosen, propensity=decision.propensity, reward=reward
                )
            ]
        )
    return total / len(tasks)


def _number(value: Any) -> float:
    """Return a cell as a number, where yes and true are 1, no and false 0; raise ValueError."""
    if isinstance(value, str) and value.strip().lower() in (*YES, *NO):
        return float(value.strip().lower() in YES)
    found = float("nan" if value is None else value)
    if not math.isfinite(found):
        raise ValueError
    return found
