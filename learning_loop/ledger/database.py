"""The ledger's file: opened, migrated, lent to threads and after forks, copied, and rid of what was erased."""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from learning_loop.errors import LedgerError
from learning_loop.forking import SQLITE
from learning_loop.ledger import tables

_INHERITED: list[Any] = []  # a parent's connections: closing them in a forked child would disturb the parent's files
WIPE_TRIES = 100
WAL_PAGES = 10_000  # `checkpoint` folds the log in off the path of runs; only a log this long is folded in by a commit


class Database:
    """One SQLite file, safe from many threads and processes. A database fault is raised as LedgerError."""

    def __init__(self, path: Path, *, durability: str, busy_timeout_s: float) -> None:
        """Raise LedgerError where there can be no such file."""
        self.path = path
        self._file = str(path)
        self._engine = _engine(path, durability, busy_timeout_s)
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._writer: sa.Connection | None = None
        self.writes = 0  # of this process

    @property
    def exists(self) -> bool:
        """Say whether the file is still there: what is written to a removed one is lost."""
        return os.path.exists(self._file)

    def close(self) -> None:
        self._after_fork()
        with self._lock, SQLITE.lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._engine.dispose()

    def _after_fork(self) -> None:
        if os.getpid() != self._pid:
            _INHERITED.append((self._writer, self._engine.pool))
            self._engine.dispose(close=False)
            self._begin_afresh()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise LedgerError(f"{self.path}: {reason}. {_mend(reason)}") from error

    def _migrate(self, locks: Path) -> None:
        found = self._version()
        if found == tables.HEAD:
            return
        if found is not None and found > tables.HEAD:
            raise LedgerError(f"{self.path}: was written by a newer version (schema {found}): upgrade learning-loop")
        from alembic import command
        from alembic.config import Config
        from filelock import FileLock

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        try:
            locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"cannot make {locks}: {error.strerror}. Choose a workspace you may write to") from None
        with FileLock(locks / "migrate.lock"):
            with self._read() as connection:  # the file keeps it; two that switch to WAL at once get `locked` without a wait
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            with SQLITE.lock, self._engine.connect().execution_options(immediate=True) as connection, connection.begin():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    def _version(self) -> str | None:
        with self._read() as connection:
            if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").scalar():
                return None
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            return None if found is None else str(found)

    @contextlib.contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        self._after_fork()
        with SQLITE.lock, self._faults(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Hold the one connection that writes."""
        self._after_fork()
        with self._lock, SQLITE.lock, self._faults():
            if self._writer is None:
                self._writer = self._engine.connect().execution_options(immediate=True)
            yield self._writer
            self.writes += 1

    @contextlib.contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with self._writing() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _record(self) -> Iterator[sqlite3.Connection]:
        """Write what every run writes: a transaction of the driver itself, which is half the work."""
        with self._writing() as connection, driver_of(connection) as driver:
            driver.execute("BEGIN IMMEDIATE")
            yield driver

    def faults(self) -> list[str]:
        """Return what the database's own check finds wrong: nothing, in a sound ledger."""
        with self._read() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            found += [f"row without its parent in {row[0]}" for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]
        return [line for line in found if line != "ok"]

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file as far as nobody is in the way; waits for nobody."""
        with self._read() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def _wipe(self) -> None:
        """Fold the write-ahead log into the file, so that no erased page is left in it; wait for readers to let it."""
        for _ in range(WIPE_TRIES):
            with self._read() as connection:
                if not connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                    return
            time.sleep(0.1)
        raise LedgerError(f"{self.path}-wal may still hold what was erased: close what reads the ledger and forget it again")

    def copy_to(self, target: Path) -> None:
        """Write a consistent copy of the ledger to a file, while others go on writing."""
        with self._read() as connection:
            source = connection.connection.driver_connection
            if not isinstance(source, sqlite3.Connection):
                raise LedgerError("only a SQLite ledger can be copied to a file")
            try:
                with contextlib.closing(sqlite3.connect(target)) as copy:
                    source.backup(copy)
            except sqlite3.Error as error:
                raise LedgerError(f"cannot copy {self.path} to {target}: {error}") from error


def _engine(path: Path, durability: str, busy_timeout_s: float) -> sa.Engine:
    """Return an engine whose transactions begin where they are said to, and take the lock for writing at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"cannot make {path.parent}: {error.strerror}. Choose a workspace you may write to") from None
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        pool_size=8,
        max_overflow=-1,
    )

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, as IMMEDIATE
        connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("immediate"):  # reads stay in autocommit: each its own snapshot
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """Return the connection of the driver itself."""
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)


def _mend(reason: str) -> str:
    """Return what to do about a database fault."""
    known = {
        "locked": "Another process holds it for long: try again, or raise ledger.busy_timeout_s",
        "full": "Free disk space, then run again: nothing that was written is lost",
        "readonly": "Make the workspace's metrics/ folder writable",
        "unable to open": "Make the workspace's metrics/ folder readable and writable",
        "malformed": "It is damaged: restore a backup with `learning-loop restore FILE`, or move it away to start afresh",
        "not a database": "It is damaged: restore a backup with `learning-loop restore FILE`, or move it away to start afresh",
        "append-only": "Records are never changed; `learning-loop forget ID` erases one",
    }
    return next((advice for sign, advice in known.items() if sign in reason), "See `learning-loop doctor`")
