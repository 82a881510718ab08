"""Erasing what a person wants gone: from the ledger, the notes and the index, leaving a tombstone."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from learning_loop.app import App
from learning_loop.errors import NoteError, NotFoundError, UsageError
from learning_loop.flows.indexing import Indexing
from learning_loop.flows.masking import Mask, mask_derived
from learning_loop.flows.reflect import Reflection, Reflector
from learning_loop.index.store import PATIENCE_S
from learning_loop.ledger import Filter
from learning_loop.records import ExecutionRecord
from learning_loop.workspace import Note, atomic_write
from learning_loop.workspace.notes import digest_of

_OF_MANY = ("pattern", "gotcha", "rule", "alert")  # notes that one run less does not undo
_ACTIONS = {"reflection": "mandatory_reflection", "decision": "update_architecture", "template": "extract_template"}


@dataclass
class Forgotten:
    """What was erased, and what was written again without it."""

    id: str
    erased: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    record: ExecutionRecord | None = field(default=None, repr=False)


def forget(app: App, name: str, *, reason: str) -> Forgotten:
    """Erase an execution's or a note's content everywhere; `name` is an id, or a note's path.

    The loop's own notes that rest on the execution are erased and, where other runs support them, written again from
    those; in notes of people only the lines that name it go. Raise NotFoundError.
    """
    with app.index.store.waiting(PATIENCE_S):
        return _forget(app, name, reason)


def _forget(app: App, name: str, reason: str) -> Forgotten:
    _sync(app)
    known = {app.workspace.relative(path) for path in app.notes.paths()}
    path = app.index.store.path_of(name) or (name if name in known else None)
    if path not in known and (path is not None or "/" in name):
        raise NotFoundError(f"{name} is no note of this workspace: those stand in memory/ and templates/successful-patterns/")
    found = _note(app, path, reason) if path else _execution(app, app.ledger.resolve(name), reason)
    _scrub(app, [found])
    return found


def forget_expired(app: App) -> list[Forgotten]:
    """Forget every execution older than `ledger.retention_days`; none where that is not set."""
    days = app.settings.ledger.retention_days
    if days is None:
        return []
    old = app.ledger.executions(Filter(before=app.clock() - timedelta(days=days)), limit=1_000_000)
    due = [run.execution.id for run in old if run.outcome is not None]
    with app.index.store.waiting(PATIENCE_S):
        _sync(app)
        found = [_execution(app, execution_id, f"older than {days} days") for execution_id in due]
        _scrub(app, found)
    return found


def _scrub(app: App, found: list[Forgotten]) -> None:
    """Take what was erased out of the index, so that no page of it remembers."""
    mask = Mask.of(app, [item.record for item in found if item.record is not None])
    if mask.ids:
        found[-1].rewritten += [*mask_derived(app, mask), *_mask_notes(app, replace(mask, words=()))]
    if found:
        app.index.store.put(gone=[source for item in found for source in item.erased])
        _sync(app)
        app.index.scrub()


def _sync(app: App) -> None:
    indexing = Indexing(app)
    indexing.sync_notes()
    indexing.sync_executions()


def _note(app: App, path: str, reason: str) -> Forgotten:
    with app.index.store.taking_in():
        note_id = app.notes.read(path).id
        (app.workspace.root / path).unlink()
        app.ledger.forget_note(note_id, path, reason=reason)
    return Forgotten(note_id, erased=[path])


def _execution(app: App, execution_id: str, reason: str) -> Forgotten:
    if app.ledger.is_running(execution_id):
        raise UsageError(f"{execution_id} is still running: forget it when it has ended")
    found = Forgotten(execution_id, erased=[f"execution:{execution_id}"], record=app.ledger.execution(execution_id))
    with app.index.store.taking_in():
        again = _erase(app, execution_id, found)
        app.ledger.forget(execution_id, reason=reason)
    found.rewritten += _written_again(app, again)
    return found


def _erase(app: App, execution_id: str, found: Forgotten) -> list[tuple[str, list[str]]]:
    """Take an execution out of all notes; return, of the loop's own that went, by what they were written and on what.

    A note of many runs is written without this one; a pattern's of which it was the last goes.
    """
    again: list[tuple[str, list[str]]] = []
    wrote = {app.index.store.path_of(version.note_id) for version in app.ledger.note_versions(execution_id=execution_id)}
    for path in dict.fromkeys([*app.index.store.citing([execution_id]), *sorted(path for path in wrote if path)]):
        if not app.notes.owns(path) or not (app.workspace.root / path).is_file():
            continue
        note = app.notes.read(path)
        versions = {version.digest for version in app.ledger.note_versions(note_id=note.id)}
        last = note.category in ("pattern", "gotcha") and note.texts("evidence") == (execution_id,)
        if digest_of(note.content) in versions and note.category in _OF_MANY and not last:
            _rest_on_others(app, note, execution_id, found)
        elif digest_of(note.content) in versions:
            (app.workspace.root / path).unlink(missing_ok=True)
            app.ledger.forget_note(note.id, path, reason=f"it rested on {execution_id}")
            found.erased.append(path)
            if note.category in _ACTIONS:
                again.append((_ACTIONS[note.category], [run for run in note.texts("evidence") if run != execution_id]))
        else:
            atomic_write(app.workspace.root / path, _without(note, execution_id).content)
            found.rewritten.append(path)
    return again


def _rest_on_others(app: App, note: Note, execution_id: str, found: Forgotten) -> None:
    """Write a note of ours that rests on many runs without one of them; it stays the loop's."""
    version = app.ledger.note_versions(note_id=note.id)[0]
    changed = _without(note, execution_id)
    app.ledger.append(replace(version, digest=changed.digest, at=app.clock()))
    app.notes.write(changed)
    found.rewritten.append(note.path)


def _mask_notes(app: App, mask: Mask) -> list[str]:
    """Take families of errors that no run is left of out of the loop's own notes of many runs."""
    written = []
    for path in sorted(app.workspace.relative(path) for path in app.notes.paths()):
        try:
            note = app.notes.read(path)
        except NoteError:
            continue
        versions = app.ledger.note_versions(note_id=note.id)
        if note.category not in _OF_MANY or note.digest not in {version.digest for version in versions}:
            continue
        told = {key: mask.plain(value) for key, value in note.meta.items() if mask.plain(value) != value}
        body = mask.lines(note.body)
        if told or body != note.body:
            head = note.with_meta(**told)
            changed = Note(path=note.path, head=head.head, body=body, meta=head.meta)
            app.ledger.append(replace(versions[0], digest=changed.digest, at=app.clock()))
            app.notes.write(changed)
            written.append(path)
    return written


def _written_again(app: App, again: list[tuple[str, list[str]]]) -> list[str]:
    """Reflect anew on the newest run that is left of each erased note's evidence."""
    reflector, into = Reflector(app), Reflection()
    for action, evidence in again:
        for execution_id in reversed(evidence):
            record = app.ledger.execution(execution_id)
            if record.outcome is not None and not app.ledger.forgotten(execution_id):
                reflector.perform_reflection(action, "written again after a run was forgotten", record.outcome, into)
                break
    return into.notes


def _without(note: Note, execution_id: str) -> Note:
    """Return a person's note without the lines, and the evidence, that name an execution."""
    evidence = [run for run in note.texts("evidence") if run != execution_id]
    changed = note.with_meta(evidence=evidence) if "evidence" in note.meta else note
    lines = [line for line in note.body.splitlines(keepends=True) if execution_id not in line]
    return Note(path=note.path, head=changed.head, body="".join(lines), meta=changed.meta)
