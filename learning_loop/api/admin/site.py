"""What every page has: how it is rendered, what was just done, how an error looks, and how a form is read."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from fastapi import Depends, Form, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from learning_loop.api import rendering
from learning_loop.api.access import need
from learning_loop.api.live import places_of, state_of
from learning_loop.api.problems import status_of
from learning_loop.api.serving import Served
from learning_loop.errors import LearningLoopError, UsageError

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
Read, Steer = need("read"), need("steer")
Reason = Annotated[str, Form(max_length=2_000)]


class Pages:
    """Renders pages. One that was rendered serves all who ask for it until something is new on record."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._environment = rendering.environment()
        self._kept: OrderedDict[Any, str] = OrderedDict()
        self._locks = [threading.Lock() for _ in range(16)]

    def page(self, request: Request, template: str, context: Callable[[], Mapping[str, Any]], *, kept: bool = True) -> Response:
        """Return a page; `context` is asked for only where the page is not kept."""
        served = self._served
        about = {"state": state_of(places_of(served.app))}  # before anything is read, so that what comes meanwhile is new
        said = request.cookies.get(SAID)
        if said and "x-live" not in request.headers:  # what is fetched anew is no page that the message was for
            answer = HTMLResponse(self.render(request, template, {"said": unquote(said), **about, **context()}))
            answer.delete_cookie(SAID, path="/admin")
            return answer
        if not kept:
            return HTMLResponse(self.render(request, template, {**about, **context()}))
        minute = int(served.app.clock().timestamp()) // 60
        key = (template, str(request.url), request.scope["state"]["actor"], about["state"], served.jobs.progress, minute)
        with self._locks[hash(key) % len(self._locks)]:  # one renders it, who comes meanwhile takes what that one made
            if (html := self._kept.get(key)) is None:
                html = self._kept[key] = self.render(request, template, {**about, **context()})
                if len(self._kept) > MOST_PAGES:
                    self._kept.popitem(last=False)
        return HTMLResponse(html)

    def render(self, request: Request, template: str, context: Mapping[str, Any]) -> str:
        app = self._served.app
        from learning_loop.flows.alerts import OPEN, alerts

        state = context["state"] if "state" in context else state_of(places_of(app))
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
        return self._environment.get_template(template).render({**about, **context, "state": state})

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


def _came_from(request: Request) -> str:
    """Return the page of ours that a form was sent from."""
    page = urlsplit(request.headers.get("referer") or "")
    ours = page.netloc == request.url.netloc and (page.path == "/admin" or page.path.startswith("/admin/"))
    return urlunsplit(("", "", page.path, page.query, "")) if ours else "/admin"


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
    asked = request.method == "GET"
    context = {"heading": heading, "detail": detail, "back": "/admin" if asked else _came_from(request), "live": not asked}
    pages, name = request.app.state.pages, "problem.html.j2"
    if request.scope["state"].get("actor") is None:  # to whom nothing is said of the workspace
        return HTMLResponse(pages.bare(name, actor=None, **context), status)
    return HTMLResponse(pages.render(request, name, context), status)


def given_by(shape: type[Any], **form: str) -> Any:
    """Return what a form says, all of it texts, read by its shape; raise UsageError."""
    return read_by(shape, form, shape.model_validate_strings)


def read_by(shape: type[Any], values: Mapping[str, Any], reader: Callable[..., Any] | None = None) -> Any:
    """Return values read by a shape; raise UsageError, which names the first that is wrong."""
    try:
        return reader(values, strict=False) if reader is not None else shape.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
