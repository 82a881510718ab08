"""What is known: notes, questions, rules, patterns, alerts, reports, key figures."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import PlainTextResponse

from learning_loop.api.access import Who, need
from learning_loop.api.paging import Cursor, Limit, Why, part
from learning_loop.api.problems import documented
from learning_loop.api.repeating import Repeatable
from learning_loop.api.serving import Opened, Serving
from learning_loop.api.v1.shapes import AlertOut, Because, NoteIn, NoteOut, Page, VersionOut, WeekIn
from learning_loop.app import App
from learning_loop.errors import NotFoundError
from learning_loop.flows.editing import is_place
from learning_loop.workspace import Note

router = APIRouter(route_class=Repeatable)


# ---------------------------------------------------------------------------------------------------------------- memory


@router.get("/memory/query", tags=["memory"], dependencies=[need("read")], responses=documented(409))
def query(  # noqa: PLR0913  (all that narrows)
    serving: Serving,
    q: Annotated[str, Query(min_length=1, max_length=2_000, description="A question in plain words.")],
    k: Annotated[int | None, Query(ge=1, le=100)] = None,
    project: Annotated[str | None, Query(max_length=500)] = None,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    type: Annotated[str | None, Query(max_length=500)] = None,  # noqa: A002  (as the task has it)
    component: Annotated[str | None, Query(max_length=500)] = None,
    tag: Annotated[str | None, Query(max_length=500)] = None,
    agent: Annotated[str | None, Query(max_length=500)] = None,
    outcome: Annotated[Literal["failed", "succeeded"] | None, Query()] = None,
    since: Annotated[str | None, Query(max_length=100)] = None,
    before: Annotated[str | None, Query(max_length=100)] = None,
) -> dict[str, Any]:
    """Ask the memory; the answer has insights, best first, each with the executions it rests on, or none."""
    given = {
        "kind": kind, "type": type, "component": component, "tag": tag, "agent": agent, "outcome": outcome, "since": since,
        "before": before,
    }  # fmt: skip
    filters = {name: value for name, value in given.items() if value is not None}
    answer = serving.loop.query(q, k=k, project=project, filters=filters)
    return {**answer.as_dict(), "markdown": answer.markdown}


def notes_of(app: App, *, kind: str | None = None, search: str | None = None) -> list[dict[str, Any]]:
    """Return the notes there are, the newest first, as lists show them."""
    words = (search or "").lower().split()
    found = []
    for note in app.notes.all():
        if not isinstance(note, Note):
            continue
        said = f"{note.path} {note.title} {' '.join(note.texts('tags'))}".lower()
        if (kind is None or note.category == kind) and all(word in said for word in words):
            created = note.moment("updated") or note.created
            found.append(
                {
                    "path": note.path,
                    "title": note.title,
                    "category": note.category,
                    "status": note.text("status"),
                    "changed": created,
                    "tags": list(note.texts("tags")),
                    "seen": note.number("seen"),
                }
            )
    return sorted(found, key=newest, reverse=True)


def newest(item: Mapping[str, Any]) -> tuple[str, str]:
    """Return what notes and reports are sorted by: when they were changed, and their name."""
    return str(item["changed"] or ""), str(item.get("path") or item["name"])


@router.get("/memory/notes", tags=["memory"], dependencies=[need("read")], responses=documented(404))
def notes(
    app: Opened,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    search: Annotated[str | None, Query(max_length=500)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List notes, the newest first."""
    items, following = part(notes_of(app, kind=kind, search=search), cursor, limit, key=newest)
    return Page(items=items, next=following)


def note_at(app: App, path: str) -> Note:
    """Return a note of this workspace; raise NotFoundError where there is none at a path."""
    if not is_place(app, path) or not (app.workspace.root / path).is_file():
        raise NotFoundError(f"there is no note {path[:200]!r}")
    return app.notes.read(path)


