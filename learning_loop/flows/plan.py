"""What a synthesis will change: files, notes and rows, put together first and committed in one go."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.errors import NoteError
from learning_loop.flows.indexing import Indexing
from learning_loop.flows.remember import composed, place_of
from learning_loop.records import Event, NoteVersion
from learning_loop.workspace import Note
from learning_loop.workspace.journal import FileChange
from learning_loop.workspace.notes import digest_of

ARCHIVE = "memory/archive"


class Plan:
    """Changes that nobody sees before they are committed; what a person did to a file meanwhile stays, whatever is planned."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._now = app.clock()
        self.files: dict[str, FileChange] = {}
        self.rows: list[Any] = []
        self.promoted: list[str] = []
        self.archived: list[str] = []
        self.faults: list[str] = []

    def write(self, path: str, content: bytes, *, known: str | None = None) -> None:
        """Plan a file's new content; where it is `known` what the loop wrote last, anything else there is a person's."""
        self.files[path] = FileChange(path, content, known or self._digest(path))

    def remember(self, *, anew: bool = False, **finding: Any) -> Note | None:
        """Plan the note on a subject; takes what `composed` does.

        None where a person has removed it: unless it is to come `anew`, it stays so. None too, and a fault, where it cannot
        be read.
        """
        subject = finding["subject"]
        if not anew and self._app.ledger.note_versions(subject=subject) and not self.lies_somewhere(subject):
            return None
        try:
            note, version = composed(self._app, **finding)
        except NoteError as error:
            self.faults.append(f"mend this note, it was left as it is: {error}")
            return None
        target = note
        if note.path.startswith(f"{ARCHIVE}/"):  # it comes back
            target = replace(note, path=self._app.notes.free_path(finding["folder"], Path(note.path).stem))
            self.files[note.path] = FileChange(note.path, None, self._digest(note.path))
        self.write(target.path, target.content)
        self.rows.append(replace(version, path=target.path))
        return target

    def retire(self, subject: str, status: str) -> str | None:
        """Archive the loop's note on a subject and return its path; what a person made theirs stays where it is."""
        versions = self._app.ledger.note_versions(subject=subject)
        path = place_of(self._app, versions[0]) if versions else None
        note = self.own(path) if path is not None and self._is_file(path) else None
        if note is None or note.path.startswith(f"{ARCHIVE}/"):
            return None
        return self.move(note, ARCHIVE, status=status)

    def move(self, note: Note, folder: str, *, status: str, was: Note | None = None) -> str:
        """Put a note of the loop's into another folder and return its path; where it lay nothing is left.

        `was` is the note as it lies there, where `note` is changed already.
        """
        if folder == ARCHIVE:
            self.archived.append(note.title)
        target = replace(note.with_meta(status=status, updated=self._now), path=f"{folder}/{Path(note.path).name}")
        if target.path != note.path and self._is_file(target.path):
            target = replace(target, path=self._app.notes.free_path(folder, Path(note.path).stem))
        versions = self._app.ledger.note_versions(note_id=note.id)
        subject = versions[0].subject if versions else f"note:{note.id}"
        self.write(target.path, target.content)
        if target.path != note.path:
            self.files[note.path] = FileChange(note.path, None, (was or note).digest)
        self.rows.append(
            NoteVersion(
                note_id=note.id, path=target.path, subject=subject, digest=target.digest, execution_id=None, at=self._now
            )
        )
        return target.path

    def own(self, path: str) -> Note | None:
        """Return a note that the loop wrote and nobody changed, None for any other."""
        try:
            note = self._app.notes.read(path)
        except NoteError:
            return None
        known = {version.digest for version in self._app.ledger.note_versions(note_id=note.id)}
        return note if note.digest in known else None

    def commit(self, what: str) -> None:
        """Carry it all out: the rows and the files, or, whenever the process dies, nothing. The journal must be held."""
        name = self._app.ids()
        self._app.journal.prepare(name, list(self.files.values()))
        self._app.ledger.append(*self.rows, Event(kind="files", subject=name, at=self._now, data={"for": what}))
        self._app.journal.carry_out(name)
        if self.files:
            Indexing(self._app).sync_notes()

    def path_of(self, subject: str) -> str | None:
        """Return where the note that is planned on a subject will lie; None where none is."""
        written = (row for row in self.rows if isinstance(row, NoteVersion) and row.subject == subject)
        return next((row.path for row in written), None)

    def path_of_note(self, note_id: str) -> str | None:
        """Return where a note that is planned will lie; None where it is not."""
        return next((row.path for row in self.rows if isinstance(row, NoteVersion) and row.note_id == note_id), None)

    def lies_somewhere(self, subject: str) -> bool:
        """Say whether the loop's note on a subject is still there, wherever a person moved it to."""
        versions = self._app.ledger.note_versions(subject=subject)
        return bool(versions) and self._is_file(place_of(self._app, versions[0]))

    def place_of(self, version: NoteVersion) -> str | None:
        """Return where a note will lie when all is done; None where it is gone."""
        moved = (row.path for row in reversed(self.rows) if isinstance(row, NoteVersion) and row.note_id == version.note_id)
        path = next(moved, None) or place_of(self._app, version)
        return path if path in self.files or self._is_file(path) else None

    def _is_file(self, path: str) -> bool:
        return (self._app.workspace.root / path).is_file()

    def _digest(self, path: str) -> str | None:
        return digest_of((self._app.workspace.root / path).read_bytes()) if self._is_file(path) else None
