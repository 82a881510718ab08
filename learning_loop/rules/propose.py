"""Rules from patterns, by templates: what to do is what the pattern's conditions allow to be done."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learning_loop.errors import ConditionError
from learning_loop.features.conditions import Comparison, Condition, all_of, parse, parts_of, show
from learning_loop.records import Pattern
from learning_loop.rules.rule import Then, said

_CONTEXT = ("type", "component", "project", "agent", "tag")  # what a task is given with; the rest somebody chooses


Place = tuple[frozenset[str], frozenset[str]]  # where something is chosen, and the names of what is


@dataclass(frozen=True, slots=True)
class Choice:
    """What a pattern says of a choice: where it holds, the options, and whether they are those to take or to leave."""

    where: frozenset[str]
    parts: tuple[Comparison, ...]
    good: bool

    @property
    def place(self) -> Place:
        return self.where, frozenset(part.name for part in self.parts)

    def agrees(self, other: "Choice") -> bool:
        """Whether both come to the same: to take one option and to leave another of the same choice are taken for that."""
        if self.where != other.where or len(self.parts) > 1 or self.good == other.good:
            return self == other
        return self.place == other.place and _apart(self.parts[0], other.parts[0])


def meet(one: Place, other: Place) -> bool:
    """Say whether two rules are about the same choice in the same place, or one about a part of the other's."""
    return one[0] == other[0] and not one[1].isdisjoint(other[1])


def _apart(one: Comparison, other: Comparison) -> bool:
    """Say whether two tests of one feature are of different options, as far as they can be compared."""
    if one.operator == other.operator == "=":
        return one.values != other.values
    return {one.operator, other.operator} == {">", "<="} and one.values == other.values


def choice_of(pattern: str) -> Choice | None:
    """Return what a pattern, named by its key, says of a choice; None where it is about none, or cannot be read."""
    family, _, antecedent = pattern.partition(": ")
    if family not in ("success", "failure"):
        return None
    try:
        context, chosen = _parted(parse(antecedent))
    except ConditionError:  # a person's hand was at it
        return None
    parts = tuple(sorted(chosen, key=lambda part: part.name))
    return Choice(frozenset(map(show, context)), parts, family == "success") if parts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A rule that a pattern suggests.

    `key` is what it is remembered by; `effect` and `low`, its lower bound, say how strong it is; `origin` is who made it.
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
    origin: str = "patterns"


def proposals(patterns: Sequence[Pattern], *, settable: Sequence[str] = ()) -> list[Proposal]:
    """Return the rules that patterns suggest, in their order, but those that do something before those that only advise.

    `settable` are the parameters a rule may set.
    """
    found = [_from_dependency(item) if item.family == "dependency" else _from(item, settable) for item in patterns]
    return sorted((item for item in found if item is not None), key=lambda item: not item.then.acts)


def _from(pattern: Pattern, settable: Sequence[str]) -> Proposal | None:
    context, chosen = _parted(parse(pattern.antecedent))
    if pattern.family == "performance" or not chosen:
        return None  # nothing that anybody chose for the run: a report says it, a rule could only say to take care
    good = pattern.family == "success"
    if len(chosen) == 1 and _decided(chosen[0]):
        options = {chosen[0].name.partition(".")[2]: chosen[0].values}
        return _proposal(pattern, context, Then(prefer=options if good else {}, avoid={} if good else options))
    settings = {
        part.name.partition(".")[2]: _value(part.values[0])
        for part in chosen
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


def _decided(part: Comparison) -> bool:
    return part.name.startswith("decision.") and part.operator == "="


def _parted(condition: Condition) -> tuple[list[Condition], list[Comparison]]:
    """Return the parts that say what a task is, and those that say what was chosen for it.

    Parameters beside one decision are given with the task: they say when to decide so.
    """
    context: list[Condition] = []
    chosen: list[Comparison] = []
    for part in parts_of(condition):
        if isinstance(part, Comparison) and part.name not in _CONTEXT:
            chosen.append(part)
        else:
            context.append(part)
    given = [part for part in chosen if part.name.startswith("parameter.")]
    if len(given) + 1 == len(chosen) and any(map(_decided, chosen)):
        return [*context, *given], [part for part in chosen if part not in given]
    return context, chosen


def _value(text: str) -> Any:
    """Return a parameter's value from the text it is compared by."""
    try:
        return json.loads(text)
    except ValueError:
        return text
