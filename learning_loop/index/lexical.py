"""Full-text search by SQLite's FTS5: weighted columns, Porter stems, BM25."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from learning_loop.errors import WorkspaceError
from learning_loop.records import Hit, Kind

SCHEMA = 2
WEIGHTS = (4.0, 2.0, 1.0)  # of title, context, text
SATURATION = 8.0  # BM25 at which a score is one half: scores stay comparable between queries

_CREATE = """
CREATE TABLE IF NOT EXISTS docs (
    rowid INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, id TEXT NOT NULL, category TEXT NOT NULL,
    title TEXT NOT NULL, context TEXT NOT NULL, text TEXT NOT NULL, summary TEXT NOT NULL, at TEXT,
    task_type TEXT, component TEXT, project TEXT, outcome TEXT, status TEXT NOT NULL, evidence TEXT NOT NULL, mark TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS docs_kind ON docs (category, task_type, component, at);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_CREATE_WORDS = """
CREATE VIRTUAL TABLE IF NOT EXISTS {words} USING fts5(
    title, context, text, content='docs', content_rowid='rowid', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER IF NOT EXISTS {words}_added AFTER INSERT ON docs WHEN {which} BEGIN
    INSERT INTO {words}(rowid, title, context, text) VALUES (new.rowid, new.title, new.context, new.text);
END;
CREATE TRIGGER IF NOT EXISTS {words}_removed AFTER DELETE ON docs WHEN {which} BEGIN
    INSERT INTO {words}({words}, rowid, title, context, text) VALUES ('delete', old.rowid, old.title, old.context, old.text);
END;
"""
_WORDS = {  # one for notes, one for executions: there are many more of those, and a briefing searches only among notes
    "note_words": "{row}.category <> 'execution'",
    "run_words": "{row}.category = 'execution'",
}


def _schema() -> str:
    script = _CREATE
    for words, which in _WORDS.items():
        added, removed = which.format(row="new"), which.format(row="old")
        first, _, second = _CREATE_WORDS.replace("{words}", words).rpartition("{which}")
        script += first.replace("{which}", added) + removed + second
    return script


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One thing to be found. `mark` changes when its content does; `context` is searched, but weighs less than the title."""

    source: str
    id: str
    category: str
    title: str
    text: str
    summary: str
    context: str = ""
    at: datetime | None = None
    task_type: str | None = None
    component: str | None = None
    project: str | None = None
    outcome: str | None = None
    status: str = "active"
    evidence: tuple[str, ...] = ()
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a search is narrowed to. None does not narrow, but for the project: without one, only what has none is seen."""

    categories: tuple[str, ...] = ()
    outcome: str | None = None
    task_type: str | None = None
    component: str | None = None
    project: str | None = None
    other_than: tuple[str, ...] = ()
    active: bool = False  # leave out what was superseded, retired or archived
    fitting: Kind | None = None  # notes on this kind of task, on its component or type in general, or on none in particular

    def category_fits(self, category: str) -> bool:
        return category not in self.other_than and (not self.categories or category in self.categories)


class LexicalIndex:
    """A full-text index in one file. Many may read while one writes; a damaged file is made anew, for it is derived."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        self._pid = os.getpid()
        self._idle: list[sqlite3.Connection] = []  # as many as were ever used at once

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def delete(self) -> None:
        """Remove the index; the next use makes an empty one."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; raise WorkspaceError where the index cannot be used."""
        if os.getpid() != self._pid:
            _INHERITED.extend(self._idle)
            self._begin_afresh()
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._opened()
            yield connection
            self._idle.append(connection)
        except (sqlite3.Error, OSError) as error:
            raise WorkspaceError(
                f"the index {self.path} cannot be used: {error}. Delete the folder {self.path.parent}: it is rebuilt"
            ) from error

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise
            self.delete()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves no page behind
            connection.execute("PRAGMA synchronous = OFF")  # derived: a crash of the machine costs a rebuild, no more
            if _version(connection) != SCHEMA:
                from filelock import FileLock

                with FileLock(self.path.with_suffix(".lock")):  # two that switch to WAL at once get `locked` without a wait
                    if (version := _version(connection)) != SCHEMA:
                        connection.execute("PRAGMA journal_mode = WAL")
                        drop = "".join(f"DROP TABLE IF EXISTS {name};" for name in (*_WORDS, "docs", "meta")) if version else ""
                        connection.executescript(f"BEGIN IMMEDIATE; {drop} {_schema()} PRAGMA user_version = {SCHEMA}; COMMIT;")
        except BaseException:
            connection.close()
            raise
        return connection

    # ----------------------------------------------------------------------------------------------------- write, read

    def update(self, documents: Iterable[Document], *, gone: Sequence[str] = (), meta: Mapping[str, str] | None = None) -> None:
        """Put documents in the place of those with the same source, and drop those that are gone, in one transaction."""
        rows = [
            {**asdict(document), "at": _moment(document.at), "evidence": json.dumps(document.evidence)}
            for document in documents
        ]
        if not (rows or gone or meta):
            return
        with self._use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(
                    "DELETE FROM docs WHERE source = ?", [(source,) for source in [*gone, *(row["source"] for row in rows)]]
                )
                connection.executemany(_INSERT, rows)
                connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list((meta or {}).items()))
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    def scrub(self) -> None:
        """Write the words anew and fold the log in, so that nothing of what was removed is left in the files."""
        with self._use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for words, which in _WORDS.items():
                connection.execute(f"INSERT INTO {words}({words}) VALUES ('delete-all')")  # noqa: S608
                connection.execute(
                    f"INSERT INTO {words}(rowid, title, context, text) "  # noqa: S608
                    f"SELECT rowid, title, context, text FROM docs WHERE {which.format(row='docs')}"
                )
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def marks(self) -> dict[str, str]:
        """Return the mark of every note, by its path."""
        with self._use() as connection:
            return dict(connection.execute("SELECT source, mark FROM docs WHERE category <> 'execution'"))

    def meta(self, name: str) -> str | None:
        with self._use() as connection:
            found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def counts(self) -> dict[str, int]:
        with self._use() as connection:
            return dict(connection.execute("SELECT category, count(*) FROM docs GROUP BY category"))

    def path_of(self, note_id: str) -> str | None:
        """Return where the note with this id stands now, whatever its file is called."""
        with self._use() as connection:
            found = connection.execute(
                "SELECT source FROM docs WHERE id = ? AND category <> 'execution'", (note_id,)
            ).fetchone()
        return None if found is None else str(found[0])

    def citing(self, execution_id: str) -> list[str]:
        """Return the paths of the notes that have this execution in their evidence or name it in their text."""
        like = f"%{execution_id}%"
        with self._use() as connection:
            rows = connection.execute(
                "SELECT source FROM docs WHERE category <> 'execution' AND (evidence LIKE ? OR text LIKE ?)", (like, like)
            )
            return [str(row[0]) for row in rows]

    def search(self, terms: Sequence[str], scope: Scope, *, limit: int) -> list[Hit]:
        """Return what matches any of the terms, best first; scores lie in 0 to 1. No terms match nothing."""
        if not terms or limit <= 0:
            return []
        match = " OR ".join(f'"{term}"' for term in (term.replace('"', "") for term in terms) if term)
        conditions, values = _where(scope)
        runs, notes = scope.category_fits("execution"), scope.categories != ("execution",)
        found: list[Hit] = []
        with self._use() as connection:
            for words in [*(["note_words"] if notes else []), *(["run_words"] if runs else [])]:
                statement = (
                    f"SELECT {_COLUMNS}, -bm25({words}, {', '.join(map(str, WEIGHTS))}) AS strength "  # noqa: S608
                    f"FROM {words} JOIN docs ON docs.rowid = {words}.rowid "
                    f"WHERE {words} MATCH ? {conditions} ORDER BY strength DESC LIMIT ?"
                )
                rows = connection.execute(statement, (match, *values, limit))
                found += [_hit(row, row[-1] / (row[-1] + SATURATION)) for row in rows]
        return sorted(found, key=lambda hit: -hit.score)[:limit]

    def newest(self, scope: Scope, *, limit: int) -> list[Hit]:
        """Return what lies in the scope, newest first, all with the same score."""
        conditions, values = _where(scope)
        statement = f"SELECT {_COLUMNS} FROM docs WHERE 1 {conditions} ORDER BY at DESC LIMIT ?"  # noqa: S608
        with self._use() as connection:
            return [_hit(row, 0.5) for row in connection.execute(statement, (*values, limit))]


