"""Changes to a strategy that past runs suggest, the most promising first; without any model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learning_loop.records import slug as slugged
from learning_loop.settings import Evolution
from learning_loop.strategies.analysis import Analysis
from learning_loop.strategies.strategy import (
    APPROACHES,
    DECOMPOSE,
    PARALLELIZE,
    RETRY,
    SELECT_AGENT,
    AgentRule,
    Strategy,
    version_of,
)

PRIOR = 0.08  # standard deviation of what a change does, in the reward's range, before anything is known of it
CURIOSITY = 0.5  # standard deviations of what is not known that count as gain
LEAST_PART = 0.1  # of the runs that a change is for
SPLIT = 0.01  # that a strategy of its own for a part of the work must gain more than a change of the whole


@dataclass(frozen=True, slots=True)
class Gain:
    """What choices so far say of a change: how much better it was, with the standard error, over so many choices."""

    value: float
    error: float
    choices: int

    def shrunk(self) -> tuple[float, float]:
        """Return mean and standard deviation of what is believed, beginning at no effect."""
        precision = 1 / PRIOR**2 + (1 / self.error**2 if self.choices else 0.0)
        return self.value / self.error**2 / precision if self.choices else 0.0, math.sqrt(1 / precision)


UNTRIED = Gain(0.0, math.inf, 0)
Known = Callable[[str, str, str | None], Gain | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A changed strategy, why, and what it is hoped to improve.

    `worth` is how soon a test would show that: the effect that is believed in, by the root of the share of the runs it is for.
    """

    strategy: Strategy
    reasoning: str
    expected_improvement: str
    origin: str
    worth: float
    part: str = ""


