"""What the loop reports: weeks, what is odd, and how it is set."""

from typing import Annotated, Any, cast
from urllib.parse import quote, unquote

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from learning_loop.api import rendering
from learning_loop.api.access import Who
from learning_loop.api.admin.site import Read, Rendering, Steer, done
from learning_loop.api.serving import Opened, Serving
from learning_loop.api.v1 import knowledge
from learning_loop.api.v1.system import audited
from learning_loop.workspace import Note

router = APIRouter(prefix="/admin", include_in_schema=False)


@router.get("/reports", dependencies=[Read])
def reports(request: Request, serving: Serving, pages: Rendering) -> Response:
    from learning_loop.jobs import due, upcoming

    def context() -> dict[str, Any]:
        jobs = [job for job in serving.jobs.all() if job.kind == "synthesis"]
        return {
            "reports": knowledge.reports_of(serving.app),
            "due": due(serving.app),
            "coming": upcoming(serving.app),
            "jobs": jobs,
        }

    return pages.page(request, "reports.html.j2", context, kept=False)


@router.get("/report-files/{name:path}", dependencies=[Read])
def report_file(name: str, app: Opened) -> Response:
    """Return a chart that a report shows."""
    folder, _, file = name.rpartition("/")
    known = {path.name: path for path in (knowledge.report_at(app, folder).parent).glob("*.svg")}
    if file not in known:
        raise HTTPException(404, "there is no such chart")
    return Response(known[file].read_bytes(), media_type="image/svg+xml")


@router.get("/reports/{name:path}", dependencies=[Read])
def report(name: str, request: Request, app: Opened, pages: Rendering) -> Response:
    def link(target: str) -> str | None:
        if target.endswith(".svg") and "/" not in target:
            return f"/admin/report-files/{quote(name)}/{quote(target)}"
        meant = target.removeprefix("../../../")
        return f"/admin/memory/note/{quote(unquote(meant))}" if app.notes.owns(meant) and meant.endswith(".md") else None

    def context() -> dict[str, Any]:
        text = knowledge.report_at(app, name).read_text(encoding="utf-8")
        return {"name": name, "html": rendering.harmless(Note.parse(name, text.encode()).body, link)}

    return pages.page(request, "report.html.j2", context, kept=False)


@router.get("/alerts", dependencies=[Read])
def alerts(request: Request, app: Opened, pages: Rendering, *, resolved: bool = False) -> Response:
    from learning_loop.flows.alerts import alerts as all_alerts

    return pages.page(request, "alerts.html.j2", lambda: {"alerts": all_alerts(app, resolved=resolved), "resolved": resolved})


@router.post("/alerts/{action}", dependencies=[Steer])
def alert_that(action: str, serving: Serving, who: Who, name: Annotated[str, Query(max_length=100)]) -> Response:
    if action not in ("acknowledge", "resolve"):
        raise HTTPException(404, "there is nothing of this kind to do with an alert")
    found = knowledge.alert_that(name, cast("Any", action), serving, who)
    return done("/admin/alerts", f"{found.title}: {found.state}.")


@router.get("/settings", dependencies=[Read])
def settings(request: Request, app: Opened, pages: Rendering, who: Who) -> Response:
    from learning_loop.flows.doctor import examine
    from learning_loop.flows.tokens import tokens

    def context() -> dict[str, Any]:
        rows = [(key, app.redact({key: value})[key], origin) for key, value, origin in app.configuration.rows()]
        symptoms = [one for one in examine(app.workspace, environ=app.environ, clock=app.clock) if one.level != "info"]
        trusted = who.may("admin")
        return {
            "rows": rows, "symptoms": symptoms, "audited": [entry for _, entry in audited(app, most=50)] if trusted else None,
            "tokens": tokens(app) if trusted else (),
        }  # fmt: skip

    return pages.page(request, "settings.html.j2", context, kept=False)