_DOCUMENT = [item.name for item in fields(Document)]
_INSERT = f"INSERT INTO docs ({', '.join(_DOCUMENT)}) VALUES ({', '.join(f':{name}' for name in _DOCUMENT)})"  # noqa: S608


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


_INHERITED: list[sqlite3.Connection] = []  # a parent's connections, which a forked child must not close

_HIT = ("id", "source", "category", "title", "summary", "at", "task_type", "component", "outcome", "status", "evidence")
_COLUMNS = ", ".join(f"docs.{name}" for name in _HIT)


def _hit(row: Sequence[str], score: float) -> Hit:
    at = row[5]
    return Hit(
        id=row[0],
        source=row[1],
        category=row[2],
        title=row[3],
        text=row[4],
        score=score,
        at=datetime.fromisoformat(at) if at else None,
        task_type=row[6],
        component=row[7],
        outcome=row[8],
        status=row[9],
        evidence=tuple(json.loads(row[10])),
    )


def _where(scope: Scope) -> tuple[str, list[str | None]]:
    conditions: list[str] = ["AND docs.project IS ?"]
    values: list[str | None] = [scope.project]
    for column, value in (("outcome", scope.outcome), ("task_type", scope.task_type), ("component", scope.component)):
        if value is not None:
            conditions.append(f"AND docs.{column} = ?")
            values.append(value)
    if scope.active:
        conditions.append("AND docs.status = 'active'")
    if scope.fitting is not None:
        conditions.append(
            "AND (docs.component IS NULL OR docs.component = ?) "
            "AND (docs.task_type IS NULL OR docs.component = ? OR docs.task_type = ?)"
        )
        values += [scope.fitting.component, scope.fitting.component, scope.fitting.type]
    for operator, names in (("IN", scope.categories), ("NOT IN", scope.other_than)):
        if names:
            conditions.append(f"AND docs.category {operator} ({', '.join('?' * len(names))})")
            values += names
    return " ".join(conditions), values


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat()
