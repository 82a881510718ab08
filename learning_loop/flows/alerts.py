"""Alerts: each anti-pattern opens one note once, is acknowledged or resolved, and closes when its cause is gone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from learning_loop.app import App
from learning_loop.errors import NotFoundError
from learning_loop.flows.notices import tell
from learning_loop.flows.remember import note_name, remember
from learning_loop.ledger import Filter
from learning_loop.patterns.anti import NEEDED, Alarm, alarms
from learning_loop.records import Event, Kind, Observation

OPEN, ACKNOWLEDGED, RESOLVED = "open", "acknowledged", "resolved"
FOLDER = "memory/working-memory/alerts"
QUICK = ("repeated_error", "slowing", "low_reuse", "repeated_surprise", "low_scores")  # of which few runs say enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An anti-pattern as it stands: `state` is open, acknowledged or resolved, `by` the loop or a person."""

    id: str
    key: str
    sort: str
    title: str
    text: str
    advice: str
    state: str
    by: str
    kind: Kind
    opened_at: datetime
    changed_at: datetime
    executions: tuple[str, ...]
    note: str | None
    baseline: float | None = None

    @property
    def stands(self) -> bool:
        return self.state != RESOLVED


_KEPT = ("id", "sort", "title", "text", "advice", "state", "by", "note", "baseline")


def alerts(app: App, *, resolved: bool = False) -> list[Alert]:
    """Return the alerts that stand, the newest first; all there ever were where those `resolved` are wanted too."""
    found: dict[str, Alert] = {}
    for event in app.ledger.events("alert"):
        before = found.get(event.subject)
        data: dict[str, Any] = {**event.data}
        reopened = before is None or (not before.stands and data["state"] == OPEN)
        found[event.subject] = Alert(
            key=event.subject,
            kind=Kind(**data["kind"]),
            opened_at=event.at if reopened or before is None else before.opened_at,
            changed_at=event.at,
            executions=tuple(data["executions"]),
            **{name: data[name] for name in _KEPT},
        )
    chosen = [alert for alert in found.values() if resolved or alert.stands]
    return sorted(chosen, key=lambda alert: (alert.changed_at, alert.id), reverse=True)


def check_alerts(app: App, kinds: Iterable[Kind], *, until: datetime | None = None) -> list[Alert]:
    """Look at these kinds of task, and return the alerts to write: those to open, and those whose cause is gone.

    Where `until` is in the past, as things were then.
    """
    changed = []
    known = {alert.key: alert for alert in alerts(app, resolved=True)}
    thresholds, now = app.settings.reflection_triggers.thresholds, min(app.clock(), until or app.clock())
    for kind in dict.fromkeys(kinds):
        runs = _newest(app, kind, now)
        slow = known.get(f"slowing:{kind.key}")
        holding = alarms(
            kind,
            runs,
            app.settings.anti_patterns,
            now=now.timestamp(),
            high_surprise=thresholds.high_surprise,
            baseline=slow.baseline if slow is not None and slow.stands else None,
        )
        changed += _changes(known, kind, holding, runs, now, app)
    return changed


def check_anomalies(app: App, kinds: Iterable[Kind]) -> list[Alert]:
    """Do the same for what has become worse than it was, over more runs."""
    from learning_loop.patterns.anomalies import MEASURES, NEEDED, SEGMENT, anomalies
    from learning_loop.stats.conformal import chance

    changed = []
    known, now = {alert.key: alert for alert in alerts(app, resolved=True)}, app.clock()
    for kind in dict.fromkeys(kinds):
        wanted = Filter(kind=kind, before=now, ended=True)
        runs = [run for run in app.ledger.observations(wanted, most=NEEDED, features=False) if run.kind == kind]
        total = sum(tally.runs for tally in app.ledger.tally(wanted))
        skip = -(total - len(runs)) % SEGMENT if total > len(runs) else 0
        holding = anomalies(kind, runs[skip:], app.settings.anti_patterns.anomaly, chance)
        changed += _changes(known, kind, holding, runs, now, app, sorts=tuple(MEASURES))
    return changed


def _changes(
    known: Mapping[str, Alert],
    kind: Kind,
    holding: Sequence[Alarm],
    runs: Sequence[Observation],
    now: datetime,
    app: App,
    *,
    sorts: Sequence[str] = QUICK,
) -> list[Alert]:
    """Return the alerts of these sorts to write for a kind, by what holds of it now."""
    held = {}
    for alarm in holding:
        before = known.get(alarm.key)
        if before is not None and before.changed_at > now:
            continue  # what is looked at is older than what is known of it
        if before is None or before.stands or _again(alarm, before, kind, runs, app):
            held[alarm.key] = alarm
    fresh = [alarm for key, alarm in held.items() if key not in known or not known[key].stands]
    newest = runs[-1].id if runs else None
    gone = [
        alert
        for alert in known.values()
        if alert.kind == kind and alert.sort in sorts and alert.stands and alert.key not in held and alert.changed_at <= now
        if newest not in (None, *alert.executions)  # that nothing ran since mends nothing
    ]
    resolved = [replace(alert, state=RESOLVED, by="loop", changed_at=now) for alert in gone]
    return [*(_opened(now, kind, alarm) for alarm in fresh), *resolved]


