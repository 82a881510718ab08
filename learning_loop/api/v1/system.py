"""The workspace and who may do what in it: status, settings, tokens, what was changed, what is new."""

import contextlib
import gzip
import io
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, StreamingResponse

from learning_loop.api.access import Who, need
from learning_loop.api.paging import Cursor, Limit, cursor_of, place_of
from learning_loop.api.problems import documented
from learning_loop.api.repeating import Repeatable
from learning_loop.api.serving import AUDIT, Opened, Serving
from learning_loop.api.v1.shapes import NewToken, Page, TokenIn, TokenOut
from learning_loop.app import App
from learning_loop.errors import MappingError

router = APIRouter(tags=["workspace"], route_class=Repeatable)
MOST_UNPACKED = 100_000_000  # bytes of a history that comes gzipped
_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "examples": [{"id": "812-800", "event": "change", "data": '{"executions": 812, "outcomes": 800}'}],
}


@router.get("/status", dependencies=[need("read")])
def status(app: Opened) -> dict[str, Any]:
    """Say what stands in the workspace."""
    from learning_loop.flows.status import status as look

    return look(app, [])


@router.get("/doctor", dependencies=[need("read")])
def doctor(app: Opened) -> list[dict[str, Any]]:
    """Say what is missing, unreadable or out of date, and how to mend it."""
    from learning_loop.flows.doctor import examine

    return [asdict(symptom) for symptom in examine(app.workspace, environ=app.environ, clock=app.clock)]


@router.get("/settings", dependencies=[need("read")])
def settings(app: Opened) -> dict[str, dict[str, Any]]:
    """Show every setting with its value and where that comes from; they are changed in config/."""
    rows = app.configuration.rows()
    return {key: {"value": app.redact({key: value})[key], "origin": origin} for key, value, origin in rows}


@router.get("/rewards", dependencies=[need("read")])
def rewards(app: Opened) -> list[dict[str, Any]]:
    """List the rewards there are."""
    from learning_loop.flows.rewards import load_rewards

    return [reward.model_dump(mode="json") | {"version": reward.version} for reward in load_rewards(app).values()]


@router.get("/rewards/{name}", dependencies=[need("read")], responses=documented(404, 409))
def reward(name: str, app: Opened, limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000) -> dict[str, Any]:
    """Say what the newest runs were worth by a reward, in the mean and by term."""
    from learning_loop.flows.rewards import reward_named, rewards_of, summary_of
    from learning_loop.ledger import Filter

    known = reward_named(app, name)
    found, problems = rewards_of(app, known, Filter(ended=True), limit=limit)
    return {"version": known.version, "warnings": list(problems), **asdict(summary_of([worth for _, worth in found]))}


@router.get("/spending", dependencies=[need("read")])
def spending(app: Opened) -> dict[str, Any]:
    """Say what the language model cost, and what became of what it proposed."""
    from learning_loop.flows.language import spending as spent

    return asdict(spent(app))


@router.get("/backup", dependencies=[need("admin")], response_class=FileResponse)
def backup(serving: Serving, who: Who) -> FileResponse:
    """Write the whole workspace to one file, as `learning-loop restore` reads it."""
    from learning_loop.flows.backup import backup as write

    name = f"learning-loop-{serving.app.clock():%Y%m%d-%H%M%S}.tar.gz"
    made = _sent(name, lambda path: write(serving.app, path))
    serving.audit(who.name, "backup", name)
    return made


@router.get("/history.jsonl.gz", dependencies=[need("read")], response_class=FileResponse)
def export(app: Opened) -> FileResponse:
    """Write every ended execution with all that is on record about it, as `learning-loop import` reads it."""
    from learning_loop.flows.importing import export_history

    return _sent("history.jsonl.gz", lambda path: export_history(app, path))


def _sent(name: str, write: Callable[[Path], object]) -> FileResponse:
    """Return a file as it is written, which is gone once it was sent, or where it cannot be written."""
    with contextlib.ExitStack() as left:
        path = Path(left.enter_context(tempfile.TemporaryDirectory(prefix="learning-loop-"))) / name
        write(path)
        gone = BackgroundTask(left.pop_all().close)
    return FileResponse(path, media_type="application/gzip", filename=name, background=gone)


