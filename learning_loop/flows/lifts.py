"""What is known of each rule, and of memory as a whole: how often it was shown, its effect, and the gate's verdict."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from learning_loop.app import App
from learning_loop.experiments.lift import Lift, Lifts
from learning_loop.features.encoding import OWN
from learning_loop.flows.remember import place_of
from learning_loop.flows.rules import RuleBook
from learning_loop.flows.ruling import archived_rules, find_rule
from learning_loop.records import Event
from learning_loop.rules import Rule

HELPS, HARMS, UNKNOWN = "helps", "harms", "not yet known"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLift:
    """A rule, or a part of memory, with its lift. `moves` are what the gate and people did to it, the oldest first."""

    id: str
    title: str
    status: str | None
    lift: Lift
    verdict: str
    since: datetime | None
    moves: tuple[Event, ...] = ()
    rule: Rule | None = None
    by_type: Mapping[str, Lift] = field(default_factory=dict)

    @property
    def harms_in(self) -> list[str]:
        """The types of task in which it does harm, beyond doubt."""
        return [name for name, lift in self.by_type.items() if lift.high is not None and lift.high < 0]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        names = ("shown", "withheld", "effect", "low", "high", "followed", "as_followed", "skewed")
        known = {"id": self.id, "title": self.title, "status": self.status, "verdict": self.verdict, "since": self.since}
        by_type = {name: {part: getattr(lift, part) for part in names[:5]} for name, lift in self.by_type.items()}
        return known | {name: getattr(self.lift, name) for name in names} | {"by_type": by_type, "harms_in": self.harms_in}


def rule_lifts(app: App, *, retired: bool = False, lifts: Lifts | None = None) -> list[RuleLift]:
    """Return every rule that can be read, those with evidence first; those in the archive too where they are wanted.

    `lifts` are those of the runs to go by, where they were read already: the newest that the ledger gives.
    """
    rules = [*RuleBook(app).rules(fresh=True), *(archived_rules(app) if retired else ())]
    found = _of_rules(app, rules, lifts or Lifts(app.ledger.exposed()))
    return sorted(found, key=lambda item: (-(item.lift.shown + item.lift.withheld), item.title))


def rule_lift(app: App, name: str) -> RuleLift:
    """Return what is known of one rule; raise NotFoundError."""
    (found,) = _of_rules(app, [find_rule(app, name)], Lifts(app.ledger.exposed()))
    return found


def memory_lifts(app: App, *, lifts: Lifts | None = None) -> list[RuleLift]:
    """Return memory as a whole and the kinds of notes in it, as far as they were ever drawn; `lifts` as above."""
    lifts = lifts or Lifts(app.ledger.exposed())
    names, found = {"memory": "memory as a whole"}, []
    for unit in sorted(lifts.units, key=lambda unit: (unit != "memory", unit)):
        if not unit.startswith("rule:"):
            lift, title = lifts.of(unit), names.get(unit, f"notes: {unquote(unit.removeprefix('kind:'))}")
            found.append(RuleLift(id=unit, title=title, status=None, lift=lift, verdict=_said(lift), since=None))
    return found


def shown_to(app: App, execution_id: str) -> list[tuple[str, str, float, bool]]:
    """Return what was drawn for an execution: unit, title, how likely it was shown, whether it was. Raise NotFoundError.

    First the notes that it was shown, by their paths: of the kinds that were, these were found.
    """
    record = app.ledger.execution(app.ledger.resolve(execution_id))
    titles = {event.subject: event.data["title"] for event in app.ledger.events("rule_change")}
    titles |= {rule.id: rule.title for rule in RuleBook(app).rules(fresh=True)}
    found = [(path, path, 1.0, True) for path in record.noted("pre", "briefing") or ()]
    for decision in (item for item in record.decisions if item.point == OWN):
        shown = decision.chosen.split()
        for unit, odds in zip(decision.alternatives, decision.probabilities or (), strict=True):
            title = titles.get(unquote(unit.removeprefix("rule:").rpartition("@")[0]), unit)
            found.append((unit, title, float(odds), unit in shown))
    return found


def reasons(app: App, name: str) -> dict[str, Any]:
    """Return what a rule rests on: pattern, changes, executions, and the notes of both. Raise NotFoundError."""
    rule = find_rule(app, name)
    versions = app.ledger.note_versions(subject=f"pattern:{rule.pattern}")[:1] if rule.pattern else []
    versions += [version for run in rule.evidence for version in app.ledger.note_versions(execution_id=run)]
    notes = dict.fromkeys(place_of(app, version) for version in versions)
    return {
        "id": rule.id,
        "title": rule.title,
        "says": rule.says,
        "pattern": rule.pattern,
        "changes": [event.data for event in app.ledger.events("rule_change", rule.id)],
        "notes": [path for path in notes if (app.workspace.root / path).is_file()],
        "executions": list(rule.evidence),
    }


def _of_rules(app: App, rules: Sequence[Rule], lifts: Lifts) -> list[RuleLift]:
    moves: dict[str, list[Event]] = {}
    for event in app.ledger.events("rule_change"):
        moves.setdefault(event.subject, []).append(event)
    newest, found = app.ledger.events("odds", last=1), []
    helping = newest[0].data["helping"] if newest else ()
    for rule in rules:
        passed = app.ledger.measured(f"rule_check:{rule.id}") if rule.then.check is not None else {}
        lift = lifts.of(rule.unit, {run: value > 0 for run, value in passed.items()})
        found.append(_of_rule(rule, lift, moves.get(rule.id, []), lifts.by_type(rule.unit), helping))
    return found


def _of_rule(rule: Rule, lift: Lift, moves: list[Event], by_type: Mapping[str, Lift], helping: Collection[str]) -> RuleLift:
    """Return a rule with the gate's newest verdict on what it says now; what was said of it before it was edited is no more."""
    said = [event for event in moves if event.data.get("unit") == rule.unit and event.data["verdict"] != "futile"]
    newest = said[-1] if said else None
    verdict = {"benefit": HELPS, "harm": HARMS, "change": UNKNOWN}[newest.data["verdict"]] if newest else UNKNOWN
    return RuleLift(
        id=rule.id,
        title=rule.title,
        status=rule.status,
        lift=lift,
        verdict=HELPS if rule.unit in helping else verdict,
        since=newest.at if newest and rule.unit not in helping else None,
        moves=tuple(moves),
        rule=rule,
        by_type=by_type,
    )


def _said(lift: Lift) -> str:
    if lift.low is None or lift.high is None:
        return UNKNOWN
    return HELPS if lift.low > 0 else HARMS if lift.high < 0 else UNKNOWN
