"""Changes to a strategy that past runs suggest, the most promising first; without any model."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from learning_loop.features.conditions import CONTEXT, holds, parse, quoted
from learning_loop.records import slug as slugged
from learning_loop.settings import Evolution
from learning_loop.strategies.analysis import ONES, Analysis
from learning_loop.strategies.effects import Context, Effects, Gain, Way
from learning_loop.strategies.strategy import APPROACHES, AgentRule, Strategy, version_of

Ways = Mapping[Context, Way]

BOLD = 0.25  # of them that a part of a change of several parts must promise
LEAST_PART = 0.1  # of the runs that a change is for
SPLIT = 0.01  # that a strategy of its own for a part of the work must gain more than a change of the whole
LONGEST = 60  # letters of a slug
NUMBERS = 0.02  # what a search over numbers is worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A changed strategy, why, and what it is hoped to improve.

    `worth` is what it is believed to add to what is done already, by the root of the share of the runs it is for: that is how
    soon a test would show it.
    `part` is what it changes.
    """

    strategy: Strategy
    reasoning: str
    expected_improvement: str
    origin: str
    worth: float
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What may be changed: the agents there are, whether work can be taken apart, whether it is, the numbers a search suggests.

    `others` are the strategies that work may be given to instead, and `least_effect` what a change must promise to add to them.
    """

    agents: Sequence[str]
    decomposes: bool
    divides: bool
    tuned: Mapping[str, Any]
    limits: Evolution
    others: Sequence[Strategy] = ()
    least_effect: float = 0.0


@dataclass(frozen=True, slots=True)
class _Scope:
    """The work a change is for: all that the strategy is for, or that where a condition holds too."""

    condition: str | None
    where: Mapping[Context, int]
    part: float


def proposals(
    parent: Strategy, analysis: Analysis, effects: Effects, where: Mapping[Context, int], room: Room, *, origin: str
) -> list[Proposal]:
    """Return changes worth a test, the most promising first.

    What `effects` say of runs so far is what is believed; what was never tried is worth what is not known of it. Each part is
    changed by itself, and all together that promise something; for all the work, and for the parts of it in which runs fail
    more often or that are met often enough, then as a strategy of its own. A change promises what it adds to the best that is
    done already, by any strategy: what another one does need not be found again.
    """
    now = effects.ways([parent], where, room.agents)
    best = effects.ways([parent, *room.others], where, room.agents)
    conditions = [pattern.condition for pattern in analysis.patterns]
    conditions += [name for name, part in analysis.conditions.items() if part >= LEAST_PART and name not in conditions]
    found: dict[str, Proposal] = {}
    for scope in _scopes(where, conditions):
        for part, made in _candidates(parent, now, effects, scope, room, passing=analysis.passing):
            own = _as_own(parent, made, scope) if scope.condition is not None and part != AGENTS else made
            gain = effects.compare(made, now, scope.where, room.agents)
            beyond = effects.compare(made, best, scope.where, room.agents)
            if gain is not None and beyond is not None and beyond.promise >= room.least_effect:
                one = _proposal(parent, own, part, gain, beyond, scope, analysis, origin)
                found.setdefault(version_of(own), one)
    if room.tuned:
        tuned = _tuned(parent, room.tuned, origin)
        found.setdefault(version_of(tuned.strategy), tuned)
    return sorted(found.values(), key=lambda one: -one.worth)


APPROACH, AGENTS, ATTEMPTS, PARALLEL, SEVERAL, SEARCH = "approach", "agents", "attempts", "parallelism", "several", "numbers"


def _scopes(where: Mapping[Context, int], conditions: Sequence[str]) -> Iterator[_Scope]:
    total = sum(where.values())
    yield _Scope(None, where, 1.0)
    for condition in conditions:
        wanted = parse(condition, sorts=(CONTEXT,))
        inside = {context: count for context, count in where.items() if holds(wanted, dict(context))}
        if inside:
            yield _Scope(condition, inside, sum(inside.values()) / total)


def _candidates(
    parent: Strategy, now: Ways, effects: Effects, scope: _Scope, room: Room, *, passing: float
) -> Iterator[tuple[str, Strategy]]:
    """Yield single changes, and the change of all parts that promise something."""
    together = parent
    for part, options in _options(parent, now, effects, scope, room, passing=passing).items():
        believed = []
        for made in options:
            yield part, made
            if (gain := effects.compare(made, now, scope.where, room.agents)) is not None:
                believed.append((gain.value - BOLD * gain.error, made))
        best = max(believed, key=lambda one: one[0], default=(0.0, parent))
        if best[0] > 0:
            changed = [name for name in Strategy.model_fields if getattr(best[1], name) != getattr(parent, name)]
            together = together.model_copy(update={name: getattr(best[1], name) for name in changed})
    yield SEVERAL, together


def _options(
    parent: Strategy, now: Ways, effects: Effects, scope: _Scope, room: Room, *, passing: float
) -> dict[str, list[Strategy]]:
    """Return what else each part could be."""
    found: dict[str, list[Strategy]] = {}

    def add(part: str, **update: Any) -> None:
        made = parent.model_copy(update=update)
        if made != parent:
            found.setdefault(part, []).append(made)

    for approach in APPROACHES if room.decomposes else ():
        add(APPROACH, decomposition_approach=approach)
    for rules in _agent_rules(parent, now, effects, scope, room):
        add(AGENTS, agent_selection_rules=rules)
    policy = parent.retry_policy
    most = room.limits.most_attempts if passing else policy.max_attempts
    for attempts in {policy.max_attempts + 1, policy.max_attempts + 2, policy.max_attempts - 1}:
        if 1 <= attempts <= most:
            add(ATTEMPTS, retry_policy=policy.model_copy(update={"max_attempts": attempts}))
    parallel = parent.parallelism_config
    for at_once in {min(2 * parallel.max_parallel, room.limits.most_parallel), max(parallel.max_parallel // 2, 1)}:
        if parent.decomposition_approach != "single" and room.divides:
            add(PARALLEL, parallelism_config=parallel.model_copy(update={"max_parallel": at_once}))
    return found


def _agent_rules(parent: Strategy, now: Ways, effects: Effects, scope: _Scope, room: Room) -> Iterator[tuple[AgentRule, ...]]:
    """Yield whom to take: one agent for all of the work, and for each feature of contexts the best agent for each value."""
    alone = [name for name in room.agents if len(room.agents) > 1]
    before = parent.agent_selection_rules
    for agent in alone:
        if scope.condition is None:
            yield (*(rule for rule in before if rule.when is not None), AgentRule(take=(agent,)))
        else:
            kept = tuple(rule for rule in before if rule.when != scope.condition)
            yield (AgentRule(when=scope.condition, take=(agent,)), *kept)
    for feature in effects.features if alone and scope.condition is None else ():
        values = sorted({value for context in scope.where for value in [dict(context).get(feature)] if isinstance(value, str)})
        if feature in ONES or len(values) < 2:
            continue
        rules = []
        for value in values:
            inside = {context: count for context, count in scope.where.items() if dict(context).get(feature) == value}
            best = max(alone, key=lambda agent: _believed(parent, now, (AgentRule(take=(agent,)),), effects, inside, room))
            rules.append(AgentRule(when=f"{quoted(feature)} = {quoted(value)}", take=(best,)))
        if len({rule.take for rule in rules}) > 1:
            yield tuple(rules)


def _believed(
    parent: Strategy, now: Ways, rules: tuple[AgentRule, ...], effects: Effects, where: Mapping[Context, int], room: Room
) -> float:
    gain = effects.compare(parent.model_copy(update={"agent_selection_rules": rules}), now, where, room.agents)
    return 0.0 if gain is None else gain.value


def _as_own(parent: Strategy, made: Strategy, scope: _Scope) -> Strategy:
    """Return a change as a strategy of its own, for a part of the work alone."""
    condition = str(scope.condition)
    always = made.agent_selection_rules[:1] and made.agent_selection_rules[0].when == condition  # it holds of all that is left
    rules = (AgentRule(take=made.agent_selection_rules[0].take),) if always else made.agent_selection_rules
    made = made.model_copy(update={"agent_selection_rules": rules})
    update = {
        "context_rules": (*parent.context_rules, condition),
        "rank": max(parent.rank - 1, 0),
        "slug": _named(f"{parent.slug} {condition.partition('.')[2]} {_told(parent, made)}"),
        "name": f"{parent.name}, where {condition}"[:200],
    }
    return made.model_copy(update=update)


def _named(text: str) -> str:
    """Return a slug that no other text has, as far as that goes: a long one ends with a digest of all of it."""
    whole = slugged(text, 1_000)
    return (
        whole if len(whole) <= LONGEST else f"{slugged(text, LONGEST - 9)}-{blake2b(text.encode(), digest_size=4).hexdigest()}"
    )


def _proposal(
    parent: Strategy, made: Strategy, part: str, gain: Gain, beyond: Gain, scope: _Scope, analysis: Analysis, origin: str
) -> Proposal:
    """Return a change as a proposal, with what it promises."""
    own = made.slug != parent.slug
    where = f" where {scope.condition}" if scope.condition is not None else ""
    tried = "nobody did so yet" if not gain.runs else f"{gain.runs} {'run' if gain.runs == 1 else 'runs'} did so"
    told = f"runs so far suggest {gain.value:+.2f} of the reward's range, give or take {gain.error:.2f}; {tried}"
    pattern = next((one for one in analysis.patterns if one.condition == scope.condition), None)
    why = f"{_told(parent, made)}{where}: {told}." + (f" {pattern.says.capitalize()}." if pattern is not None else "")
    return Proposal(
        strategy=Strategy.model_validate({**made.model_dump(mode="json"), "reasoning": why}),
        reasoning=why,
        expected_improvement=f"reward, by {gain.value:+.2f} of its range in {100 * scope.part:.0f} % of the runs",
        origin=origin,
        worth=math.sqrt(scope.part) * beyond.promise - SPLIT * own,
        part=part,
    )


def _told(parent: Strategy, made: Strategy) -> str:
    """Return what one strategy does otherwise than another."""
    found: list[str] = []
    if made.decomposition_approach != parent.decomposition_approach:
        found.append(made.decomposition_approach)
    if made.agent_selection_rules != parent.agent_selection_rules:
        rules = (f"{rule.take[0]}{f' for {rule.when}' if rule.when else ''}" for rule in made.agent_selection_rules)
        found.append(", ".join(rules) or "any agent")
    for name, value in made.retry_policy.model_dump().items():
        if value != getattr(parent.retry_policy, name):
            found.append(f"{name.replace('_', ' ')} {value}")
    if made.parallelism_config != parent.parallelism_config:
        found.append(f"{made.parallelism_config.max_parallel} at a time")
    return "; ".join(found)


def _tuned(parent: Strategy, tuned: Mapping[str, Any], origin: str) -> Proposal:
    policy = {name: value for name, value in tuned.items() if name != "max_parallel"}
    parallel = {name: value for name, value in tuned.items() if name == "max_parallel"}
    made = parent.model_copy(
        update={
            "retry_policy": parent.retry_policy.model_copy(update=policy),
            "parallelism_config": parent.parallelism_config.model_copy(update=parallel),
        }
    )
    why = f"{_told(parent, made) or 'the same numbers'}: what a search over the versions so far suggests."
    return Proposal(
        strategy=Strategy.model_validate({**made.model_dump(mode="json"), "reasoning": why}),
        reasoning=why,
        expected_improvement="the reward as a whole: success, attempts and time",
        origin=origin,
        worth=NUMBERS,
        part=SEARCH,
    )


def chosen(found: Sequence[Proposal], most: int) -> list[Proposal]:
    """Return the most promising proposals, each changing something else as far as there are others."""
    kept: list[Proposal] = []
    for fresh in (True, False):
        for one in found:
            again = any(version_of(one.strategy) == version_of(other.strategy) for other in kept)
            if len(kept) < most and not again and not (fresh and one.part in [other.part for other in kept]):
                kept.append(one)
    return kept
