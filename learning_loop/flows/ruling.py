"""What people say about rules and evidence: approve, reject, pin, roll back, leave a run out. All of it is appended."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.errors import ConditionError, NoteError, NotFoundError, UsageError
from learning_loop.flows.plan import ARCHIVE, Plan
from learning_loop.flows.remember import place_of
from learning_loop.flows.rules import FOLDER, RuleBook, rule_of
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Event
from learning_loop.rules import SHOWN, Rule
from learning_loop.synthesis import Period

WAIT_S = 30.0
ACTIONS = ("approve", "reject", "pin", "unpin")


def archived_rules(app: App) -> list[Rule]:
    """Return the rules in the archive that can be read."""
    found = []
    for path in sorted(app.notes.marks_below(ARCHIVE)):
        with contextlib.suppress(NoteError, ConditionError):
            note = app.notes.read(path)
            if note.category == "rule":
                found.append(rule_of(app, note))
    return found


def find_rule(app: App, name: str) -> Rule:
    """Return the rule with this id, path, file name or title, in the archive too; the beginning of one is enough.

    Raise NotFoundError where there is none, and UsageError where it is several.
    """
    rules = [*RuleBook(app).rules(fresh=True), *archived_rules(app)]
    wanted = name.lower()
    names = {
        rule.path: (rule.id.lower(), rule.path.lower(), Path(rule.path).stem.lower(), rule.title.lower()) for rule in rules
    }
    exact = [rule for rule in rules if wanted in names[rule.path]]
    found = exact or [rule for rule in rules if any(item.startswith(wanted) for item in names[rule.path])]
    found = found or [rule for rule in rules if rule.id.lower().endswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name!r} may be {len(found)} rules: name one by its path, as {found[0].path}")
    raise NotFoundError(f"no rule {name!r}: see `learning-loop rules list --all`")


def rule_that(app: App, name: str, action: str, *, reason: str = "") -> Rule:
    """Approve, reject, pin or unpin a rule, and return it as it is now. Raise NotFoundError, UsageError.

    Approved, a rule that is on trial becomes active, and any other goes on trial. A note that was the loop's stays the
    loop's, but for what a person said of it here.
    """
    if action not in ACTIONS:
        raise UsageError(f"{action!r} is nothing to do with a rule: {', '.join(ACTIONS)}")
    with app.journal.alone(wait_s=WAIT_S):
        rule, plan = find_rule(app, name), Plan(app)
        note = app.notes.read(rule.path)
        does: dict[str, dict[str, Any]] = {
            "approve": {"status": "active" if rule.status in SHOWN else "trial"},
            "reject": {"status": "rejected"},
            "pin": {"pinned": True},
            "unpin": {"pinned": False},
        }
        changed = note.with_meta(**does[action])
        if plan.own(rule.path) is not None:
            plan.move(changed, FOLDER, status=changed.text("status") or rule.status, was=note)
        else:
            plan.write(changed.path, changed.content)
        path = plan.path_of_note(note.id) or rule.path
        data = {
            "action": action,
            "key": f"rule: {rule.pattern}" if rule.pattern else rule.unit,
            "reason": reason or "a person said so",
            "title": rule.title,
            "before": rule.says,
            "after": rule.says,
            "path": path,
            "effect": 0.0,
            "by": "person",
        }
        plan.rows.append(Event(kind="rule_change", subject=rule.id, at=app.clock(), data=data))
        plan.commit(action)
    return find_rule(app, path)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did: rules by title that are as they were, and those left alone because a person changed them since."""

    week: str
    changed: tuple[str, ...]
    left: tuple[str, ...]


def roll_back(app: App, week: Period, *, reason: str = "") -> RolledBack:
    """Make the loop's own rules what they were after a week's synthesis, or at the week's end where there was none.

    What the loop did to them since is undone by changes of their own, in one go. Raise UsageError for a week that is not over.
    """
    done = app.ledger.events("synthesis", week.label)  # the first: one again, with later runs, is a later change
    until = done[0].at if done else week.end
    if until is None or until > app.clock():
        raise UsageError(f"{week.label} is not over: name a week before it")
    with app.journal.alone(wait_s=WAIT_S):
        plan, changed, left = Plan(app), list[str](), list[str]()
        first: dict[str, Event] = {}
        for event in app.ledger.events("rule_change"):
            if event.at > until and event.data["by"] == "loop" and event.data["action"] != "watch":
                first.setdefault(event.subject, event)
        for rule_id, event in first.items():
            path = _as_it_was(app, plan, rule_id, event.data.get("was"))
            (left if path is None else changed).append(event.data["title"])
            if path is not None:
                names = {name: event.data[name] for name in ("key", "title", "effect")}
                data = {**names, "action": "rollback", "reason": reason or f"as it was after {week.label}", "path": path}
                data |= {"before": event.data["after"], "after": event.data["before"], "by": "person"}
                plan.rows.append(Event(kind="rule_change", subject=rule_id, at=app.clock(), data=data))
        if changed:
            plan.commit("rollback")
    return RolledBack(week.label, tuple(changed), tuple(left))


def _as_it_was(app: App, plan: Plan, rule_id: str, was: Mapping[str, Any] | None) -> str | None:
    """Plan the note of a rule as it was, archived where it was not there yet; None where a person made it theirs."""
    versions = app.ledger.note_versions(note_id=rule_id)
    path = place_of(app, versions[0]) if versions else None
    note = plan.own(path) if path is not None else None
    if note is None:
        return None
    if was is None:
        return plan.move(note, ARCHIVE, status="retired")
    known = {name: value for name, value in was.items() if value is not None}
    return plan.move(note.with_meta(**known), FOLDER, status=was["status"])


def exclude(app: App, execution_id: str, *, reason: str) -> Event:
    """Take an execution out of all evidence; it stays on record. Raise NotFoundError, UsageError where it is out already.

    Estimates and reports that rested on it are computed anew without it, and e-processes that it fed begin anew.
    """
    found = app.ledger.resolve(execution_id)
    if any(event.subject == found for event in app.ledger.events(EXCLUDED)):
        raise UsageError(f"{found} is excluded already")
    started = app.ledger.execution(found).execution.started_at.isoformat()
    units, place = [], 0
    for run in app.ledger.exposed(execution_id=found):
        place = run.place
        if run.units[0] in run.shown and run.score is not None:
            units = [unit for unit, odds in zip(run.units[1:], run.odds[1:], strict=True) if 0 < odds < 1]
    data = {"reason": reason, "started_at": started, "place": place, "units": units}
    event = Event(kind=EXCLUDED, subject=found, at=app.clock(), data=data)
    app.ledger.append(event)
    return event
