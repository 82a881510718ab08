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
from learning_loop.stats.student import quantile

YES, NO = ("true", "yes"), ("false", "no")
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Logged:
    """One task: what is known of it beforehand, and the reward of each arm that was tried on it."""

    context: Mapping[str, str]
    rewards: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The tasks of a log in which several arms were tried, with what of it could not be used.

    `arms` are the means of those that were tried on every task: others cannot be compared.
    """

    tasks: tuple[Logged, ...]
    arms: Mapping[str, float]
    random: float
    unused: tuple[str, ...] = ()

    @property
    def best(self) -> str | None:
        return max(self.arms, key=lambda arm: self.arms[arm], default=None)


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
    worth = Expression(reward)
    found: dict[tuple[str, ...], dict[str, list[float]]] = {}
    unused: list[str] = []
    for row in rows_of(path, format_of(path)):
        if isinstance(row, BadRow):
            unused.append(f"line {row.line} {row.problem}")
            continue
        unit = unit or next(iter(row.values), None)
        needed = [unit or "", arm, *context]
        if missing := [name for name in (*needed, *worth.names) if name not in row.values]:
            if not found:
                raise MappingError(f"{path}: there is no column {missing[0]!r}: it has {', '.join(row.values)}")
            unused.append(f"line {row.line} has no {missing[0]!r}")
            continue
        told = [str(row.values[name]).strip() if row.values[name] is not None else "" for name in needed]
        value = _worth(worth, row.values)
        if value is None:
            unused.append(f"line {row.line}: {reward!r} cannot be worked out")
        elif not told[0] or not told[1]:
            unused.append(f"line {row.line} does not say which task or which option")
        else:
            found.setdefault((told[0], *told[2:]), {}).setdefault(told[1], []).append(value)
    tasks = tuple(
        Logged(dict(zip(context, key[1:], strict=True)), {name: sum(values) / len(values) for name, values in tried.items()})
        for key, tried in found.items()
        if len(tried) > 1
    )
    if not tasks:
        raise MappingError(f"{path}: no task has two arms: name the column that tells tasks apart with --unit")
    if alone := len(found) - len(tasks):
        unused.append(f"{alone} tasks on which one option alone was tried")
    everywhere = set.intersection(*(set(task.rewards) for task in tasks))
    means = {name: sum(task.rewards[name] for task in tasks) / len(tasks) for name in sorted(everywhere)}
    drawn = sum(sum(task.rewards.values()) / len(task.rewards) for task in tasks) / len(tasks)
    return Matrix(tasks, means, drawn, tuple(unused))


def _worth(worth: Expression, values: Mapping[str, Any]) -> float | None:
    try:
        found = worth.value({name: _number(values[name]) for name in worth.names})
    except (ValueError, TypeError, ArithmeticError):
        return None
    return found if math.isfinite(found) else None


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
    half = quantile(shuffles - 1) * math.sqrt(variance / shuffles) if shuffles > 1 else math.inf
    gap = matrix.arms[matrix.best] - matrix.random if matrix.best is not None else 0.0
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
