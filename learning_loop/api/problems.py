"""Errors as every answer has them: problem details (RFC 9457), with a `code` that stays the same and what to do next."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from learning_loop.errors import (
    ConfigurationError,
    LearningLoopError,
    LedgerError,
    NoteError,
    NotFoundError,
    TaskError,
    UsageError,
    WorkspaceError,
)

log = logging.getLogger("learning_loop")
MEDIA = "application/problem+json"
_STATUS: tuple[tuple[type[LearningLoopError], int, str], ...] = (  # the first that fits
    (NotFoundError, 404, "not_found"),
    (TaskError, 409, "task_not_understood"),
    (UsageError, 409, "refused"),
    (NoteError, 409, "note_not_usable"),
    (ConfigurationError, 409, "configuration_not_usable"),
    (WorkspaceError, 503, "workspace_busy"),
    (LedgerError, 503, "ledger_unavailable"),
)
_CODES = {
    400: "bad_request",
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "refused",
    413: "too_large",
    415: "media_type_not_supported",
    421: "wrong_host",
    422: "not_valid",
    429: "too_many",
    503: "unavailable",
}


class Problem(BaseModel):
    """Why a request was not carried out, and what to do next."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found",
        "detail": "there is no execution 'x': see `learning-loop executions list`", "errors": [],
    }]})  # fmt: skip
    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: Annotated[list[dict[str, Any]], Field(description="Which fields are not valid, and why.")] = []


def problem(
    status: int, detail: str, *, code: str | None = None, headers: Mapping[str, str] | None = None, errors: Any = ()
) -> JSONResponse:
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, code=code or _CODES.get(status, "failed"), detail=detail, errors=errors
    )
    return JSONResponse(body.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA)


def status_of(error: LearningLoopError) -> tuple[int, str]:
    return next(((status, code) for kind, status, code in _STATUS if isinstance(error, kind)), (503, "unavailable"))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how the answers with these statuses are described."""
    schema = {"content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return {status: {"description": HTTPStatus(status).phrase, **schema} for status in statuses}


def add_problems(api: FastAPI, as_page: Callable[[Request, Exception], Response]) -> None:
    """Answer every error as a problem, and as a page where a page was asked for; what no request is to blame for is logged."""

    @api.exception_handler(LearningLoopError)
    async def _ours(request: Request, error: LearningLoopError) -> Response:
        if _is_page(request):
            return await run_in_threadpool(as_page, request, error)
        status, code = status_of(error)
        return problem(status, str(error), code=code, headers={"Retry-After": "2"} if status == 503 else None)

    @api.exception_handler(HTTPException)
    async def _theirs(request: Request, error: HTTPException) -> Response:
        if _is_page(request):
            return await run_in_threadpool(as_page, request, error)
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @api.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
        first = errors[0] if errors else {"where": "the request", "what": "it cannot be read"}
        detail = f"{first['where']}: {first['what']}"
        if _is_page(request):
            return await run_in_threadpool(as_page, request, HTTPException(422, detail))
        return problem(422, detail, errors=errors)

    @api.exception_handler(500)
    async def _fault(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        if _is_page(request):
            return await run_in_threadpool(as_page, request, error)
        return problem(500, "This is a fault of learning-loop; its log says more.", code="fault")


def _is_page(request: Request) -> bool:
    return f"{request.url.path}/".startswith("/admin/")