def check_learning(app: App) -> list[Alert]:
    """Look at the loop's own learning, and return the alerts to write: what has come up, and what has gone."""
    from learning_loop.flows.health import NAME, SORTS, troubles

    now, kind = app.clock(), Kind(type=NAME)
    known = {alert.key: alert for alert in alerts(app, resolved=True) if alert.sort in SORTS}
    holding = {alarm.key: alarm for alarm in troubles(app)}
    fresh = [
        alarm for key, alarm in holding.items()
        if key not in known or (not known[key].stands and known[key].by != "person")
    ]  # fmt: skip
    gone = [alert for alert in known.values() if alert.stands and alert.key not in holding]
    resolved = [replace(alert, state=RESOLVED, by="loop", changed_at=now) for alert in gone]
    return [*(_opened(now, kind, alarm) for alarm in fresh), *resolved]


def _newest(app: App, kind: Kind, until: datetime) -> list[Observation]:
    wanted = Filter(kind=kind, before=until, ended=True)
    found = app.ledger.observations(wanted, most=NEEDED, features=False)
    return [run for run in found if run.kind == kind]


def _again(alarm: Alarm, before: Alert, kind: Kind, runs: Sequence[Observation], app: App) -> bool:
    """Say whether what a person resolved holds of the runs since then alone; what the loop resolved may hold again at once."""
    if before.by != "person":
        return True
    if alarm.sort not in QUICK:
        return not set(alarm.executions) & set(before.executions)
    later = [run for run in runs if run.ended > before.changed_at.timestamp()]
    thresholds = app.settings.reflection_triggers.thresholds
    found = alarms(kind, later, app.settings.anti_patterns, now=app.clock().timestamp(), high_surprise=thresholds.high_surprise)
    return any(item.key == alarm.key for item in found)


def acknowledge(app: App, name: str) -> Alert:
    """Note that a person has seen an alert; it stays until its cause is gone. Raise NotFoundError."""
    return write_alert(app, replace(_find(app, name), state=ACKNOWLEDGED, by="person", changed_at=app.clock()))


def resolve(app: App, name: str) -> Alert:
    """Close an alert; it opens again only for what happens from now on. Raise NotFoundError."""
    return write_alert(app, replace(_find(app, name), state=RESOLVED, by="person", changed_at=app.clock()))


def _find(app: App, name: str) -> Alert:
    for alert in alerts(app):
        if name in (alert.id, alert.key):
            return alert
    raise NotFoundError(f"no alert {name!r} stands: see `learning-loop alerts list`")


def _opened(now: datetime, kind: Kind, alarm: Alarm) -> Alert:
    return Alert(
        id=alarm.id,
        key=alarm.key,
        sort=alarm.sort,
        title=alarm.title,
        text=alarm.text,
        advice=alarm.advice,
        state=OPEN,
        by="loop",
        kind=kind,
        opened_at=now,
        changed_at=now,
        executions=alarm.executions,
        note=None,
        baseline=alarm.baseline,
    )


def write_alert(app: App, alert: Alert) -> Alert:
    """Write an alert's note and then its event, and return it with the note's path."""
    found = replace(alert, note=remember(app, **note_of(app, alert)))
    app.ledger.append(event_of(found))
    announce(app, found)
    return found


def note_of(app: App, alert: Alert) -> dict[str, Any]:
    """Return what there is to remember of an alert, as `remember` takes it."""
    kind = {"type": alert.kind.type, "component": alert.kind.component, "project": alert.kind.project}
    return {
        "subject": f"alert:{alert.key}",
        "folder": FOLDER,
        "name": note_name(app, f"{alert.sort} {alert.kind}"),
        "meta": {
            "kind": "alert",
            "title": alert.title,
            "status": alert.state,
            "alert": alert.id,
            "task_type": kind["type"],
            "component": kind["component"],
            "project": kind["project"],
            "tags": [alert.sort.replace("_", "-")],
            "evidence": list(alert.executions[::-1]),
            "summary": f"{alert.text}: {alert.advice}",
        },
        "body": lambda front: app.templates.render("notes/alert.md.j2", front=front, alert=alert),
    }


def announce(app: App, alert: Alert) -> None:
    """Tell people of an alert that has opened."""
    if alert.state == OPEN:
        tell(app, "alert", alert.key, f"{alert.title}: {alert.text}; {alert.advice}", alert=alert.id, note=alert.note)


def event_of(alert: Alert) -> Event:
    data: dict[str, Any] = {name: getattr(alert, name) for name in _KEPT}
    kind = {"type": alert.kind.type, "component": alert.kind.component, "project": alert.kind.project}
    return Event(
        kind="alert", subject=alert.key, at=alert.changed_at, data={**data, "kind": kind, "executions": list(alert.executions)}
    )
