"""The overview, the page of runs and what can be taken away of it, and the page of one."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, cast, get_args
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response, StreamingResponse

from learning_loop.api.access import Who, need
from learning_loop.api.admin.site import Read, Reason, Rendering, Steer, done, read_by
from learning_loop.api.serving import Opened, Serving
from learning_loop.api.v1 import runs as runs_
from learning_loop.api.v1.runs import Order, Status, exported, in_utc, rows_of, wanted_of
from learning_loop.api.v1.shapes import Because, FeedbackIn
from learning_loop.dashboard import views
from learning_loop.errors import UsageError
from learning_loop.ledger import Filter
from learning_loop.ledger.listing import Row

router = APIRouter(prefix="/admin", include_in_schema=False)


@router.get("", dependencies=[Read])
def overview(request: Request, serving: Serving, pages: Rendering) -> Response:
    return pages.page(request, "overview.html.j2", lambda: views.overview(serving.app))


@router.get("/", dependencies=[Read])
def overview_too() -> Response:
    return RedirectResponse("/admin", 308)


Word = Annotated[str | None, Query(max_length=500)]


class RunsAsked(BaseModel):
    """What the page of runs is asked for, as it stands in its address; an empty field asks nothing."""

    search: Word = None
    status: Word = None
    type: Word = None
    component: Word = None
    project: Word = None
    agent: Word = None
    sprint: Word = None
    task_id: Word = None
    since: Word = None
    before: Word = None
    order: Order = "started"
    descending: bool = True
    limit: Annotated[int, Query(ge=1, le=500)] = 50
    cursor: Annotated[str | None, Query(max_length=1_000)] = None

    def wanted(self) -> Filter:
        """Return which runs are meant; raise UsageError."""
        names = ("type", "component", "project", "agent", "sprint", "task_id")
        if self.status and self.status not in get_args(Status):
            raise UsageError(f"there is no status {self.status!r}: use {', '.join(get_args(Status))}")
        since, before = (_day(given) if given else None for given in (self.since, self.before))
        status = cast("Status | None", self.status or None)
        return wanted_of(**{name: getattr(self, name) for name in names}, status=status, since=since, before=before)


def _day(given: str) -> datetime:
    try:
        return in_utc(datetime.fromisoformat(given))
    except ValueError:
        raise UsageError(f"{given!r} is no day: write it as 2026-11-30") from None


Asked = Annotated[RunsAsked, Query()]


@router.get("/runs", dependencies=[Read])
def runs(request: Request, asked: Asked, app: Opened, pages: Rendering) -> Response:
    def context() -> dict[str, Any]:
        wanted = asked.wanted()
        rows, following = rows_of(
            app, wanted, asked.search, asked.order, asked.cursor or None, asked.limit, descending=asked.descending
        )
        total = app.ledger.number_of(wanted, search=asked.search)
        return {
            "rows": rows,
            "following": following,
            "total": total,
            "asked": asked,
            "known": _known(app.ledger.listed(Filter(), limit=1_000)),
        }

    return pages.page(request, "runs.html.j2", context)


def _known(rows: list[Row]) -> dict[str, list[str]]:
    """Return what the newest runs have, to choose from."""
    columns = {"type": "task_type", "component": "component", "project": "project", "agent": "agent"}
    return {name: sorted({value for row in rows if (value := getattr(row, column))})[:50] for name, column in columns.items()}


@router.get("/runs.csv", dependencies=[Read])
def runs_csv(asked: Asked, app: Opened) -> StreamingResponse:
    wanted = asked.wanted()  # before anything is answered

    def lines() -> Iterator[str]:
        yield _csv([name for name in Row.__slots__ if name != "seq"])
        for row in exported(app, wanted, asked.search, asked.order, descending=asked.descending):
            yield _csv(list(row.values()))

    head = {"Content-Disposition": 'attachment; filename="runs.csv"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=head)


def _csv(values: list[Any]) -> str:
    """Return a line of CSV in which no spreadsheet finds a formula."""
    said = ["" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value) for value in values]
    out = io.StringIO()
    csv.writer(out).writerow([f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text for text in said])
    return out.getvalue()


@router.get("/runs.json", dependencies=[Read])
def runs_json(asked: Asked, app: Opened) -> StreamingResponse:
    wanted = asked.wanted()

    def parts() -> Iterator[str]:
        before = "[\n"
        for row in exported(app, wanted, asked.search, asked.order, descending=asked.descending):
            yield before + json.dumps(row, default=runs_.said_of, ensure_ascii=False)
            before = ",\n"
        yield "\n]\n" if before.startswith(",") else "[]\n"

    head = {"Content-Disposition": 'attachment; filename="runs.json"'}
    return StreamingResponse(parts(), media_type="application/json", headers=head)


@router.get("/runs/{name}", dependencies=[Read])
def run(name: str, request: Request, app: Opened, pages: Rendering) -> Response:
    return pages.page(request, "run.html.j2", lambda: views.run(app, app.ledger.resolve(name)))


@router.post("/runs/{name}/feedback", dependencies=[need("record")])
def feedback(
    name: str,
    serving: Serving,
    who: Who,
    metric: Annotated[str, Form(max_length=200)],
    value: Annotated[str, Form(max_length=10_000)],
) -> Response:
    try:
        read = json.loads(value)
    except ValueError:
        read = value
    given = read if isinstance(read, bool | int | float | str) else value
    score = runs_.feedback(name, read_by(FeedbackIn, {"metric": metric, "value": given}), serving, who).score
    return done(
        f"/admin/runs/{quote(name)}",
        f"{metric} = {value}" + ("" if score is None else f"; score now {score:.0f}"),
    )


@router.post("/runs/{name}/exclude", dependencies=[Steer])
def exclude(name: str, serving: Serving, who: Who, reason: Reason) -> Response:
    runs_.exclude(name, Because(reason=reason), serving, who)
    return done(f"/admin/runs/{quote(name)}", "It is excluded from all evidence.")