def told(note: Note) -> NoteOut:
    return NoteOut(
        path=note.path,
        id=note.id,
        category=note.category,
        title=note.title,
        digest=note.digest,
        created=note.created,
        content=note.content.decode(),
    )


@router.get("/memory/history/{path:path}", tags=["memory"], dependencies=[need("read")], responses=documented(404))
def history(path: str, app: Opened) -> list[VersionOut]:
    """Say when a note was written and by whom, the newest first; of edits through this interface, what they changed."""
    from learning_loop.flows.editing import history_of

    return [VersionOut.model_validate(version) for version in history_of(app, note_at(app, path))]


@router.get("/memory/notes/{path:path}", tags=["memory"], dependencies=[need("read")], responses=documented(404))
def note(path: str, app: Opened) -> NoteOut:
    """Return a note as it stands in its file."""
    return told(note_at(app, path))


@router.put("/memory/notes/{path:path}", tags=["memory"], dependencies=[need("steer")], responses=documented(404, 409))
def write(path: str, given: NoteIn, serving: Serving, who: Who) -> NoteOut:
    """Write a note over the version with this digest; from then on it is yours, and the loop never overwrites it."""
    from learning_loop.flows.editing import edit_note

    written = edit_note(serving.app, path, given.content, expected=given.digest, by=who.name)
    serving.audit(who.name, "write note", path)
    return told(written)


@router.delete(
    "/memory/notes/{path:path}", status_code=204, tags=["memory"], dependencies=[need("admin")], responses=documented(404, 409)
)
def erase(path: str, serving: Serving, who: Who, reason: Why = "") -> None:
    """Erase a note for good, leaving a tombstone with the reason."""
    from learning_loop.flows.forget import forget

    note_at(serving.app, path)
    forget(serving.app, path, reason=reason or f"{who.name} asked for it")
    serving.audit(who.name, "forget note", path, reason=reason)


# ----------------------------------------------------------------------------------------------------------------- rules


def rule_plain(item: Any) -> dict[str, Any]:
    rule = item.rule
    found: dict[str, Any] = item.plain()
    return found | {
        "says": rule.says,
        "path": rule.path,
        "pinned": rule.pinned,
        "yours": rule.mine,
        "changes": [
            {"at": event.at, **{key: event.data.get(key) for key in ("action", "reason", "by")}} for event in item.moves
        ],
    }


@router.get("/rules", tags=["rules"], dependencies=[need("read")])
def rules(app: Opened, *, retired: bool = False) -> dict[str, list[dict[str, Any]]]:
    """List rules with what showing them does to the score; and memory as a whole, and the kinds of notes in it."""
    from learning_loop.dashboard.views import judged_rules

    found, memory = judged_rules(app, retired=retired)
    return {"rules": [rule_plain(item) for item in found], "memory": [item.plain() for item in memory]}


@router.post("/rules/rollback", tags=["rules"], dependencies=[need("steer")], responses=documented(409))
def roll_back(given: WeekIn, serving: Serving, who: Who) -> dict[str, Any]:
    """Make the loop's own rules what they were after a week's synthesis."""
    found = serving.loop.rollback(given.week, reason=given.reason)
    serving.audit(who.name, "roll rules back", given.week, reason=given.reason)
    return {"week": found.week, "changed": list(found.changed), "left": list(found.left)}


@router.get("/rules/{name}", tags=["rules"], dependencies=[need("read")], responses=documented(404, 409))
def rule(name: str, app: Opened) -> dict[str, Any]:
    """Return a rule with its lift, what was done to it, and what it rests on: its pattern, and the executions behind it."""
    from learning_loop.flows.judging import catch_up
    from learning_loop.flows.lifts import reasons, rule_lift

    catch_up(app)
    found = rule_lift(app, name)
    why = reasons(app, found.id)
    return rule_plain(found) | {part: why[part] for part in ("pattern", "notes", "executions")}