@dataclass(frozen=True, slots=True)
class _Change:
    """One change, of the whole strategy or of what it does where a condition holds."""

    part: str
    option: str
    update: Mapping[str, Any]
    condition: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What may be changed: the agents there are, whether work can be taken apart, and the numbers that a search suggests."""

    agents: Sequence[str]
    decomposes: bool
    tuned: Mapping[str, Any]
    limits: Evolution


def proposals(parent: Strategy, analysis: Analysis, known: Known, room: Room, *, origin: str) -> list[Proposal]:
    """Return changes worth a test, the most promising first.

    `known` says what choices so far say of an option at a decision point, where a condition holds; None where it is what is
    done there now. A change that was never tried is worth what is not known of it. Where runs fail more often, changes are sought for those alone, as strategies of
    their own.
    """
    where = [pattern.condition for pattern in analysis.patterns]
    where += [condition for condition, part in analysis.conditions.items() if part >= LEAST_PART and condition not in where]
    found = [
        _made(parent, change, gain, analysis, origin)
        for condition in (None, *where)
        for change in _changes(parent, condition, room, passing=analysis.passing)
        if (gain := known(change.part, change.option, condition)) is not None
    ]
    if room.tuned:
        found.append(_tuned(parent, room.tuned, origin))
    return sorted(found, key=lambda one: -one.worth)


def _changes(parent: Strategy, condition: str | None, room: Room, *, passing: float) -> Iterator[_Change]:
    for approach in APPROACHES if room.decomposes else ():
        if approach != parent.decomposition_approach:
            yield _Change(DECOMPOSE, approach, {"decomposition_approach": approach}, condition)
    for agent in room.agents:
        rule = AgentRule(when=condition, take=(agent,))
        kept = tuple(each for each in parent.agent_selection_rules if each.when != condition)
        rules = (rule, *kept) if condition is not None else (*[each for each in kept if each.when is not None], rule)
        if rules != parent.agent_selection_rules:
            yield _Change(SELECT_AGENT, agent, {"agent_selection_rules": rules}, condition)
    policy = parent.retry_policy
    if passing and policy.max_attempts < room.limits.most_attempts:
        more = policy.model_copy(update={"max_attempts": policy.max_attempts + 1})
        yield _Change(RETRY, "try again", {"retry_policy": more}, condition)
    if policy.max_attempts > 1:
        fewer = policy.model_copy(update={"max_attempts": policy.max_attempts - 1})
        yield _Change(RETRY, "give up", {"retry_policy": fewer}, condition)
    if parent.decomposition_approach != "single":
        now = parent.parallelism_config
        for at_once in {min(2 * now.max_parallel, room.limits.most_parallel), max(now.max_parallel // 2, 1)} - {
            now.max_parallel
        }:
            config = now.model_copy(update={"max_parallel": at_once})
            yield _Change(PARALLELIZE, str(at_once), {"parallelism_config": config}, condition)


def _made(parent: Strategy, change: _Change, gain: Gain, analysis: Analysis, origin: str) -> Proposal:
    """Return a change as a strategy, with what it promises."""
    condition, own = change.condition, change.part != SELECT_AGENT and change.condition is not None
    mean, spread = gain.shrunk()
    part = analysis.conditions.get(condition, 1.0) if condition is not None else 1.0
    made = parent.model_copy(update=dict(change.update))
    if own and condition is not None:
        rules = (*parent.context_rules, condition)
        made = made.model_copy(update={"context_rules": rules, "rank": max(parent.rank - 1, 0)})
        slug = slugged(f"{parent.slug} {condition.partition('.')[2]} {change.option}", 60)
        made = made.model_copy(update={"slug": slug, "name": f"{parent.name}: {change.option} where {condition}"[:200]})
    told = (
        f"it was {gain.value:+.2f} of the reward's range better there (standard error {gain.error:.2f}, {gain.choices} choices)"
        if gain.choices
        else "it was never tried there"
    )
    pattern = next((one for one in analysis.patterns if one.condition == condition), None)
    why = f"{_named(change)}: {told}." + (f" {pattern.says.capitalize()}." if pattern is not None else "")
    return Proposal(
        strategy=Strategy.model_validate({**made.model_dump(mode="json"), "reasoning": why}),
        reasoning=why,
        expected_improvement=f"success, by {mean:+.2f} (give or take {spread:.2f}) in {100 * part:.0f} % of the runs",
        origin=origin,
        worth=math.sqrt(part) * (mean + CURIOSITY * spread) - SPLIT * own,
        part=change.part,
    )


def _named(change: _Change) -> str:
    what = change.part.partition(":")[2].replace("_", " ")
    return f"{what} → {change.option}" + (f" where {change.condition}" if change.condition else "")


def _tuned(parent: Strategy, tuned: Mapping[str, Any], origin: str) -> Proposal:
    policy = {name: value for name, value in tuned.items() if name != "max_parallel"}
    parallel = {name: value for name, value in tuned.items() if name == "max_parallel"}
    made = parent.model_copy(
        update={
            "retry_policy": parent.retry_policy.model_copy(update=policy),
            "parallelism_config": parent.parallelism_config.model_copy(update=parallel),
        }
    )
    said = ", ".join(f"{name} {value:g}" for name, value in tuned.items())
    why = f"Numbers that a search over the versions so far suggests: {said}."
    return Proposal(
        strategy=Strategy.model_validate({**made.model_dump(mode="json"), "reasoning": why}),
        reasoning=why,
        expected_improvement="the reward as a whole: time, attempts and success",
        origin=origin,
        worth=PRIOR / 4,
        part="numbers",
    )


def chosen(found: Sequence[Proposal], most: int) -> list[Proposal]:
    """Return the most promising proposals, each of another kind of change as far as there are others."""
    kept: list[Proposal] = []
    for fresh in (True, False):
        for one in found:
            if len(kept) < most and all(version_of(one.strategy) != version_of(other.strategy) for other in kept):
                scope = (one.part, one.strategy.context_rules)
                if not fresh or scope not in [(other.part, other.strategy.context_rules) for other in kept]:
                    kept.append(one)
    return kept
