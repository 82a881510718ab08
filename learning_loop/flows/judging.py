"""The gate at work on the rules: runs since the last look are taken as evidence, and what that moves is moved."""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.errors import WorkspaceError
from learning_loop.experiments.gate import Status
from learning_loop.experiments.trials import Trials, Verdict
from learning_loop.flows.plan import ARCHIVE, Plan
from learning_loop.flows.rules import RuleBook
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Event, Exposed
from learning_loop.rules import Rule

FORMAT = 2  # of what is kept of trials; raised when the same runs would come to something else
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


def catch_up(app: App) -> None:
    """Judge what there is to judge, for who only wants to look: where another process is at it, as things stand."""
    with contextlib.suppress(WorkspaceError):
        judge(app, wait_s=0.5)


def judged(app: App) -> set[str]:
    """Return the units that runs have said something of: they are the gate's, so that no synthesis revises or retires them."""
    newest = app.ledger.events("gate", last=1)
    units = newest[0].data["trials"]["units"] if newest else {}
    return {unit for unit, packed in units.items() if any(packed["gate"]["evidence"]["runs"])}


class _Look:
    """One look under way: the trials as they were kept, and what is to change."""

    def __init__(self, app: App) -> None:
        self.app, self.now = app, app.clock()
        self.limits = app.settings.evidence
        in_force = [rule for rule in RuleBook(app).in_force(fresh=True) if not rule.pinned]
        self.rules: dict[str, Rule] = {rule.unit: rule for rule in in_force}
        newest = app.ledger.events("gate", last=1)
        self.kept: Mapping[str, Any] = newest[0].data if newest and newest[0].data["made"] == self._made() else {}
        tried = self.kept.get("trials") or self._tried(newest)
        self.trials = Trials(list(self.rules), self.limits, tried, promotes=app.settings.rules.approval != "human")
        self.excluded = int(self.kept.get("excluded", 0))
        self.place = int(self.kept["place"]) if self.kept else app.ledger.last_place()  # what is proposed is judged from now on

    def _made(self) -> str:
        """Return what evidence must have in common: e-processes are bound to one version of the scoring."""
        text = json.dumps([FORMAT, self.app.settings.scoring.model_dump(mode="json")], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _tried(self, newest: Sequence[Event]) -> dict[str, Any]:
        """Return how many were tried and promoted, which no other scoring undoes."""
        trials = newest[0].data["trials"] if newest else {}
        return {name: trials.get(name, 0) for name in ("begun", "discoveries")}

    def carry_out(self) -> list[Verdict]:
        changed = bool(self._begin_again()) | self._follow_people() | self._fill()
        verdicts, taken = [], 0
        for run in self._runs() if self.rules else ():
            verdicts += self.trials.take(run)
            self.place, taken = run.place, taken + 1
        if verdicts:
            self._fill()
        plan = Plan(self.app)
        for verdict in verdicts:
            self._move(plan, verdict)
        if verdicts or changed or taken >= KEEP_EVERY:
            kept = {"made": self._made(), "place": self.place, "excluded": self.excluded, "trials": self.trials.plain()}
            plan.rows.append(Event(kind="gate", subject="rules", at=self.now, data=kept))
        odds = {"odds": {unit: self._odds(unit, chance) for unit, chance in self.trials.odds().items()}}
        odds["helping"] = dict.fromkeys(self.trials.helping(), 1.0)
        newest = self.app.ledger.events("odds", last=1)
        if odds != (newest[0].data if newest else {"odds": {}, "helping": {}}):
            plan.rows.append(Event(kind="odds", subject="rules", at=self.now, data=odds))
        if plan.rows:
            plan.commit("gate")
        return verdicts

    def _runs(self) -> list[Exposed]:
        """Return the mature runs since the last look, up to the first that is not: it is waited for."""
        ripe = self.now - timedelta(hours=self.app.settings.evidence.maturity_hours)
        found: list[Exposed] = []
        while True:
            runs = self.app.ledger.exposed_since(found[-1].place if found else self.place, limit=AT_ONCE)
            mature = next((at for at, run in enumerate(runs) if run.ended_at > ripe), len(runs))
            found += runs[:mature]
            if len(runs) < AT_ONCE or mature < len(runs):
                return found

    def _begin_again(self) -> list[str]:
        """Begin anew the evidence of what was fed by runs that a person has excluded since the last look."""
        excluded = self.app.ledger.events(EXCLUDED)
        fed = {unit for event in excluded[self.excluded :] if event.data["place"] <= self.place for unit in event.data["units"]}
        again = [unit for unit in self.rules if unit in fed]
        self.trials.restart(again)
        self.excluded = len(excluded)
        return again

    def _follow_people(self) -> bool:
        """Take what notes say that the gate did not: a rule that a person made active, or put on trial again."""
        active, again = list[str](), list[str]()
        for unit, rule in self.rules.items():
            status = self.trials.status(unit)
            if status == Status.CANDIDATE and rule.status == "active":
                active.append(unit)
            elif status != Status.CANDIDATE and not rule.mine and STATUS[status] != rule.status:
                (active if rule.status == "active" else again).append(unit)
        self.trials.activate(active)
        self.trials.admit(again)
        return bool(active or again)

    def _fill(self) -> bool:
        """Begin the trials that there is room for: the sooner, the more a rule promises and the longer it has waited."""
        changes = [event for event in self.app.ledger.events("rule_change") if event.data["action"] in ("add", "revise")]
        proposed = {event.subject: event for event in changes}

        def promise(rule: Rule) -> float:
            event = proposed.get(rule.id)
            weeks = (self.now - event.at) / timedelta(weeks=1) if event is not None else 0.0
            return abs(float(event.data["effect"]) if event is not None else 1.0) * (1 + weeks)

        waiting = sorted((self.rules[unit] for unit in self.trials.waiting), key=promise, reverse=True)
        return bool(self.trials.admit(rule.unit for rule in waiting))

    def _odds(self, unit: str, chance: float) -> float:
        """Return how likely a unit is shown. What a person says of a rule of theirs stays so: the gate only watches it."""
        rule = self.rules[unit]
        if rule.mine and STATUS.get(self.trials.status(unit)) != rule.status:
            return self.limits.trial if rule.status == "trial" else self.limits.active
        return chance

    def _move(self, plan: Plan, verdict: Verdict) -> None:
        rule = self.rules[verdict.unit]
        status, path = STATUS[verdict.status], rule.path
        note = None if rule.mine else plan.own(rule.path)
        if note is not None:
            path = plan.move(note, ARCHIVE if status == "retired" else str(Path(note.path).parent), status=status)
        left = "" if note is not None else "; it is yours, and was left as it is"
        data = {
            "action": {"trial": "try", "active": "promote", "retired": "retire"}[status] if note is not None else "watch",
            "key": f"rule: {rule.pattern}" if rule.pattern else rule.unit,
            "unit": rule.unit,
            "reason": f"{SAYS[verdict.reason]}: shown {verdict.shown} times, withheld {verdict.withheld}{left}",
            "title": rule.title,
            "before": rule.says,
            "after": rule.says if status != "retired" else None,
            "path": path,
            "effect": verdict.effect,
            "by": "loop",
            "verdict": verdict.reason,
            "was": rule.plain(),
        }
        plan.rows.append(Event(kind="rule_change", subject=rule.id, at=self.now, data=data))
