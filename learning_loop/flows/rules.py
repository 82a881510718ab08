"""Rules at work: which hold for a task, what of them is shown, and what they set, order and check."""

import threading
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from learning_loop.app import App
from learning_loop.errors import ConditionError, NoteError
from learning_loop.features import declared, facts_of, features_from, holds
from learning_loop.features.conditions import names_of
from learning_loop.records import Decision, Hit, Outcome, Task
from learning_loop.rules import Rule, read_rule, said
from learning_loop.workspace import Note
from learning_loop.workspace.notes import digest_of

FOLDER = "memory/rules"
LOOK_S = 1.0  # how long the rules are believed before their files are looked at again


@dataclass
class Applied:
    """The rules that are shown to a run, and the decision about them and all else that was eligible."""

    rules: tuple[Rule, ...] = ()
    decision: Decision | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the rules set, in copies: the work may change what it is given."""
        found: dict[str, Any] = {}
        for rule in self.rules:
            found |= deepcopy(dict(rule.then.set))
        return found

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Return the rules as a briefing shows them."""
        return tuple(
            Hit(id=rule.id, source=rule.path, category="rule", title=rule.title, text=said(rule.then), score=1.0)
            for rule in self.rules
        )

    def ordered(self, point: str, options: Sequence[str]) -> list[str]:
        """Return options with those preferred at this decision point first and those to be avoided last."""
        preferred = {name for rule in self.rules for name in rule.then.prefer.get(point, ())}
        avoided = {name for rule in self.rules for name in rule.then.avoid.get(point, ())}
        return sorted(options, key=lambda name: (name in avoided) - (name in preferred and name not in avoided))

    def checked(self, outcome: Outcome, scores: Mapping[str, float | None]) -> list[tuple[Rule, bool]]:
        """Return the rules with a check and whether the run passed it; those that ask what is not known are left out."""
        facts = _record(outcome, scores)
        return [
            (rule, holds(rule.then.check, facts)) for rule in self.rules if rule.then.check is not None and _known(rule, facts)
        ]


class RuleBook:
    """The rules of a workspace, read again when their files change."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._looked_at = -LOOK_S
        self._marks: dict[str, str] = {}
        self._rules: dict[str, Rule] = {}
        self._odds: Mapping[str, float] = {}
        self._approved: set[str] = set()
        self.faults: list[str] = []

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def eligible(self, task: Task) -> list[Rule]:
        """Return the rules that hold for a task, and may be shown."""
        rules = self.in_force()
        facts = facts_of(_features(task)) if rules else {}
        return [rule for rule in rules if rule.matches(facts)]

    def in_force(self, *, fresh: bool = False) -> list[Rule]:
        """Return the rules that may be shown: on trial or active, and where people approve rules, approved by one or theirs."""
        rules = [rule for rule in self.rules(fresh=fresh) if rule.shown]
        if self._app.settings.rules.approval != "human":
            return rules
        return [rule for rule in rules if rule.mine or rule.id in self._approved]

    def odds(self, rule: Rule, task: Task) -> float:
        """Return how likely a rule is shown to a task that it holds for."""
        if rule.pinned or (rule.safety and task.critical):
            return 1.0
        limits = self._app.settings.evidence
        first = limits.trial if rule.status == "trial" else limits.active_first
        return self._odds.get(rule.unit, first)

    def rules(self, *, fresh: bool = False) -> list[Rule]:
        """Return every rule that can be read; `faults` says of the others why not."""
        with self._lock:
            if fresh or time.monotonic() - self._looked_at >= LOOK_S:
                self._look()
                if self._rules:  # else there is nothing to be likely, or approved
                    newest = self._app.ledger.events("odds", last=1)
                    self._odds = newest[0].data["odds"] if newest else {}
                    self._approved = approved(self._app) if self._app.settings.rules.approval == "human" else set()
                self._looked_at = time.monotonic()
            return list(self._rules.values())

    def _look(self) -> None:
        marks = {path: mark for path, mark in self._app.notes.marks_below(FOLDER).items() if not path.endswith(".proposal.md")}
        if marks == self._marks:
            return
        found, faults = {}, []
        for path, mark in sorted(marks.items()):
            if self._marks.get(path) == mark and path in self._rules:
                found[path] = self._rules[path]
                continue
            try:
                found[path] = rule_of(self._app, self._app.notes.read(path))
            except (NoteError, ConditionError) as error:
                faults.append(str(error))
        self._rules, self._marks, self.faults = found, marks, faults


def approved(app: App) -> set[str]:
    """Return the ids of the rules that a person has approved."""
    return {event.subject for event in app.ledger.events("rule_change") if event.data["action"] == "approve"}


def rule_of(app: App, note: Note) -> Rule:
    """Read a note as a rule; raise ConditionError that names it."""
    versions = {version.digest for version in app.ledger.note_versions(note_id=note.id)}
    ours = digest_of(note.content) in versions
    return read_rule(id=note.id, path=note.path, title=note.title, meta=note.meta, written_by_loop=ours)


def _features(task: Task) -> dict[str, str]:
    named = {"type": task.type, "component": task.component, "project": task.project}
    dependencies = {f"dependency:{name}": "declared" for name in task.dependencies} | declared(task.dependencies)
    found = {name: value for name, value in named.items() if value is not None}
    return {**found, **dependencies, **features_from(task.parameters, (), (), task.tags, task.agent)}


def _record(outcome: Outcome, scores: Mapping[str, float | None]) -> dict[str, str | tuple[str, ...]]:
    names = ("status", "success", "duration_s", "cost_usd", "tokens", "exit_code", "tests_passed", "tests_total")
    found: dict[str, Any] = {name: getattr(outcome, name) for name in (*names, "attempts", "failed_attempts", "error_type")}
    found |= scores
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in found.items()
        if value is not None
    }


def _known(rule: Rule, facts: Mapping[str, Any]) -> bool:
    return rule.then.check is not None and all(name in facts for name in names_of(rule.then.check))
