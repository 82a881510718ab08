"""Asking the memory, and reading and editing what it holds."""

import json
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, Response

from learning_loop.api import rendering
from learning_loop.api.access import Who
from learning_loop.api.admin.site import Read, Rendering, Steer, done
from learning_loop.api.paging import part
from learning_loop.api.serving import Served, Serving
from learning_loop.api.v1 import knowledge
from learning_loop.errors import ConflictError
from learning_loop.records import slug
from learning_loop.retrieval.question import KINDS
from learning_loop.workspace import Note

router = APIRouter(prefix="/admin", include_in_schema=False)


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
