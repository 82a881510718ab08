"""Rules from patterns, by templates: what to do is what the pattern's conditions allow to be done."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learning_loop.features.conditions import AllOf, Comparison, Condition, all_of, parse, show
from learning_loop.records import Pattern
from learning_loop.rules.rule import Then, said

_CONTEXT = ("type", "component", "project", "agent", "tag")  # what a task is given with; the rest somebody chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A rule that a pattern suggests.

    `key` is what it is remembered by; `effect` and `low`, its lower bound, say how strong it is.
    """

    key: str
    title: str
    when: Condition | None
    then: Then
    reason: str
    pattern: str
    effect: float
    low: float | None
    executions: tuple[str, ...]


def proposals(patterns: Sequence[Pattern], *, settable: Sequence[str] = ()) -> list[Proposal]:
    """Return the rules that patterns suggest, the strongest pattern's first.

    Of two that are about the same choice in the same place, as to avoid one option and to prefer the other, the first.
    `settable` are the parameters a rule may set; of others it only advises.
    """
    found: dict[tuple[str, tuple[str, ...]], Proposal] = {}
    for pattern in patterns:
        proposal = _from_dependency(pattern) if pattern.family == "dependency" else _from(pattern, settable)
        if proposal is not None:
            where = show(proposal.when) if proposal.when is not None else ""
            found.setdefault((where, _choice(proposal, pattern)), proposal)
    return list(found.values())


def _choice(proposal: Proposal, pattern: Pattern) -> tuple[str, ...]:
    """Return what a rule is about: decision points, else the features of its pattern that are no part of its condition."""
    points = (*proposal.then.prefer, *proposal.then.avoid)
    if points:
        return tuple(sorted(points))
    if pattern.family == "dependency":
        return (pattern.key,)
    _, chosen = _parted(parse(pattern.antecedent))
    return tuple(sorted(part.name for part in chosen))


def _from(pattern: Pattern, settable: Sequence[str]) -> Proposal | None:
    context, chosen = _parted(parse(pattern.antecedent))
    if pattern.family == "performance" or not chosen:
        return None  # nothing that anybody chose for the run: a report says it, a rule could only say to take care
    good = pattern.family == "success"
    decided = [part for part in chosen if part.name.startswith("decision.") and part.operator == "="]
    given = [part for part in chosen if part not in decided]
    if len(decided) == 1 and all(part.name.startswith("parameter.") for part in given):
        options = {decided[0].name.partition(".")[2]: decided[0].values}  # what is given with the task says when
        return _proposal(pattern, [*context, *given], Then(prefer=options if good else {}, avoid={} if good else options))
    settings = {
        part.name.partition(".")[2]: _value(part.values[0])
        for part in given
        if good and part.operator == "=" and part.name.startswith("parameter.") and part.name.partition(".")[2] in settable
    }
    both = " together with ".join(show(part).replace(".", " ", 1) for part in chosen)
    return _proposal(pattern, context, Then(advise=f"{'use' if good else 'avoid'} {both}", set=settings))


def _from_dependency(pattern: Pattern) -> Proposal | None:
    if pattern.consequent.startswith("failure where "):
        if "together" in pattern.title:  # what both share is behind it, and neither is the other's condition
            return None
        when = parse(pattern.consequent.removeprefix("failure where "))
        return _proposal(pattern, [when], Then(advise=f"make sure first that the last run with {pattern.antecedent} succeeded"))
    context, changed = _parted(parse(pattern.antecedent))
    what = ", ".join(show(part).partition(".")[2] for part in changed)
    return _proposal(pattern, context, Then(advise=f"failures began with {what}: go back to the version before it, or pin it"))


def _proposal(pattern: Pattern, context: Sequence[Condition], then: Then) -> Proposal:
    return Proposal(
        key=f"rule: {pattern.key}",
        title=f"{_capital(then)} where {show(all_of(context))}" if context else _capital(then),
        when=all_of(context) if context else None,
        then=then,
        reason=pattern.text,
        pattern=pattern.key,
        effect=pattern.effect,
        low=pattern.low,
        executions=pattern.executions,
    )


def _capital(then: Then) -> str:
    text = said(then)
    return text[:1].upper() + text[1:]


def _parted(condition: Condition) -> tuple[list[Condition], list[Comparison]]:
    """Return the parts that say what a task is, and those that say what was chosen for it."""
    parts = condition.parts if isinstance(condition, AllOf) else (condition,)
    context: list[Condition] = []
    chosen = []
    for part in parts:
        if isinstance(part, Comparison) and part.name not in _CONTEXT:
            chosen.append(part)
        else:
            context.append(part)
    return context, chosen


def _value(text: str) -> Any:
    """Return a parameter's value from the text it is compared by."""
    try:
        return json.loads(text)
    except ValueError:
        return text
