"""The gate at work on the rules: runs since the last look are taken as evidence, and what that moves is moved."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.experiments.gate import Limits, Status
from learning_loop.experiments.trials import Trials, Verdict
from learning_loop.flows.plan import ARCHIVE, Plan
from learning_loop.flows.rules import RuleBook
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Event, Exposed
from learning_loop.rules import Rule

FORMAT = 1  # of what is kept of trials; raised when the same runs would come to something else
KEEP_EVERY = 200  # runs, at most, that are read again by the next process
AT_ONCE = 5_000
DECIDED = ("harm", "futile")  # what is not to be proposed again without new evidence
STATUS = {Status.TRIAL: "trial", Status.ACTIVE: "active", Status.RETIRED: "retired"}
SAYS = {
    "benefit": "it helps",
    "harm": "it harms",
    "futile": "it is not known to help after as many runs as a trial has",
    "change": "its effect looks as if it were gone",
}


def judge(app: App, *, wait_s: float = 30.0) -> list[Verdict]:
    """Take what ran since the last look, move the rules that it moves, and return what was moved.

    One process at a time; raise WorkspaceError where another one is at it for longer than `wait_s`. A crash at any moment
    leaves everything as it was, or everything done.
    """
    with app.journal.alone(wait_s=wait_s):
        app.journal.recover(lambda name: bool(app.ledger.events("files", name)))
        return _Look(app).carry_out()


class _Look:
    """One look under way: the trials as they were kept, and what is to change."""

    def __init__(self, app: App) -> None:
        self.app, self.now = app, app.clock()
        given = app.settings.evidence
        self.limits = Limits(**{field.name: getattr(given, field.name) for field in fields(Limits)})
        book = RuleBook(app)
        shown = [rule for rule in book.rules(fresh=True) if rule.shown]
        self.rules: dict[str, Rule] = {rule.unit: rule for rule in shown}
        newest = app.ledger.events("gate", last=1)
        self.kept: Mapping[str, Any] = newest[0].data if newest and newest[0].data["made"] == self._made() else {}
        tried = self.kept.get("trials") or self._tried(newest)
        self.trials = Trials(list(self.rules), self.limits, tried, promotes=app.settings.rules.approval != "human")
        self.excluded = int(self.kept.get("excluded", 0))
        self.place = int(self.kept["place"]) if self.kept else app.ledger.last_place() if newest else 0

    def _made(self) -> str:
        """Return what evidence must have in common: e-processes are bound to one version of the scoring."""
        text = json.dumps([FORMAT, self.app.settings.scoring.model_dump(mode="json")], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _tried(self, newest: Sequence[Event]) -> dict[str, Any]:
        """Return how many were tried and promoted, which no other scoring undoes."""
        trials = newest[0].data["trials"] if newest else {}
        return {name: trials.get(name, 0) for name in ("begun", "discoveries")}

    def carry_out(self) -> list[Verdict]:
        before = self.kept.get("odds", {})
        again = self._restart_what_was_fed()
        self._admit()
        verdicts, taken = [], 0
        for run in self._runs():
            verdicts += self.trials.take(run)
            self.place, taken = run.place, taken + 1
        if verdicts:
            self._admit()
        odds = {unit: self._odds(unit, chance) for unit, chance in self.trials.odds().items()}
        if verdicts or again or odds != before or taken >= KEEP_EVERY:
            self._keep(verdicts, odds)
        return verdicts

    def _restart_what_was_fed(self) -> list[str]:
        """Begin anew what rests on runs that a person has excluded since the last look."""
        excluded = self.app.ledger.events(EXCLUDED)
        fed = {unit for event in excluded[self.excluded :] for unit in event.data["units"]}
        again = [unit for unit in self.rules if unit in fed]
        self.trials.restart(again)
        self.excluded = len(excluded)
        return again

    def _runs(self) -> list[Exposed]:
        """Return the mature runs since the last look, up to the first that is not: it is waited for."""
        ripe = self.now - timedelta(hours=self.app.settings.evidence.maturity_hours)
        found: list[Exposed] = []
        while True:
            place = found[-1].place if found else self.place
            runs = self.app.ledger.exposed(after=place, limit=AT_ONCE)
            mature = [run for run in runs if run.ended_at <= ripe]
            found += mature[: next((at for at, run in enumerate(runs) if run.ended_at > ripe), len(runs))]
            if len(runs) < AT_ONCE or len(mature) < len(runs):
                return found

    def _odds(self, unit: str, chance: float) -> float:
        """Return how likely a unit is shown. What a person says is active stays so: the gate only watches it."""
        rule = self.rules[unit]
        if rule.pinned:
            return 1.0
        kept = rule.mine and rule.status == "active" and self.trials.status(unit) != Status.ACTIVE
        return self.limits.active if kept else chance

    def _admit(self) -> None:
        waiting = [self.rules[unit] for unit in self.trials.waiting if not self.rules[unit].pinned]
        approved = [
            rule
            for rule in self.rules.values()
            if rule.status == "active" and not rule.mine and self.trials.status(rule.unit) == Status.TRIAL
        ]
        self.trials.activate(rule.unit for rule in (*approved, *(rule for rule in waiting if rule.status == "active")))
        self.trials.admit(rule.unit for rule in self._in_order([rule for rule in waiting if rule.status == "trial"]))

    def _in_order(self, rules: Sequence[Rule]) -> list[Rule]:
        """Return rules that wait for a trial: the sooner, the more they promise and the longer they have waited."""
        changes = [event for event in self.app.ledger.events("rule_change") if event.data["action"] in ("add", "revise")]
        proposed = {event.subject: event for event in changes}

        def promise(rule: Rule) -> float:
            event = proposed.get(rule.id)
            weeks = (self.now - event.at) / timedelta(weeks=1) if event is not None else 0.0
            return abs(float(event.data["effect"]) if event is not None else 1.0) * (1 + weeks)

        return sorted(rules, key=promise, reverse=True)

    def _keep(self, verdicts: Sequence[Verdict], odds: Mapping[str, float]) -> None:
        """Commit it all at once: the evidence, the rules' notes, and why each was moved."""
        plan = Plan(self.app)
        for verdict in verdicts:
            self._move(plan, verdict)
        data = {
            "made": self._made(),
            "place": self.place,
            "excluded": self.excluded,
            "odds": dict(odds),
            "trials": self.trials.plain(),
        }
        plan.rows.append(Event(kind="gate", subject="rules", at=self.now, data=data))
        plan.commit("gate")

    def _move(self, plan: Plan, verdict: Verdict) -> None:
        rule = self.rules[verdict.unit]
        status, reason = STATUS[verdict.status], SAYS[verdict.reason]
        note = None if rule.mine else plan.own(rule.path)
        path = rule.path
        if note is not None:
            path = plan.move(note, ARCHIVE if status == "retired" else str(Path(note.path).parent), status=status)
        numbers = f"shown {verdict.shown} times, withheld {verdict.withheld}"
        data = {
            "action": {"trial": "try", "active": "promote", "retired": "retire"}[status],
            "key": f"rule: {rule.pattern}" if rule.pattern else rule.unit,
            "reason": f"{reason}: {numbers}",
            "title": rule.title,
            "before": rule.says,
            "after": rule.says if status != "retired" else None,
            "path": path,
            "effect": verdict.effect,
            "by": "loop",
            "verdict": verdict.reason,
            "moved": note is not None,
            "was": rule.plain(),
        }
        plan.rows.append(Event(kind="rule_change", subject=rule.id, at=self.now, data=data))


def judged(app: App) -> set[str]:
    """Return the units that runs have said something of: they are the gate's, so that no synthesis revises or retires them."""
    newest = app.ledger.events("gate", last=1)
    units = newest[0].data["trials"]["units"] if newest else {}
    return {unit for unit, packed in units.items() if any(packed["gate"]["evidence"]["runs"])}
