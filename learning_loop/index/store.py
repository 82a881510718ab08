"""The index's file: notes in chunks, the words of executions, and vectors, in one SQLite database with FTS5."""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from learning_loop.errors import IndexBusyError, WorkspaceError
from learning_loop.forking import SQLITE
from learning_loop.index.documents import Document, RunDocument, Scope
from learning_loop.index.tables import COLUMNS, COUNT_UP, CREATE, SCHEMA, drop_all, plain, put, remove, words_table

CACHE_KIB = 32_000
WIPE_TRIES = 100
RUN_WAIT_S, WAIT_S, PATIENCE_S = 0.05, 2.0, 60.0  # for another that writes: in a run, a question, an order to write
_File = tuple[int, int] | None
_BUSY = "another process has been writing {} for long: ask again once it has ended"
_DAMAGED = ("malformed", "not a database", "no such table")


class IndexStore:
    """Reads and writes the file. Many may read while one writes; a damaged file is made anew, for it is derived."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._patience = threading.local()
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        self._pid = os.getpid()
        self._idle: list[tuple[sqlite3.Connection, _File]] = []  # as many as were ever used at once, and where they lead

    # ------------------------------------------------------------------------------------------------ open, close, lend

    def close(self) -> None:
        if os.getpid() != self._pid:
            return  # a parent's connections are not a forked child's to close
        with SQLITE.lock:
            while self._idle:
                self._idle.pop()[0].close()

    def delete(self) -> None:
        """Remove the file; the next use makes an empty one."""
        self.close()
        if self.path.parent.is_dir():
            with self._lock("index"):
                for suffix in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @property
    def wait_s(self) -> float:
        """How long this thread waits for others that write."""
        return float(getattr(self._patience, "s", WAIT_S))

    @contextlib.contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Have this thread wait so long for others that write."""
        before = self.wait_s
        self._patience.s = seconds
        try:
            yield
        finally:
            self._patience.s = before

    @contextlib.contextmanager
    def taking_in(self) -> Iterator[None]:
        """Hold this from reading what is to be indexed until it is, and while such is erased.

        So nothing that was read before it was erased is written after it. Raise IndexBusyError where another holds it long.
        """
        with self._lock("taking"):
            yield

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f"{name}.lock"), timeout=self.wait_s)
        try:
            lock.acquire()
        except Timeout:
            raise IndexBusyError(_BUSY.format(self.path)) from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; raise WorkspaceError where the index cannot be used."""
        with SQLITE.lock:
            yield from self._use()

    def _use(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._pid:
            _INHERITED.extend(connection for connection, _ in self._idle)
            self._begin_afresh()
        connection, file = None, None
        try:
            here = identity_of(self.path)
            while connection is None and self._idle:
                with contextlib.suppress(IndexError):  # another thread took it
                    connection, file = self._idle.pop()
                    if file != here:  # deleted or made anew by another process
                        connection.close()
                        connection = None
            if connection is None:
                connection = self._opened()
                file = identity_of(self.path)
            yield connection
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise IndexBusyError(_BUSY.format(self.path)) from error
            if any(sign in str(error) for sign in _DAMAGED):
                if connection is not None:
                    connection.close()
                    connection = None
                self.delete()
                raise WorkspaceError(
                    f"the index {self.path} was damaged and has been removed: ask again, it is rebuilt"
                ) from error
            raise WorkspaceError(
                f"the index {self.path} cannot be used: {error}. Delete the folder {self.path.parent}: it is rebuilt"
            ) from error
        finally:
            if connection is not None and connection.in_transaction:  # left by a fault
                connection.close()
            elif connection is not None:
                self._idle.append((connection, file))

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees the index as it is now until it is given back, whatever others write."""
        with self.use() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def change(self, *, counts: bool = True) -> Iterator[sqlite3.Connection]:
        """Lend a connection for one transaction; readers see all of it or nothing, and where it `counts` look anew."""
        with self.use() as connection:
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * self.wait_s)}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            if counts:
                connection.execute(COUNT_UP, ("change", 1))
            connection.execute("COMMIT")

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not any(sign in str(error) for sign in _DAMAGED):
                raise
            self.delete()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=self.wait_s, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves no page behind
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("PRAGMA synchronous = OFF")  # derived: a crash of the machine costs a rebuild, no more
            if _version(connection) != SCHEMA:
                with self._lock("index"):  # two that switch to WAL at once get `locked` without a wait
                    if (version := _version(connection)) != SCHEMA:
                        connection.execute("PRAGMA journal_mode = WAL")
                        if version:
                            drop_all(connection)
                        connection.executescript(f"BEGIN IMMEDIATE; {CREATE} PRAGMA user_version = {SCHEMA}; COMMIT;")
        except BaseException:
            connection.close()
            raise
        return connection

    # ------------------------------------------------------------------------------------------------------------ write

    def put(
        self,
        documents: Iterable[Document] = (),
        *,
        gone: Sequence[str] = (),
        runs: Sequence[RunDocument] = (),
        **meta: str | int,
    ) -> None:
        """Put documents in the place of those with the same source, and drop those that are gone, in one transaction."""
        rows = list(documents)
        if not (rows or gone or runs or meta):
            return
        with self.change(counts=bool(rows or gone)) as connection:
            put(connection, rows, gone, runs, meta)

    @contextlib.contextmanager
    def anew(self) -> Iterator[Callable[..., None]]:
        """Empty the index and lend what puts into it: readers see the old one until all of the new stands.

        Vectors stay, for they are by content.
        """
        with self.change() as connection:
            for (source,) in connection.execute("SELECT source FROM notes").fetchall():
                remove(connection, source)
            connection.execute("DELETE FROM runs")
            connection.execute("DELETE FROM meta WHERE name IN ('seq', 'bare')")

            def put_in(documents: Iterable[Document] = (), runs: Sequence[RunDocument] = (), **meta: str | int) -> None:
                put(connection, list(documents), (), runs, meta)

            yield put_in

    def touch(self, marks: Mapping[str, str]) -> None:
        """Note new marks of files whose content is what it was."""
        if marks:
            with self.change(counts=False) as connection:
                connection.executemany(
                    "UPDATE notes SET mark = ? WHERE source = ?", [(mark, source) for source, mark in marks.items()]
                )

    def scrub(self) -> None:
        """Write the words anew and fold the log in, so that nothing of what was removed is left in the file.

        The vectors of what is gone go as well, for from a vector one can guess at the text.
        """
        with self.change() as connection:
            connection.execute("DELETE FROM vectors WHERE key NOT IN (SELECT key FROM chunks)")
            connection.execute("DELETE FROM meta WHERE name IN ('vectors', 'covered', 'held')")
            connection.execute("INSERT INTO run_words(run_words) VALUES ('rebuild')")
            for (number,) in connection.execute("SELECT rowid FROM projects").fetchall():
                words = f"words_{number}"
                if connection.execute("SELECT 1 FROM chunks WHERE project = ? LIMIT 1", (number,)).fetchone() is None:
                    connection.execute(f"DROP TABLE {words}")
                    connection.execute("DELETE FROM projects WHERE rowid = ?", (number,))
                    continue
                connection.execute(f"INSERT INTO {words}({words}) VALUES ('delete-all')")
                connection.execute(
                    f"INSERT INTO {words}(rowid, {COLUMNS}) SELECT rowid, {COLUMNS} FROM chunks WHERE project = ?",
                    (number,),
                )
        for _ in range(WIPE_TRIES):  # a reader may hold the log for a moment
            with self.use() as connection:
                if not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return
            time.sleep(0.05)
        raise WorkspaceError(f"{self.path}-wal may still hold what was erased: close what reads the index and forget it again")

    # ------------------------------------------------------------------------------------------------------------- read

    def marks(self) -> dict[str, str]:
        """Return the mark of every note, by its source."""
        with self.use() as connection:
            return dict(connection.execute("SELECT source, mark FROM notes"))

    def digests(self, sources: Sequence[str]) -> dict[str, str]:
        with self.use() as connection:
            statement = "SELECT source, digest FROM notes WHERE source IN (SELECT value FROM json_each(?))"
            return dict(connection.execute(statement, (json.dumps(sources),)))

    def meta(self, name: str) -> str | None:
        with self.use() as connection:
            found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def counts(self) -> dict[str, int]:
        """Return how many notes of each kind there are."""
        with self.use() as connection:
            return dict(connection.execute("SELECT category, count(*) FROM notes GROUP BY category"))

    def kinds(self, project: str | None) -> set[str]:
        """Return the kinds of notes that a project has."""
        with self.use() as connection:
            rows = connection.execute("SELECT DISTINCT category FROM notes WHERE project IS ?", (project,))
            return {str(row[0]) for row in rows}

    def names(self, project: str | None) -> dict[str, set[str]]:
        """Return the components, agents, task types and tags that the notes of a project carry."""
        columns = {"component": "component", "agent": "agent", "type": "task_type"}
        with self.use() as connection:
            found = {
                name: {
                    str(row[0])
                    for row in connection.execute(f"SELECT DISTINCT {column} FROM notes WHERE project IS ?", (project,))
                    if row[0]
                }
                for name, column in columns.items()
            }
            tags = connection.execute(
                "SELECT DISTINCT tag.value FROM notes, json_each(notes.tags) AS tag WHERE project IS ?", (project,)
            )
            return {**found, "tag": {str(row[0]) for row in tags}}

    def projects(self) -> list[str]:
        """Return the projects that notes or executions belong to, the longest name first."""
        with self.use() as connection:
            rows = connection.execute("SELECT name FROM projects UNION SELECT project FROM runs").fetchall()
        return sorted((str(row[0]) for row in rows if row[0]), key=lambda name: (-len(name), name))

    def size(self) -> dict[str, int]:
        """Return how many notes, chunks, chunks with a vector and executions there are."""
        queries = {
            "notes": "SELECT count(*) FROM notes",
            "chunks": "SELECT count(*) FROM chunks",
            "embedded": "SELECT count(*) FROM chunks WHERE key IN (SELECT key FROM vectors)",
            "executions": "SELECT count(*) FROM runs",
        }
        with self.use() as connection:
            return {name: int(connection.execute(query).fetchone()[0]) for name, query in queries.items()}

    def path_of(self, note_id: str) -> str | None:
        """Return where the note with this id stands now, whatever its file is called."""
        with self.use() as connection:
            found = connection.execute("SELECT source FROM notes WHERE id = ?", (note_id,)).fetchone()
        return None if found is None else str(found[0])

    def citing(self, executions: Sequence[str], *, within: tuple[str | None] | None = None) -> list[str]:
        """Return the paths of the notes that have any of these executions in their evidence or name it in their text.

        `within` holds the notes to one project, None in it being none.
        """
        inside, values = ("AND notes.project IS ? ", within) if within is not None else ("", ())
        with self.use() as connection:
            rows = connection.execute(
                "SELECT DISTINCT notes.source FROM cites JOIN notes ON notes.rowid = cites.note "
                f"WHERE execution IN (SELECT value FROM json_each(?)) {inside}ORDER BY notes.rowid",
                (json.dumps(executions), *values),
            )
            return [str(row[0]) for row in rows]

    def note_rows(self, columns: Sequence[str], scope: Scope, *, limit: int) -> list[tuple[Any, ...]]:
        """Return these columns of the notes in a scope, the newest first."""
        conditions, values = where(scope)
        with self.use() as connection:
            return connection.execute(
                f"SELECT {', '.join(columns)} FROM notes WHERE {conditions} ORDER BY at DESC, source LIMIT ?",
                (*values, limit),
            ).fetchall()

    def note_row(self, columns: Sequence[str], source: str) -> tuple[Any, ...] | None:
        with self.use() as connection:
            found: tuple[Any, ...] | None = connection.execute(
                f"SELECT {', '.join(columns)} FROM notes WHERE source = ?", (source,)
            ).fetchone()
        return found

    def holding(self, match: str, project: str | None, columns: str = "title text said") -> set[str]:
        """Return the notes of a project whose words match: in their titles and headings, texts, or tags and paths."""
        with self.use() as connection:
            words = words_table(connection, project)
            if words is None or not match:
                return set()
            rows = connection.execute(
                f"SELECT DISTINCT notes.source FROM {words} JOIN chunks ON chunks.rowid = {words}.rowid "
                f"JOIN notes ON notes.rowid = chunks.note WHERE {words} MATCH ?",
                (f"{{{columns}}} : ({match})",),
            )
            return {str(row[0]) for row in rows}

    def run_ids(self, match: str, project: str | None, *, limit: int = -1) -> list[tuple[str, float]]:
        """Return the executions of a project whose words match, all or so many, best first, with BM25."""
        if not match:
            return []
        with self.use() as connection:
            return connection.execute(
                "SELECT runs.id, -run_words.rank FROM run_words JOIN runs ON runs.rowid = run_words.rowid "
                "WHERE run_words MATCH ? AND runs.project IS ? ORDER BY run_words.rank LIMIT ?",
                (match, project, limit),
            ).fetchall()


