"""The tables of the index's file, and how notes and executions are written to them: notes in chunks, their words in FTS5."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from learning_loop.index.documents import Document, RunDocument
from learning_loop.retrieval.chunks import neighbours

SCHEMA = 8
PLACES = 24  # bits of a chunk's number for its place in its note: the others are the note's number
WEIGHTS = (1.0, 1.0, 0.4, 0.5)  # of title, text, context, said: measured on notes, post-mortems and conversations

_NOTE = [item.name for item in fields(Document) if item.name != "chunks"]
# A number is never used again: what a reader still holds of a note that is gone is not taken for another.
CREATE = f"""
CREATE TABLE notes (rowid INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(_NOTE)});
CREATE UNIQUE INDEX notes_source ON notes (source);
CREATE INDEX notes_kind ON notes (category, task_type, component, at);
CREATE INDEX notes_component ON notes (component, task_type);
CREATE INDEX notes_id ON notes (id);
CREATE INDEX notes_names ON notes (project, component, agent, task_type, tags);
CREATE TABLE chunks (
    rowid INTEGER PRIMARY KEY, note INTEGER NOT NULL AS (rowid >> {PLACES}), project INTEGER NOT NULL, heading TEXT NOT NULL,
    anchor TEXT, who TEXT,
    title TEXT NOT NULL, text TEXT NOT NULL, context TEXT NOT NULL, said TEXT NOT NULL, key BLOB NOT NULL
);
CREATE INDEX chunks_key ON chunks (key);
CREATE TABLE projects (rowid INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE runs (rowid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, project TEXT, words TEXT);
CREATE TABLE cites (execution TEXT NOT NULL, note INTEGER NOT NULL);
CREATE INDEX cites_execution ON cites (execution);
CREATE INDEX cites_note ON cites (note);
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL);
INSERT INTO meta VALUES ('change', abs(random()) % 1000000000000), ('born', abs(random()));
CREATE VIRTUAL TABLE run_words USING fts5(
    words, content='runs', content_rowid='rowid', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER runs_added AFTER INSERT ON runs BEGIN
    INSERT INTO run_words(rowid, words) VALUES (new.rowid, new.words);
END;
CREATE TRIGGER runs_removed AFTER DELETE ON runs BEGIN
    INSERT INTO run_words(run_words, rowid, words) VALUES ('delete', old.rowid, old.words);
END;
"""
COLUMNS = "title, text, context, said"
_CREATE_WORDS = f"""
CREATE VIRTUAL TABLE IF NOT EXISTS {{words}} USING fts5(
    {COLUMNS}, content='chunks', content_rowid='rowid', tokenize='porter unicode61 remove_diacritics 2'
);
INSERT INTO {{words}}({{words}}, rank) VALUES ('rank', 'bm25({", ".join(map(str, WEIGHTS))})');
"""
_EXECUTION = re.compile(r"\b\d{8}-\d{6}-[a-z2-9]{8}\b")
_INSERT_NOTE = f"INSERT INTO notes ({', '.join(_NOTE)}) VALUES ({', '.join('?' * len(_NOTE))})"
_INSERT_CHUNK = (
    "INSERT INTO chunks (rowid, project, heading, anchor, who, title, text, context, said, key) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
COUNT_UP = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


def drop_all(connection: sqlite3.Connection) -> None:
    """Drop every table of an older form; those that full-text tables keep go with them."""
    for kind in ("sql LIKE 'CREATE VIRTUAL%'", "name NOT LIKE 'sqlite_%'"):
        names = connection.execute(f"SELECT name FROM sqlite_master WHERE type = 'table' AND {kind}").fetchall()
        for (name,) in names:
            connection.execute(f'DROP TABLE IF EXISTS "{name}"')


def put(
    connection: sqlite3.Connection,
    documents: Sequence[Document],
    gone: Sequence[str],
    runs: Sequence[RunDocument],
    meta: Mapping[str, str | int],
) -> None:
    for source in [*gone, *(document.source for document in documents)]:
        remove(connection, source)
    for document in documents:
        values = [plain(getattr(document, name)) for name in _NOTE]
        note = int(connection.execute(f"{_INSERT_NOTE} RETURNING rowid", values).fetchone()[0])
        _add_chunks(connection, note, document)
        said = {*document.evidence, *_EXECUTION.findall(" ".join(chunk.text for chunk in document.chunks))}
        connection.executemany("INSERT INTO cites VALUES (?, ?)", [(execution, note) for execution in sorted(said)])
        connection.execute(COUNT_UP, ("bare", len(document.chunks)))
    connection.executemany(
        "INSERT OR IGNORE INTO runs (id, project, words) VALUES (?, ?, ?)",
        [(run.id, run.project, run.words) for run in runs],
    )
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))


def embedded_text(*, title: str, heading: str, dated: str | None, who: str | None, text: str) -> str:
    """Return what is embedded of a chunk: who said it and when, what it stands under, what it says."""
    under = " > ".join(part for part in (title, heading) if part)
    said = f"[{dated}] " if dated else ""
    said += f"{who}: " if who else ""
    return said + (under + "\n" if under else "") + text


def _chunk_rows(document: Document) -> Iterator[tuple[Any, ...]]:
    for place, chunk in enumerate(document.chunks):
        who = chunk.who or document.agent
        said = " ".join(part for part in (document.said, document.dated, who) if part)
        yield (
            chunk.heading,
            chunk.anchor,
            who,
            " ".join(part for part in (document.title, chunk.heading) if part),
            chunk.text,
            neighbours(document.chunks, place),
            said,
            key_of(embedded_text(title=document.title, heading=chunk.heading, dated=document.dated, who=who, text=chunk.text)),
        )


def key_of(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def words_table(connection: sqlite3.Connection, project: str | None) -> str | None:
    """Return the full-text table of a project, None where it has no notes: how rare a word is differs between projects."""
    found = connection.execute("SELECT rowid FROM projects WHERE name IS ?", (project,)).fetchone()
    return f"words_{found[0]}" if found else None


def _add_chunks(connection: sqlite3.Connection, note: int, document: Document) -> None:
    words = words_table(connection, document.project)
    if words is None:
        number = connection.execute("INSERT INTO projects (name) VALUES (?)", (document.project,)).lastrowid
        words = f"words_{number}"
        for statement in _CREATE_WORDS.format(words=words).split(";\n"):
            connection.execute(statement)
    project = int(words.removeprefix("words_"))
    for number, row in enumerate(_chunk_rows(document), note << PLACES):
        connection.execute(_INSERT_CHUNK, (number, project, *row))
        connection.execute(f"INSERT INTO {words}(rowid, {COLUMNS}) VALUES (?, ?, ?, ?, ?)", (number, *row[3:7]))


def remove(connection: sqlite3.Connection, source: str) -> None:
    found = connection.execute("SELECT rowid FROM notes WHERE source = ?", (source,)).fetchone()
    if found is not None:
        inside = "rowid BETWEEN ? AND ?"
        numbers = (found[0] << PLACES, (found[0] + 1 << PLACES) - 1)
        chunks = connection.execute(f"SELECT project, rowid, {COLUMNS} FROM chunks WHERE {inside}", numbers)
        for project, *row in chunks.fetchall():
            words = f"words_{project}"
            connection.execute(
                f"INSERT INTO {words}({words}, rowid, {COLUMNS}) VALUES ('delete', ?, ?, ?, ?, ?)",
                row,
            )
        connection.execute(f"DELETE FROM chunks WHERE {inside}", numbers)
        connection.execute("DELETE FROM cites WHERE note = ?", found)
        connection.execute("DELETE FROM notes WHERE rowid = ?", found)
    elif source.startswith("execution:"):
        connection.execute("DELETE FROM runs WHERE id = ?", (source.removeprefix("execution:"),))


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return json.dumps(value) if isinstance(value, tuple) else value
