"""Writing a note: the same subject revises the same note, and what a person edited is theirs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.flows.indexing import Indexing, index_note
from learning_loop.records import Execution, NoteVersion, slug
from learning_loop.workspace import Note, with_front_matter
from learning_loop.workspace.notes import digest_of

MOST_EVIDENCE = 20


def remember(app: App, **finding: Any) -> str:
    """Write what was found out about a subject and return the note's path in the workspace; takes what `composed` does.

    One writer at a time, so that a note another process writes meanwhile is not taken for a person's.
    """
    with app.alone():
        note, version = composed(app, **finding)
        app.ledger.append(
            version
        )  # first: a crash between the two leaves a version without a file, never a note of unknown hand
        app.notes.write(note)
        index_note(app, note)
        return note.path


def composed(  # noqa: PLR0913  (what there is to say of a note)
    app: App,
    *,
    subject: str,
    folder: str,
    name: str,
    meta: Mapping[str, Any],
    body: Callable[[Mapping[str, Any]], str],
    execution: Execution | None = None,
    fixed_path: str | None = None,
    anew: bool = True,
) -> tuple[Note, NoteVersion]:
    """Return the note to write on a subject, and the version of it for the ledger; nothing is written.

    The loop's own note on that subject is revised (its evidence grows); one that a person changed stays as it is, and what
    would have been written becomes a proposal beside it. `body` gets the front matter, evidence and count included. What was
    not found `anew` is written otherwise, and counts no more than before.
    """
    note, versions = _current(app, subject, fixed_path)
    if note is not None and digest_of(note.content) not in {version.digest for version in versions}:
        beside = str(Path(note.path).with_suffix(".proposal.md"))
        return composed(
            app,
            subject=f"proposal:{subject}",
            folder=folder,
            name=name,
            meta={**meta, "kind": "proposal", "proposes_for": note.path},
            body=body,
            execution=execution,
            fixed_path=beside,
            anew=anew,
        )
    known = dict(note.meta) if note else {}
    given = {key: value for key, value in meta.items() if value is not None and key != "evidence"}
    front = {**_front(app, known, meta, execution, anew=anew), **given}
    front = app.redact(front)
    text = app.redact(body(front))
    if note is None:
        path = fixed_path or app.notes.free_path(folder, name)
        note = with_front_matter(path, front, text)
    else:
        note = Note(path=note.path, head=note.head, body=text, meta=note.meta).with_meta(
            **{key: value for key, value in front.items() if known.get(key) != value}
        )
    version = NoteVersion(
        note_id=note.id,
        path=note.path,
        subject=subject,
        digest=digest_of(note.content),
        execution_id=execution.id if execution else None,
        at=app.clock(),
    )
    return note, version


def _current(app: App, subject: str, fixed_path: str | None) -> tuple[Note | None, list[NoteVersion]]:
    """Return the note on a subject, wherever it was moved to, and the versions of it that the loop wrote."""
    versions = app.ledger.note_versions(subject=subject)
    path = fixed_path
    if versions:
        path = place_of(app, versions[0])
        versions = [version for version in versions if version.note_id == versions[0].note_id]
    if path is None or not (app.workspace.root / path).is_file():
        return None, versions
    return app.notes.read(path), versions


def place_of(app: App, version: NoteVersion) -> str:
    """Return where a note that the loop wrote lies now, wherever a person moved it to."""
    path = app.index.store.path_of(version.note_id) or version.path
    if not (app.workspace.root / path).is_file():  # moved or removed by hand since the index last looked
        Indexing(app).sync_notes()
        path = app.index.store.path_of(version.note_id) or path
    return path


def _front(
    app: App, known: Mapping[str, Any], meta: Mapping[str, Any], execution: Execution | None, *, anew: bool
) -> dict[str, Any]:
    now = app.clock()
    evidence = [str(item) for item in known.get("evidence") or ()]
    fresh = [item for item in meta.get("evidence") or ([execution.id] if execution else []) if item not in evidence]
    front: dict[str, Any] = {"id": known.get("id") or app.ids()}
    front |= {key: meta[key] for key in ("kind", "title") if meta.get(key) is not None}
    front["created"] = known.get("created") or now
    if known:
        front["updated"] = now
    if execution:
        front |= {"task_type": execution.task_type, "component": execution.component, "project": execution.project}
    front["tags"] = list(meta.get("tags") or known.get("tags") or ())
    again = not anew or (execution is not None and not fresh)  # it is written otherwise, or after a crash once more
    front["seen"] = int(known.get("seen") or 0) + (0 if again else max(len(fresh), 1))
    front["status"] = known.get("status") or "active"
    return {**front, "evidence": (evidence + fresh)[-MOST_EVIDENCE:]}


def note_name(app: App, title: str) -> str:
    """Return a file name: the day, the title, and four letters that keep two branches apart."""
    return f"{app.clock():%Y-%m-%d}-{slug(title)}-{app.ids()[-4:]}"