def where(scope: Scope) -> tuple[str, list[Any]]:
    """Return a condition on the table `notes`, and its values."""
    conditions: list[str] = ["notes.project IS ?"]
    values: list[Any] = [scope.project]
    if scope.outcome is not None:
        conditions.append("notes.outcome = ?")
        values.append(scope.outcome)
    for tag in scope.tags:
        conditions.append("EXISTS (SELECT 1 FROM json_each(notes.tags) WHERE value = ?)")
        values.append(tag)
    for operator, moment in ((">=", scope.since), ("<", scope.before)):
        if moment is not None:
            conditions.append(f"notes.at {operator} ?")
            values.append(plain(moment))
    if scope.active:
        conditions.append("notes.status = 'active'")
    if scope.fitting is not None:
        conditions.append(
            "(notes.component = ? OR (notes.component IS NULL AND (notes.task_type IS NULL OR notes.task_type = ?)))"
        )
        values += [scope.fitting.component, scope.fitting.type]
    for column, names in (
        ("category IN", scope.categories),
        ("category NOT IN", scope.other_than),
        ("task_type IN", scope.types),
        ("component IN", scope.components),
        ("agent IN", scope.agents),
    ):
        if names:
            conditions.append(f"notes.{column} ({_marks(names)})")
            values += names
    return " AND ".join(conditions), values


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def match_any(terms: Iterable[str]) -> str:
    """Return a full-text query for what holds any of the words; empty for none."""
    return " OR ".join(f'"{term}"' for term in (term.replace('"', "") for term in terms) if term)


def match_all(terms: Iterable[str]) -> str:
    """Return a full-text query for what holds all of the words; empty for none."""
    return match_any(terms).replace(" OR ", " AND ")


def identity_of(path: Path) -> _File:
    """Return what tells a file or folder from another of the same name; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


_INHERITED: list[sqlite3.Connection] = []  # a parent's connections, which a forked child must not close
