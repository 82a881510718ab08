"""Rewards over the history: a view of what was recorded, worked out anew whenever it is asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from learning_loop.app import App
from learning_loop.errors import ConfigurationError, UsageError
from learning_loop.flows.usage import totals
from learning_loop.importers.crm import Crm, read_crm
from learning_loop.ledger import Filter
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import ExecutionRecord, Feedback, Step, Usage
from learning_loop.rewards.reward import Facts, Reward, Use, Worth
from learning_loop.stats.student import mean_of
from learning_loop.workspace.config import read_document
from learning_loop.workspace.files import DEFAULTS

FOLDER = "rewards"
TRUTHS = ("success", "tests_passed")  # what is true or false, also where it was told as a number
MOST = 0.5  # of a gain that may come from other terms than the main one


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What runs were worth in the mean: `mean` with a 95 % interval over the `known` of `runs`; None where too few are.

    `waiting` may still change, `clipped` were beyond the limits, `terms` are the mean points of each term with how often it
    was known, over the runs in which it was.
    """

    runs: int
    known: int
    waiting: int
    clipped: int
    mean: float | None
    low: float | None
    high: float | None
    terms: Mapping[str, tuple[float | None, int]] = field(default_factory=dict)


def load_rewards(app: App) -> dict[str, Reward]:
    """Return the rewards there are by name: the packaged ones, and those of the workspace in place of them or beside them.

    Raise ConfigurationError with file, line and what is wrong.
    """
    found = {}
    for folder, label in ((DEFAULTS / "config" / FOLDER, "default "), (app.workspace.config / FOLDER, f"config/{FOLDER}/")):
        for path in sorted(folder.glob("*.yaml")):
            found[path.stem] = _load(path, f"{label}{path.name}")
    return found


def reward_named(app: App, name: str) -> Reward:
    """Return the reward of this name; raise UsageError."""
    rewards = load_rewards(app)
    if name not in rewards:
        raise UsageError(f"there is no reward {name!r}: use one of {', '.join(rewards)}, or write config/{FOLDER}/{name}.yaml")
    return rewards[name]


def facts_of(record: ExecutionRecord, crm: Crm) -> Facts:
    """Return what rewards may ask of a run. A measure given as feedback goes by its name, the newest one counting."""
    outcome, use = record.outcome, totals(record.usage)
    values: dict[str, Any] = crm.values(_pack(record))
    if outcome is not None:
        passed, all_of_them = outcome.tests_passed, outcome.tests_total
        values |= {
            "success": outcome.success,
            "score": outcome.score,
            "duration_s": outcome.duration_s,
            "cost_usd": use.cost_usd if record.usage else outcome.cost_usd,
            "tokens": use.tokens if record.usage else outcome.tokens,
            "tests_passed": None if passed is None or not all_of_them else passed == all_of_them,
        }
    if record.usage:
        values |= {
            "mean_latency_ms": use.mean_latency_ms,
            "attempts": use.attempts,
            "failed_attempts": use.failed_attempts,
            "fallback_rotations": use.fallback_rotations,
        }
    if record.steps:
        values["failed_steps"] = sum(step.status == "failed" for step in record.steps)
    for said in record.feedback:
        if said.value is not None:
            values[said.metric] = said.value > 0 if said.metric in TRUTHS else said.value
    uses = [Use(each.model, each.success) for each in record.usage]
    return Facts(values=values, uses=uses, ended_at=outcome.ended_at if outcome is not None else None)


def rewards_of(app: App, reward: Reward, wanted: Filter, *, limit: int) -> tuple[list[tuple[str, Worth]], tuple[str, ...]]:
    """Return what each ended run is worth, the newest first, and what could not be read of the CRM.

    Runs that a person took out of the evidence are left out.
    """
    asks_crm = any(term.of.startswith("crm.") for term in reward.terms.values())
    crm = read_crm(app.workspace.root) if asks_crm else Crm()
    excluded = {event.subject for event in app.ledger.events(EXCLUDED)}
    records = app.ledger.executions(wanted, limit=limit, parts=(Usage, Step, Feedback))
    now = app.clock()
    found = [
        (record.execution.id, reward.worth(facts_of(record, crm), now=now))
        for record in records
        if record.execution.id not in excluded
    ]
    return found, crm.problems


def summary_of(worths: Sequence[Worth]) -> Summary:
    """Return what runs were worth in the mean."""
    known = [worth.clipped for worth in worths if worth.clipped is not None]
    mean, half = _mean(known)
    names = dict.fromkeys(name for worth in worths for name in worth.terms)
    terms = {}
    for name in names:
        points = [worth.terms[name] or 0.0 for worth in worths if name in worth.terms and name not in worth.unknown]
        terms[name] = (sum(points) / len(points) if points else None, len(points))
    return Summary(
        runs=len(worths),
        known=len(known),
        waiting=sum(not worth.mature for worth in worths),
        clipped=sum(worth.raw != worth.clipped for worth in worths),
        mean=mean,
        low=None if mean is None or half is None else mean - half,
        high=None if mean is None or half is None else mean + half,
        terms=terms,
    )


def gamed(reward: Reward, before: Sequence[Worth], after: Sequence[Worth]) -> str | None:
    """Return a warning where the reward rose beyond doubt and most of the rise came from terms that are not the main one.

    Whoever learns from such a reward learns to please the term. None where there is nothing to say.
    """
    first, second = ([worth for worth in worths if worth.raw is not None] for worths in (before, after))
    (old, old_half), (new, new_half) = (_mean([worth.clipped or 0.0 for worth in worths]) for worths in (first, second))
    if old is None or new is None or old_half is None or new_half is None:
        return None
    rise = new - old
    if rise <= math.hypot(old_half, new_half):
        return None
    gains = {name: _points(second, name) - _points(first, name) for name in reward.terms}
    main = gains.pop(reward.main)
    if not gains or sum(gains.values()) <= MOST * (sum(gains.values()) + main):
        return None
    name = max(gains, key=lambda item: gains[item])
    return (
        f"{reward.name} rose by {rise:+.1f} points, and not for {reward.main} ({main:+.1f}): most came from {name} "
        f"({gains[name]:+.1f}); cap that term, or look what is done for it"
    )


def _points(worths: Sequence[Worth], name: str) -> float:
    return sum(worth.terms.get(name) or 0.0 for worth in worths) / len(worths)


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return a mean and half of its 95 % interval; None where there are too few values."""
    found = mean_of(values)
    if found is None or found.high is None:
        return (None if found is None else found.value), None
    return found.value, found.high - found.value


def _pack(record: ExecutionRecord) -> str | None:
    """Return the pack that a run was about: its parameter `packSlug`, else its component."""
    pack = record.execution.parameters.get("packSlug")
    return str(pack) if pack is not None else record.execution.component


def _load(path: Path, label: str) -> Reward:
    document, lines = read_document(path, label)
    try:
        return Reward.model_validate({**document, "name": path.stem})
    except ValidationError as error:
        first = error.errors()[0]
        place = tuple(str(part) for part in first["loc"])
        line = next((lines[place[:depth]] for depth in range(len(place), 0, -1) if place[:depth] in lines), 1)
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{label}:{line}: {'.'.join(place) or 'the reward'}: {message}") from None