@router.post("/history", dependencies=[need("steer")], responses=documented(409))
def take_in(
    serving: Serving,
    who: Who,
    content: Annotated[bytes, Body(media_type="application/octet-stream")] = b"",
    form: Annotated[Literal["csv", "jsonl", "junit"], Query(alias="format")] = "jsonl",
    mapping: Annotated[str | None, Query(max_length=4_000, description="Which column says what, as YAML.")] = None,
    *,
    dry_run: Annotated[bool, Query(description="Say what the first rows become; write nothing.")] = False,
) -> dict[str, Any]:
    """Take a history in: an export of learning-loop, CSV or JSONL by a mapping, JUnit XML, gzipped or not; once is once."""
    from learning_loop.flows.importing import import_history, load_mapping

    with tempfile.TemporaryDirectory(prefix="learning-loop-") as folder:
        path, by = Path(folder) / f"history.{form}", Path(folder) / "mapping.yaml"
        path.write_bytes(_unpacked(content))
        if mapping is not None:
            by.write_text(mapping, encoding="utf-8")
        read = load_mapping(by) if mapping is not None else None
        found = import_history(serving.app, path, read, form, dry_run=dry_run)
    if not dry_run:
        serving.audit(who.name, "import", form, added=found.added)
    return {
        "read": found.read,
        "added": found.added,
        "known": found.known,
        "bad": found.bad_count,
        "set_aside": found.set_aside,
        "problems": [{"line": row.line, "problem": row.problem} for row in found.bad],
        "unseen": found.unseen,
        "shown": [serving.app.redact(asdict(one)) for one in found.shown],
    }


def _unpacked(content: bytes) -> bytes:
    """Return a file that may be gzipped as it was before; raise MappingError, also where that is far too much."""
    packed = b"\x1f\x8b"
    if not content.startswith(packed):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            found = file.read(MOST_UNPACKED + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise MappingError(f"the file breaks off: {error}. Nothing was taken in") from None
    if found.startswith(packed):
        raise MappingError("the file is packed twice: pack it once. Nothing was taken in")
    if len(found) > MOST_UNPACKED:
        raise MappingError(
            f"that is more than {MOST_UNPACKED // 1_000_000} MB once it is unpacked: send it in parts, or say "
            "`learning-loop import` on the machine that serves"
        )
    return found


@router.get("/schedule", dependencies=[need("read")])
def schedule(app: Opened) -> dict[str, Any]:
    """Say what is due, and what comes next."""
    from learning_loop.jobs import due, upcoming

    return {
        name: [{"job": slot.job, "period": slot.period.label, "at": slot.at} for slot in slots]
        for name, slots in (("due", due(app)), ("next", upcoming(app)))
    }


@router.get("/tokens", dependencies=[need("admin")])
def tokens(app: Opened) -> list[TokenOut]:
    """List tokens; what they are is not kept."""
    from learning_loop.flows.tokens import tokens as known

    return [TokenOut.model_validate(token) for token in known(app)]


@router.post("/tokens", status_code=201, dependencies=[need("admin")], responses=documented(409))
def create_token(given: TokenIn, serving: Serving, who: Who) -> NewToken:
    """Make a token; once there is one, everybody needs one."""
    from learning_loop.flows.tokens import create_token as make

    token, text = make(serving.app, given.name, given.scopes, days=given.days)
    serving.access.look_again()
    serving.audit(who.name, "create token", token.id, name=token.name)
    return NewToken(**TokenOut.model_validate(token).model_dump(), token=text)


@router.delete("/tokens/{name}", status_code=204, dependencies=[need("admin")], responses=documented(404, 409))
def revoke_token(name: str, serving: Serving, who: Who) -> None:
    """Take a token's rights away."""
    from learning_loop.flows.tokens import revoke_token as revoke

    gone = revoke(serving.app, name)
    serving.access.look_again()
    serving.audit(who.name, "revoke token", gone.id, name=gone.name)


def audited(app: App, *, most: int, before: int | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Return who changed what over the network, the newest first, each with its place."""
    found = app.ledger.events_before(AUDIT, before, most=most)
    return [(place, {"at": event.at, "by": event.subject, **event.data}) for place, event in found]


@router.get("/audit", dependencies=[need("admin")], responses=documented(404))
def audit(app: Opened, limit: Limit = 50, cursor: Cursor = None) -> Page[dict[str, Any]]:
    """Say who changed what over the network, the newest first."""
    (before,) = place_of(cursor, int) if cursor else (None,)
    found = audited(app, most=limit + 1, before=before)
    following = cursor_of(found[limit - 1][0]) if len(found) > limit else None
    return Page(items=[entry for _, entry in found[:limit]], next=following)


@router.get(
    "/events", dependencies=[need("read")], response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
)  # fmt: skip
async def events(
    serving: Serving, who: Who, last_event_id: Annotated[str | None, Header(max_length=500)] = None
) -> StreamingResponse:
    """Tell what is new, as server-sent events: how many rows of each kind there are, and how often memory changed."""
    stream: AsyncIterator[str] = serving.changes.listen(last_event_id, may=lambda: serving.access.still(who))
    return StreamingResponse(stream, media_type="text/event-stream")
