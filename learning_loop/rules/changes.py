"""The small changes a week makes to the rules: add, revise, retire. What a person wrote, locked or rejected stays so."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from learning_loop.features.conditions import Condition, parts_of, show
from learning_loop.rules.propose import Choice, Place, Proposal, choice_of, meet
from learning_loop.rules.rule import Rule, Then, said

MOST_RETIRED = 0.5  # of the loop's own rules that are in force, but one at least: a week that would take more is not believed


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change to one rule, and why. `rule` is None for one that is added; `before` and `after` are what it says."""

    action: str
    key: str
    reason: str
    title: str
    rule: Rule | None = None
    proposal: Proposal | None = None
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes to make, and the proposals and retirements that were held back, each with its reason."""

    changes: tuple[Change, ...]
    held_back: tuple[str, ...]


def plan_changes(
    rules: Sequence[Rule],
    proposed: Sequence[Proposal],
    *,
    fallen: Mapping[str, str],
    rejected: Mapping[str, float],
    most_new: int,
) -> Plan:
    """Return what to change. `rules` are all there are, by whomever.

    `fallen` are the keys of patterns that no longer stand, with why; `rejected` the keys of rules that a person rejected or
    removed, with how large the effect was then: only one that is larger beyond doubt is new evidence. At most `most_new`
    rules are added at once.
    """
    retired, kept = _retired(rules, fallen)
    going = [change.rule for change in retired]
    changes: list[Change] = []
    held: list[str] = []
    own = {rule.pattern: rule for rule in rules if rule.pattern and not rule.mine}
    staying = [rule for rule in rules if rule.status not in ("retired", "rejected") and rule not in going]
    said_already = [_meaning(rule.when, rule.then) for rule in staying]
    places = [_place(rule) for rule in staying]
    refused = {key.removeprefix("rule: "): effect for key, effect in rejected.items()}
    refused |= {rule.pattern: math.inf for rule in rules if rule.mine and rule.pattern and rule.status != "rejected"}
    choices = {pattern: choice_of(pattern) for pattern in refused}
    for proposal in proposed:
        known, choice = own.get(proposal.pattern), choice_of(proposal.pattern)
        if known is not None and known.status not in ("retired", "rejected"):
            if known.says != _says(proposal):
                changes.append(_change("revise", proposal, known, f"its pattern now says: {proposal.reason}"))
            continue
        before = [refused[name] for name in refused if name == proposal.pattern or _agree(choice, choices[name])]
        if before and (proposal.low or 0.0) <= max(before):
            continue  # a person's by now, or refused: from the other side, it would get round them
        where, done = _meaning(proposal.when, proposal.then)
        if any(done == other and there <= where for there, other in said_already):
            continue  # another rule says it already, here or wherever it holds
        if choice is not None and any(meet(choice.place, place) for place in places):
            continue  # what another rule says of this choice is tried first
        said_already.append((where, done))
        places += [choice.place] if choice is not None else []
        if sum(change.action == "add" for change in changes) >= most_new:
            held.append(f"{proposal.title}: waits, for {most_new} rules a week are enough to judge")
        else:
            changes.append(_change("add", proposal, known, proposal.reason))
    return Plan((*changes, *retired), (*held, *kept))


def _retired(rules: Sequence[Rule], fallen: Mapping[str, str]) -> tuple[list[Change], list[str]]:
    in_force = [rule for rule in rules if not rule.mine and rule.status not in ("retired", "rejected")]
    found = [
        Change(
            action="retire",
            key=f"rule: {rule.pattern}",
            reason=fallen[rule.pattern],
            title=rule.title,
            rule=rule,
            before=rule.says,
        )
        for rule in in_force
        if rule.pattern is not None and rule.pattern in fallen
    ]
    found += _duplicates(rules, [change.rule for change in found])
    if len(found) > max(1.0, MOST_RETIRED * len(in_force)):
        return [], [
            f"{len(found)} of {len(in_force)} rules would be retired at once: none was. Look whether the evidence is whole"
        ]
    return found, []


def _duplicates(rules: Sequence[Rule], gone: Sequence[Rule | None]) -> list[Change]:
    """Return the retirement of every rule of the loop's own that another one, or a person's, says already."""
    seen: dict[tuple[frozenset[str], str], Rule] = {}
    found = []
    standing = [rule for rule in rules if rule.status not in ("retired", "rejected") and rule not in gone]
    for rule in sorted(standing, key=lambda rule: not rule.mine):
        first = seen.setdefault(_meaning(rule.when, rule.then), rule)
        if first is not rule and not rule.mine:
            reason = f"{first.path} says the same"
            key = f"rule: {rule.pattern}"
            found.append(Change(action="retire", key=key, reason=reason, title=rule.title, rule=rule, before=rule.says))
    return found


def _change(action: str, proposal: Proposal, rule: Rule | None, reason: str) -> Change:
    return Change(
        action=action,
        key=proposal.key,
        reason=reason,
        title=proposal.title,
        rule=rule,
        proposal=proposal,
        before=rule.says if rule is not None else None,
        after=_says(proposal),
    )


def _says(proposal: Proposal) -> str:
    return f"when {show(proposal.when) if proposal.when is not None else 'always'}: {said(proposal.then)}"


def _place(rule: Rule) -> Place:
    """Return what a rule is about, by what it does and by its pattern."""
    names = {f"parameter.{name}" for name in rule.then.set}
    names |= {f"decision.{point}" for point in (*rule.then.prefer, *rule.then.avoid)}
    choice = choice_of(rule.pattern) if rule.pattern else None
    return _where(rule.when), frozenset(names) | (choice.place[1] if choice is not None else frozenset())


def _agree(one: Choice | None, other: Choice | None) -> bool:
    return one is not None and other is not None and one.agrees(other)


def _where(when: Condition | None) -> frozenset[str]:
    return frozenset(map(show, parts_of(when)))


def _meaning(when: Condition | None, then: Then) -> tuple[frozenset[str], str]:
    """Return what a rule comes to apart from its wording: where, and what it does; rules with the same are duplicates."""
    done = {name: value for name, value in then.plain().items() if name != "advise"} or {"advise": then.advise}
    return _where(when), repr(sorted(done.items()))