@router.post("/rules/{name}/{action}", tags=["rules"], dependencies=[need("steer")], responses=documented(404, 409))
def rule_that(
    name: str, action: Literal["approve", "reject", "pin", "unpin"], given: Because, serving: Serving, who: Who
) -> dict[str, Any]:
    """Say something about a rule; people outrank the loop."""
    found = serving.loop.rule(name, action, reason=given.reason)
    serving.audit(who.name, f"{action} rule", found.id, reason=given.reason)
    return {"id": found.id, "title": found.title, "status": found.status, "pinned": found.pinned}


# ----------------------------------------------------------------------------------- patterns, alerts, reports, key figures


@router.get("/patterns", tags=["learning"], dependencies=[need("read")])
def patterns(app: Opened) -> list[dict[str, Any]]:
    """List what recurs, as the newest synthesis has it."""
    done = [event for event in app.ledger.events("synthesis") if event.data["kind"] == "week"]
    return [{"key": key, **known} for key, known in (done[-1].data["patterns"] if done else {}).items()]


@router.get("/alerts", tags=["alerts"], dependencies=[need("read")])
def alerts(app: Opened, *, resolved: bool = False) -> list[AlertOut]:
    """List alerts, the newest first."""
    from learning_loop.flows.alerts import alerts as all_alerts

    return [AlertOut.model_validate(alert) for alert in all_alerts(app, resolved=resolved)]


@router.post("/alerts/{name}/{action}", tags=["alerts"], dependencies=[need("steer")], responses=documented(404, 409))
def alert_that(name: str, action: Literal["acknowledge", "resolve"], serving: Serving, who: Who) -> AlertOut:
    """Say that somebody looks at an alert, or that it is over."""
    from learning_loop.flows.alerts import acknowledge, resolve

    found = (acknowledge if action == "acknowledge" else resolve)(serving.app, name)
    serving.audit(who.name, f"{action} alert", found.id)
    return AlertOut.model_validate(found)


def reports_of(app: App) -> list[dict[str, Any]]:
    """Return the reports there are, the newest first: of weeks, months and sprints, of tests, of the lab."""
    top, found = app.workspace.reports, []
    for path in top.rglob("*.md") if top.is_dir() else ():
        name = path.relative_to(top)
        if not any(step.startswith(".") for step in name.parts):
            label = name.parent.as_posix() if name.name == "report.md" else name.with_suffix("").as_posix()
            found.append({"name": label, "changed": datetime.fromtimestamp(path.stat().st_mtime, UTC)})
    return sorted(found, key=newest, reverse=True)


def report_at(app: App, name: str) -> Path:
    """Return the file of a report; raise NotFoundError."""
    if name not in {item["name"] for item in reports_of(app)}:
        raise NotFoundError(f"there is no report {name[:200]!r}")
    top = app.workspace.reports
    whole = top / name / "report.md"
    return whole if whole.is_file() else top / f"{name}.md"


@router.get("/reports", tags=["learning"], dependencies=[need("read")], responses=documented(404))
def reports(app: Opened, limit: Limit = 50, cursor: Cursor = None) -> Page[dict[str, Any]]:
    """List reports, the newest first."""
    items, following = part(reports_of(app), cursor, limit, key=newest)
    return Page(items=items, next=following)


@router.get(
    "/reports/{name:path}", tags=["learning"], dependencies=[need("read")], responses=documented(404),
    response_class=PlainTextResponse,
)  # fmt: skip
def report(name: str, app: Opened) -> PlainTextResponse:
    """Return a report as markdown."""
    return PlainTextResponse(report_at(app, name).read_text(encoding="utf-8"), media_type="text/markdown; charset=utf-8")


@router.get("/metrics", tags=["learning"], dependencies=[need("read")])
def metrics(app: Opened) -> dict[str, Any]:
    """Return key figures of learning, each with its interval and what it rests on."""
    from learning_loop.dashboard import LearningDashboard

    found: dict[str, Any] = json.loads(json.dumps(LearningDashboard(app).generate_report(), default=str))
    return found
