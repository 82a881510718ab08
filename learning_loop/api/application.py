"""The application: routers behind one guard, health, and the paths of the system this stands in for."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from learning_loop import __version__
from learning_loop.api.access import Who, need
from learning_loop.api.admin import add_pages, refused
from learning_loop.api.guarding import Guarded
from learning_loop.api.paging import Cursor, Limit
from learning_loop.api.problems import Problem, add_problems, documented
from learning_loop.api.repeating import MOST_KEY
from learning_loop.api.serving import Opened, Served, Serving
from learning_loop.api.v1 import knowledge, runs, steering, system
from learning_loop.api.v1.shapes import JobOut, Page, Row, TrainingIn
from learning_loop.errors import LearningLoopError
from learning_loop.ledger import Filter

V1 = "/api/v1"
KEEP_S, ABANDON_LOOKS = 5.0, 120  # between two looks after the process beside; and so many of them, for runs nobody ends
SCHEMA = f"{V1}/openapi.json"
ABOUT = """\
Go round work in any language: `POST /tasks` before it begins, `POST /executions/{id}/finish` when it has ended, and what was
learned comes back with the next one. What the command line can do can be done here, but for what reads the files of a machine
or runs on it: `eval`, `replay`, `policy train --data`, `strategy validate`, `restore` and `schedule run`.

Errors are problem details (RFC 9457). Writes may carry an `Idempotency-Key`. Lists that grow have a `cursor`. Once there is a
token, everybody needs one: `Authorization: Bearer TOKEN`, with the scope `read`, `record`, `steer` or `admin`.
"""

health = APIRouter(tags=["health"])
seed = APIRouter(prefix="/api/orchestrator", tags=["packs"])


@health.get("/healthz")
def alive() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok", "version": __version__}


@health.get("/readyz", responses=documented(503))
def ready(serving: Serving) -> dict[str, str]:
    """Say that the ledger can be read."""
    serving.app.ledger.last_place()
    return {"status": "ok"}


@seed.post("/train", status_code=202, dependencies=[need("steer")], responses=documented(409))
def train(given: TrainingIn, serving: Serving, who: Who) -> JobOut:
    """Train the packs' policy in the background, on the dynamic runs so far."""
    from learning_loop.examples.harbor import POINT

    asked = given if given.point is not None else given.model_copy(update={"point": POINT})
    return JobOut.model_validate(steering.begin_job(serving, who, "training", asked))


@seed.get("/logs/runs", dependencies=[need("read")], responses=documented(404))
def logged(app: Opened, limit: Limit = 50, cursor: Cursor = None) -> Page[Row]:
    """List dynamic runs of packs, the newest first."""
    rows, following = runs.rows_of(app, Filter(types=("pack",)), None, "started", cursor, limit, descending=True)
    return Page(items=[Row.model_validate(row) for row in rows], next=following)


def application(served: Served, *, hosts: Collection[str] = ()) -> ASGIApp:
    """Return the application over an open workspace; `hosts` are names it may be asked for, besides the loopback's."""

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        keeping = asyncio.create_task(_keep(served))
        yield
        keeping.cancel()
        served.changes.end()
        await run_in_threadpool(served.close)

    api = FastAPI(
        title="learning_loop", version=__version__, description=ABOUT, lifespan=lifespan, openapi_url=SCHEMA, docs_url=None,
        redoc_url=None, responses=documented(400, 401, 403, 422, 429, 503), redirect_slashes=False,
    )  # fmt: skip
    api.state.served = served
    add_problems(api, refused)
    for router in (runs.router, knowledge.router, steering.router, system.router):
        api.include_router(router, prefix=V1)
    api.include_router(health)
    api.include_router(seed)
    add_pages(api, served)
    api.add_route("/", lambda _request: RedirectResponse("/admin"), include_in_schema=False)
    api.openapi = lambda: _described(api)  # type: ignore[method-assign]  # as FastAPI's documentation has it
    settings = served.settings
    return Guarded(
        api,
        access=served.access,
        hosts=[*hosts, *settings.hosts],
        most_bytes=1_024 * settings.most_kilobytes,
        body_s=settings.body_s,
    )


async def _keep(served: Served) -> None:
    """See that what follows the runs lives, and, every ten minutes, mark runs that nobody ends."""
    for look in itertools.count():
        with contextlib.suppress(OSError):  # no process can be begun now: then the next time
            await run_in_threadpool(served.beside.keep)
        await run_in_threadpool(served.jobs.put_down)
        if look % ABANDON_LOOKS == 0:
            with contextlib.suppress(LearningLoopError):  # the ledger is busy: then the next time
                await run_in_threadpool(served.abandon)
        await asyncio.sleep(KEEP_S)


def _described(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document: with errors as they are, tokens, and the key of requests that may come again."""
    if api.openapi_schema is not None:
        return api.openapi_schema
    found = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
    components = found.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"token": []}, {}]
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": MOST_KEY},
        "description": "The same request with the same key again is answered as it was before, and does nothing twice.",
    }
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            if method in ("post", "put", "delete") and path.startswith(V1) and not path.endswith("/tokens"):
                operation.setdefault("parameters", []).append(key)
                operation["responses"].setdefault("409", documented(409)[409])  # the key was used for another request
    api.openapi_schema = found
    return found
