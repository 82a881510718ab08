"""Logging in and out, and what pages need to look as they do."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from learning_loop.api import rendering
from learning_loop.api.access import COOKIE, Who, client_of
from learning_loop.api.admin.site import Rendering
from learning_loop.api.serving import Serving

router = APIRouter(prefix="/admin", include_in_schema=False)
FOREVER = "public, max-age=31536000, immutable"


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
