"""The pages for people, under /admin: each reads what it shows, renders it, and takes what a person says as a form."""

import asyncio
import csv
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, cast, get_args
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from learning_loop.api import rendering
from learning_loop.api.access import COOKIE, Who, client_of, need
from learning_loop.api.paging import part
from learning_loop.api.problems import status_of
from learning_loop.api.serving import Opened, Served, Serving
from learning_loop.api.v1 import knowledge, steering
from learning_loop.api.v1 import runs as runs_
from learning_loop.api.v1.runs import Order, Status, exported, in_utc, rows_of, wanted_of
from learning_loop.api.v1.shapes import (
    Because,
    FeedbackIn,
    ModeIn,
    TestIn,
    VersionIn,
    WeekIn,
)
from learning_loop.api.v1.system import audited
from learning_loop.dashboard import views
from learning_loop.errors import ConflictError, LearningLoopError, UsageError
from learning_loop.ledger import Filter
from learning_loop.ledger.listing import Row
from learning_loop.records import slug
from learning_loop.retrieval.question import KINDS
from learning_loop.workspace import Note

router = APIRouter(prefix="/admin", include_in_schema=False)
SAID = "learning_loop_said"  # a cookie with what was just done, for the next page
NAV = (
    ("/admin", "Overview"),
    ("/admin/runs", "Runs"),
    ("/admin/memory", "Memory"),
    ("/admin/rules", "Rules"),
    ("/admin/experiments", "Experiments"),
    ("/admin/policies", "Policies"),
    ("/admin/strategies", "Strategies"),
    ("/admin/reports", "Reports"),
    ("/admin/alerts", "Alerts"),
    ("/admin/settings", "Settings"),
)
MOST_PAGES = 64  # that are kept as they were rendered, while nothing changes
FOREVER = "public, max-age=31536000, immutable"
Read, Steer = need("read"), need("steer")
Why = Annotated[str, Form(max_length=2_000)]


