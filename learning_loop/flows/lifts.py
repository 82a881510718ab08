"""What is known of each rule, and of memory as a whole: how often it was shown, its effect, and the gate's verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from learning_loop.app import App
from learning_loop.experiments.lift import Lift, lifts
from learning_loop.features.encoding import OWN
from learning_loop.flows.rules import RuleBook
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

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        names = ("shown", "withheld", "effect", "low", "high", "followed", "as_followed", "skewed")
        known = {"id": self.id, "title": self.title, "status": self.status, "verdict": self.verdict, "since": self.since}
        return known | {name: getattr(self.lift, name) for name in names}


def rule_lifts(app: App) -> list[RuleLift]:
    """Return every rule that can be read, those with evidence first."""
    rules = RuleBook(app).rules(fresh=True)
    known = _lifts(app, {rule.unit: f"rule_check:{rule.id}" for rule in rules if rule.then.check is not None})
    moves: dict[str, list[Event]] = {}
    for event in app.ledger.events("rule_change"):
        moves.setdefault(event.subject, []).append(event)
    found = [_of_rule(rule, known.get(rule.unit) or Lift(rule.unit, 0, 0), moves.get(rule.id, [])) for rule in rules]
    return sorted(found, key=lambda item: (-(item.lift.shown + item.lift.withheld), item.title))


def memory_lifts(app: App) -> list[RuleLift]:
    """Return memory as a whole and the kinds of notes in it, as far as they were ever drawn."""
    names = {"memory": "memory as a whole"}
    return [
        RuleLift(
            id=unit,
            title=names.get(unit, f"notes: {unit.removeprefix('kind:')}"),
            status=None,
            lift=lift,
            verdict=_said(lift),
            since=None,
        )
        for unit, lift in sorted(_lifts(app, {}).items(), key=lambda item: (item[0] != "memory", item[0]))
        if not unit.startswith("rule:")
    ]


def shown_to(app: App, execution_id: str) -> list[tuple[str, str, float, bool]]:
    """Return what was drawn for an execution: unit, title, how likely it was shown, whether it was. Raise NotFoundError."""
    record = app.ledger.execution(app.ledger.resolve(execution_id))
    titles = {rule.unit: rule.title for rule in RuleBook(app).rules(fresh=True)}
    return [
        (unit, titles.get(unit, unit), float(odds), unit in decision.chosen.split())
        for decision in record.decisions
        if decision.point == OWN
        for unit, odds in zip(decision.alternatives, decision.probabilities or (), strict=True)
    ]


def _lifts(app: App, checks: Mapping[str, str]) -> dict[str, Lift]:
    passed = {unit: {run: value > 0 for run, value in app.ledger.measured(metric).items()} for unit, metric in checks.items()}
    return lifts(app.ledger.exposed(), passed)


def _of_rule(rule: Rule, lift: Lift, moves: list[Event]) -> RuleLift:
    said = [event for event in moves if event.data.get("verdict") in ("benefit", "harm", "change")]
    newest = said[-1] if said else None
    verdict = {"benefit": HELPS, "harm": HARMS, "change": UNKNOWN}[newest.data["verdict"]] if newest else _said(lift)
    return RuleLift(
        id=rule.id,
        title=rule.title,
        status=rule.status,
        lift=lift,
        verdict=verdict,
        since=newest.at if newest else None,
        moves=tuple(moves),
        rule=rule,
    )


def _said(lift: Lift) -> str:
    if lift.low is None or lift.high is None:
        return UNKNOWN
    return HELPS if lift.low > 0 else HARMS if lift.high < 0 else UNKNOWN
