"""What people say about rules and evidence: approve, reject, pin, roll back, leave a run out. All of it is appended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from learning_loop.app import App
from learning_loop.errors import NotFoundError, UsageError
from learning_loop.features.encoding import OWN
from learning_loop.flows.indexing import index_note
from learning_loop.flows.plan import ARCHIVE, Plan
from learning_loop.flows.remember import place_of
from learning_loop.flows.rules import FOLDER, RuleBook
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Event, NoteVersion
from learning_loop.rules import Rule
from learning_loop.synthesis import Period

DOES: dict[str, dict[str, Any]] = {
    "approve": {"status": "active"},
    "reject": {"status": "rejected"},
    "pin": {"pinned": True},
    "unpin": {"pinned": False},
}


def find_rule(app: App, name: str) -> Rule:
    """Return the rule with this id, path, or title; the start or end of an id is enough. Raise NotFoundError."""
    rules = RuleBook(app).rules(fresh=True)
    for wanted in (
        [rule for rule in rules if name in (rule.id, rule.path, rule.title)],
        [rule for rule in rules if rule.id.startswith(name) or rule.id.endswith(name) or rule.path.endswith(f"/{name}.md")],
    ):
        if len(wanted) == 1:
            return wanted[0]
        if wanted:
            raise UsageError(f"{name!r} is {len(wanted)} rules: name one by its id, see `learning-loop rules list`")
    raise NotFoundError(f"no rule {name!r}: see `learning-loop rules list`")


def rule_that(app: App, name: str, action: str, *, reason: str = "") -> Rule:
    """Approve, reject, pin or unpin a rule, and return it as it is now. Raise NotFoundError.

    A note that was the loop's stays the loop's, but for what a person said of it here.
    """
    rule = find_rule(app, name)
    with app.alone():
        note = app.notes.read(rule.path)
        versions = app.ledger.note_versions(note_id=note.id)
        changed = note.with_meta(**DOES[action], updated=app.clock())
        rows: list[Any] = []
        if note.digest in {version.digest for version in versions}:
            rows.append(
                NoteVersion(
                    note_id=note.id,
                    path=note.path,
                    subject=versions[0].subject,
                    digest=changed.digest,
                    execution_id=None,
                    at=app.clock(),
                )
            )
        data = {
            "action": action,
            "key": f"rule: {rule.pattern}" if rule.pattern else rule.unit,
            "reason": reason or "a person said so",
            "title": rule.title,
            "before": rule.says,
            "after": rule.says,
            "path": rule.path,
            "effect": 0.0,
            "by": "person",
        }
        app.ledger.append(*rows, Event(kind="rule_change", subject=rule.id, at=app.clock(), data=data))
        app.notes.write(changed)
        index_note(app, changed)
    return find_rule(app, rule.id)


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
    done = app.ledger.events("synthesis", week.label, last=1)
    until = done[0].at if done else week.end
    if until is None or until > app.clock():
        raise UsageError(f"{week.label} is not over: name a week before it")
    with app.journal.alone(wait_s=30.0):
        plan, changed, left = Plan(app), list[str](), list[str]()
        first: dict[str, Event] = {}
        for event in app.ledger.events("rule_change"):
            if event.at > until and event.data["by"] == "loop" and event.data.get("moved", True):
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
    record = app.ledger.execution(found)
    drawn = [unit for item in record.decisions if item.point == OWN for unit in item.alternatives]
    started = record.execution.started_at.isoformat()
    event = Event(kind=EXCLUDED, subject=found, at=app.clock(), data={"reason": reason, "units": drawn, "started_at": started})
    app.ledger.append(event)
    return event