class Pages:
    """Renders pages. One that was rendered serves all who ask for it until something is new on record."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._environment = rendering.environment()
        self._kept: OrderedDict[Any, str] = OrderedDict()
        self._locks = [threading.Lock() for _ in range(16)]

    def page(self, request: Request, template: str, context: Callable[[], Mapping[str, Any]], *, kept: bool = True) -> Response:
        """Return a page; `context` is asked for only where the page is not kept."""
        said = request.cookies.get(SAID)
        if said and "x-live" not in request.headers:  # what is fetched anew is no page that the message was for
            answer = HTMLResponse(self.render(request, template, {"said": unquote(said), **context()}))
            answer.delete_cookie(SAID, path="/admin")
            return answer
        if not kept:
            return HTMLResponse(self.render(request, template, context()))
        key = (template, str(request.url), request.scope["state"]["actor"], *self._now())
        with self._locks[hash(key) % len(self._locks)]:  # one renders it, who comes meanwhile takes what that one made
            if (html := self._kept.get(key)) is None:
                html = self._kept[key] = self.render(request, template, context())
                if len(self._kept) > MOST_PAGES:
                    self._kept.popitem(last=False)
        return HTMLResponse(html)

    def _now(self) -> tuple[Any, ...]:
        """Return what stays the same as long as pages do: what is on record, how far jobs are, the minute."""
        served = self._served
        return (*served.app.ledger.places().values(), served.jobs.progress, int(served.app.clock().timestamp()) // 60)

    def render(self, request: Request, template: str, context: Mapping[str, Any]) -> str:
        app = self._served.app
        from learning_loop.flows.alerts import OPEN, alerts

        here = request.url.path
        about = {
            "pages": NAV,
            "here": max((path for path, _ in NAV if here == path or here.startswith(f"{path}/")), key=len, default=""),
            "open_alerts": sum(alert.state == OPEN for alert in alerts(app)),
            "workspace": str(app.workspace.root),
            "workspace_name": app.workspace.root.name,
            "mode": app.settings.mode,
            "actor": request.scope["state"].get("actor"),
            "said": None,
            "address": f"{request.url.scheme}://{request.url.netloc}",
            "link": partial(_link, request),
        }
        return self._environment.get_template(template).render({**about, **context})

    def bare(self, template: str, **context: Any) -> str:
        return self._environment.get_template(template).render(context)


def _link(request: Request, *, path: str | None = None, **changes: Any) -> str:
    """Return the address of this page with some of what is asked for changed; None takes it out."""
    query = dict(request.query_params) | {
        name: str(value).lower() if isinstance(value, bool) else value for name, value in changes.items()
    }
    kept = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path or request.url.path}?{urlencode(kept)}" if kept else (path or request.url.path)


async def pages_of(request: Request) -> Pages:
    found: Pages = request.app.state.pages
    return found


Rendering = Annotated[Pages, Depends(pages_of)]


def done(where: str, said: str) -> Response:
    """Return the way back to a page, which then says what was done."""
    answer = RedirectResponse(where, 303)
    answer.set_cookie(SAID, quote(said[:500]), max_age=20, path="/admin", httponly=True, samesite="strict")
    return answer


def refused(request: Request, error: Exception) -> Response:
    """Answer an error as a page; who has not said who they are is asked to."""
    status, detail = 500, "This is a fault of learning-loop; its log says more."
    if isinstance(error, LearningLoopError):
        status, detail = status_of(error)[0], str(error)
    elif isinstance(error, HTTPException):
        status, detail = error.status_code, str(error.detail)
    if status == 401:
        if request.method == "GET" and request.headers.get("x-live") is None:
            return RedirectResponse(f"/admin/login?{urlencode({'next': _link(request)})}", 303)
        return HTMLResponse("", 401)
    heading = {403: "Not allowed", 404: "Not found", 409: "Not done", 422: "Not understood"}.get(status, "Not done")
    back = "/admin" if request.method == "GET" else request.headers.get("referer") or "/admin"
    context = {
        "heading": heading,
        "detail": detail,
        "back": back if back.startswith(("/admin", f"{request.base_url}admin")) else "/admin",
    }
    pages, name = request.app.state.pages, "problem.html.j2"
    if request.scope["state"].get("actor") is None:  # to whom nothing is said of the workspace
        return HTMLResponse(pages.bare(name, actor=None, **context), status)
    return HTMLResponse(pages.render(request, name, context), status)


# --------------------------------------------------------------------------------------------------------------- logging in


@router.get("/login")
def login_page(pages: Rendering, next: Annotated[str, Query(max_length=2_000)] = "/admin") -> Response:  # noqa: A002
    return HTMLResponse(pages.bare("login.html.j2", next=next, problem=None))


@router.post("/login")
def login(
    request: Request,
    serving: Serving,
    pages: Rendering,
    token: Annotated[str, Form(max_length=500)],
    next: Annotated[str, Form(max_length=2_000)] = "/admin",  # noqa: A002
) -> Response:
    try:
        found = serving.access.check(token.strip(), client_of(request))
    except HTTPException as error:
        return HTMLResponse(pages.bare("login.html.j2", next=next, problem=error.detail), error.status_code, error.headers)
    serving.audit(found.name, "log in", client_of(request))
    where = next if next.startswith("/admin") and "\\" not in next else "/admin"
    answer = RedirectResponse(where, 303)
    secure = request.url.scheme == "https"
    age = int(3_600 * serving.settings.session_hours)
    answer.set_cookie(
        COOKIE, serving.access.begin_session(found), max_age=age, path="/", httponly=True, samesite="strict", secure=secure
    )
    return answer


@router.post("/logout")
def logout(serving: Serving, who: Who) -> Response:
    if who.session is not None:
        serving.access.end_session(who.session)
    answer = RedirectResponse("/admin/login", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.get("/static/{name}")
def static(name: str, serving: Serving) -> Response:
    if name == rendering.CHARTS:
        return Response(rendering.charts_script(serving.app), media_type="text/javascript", headers={"Cache-Control": FOREVER})
    kinds = rendering.names_of_static()
    if name not in kinds:
        raise HTTPException(404, "there is no such file")
    return Response(rendering.static(name), media_type=kinds[name], headers={"Cache-Control": FOREVER})


# -------------------------------------------------------------------------------------------------------------------- pages


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
    score = runs_.feedback(name, _read(FeedbackIn, {"metric": metric, "value": given}), serving, who).score
    return done(
        f"/admin/runs/{quote(name)}",
        f"{metric} = {value}" + ("" if score is None else f"; score now {score:.0f}"),
    )


@router.post("/runs/{name}/exclude", dependencies=[Steer])
def exclude(name: str, serving: Serving, who: Who, reason: Why) -> Response:
    runs_.exclude(name, Because(reason=reason), serving, who)
    return done(f"/admin/runs/{quote(name)}", "It is excluded from all evidence.")


# ------------------------------------------------------------------------------------------------------------------- memory


@router.get("/memory", dependencies=[Read])
def memory(
    request: Request,
    serving: Serving,
    pages: Rendering,
    q: Annotated[str | None, Query(max_length=2_000)] = None,
    project: Annotated[str | None, Query(max_length=500)] = None,
    search: Annotated[str | None, Query(max_length=500)] = None,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> Response:
    def context() -> dict[str, Any]:
        found = knowledge.notes_of(serving.app, kind=kind or None, search=search)
        shown, following = part(found, cursor, 50, key=knowledge.newest)
        asked = q.strip() if q else None
        return {
            "question": asked,
            "project": project,
            "answer": serving.loop.query(asked, project=project or None) if asked else None,
            "notes": shown,
            "total": len(found),
            "following": following,
            "search": search,
            "kind": kind,
            "kinds": sorted({*KINDS, *(item["category"] for item in found)}),
        }

    return pages.page(request, "memory.html.j2", context, kept=False)


@router.get("/memory/new", dependencies=[Steer])
def new_note(request: Request, serving: Serving, pages: Rendering, title: Annotated[str, Query(max_length=200)]) -> Response:
    app = serving.app
    path = app.notes.free_path("memory/working-memory", slug(title))
    text = f"---\nkind: lesson\ntitle: {json.dumps(title, ensure_ascii=False)}\n---\n\n# {title}\n\n"
    return pages.page(request, "note.html.j2", lambda: _noted(None, path, text, digest=""), kept=False)


def _noted(note: Note | None, path: str, content: str, *, digest: str, **more: Any) -> dict[str, Any]:
    about = {"conflict": None, "theirs": None, "html": None, "evidence": (), "history": (), "editing": True}
    title = note.title if note is not None else "A new note"
    return {**about, "note": note, "title": title, "path": path, "content": content, "digest": digest, **more}


@router.get("/memory/note/{path:path}", dependencies=[Read])
def note(path: str, request: Request, serving: Serving, pages: Rendering, *, edit: bool = False) -> Response:
    from learning_loop.flows.editing import history_of

    def context() -> dict[str, Any]:
        found = knowledge.note_at(serving.app, path)
        html = rendering.harmless(found.body, partial(_beside, serving, path))
        shown = {"html": html, "evidence": found.texts("evidence"), "history": history_of(serving.app, found), "editing": edit}
        return _noted(found, path, found.content.decode(), digest=found.digest, **shown)

    return pages.page(request, "note.html.j2", context, kept=False)


def _beside(serving: Served, path: str, target: str) -> str | None:
    """Return the page of what a note points to, None where that is no note of ours."""
    name = unquote(target).partition("#")[0]
    steps: list[str] = []
    for step in (PurePosixPath(path).parent / name).parts:
        steps = steps[:-1] if step == ".." else [*steps, step]
    meant = "/".join(steps)
    return f"/admin/memory/note/{quote(meant)}" if serving.app.notes.owns(meant) and meant.endswith(".md") else None


@router.post("/memory/note/{path:path}", dependencies=[Steer])
def save_note(
    path: str,
    request: Request,
    serving: Serving,
    who: Who,
    pages: Rendering,
    content: Annotated[str, Form(max_length=900_000)],
    digest: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    from learning_loop.flows.editing import edit_note, history_of

    text = content.replace("\r\n", "\n")  # as forms send lines
    try:
        edit_note(serving.app, path, text, expected=digest or None, by=who.name)
    except ConflictError as error:
        current = knowledge.note_at(serving.app, path)
        more = {"conflict": str(error), "theirs": current.content.decode(), "history": history_of(serving.app, current)}
        shown = _noted(current, path, text, digest=current.digest, **more)
        return HTMLResponse(pages.render(request, "note.html.j2", shown), 409)
    serving.audit(who.name, "write note", path)
    return done(f"/admin/memory/note/{quote(path)}", "Saved. It is yours: the loop never overwrites it.")


# -------------------------------------------------------------------------------------------------------------------- rules


@router.get("/rules", dependencies=[Read])
def rules(request: Request, app: Opened, pages: Rendering, *, retired: bool = False) -> Response:
    return pages.page(request, "rules.html.j2", lambda: views.rules(app, retired=retired), kept=False)


@router.post("/rules/rollback", dependencies=[Steer])
def roll_rules_back(serving: Serving, who: Who, week: Annotated[str, Form(max_length=20)]) -> Response:
    found = knowledge.roll_back(_given(WeekIn, week=week), serving, who)
    return done(
        "/admin/rules",
        f"{len(found['changed'])} rules are as they were after {found['week']}; {len(found['left'])} are yours, and stay.",
    )


@router.post("/rules/{path:path}", dependencies=[Steer])
def rule_that(path: str, serving: Serving, who: Who, do: Annotated[str, Query(max_length=20)], reason: Why = "") -> Response:
    found = knowledge.rule_that(path, cast("Any", do), Because(reason=reason or f"{who.name} said so"), serving, who)
    return done("/admin/rules", f"{found['title']}: {found['status']}{', pinned' if found['pinned'] else ''}.")


# -------------------------------------------------------------------------------------------------- experiments, strategies


@router.get("/experiments", dependencies=[Read])
def tests(request: Request, app: Opened, pages: Rendering) -> Response:
    from learning_loop.flows.ab_tests import experiments

    def context() -> dict[str, Any]:
        found = sorted(experiments(app).values(), key=lambda test: test.started_at, reverse=True)
        versions = [version.id for entry in app.ledger.strategies() for version in app.ledger.versions_of(entry.slug)]
        return {"tests": found, "versions": versions, **views.ramps(app)}

    return pages.page(request, "experiments.html.j2", context)


@router.post("/experiments", dependencies=[Steer])
def start_test(
    serving: Serving,
    who: Who,
    versions: Annotated[str, Form(max_length=2_000)],
    control: Annotated[str, Form(max_length=200)] = "",
    reason: Why = "",
) -> Response:
    asked = {"versions": versions.split(), "control": control or None, "reason": reason}
    made = steering.start(_read(TestIn, asked), serving, who)
    return done(f"/admin/experiments/{quote(made['id'])}", "The test has begun.")


@router.get("/experiments/{name}", dependencies=[Read])
def test(name: str, request: Request, app: Opened, pages: Rendering) -> Response:
    from learning_loop.flows.ab_tests import experiment_named

    return pages.page(request, "experiment.html.j2", lambda: views.experiment(app, experiment_named(app, name)))


@router.post("/experiments/{name}/stop", dependencies=[Steer])
def stop_test(name: str, serving: Serving, who: Who, reason: Why = "") -> Response:
    steering.stop(name, Because(reason=reason), serving, who)
    return done(f"/admin/experiments/{quote(name)}", "The test is over.")


@router.post("/experiments/{name}/rollback", dependencies=[Steer])
def take_test_back(name: str, serving: Serving, who: Who, reason: Why = "") -> Response:
    found = steering.taken_back(serving, who, name, reason)
    return done(f"/admin/experiments/{quote(name)}", f"{found} is in force again.")


@router.get("/strategies", dependencies=[Read])
def strategies(request: Request, serving: Serving, pages: Rendering) -> Response:
    from learning_loop.flows.points import standing
    from learning_loop.flows.strategies import load, overview
    from learning_loop.settings import STRATEGY

    def context() -> dict[str, Any]:
        app = serving.app
        catalogue = load(app)
        return {
            "strategies": overview(app, catalogue), "problems": catalogue.problems, "standing": standing(app, STRATEGY),
            "jobs": [job for job in serving.jobs.all() if job.kind == "evolution"],
        }  # fmt: skip

    return pages.page(request, "strategies.html.j2", context, kept=False)


@router.get("/strategies/{name}", dependencies=[Read])
def strategy(name: str, request: Request, app: Opened, pages: Rendering) -> Response:
    from learning_loop.flows.evolution import eligible
    from learning_loop.flows.scoreboard import board
    from learning_loop.flows.strategies import load, standing_of
    from learning_loop.workspace import yaml

    def context() -> dict[str, Any]:
        load(app)
        stands, versions = standing_of(app, name), app.ledger.versions_of(name)
        current = next((version for version in versions if version.id == stands.current), versions[-1])
        return {
            "slug": name, "stands": stands, "versions": versions[::-1], "text": yaml.dump(current.document),
            "board": board(app, name), "may": eligible(app, name),
        }  # fmt: skip

    return pages.page(request, "strategy.html.j2", context)


@router.post("/strategies/{name}/retire", dependencies=[Steer])
def retire(name: str, serving: Serving, who: Who, reason: Why = "") -> Response:
    steering.retire(name, Because(reason=reason), serving, who)
    return done(f"/admin/strategies/{quote(name)}", "It is retired; its file stays as it is.")


@router.post("/strategies/{name}/revive", dependencies=[Steer])
def revive(name: str, serving: Serving, who: Who, reason: Why = "") -> Response:
    found = steering.revive(name, VersionIn(reason=reason), serving, who)
    return done(f"/admin/strategies/{quote(name)}", f"{found['version']} is in force.")


# ----------------------------------------------------------------------------------------------------------------- policies


@router.get("/policies", dependencies=[Read])
def policies(
    request: Request, serving: Serving, pages: Rendering, point: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    from learning_loop.examples.harbor import POINT, packs
    from learning_loop.examples.harbor.runs import SETTINGS
    from learning_loop.policies import LEARNERS

    def context() -> dict[str, Any]:
        return {
            **views.policies(serving.app, point, {POINT: SETTINGS}), "packs": packs(), "learners": list(LEARNERS),
            "jobs": [job for job in serving.jobs.all() if job.kind in ("training", "packs")],
        }  # fmt: skip

    return pages.page(request, "policies.html.j2", context)


@router.post("/policies/mode", dependencies=[Steer])
def set_mode(
    serving: Serving,
    who: Who,
    point: Annotated[str, Form(max_length=200)],
    mode: Annotated[str, Form(max_length=20)],
    reason: Why = "",
) -> Response:
    steering.mode(point, _given(ModeIn, mode=mode, reason=reason), serving, who)
    return done(f"/admin/policies?{urlencode({'point': point})}", f"{point}: {mode}.")


@router.post("/policies/rollback", dependencies=[Steer])
def roll_policy_back(serving: Serving, who: Who, point: Annotated[str, Form(max_length=200)], reason: Why = "") -> Response:
    gone = steering.roll_back(point, VersionIn(reason=reason), serving, who)
    return done(f"/admin/policies?{urlencode({'point': point})}", f"{gone['version']} was taken back.")


# --------------------------------------------------------------------------------------------------------------------- jobs

WHERE = {  # the page that a job belongs to
    "training": "/admin/policies",
    "packs": "/admin/policies",
    "evolution": "/admin/strategies",
    "synthesis": "/admin/reports",
}


@router.post("/jobs/cancel", dependencies=[Steer])
def cancel(serving: Serving, who: Who, name: Annotated[str, Query(max_length=64)]) -> Response:
    job = steering.cancel(name, serving, who)
    return done(WHERE.get(job.kind, "/admin"), "It stops at its next step.")


@router.post("/jobs/{kind}", dependencies=[Steer])
async def start_job(kind: str, request: Request, serving: Serving, who: Who) -> Response:
    if kind not in WHERE:
        raise HTTPException(404, "there is no such job")
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str) and value}
    given = _given(steering.JOBS[kind][0], **form)
    await asyncio.to_thread(steering.begin_job, serving, who, kind, given)
    return done(WHERE[kind], f"The {kind} has begun; this page says how far it is.")


def _given(shape: type[Any], **form: str) -> Any:
    """Return what a form says, all of it texts, read by its shape; raise UsageError."""
    return _read(shape, form, shape.model_validate_strings)


def _read(shape: type[Any], values: Mapping[str, Any], reader: Callable[..., Any] | None = None) -> Any:
    try:
        return reader(values, strict=False) if reader is not None else shape.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


# ---------------------------------------------------------------------------------------------- reports, alerts, settings


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


def add_pages(api: Any, served: Served) -> None:
    """Put the pages into an application."""
    api.state.pages = Pages(served)
    api.include_router(router)
