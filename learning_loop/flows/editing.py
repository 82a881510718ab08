"""Notes as people write them through an interface: never over what somebody else wrote meanwhile, and with a history."""

import difflib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from learning_loop.app import App
from learning_loop.errors import ConflictError, NoteError, NotFoundError
from learning_loop.flows.indexing import index_note
from learning_loop.records import NOTE_EDIT, Event
from learning_loop.workspace import Note

MOST_NAME, MOST_PATH = 200, 1_000
MOST_DIFF = 100_000  # characters that are kept of what an edit changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A time that a note was written: by whom, and for a person's edit what it changed."""

    at: datetime
    by: str
    digest: str
    execution_id: str | None = None
    diff: str | None = None


def edit_note(app: App, path: str, text: str, *, expected: str | None, by: str) -> Note:
    """Write a note over the version with the digest `expected`, None being that there is none yet, and return it.

    Raise ConflictError where there is another version, NoteError where the text is no note, NotFoundError where no note of
    this workspace can have that path.
    """
    _check_path(app, path)
    note = Note.parse(path, text.encode("utf-8"))
    with app.alone():
        exists = (app.workspace.root / path).is_file()
        before = app.notes.read(path) if exists else None
        if (before.digest if before is not None else None) != expected:
            raise ConflictError(
                f"{path} was changed meanwhile: look at what it says now, then save yours over that"
                if exists
                else f"{path} is gone: save it as a new note"
            )
        if before is not None and before.content == note.content:
            return note
        old = before.content.decode().splitlines() if before is not None else []
        diff = "\n".join(difflib.unified_diff(old, text.splitlines(), lineterm="", n=2))[:MOST_DIFF]
        data = {"by": by, "digest": note.digest, "before": expected, "diff": diff}
        app.ledger.append(Event(kind=NOTE_EDIT, subject=path, at=app.clock(), data=data))
        app.notes.write(note)
        index_note(app, note)
    return note


def history_of(app: App, note: Note) -> list[Version]:
    """Return when a note was written, the newest first; what was edited as a file, past the loop, comes first as `a person`."""
    found = [
        Version(at=version.at, by="loop", digest=version.digest, execution_id=version.execution_id)
        for version in app.ledger.note_versions(note_id=note.id)
    ]
    found += [
        Version(at=event.at, by=event.data["by"], digest=event.data["digest"], diff=event.data["diff"])
        for event in app.ledger.events(NOTE_EDIT, note.path)
    ]
    found.sort(key=lambda version: version.at, reverse=True)
    if not found or found[0].digest != note.digest:
        changed = datetime.fromtimestamp((app.workspace.root / note.path).stat().st_mtime).astimezone()
        found.insert(0, Version(at=changed, by="a person", digest=note.digest))
    return found


def is_place(app: App, path: str) -> bool:
    """Say whether a note of ours may stand at a path."""
    parts = PurePosixPath(path).parts
    plain = path == "/".join(parts) and not any(part.startswith(".") or "\x00" in part for part in parts)
    short = all(len(os.fsencode(part)) <= MOST_NAME for part in parts) and len(path) <= MOST_PATH
    return plain and short and app.notes.owns(path) and path.endswith(".md")


def _check_path(app: App, path: str) -> None:
    """Raise NotFoundError where no note of ours can stand at a path, NoteError where it leads out of the workspace."""
    if not is_place(app, path):
        raise NotFoundError(f"{path[:200]!r} is no place for a note: those stand in memory/, and end in .md")
    above = (app.workspace.root / path).parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise NotFoundError(f"{path[:200]!r} is no place for a note: {app.workspace.relative(above)} is a file")
    if (app.workspace.root / path).resolve() != app.workspace.root.resolve() / path:
        raise NoteError(f"{path}: leads elsewhere: edit what it leads to")
