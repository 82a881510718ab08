"""The ledger: append records in one transaction, read them back, and the few things that may erase them."""

import contextlib
import json
import socket
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from learning_loop.errors import NotFoundError
from learning_loop.ledger import tables
from learning_loop.ledger.answering import Answered, claim, keep, release
from learning_loop.ledger.database import Database, driver_of
from learning_loop.ledger.deciding import credited, places_deciding, runs_at, runs_deciding
from learning_loop.ledger.erasing import Erasing, words_in_use
from learning_loop.ledger.exposing import exposed_since, newest_exposed
from learning_loop.ledger.listing import Place, Row, listed, numbered
from learning_loop.ledger.observing import observations
from learning_loop.ledger.reading import BEFORE, EVERYTHING, PHASES, ids_of, past_run, past_runs, records
from learning_loop.ledger.rows import FIELDS, INSERTS
from learning_loop.ledger.selection import EXCLUDED, Filter, conditions, counted, course, of_kind, tally
from learning_loop.records import (
    Clock,
    Credit,
    Decision,
    Event,
    Execution,
    ExecutionRecord,
    Exposed,
    Kind,
    NoteVersion,
    Observation,
    Outcome,
    PastRun,
    StrategyEntry,
    StrategyVersion,
    Tally,
)

CLOCK_STEP_S = 60.0  # by how much a process's start may seem to shift when the clock is set
_ORDERS: dict[str, sa.ColumnElement[Any]] = {
    "newest": tables.executions.c.started_at.desc(),
    "oldest": tables.executions.c.started_at.asc(),
    "slowest": tables.outcomes.c.duration_s.desc(),
    "fastest": tables.outcomes.c.duration_s.asc(),
}
_START = "INSERT INTO running (execution_id, host, pid, process_started_at) VALUES (?, ?, ?, ?)"
_FINISH = "DELETE FROM running WHERE execution_id = ?"


class Ledger(Database):
    """Append-only evidence. Safe from many threads and processes, and after a fork.

    Every row passes `sanitize` on its way to disk. A database fault is raised as LedgerError.
    """

    def __init__(
        self, path: Path, *, sanitize: Callable[[Any], Any], clock: Clock, durability: str, busy_timeout_s: float
    ) -> None:
        super().__init__(path, durability=durability, busy_timeout_s=busy_timeout_s)
        self._sanitize = sanitize
        self._clock = clock

    def _begin_afresh(self) -> None:
        super()._begin_afresh()
        self._ended = 0  # the place of the last outcome that `finish` wrote: after a fork histories may lack it

    # ----------------------------------------------------------------------------------------------------------- open

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        sanitize: Callable[[Any], Any],
        clock: Clock,
        locks: Path,
        durability: str = "normal",
        busy_timeout_s: float = 60.0,
    ) -> Self:
        """Open the ledger, made or migrated where that is due, and mark the executions of dead processes.

        Raise LedgerError where the file is no ledger, is damaged, or was written by a newer version.
        """
        ledger = cls(path, sanitize=sanitize, clock=clock, durability=durability, busy_timeout_s=busy_timeout_s)
        with ledger._faults():
            ledger._migrate(locks)
            ledger._mark_interrupted()
        return ledger

    def _mark_interrupted(self) -> None:
        running = tables.running
        with self._read() as connection:
            rows = connection.execute(sa.select(running).where(running.c.host == socket.gethostname())).all()
        dead = [row.execution_id for row in rows if not alive(row.pid, row.process_started_at)]
        self.interrupt(dead, "the process died before the run ended")

    def interrupt(self, ids: Sequence[str], why: str) -> None:
        """Mark executions as interrupted that never will end; those that have ended meanwhile stay as they are."""
        running = tables.running
        for execution_id in ids:
            execution = self.execution(execution_id).execution
            with self._write() as connection:
                claimed = connection.execute(running.delete().where(running.c.execution_id == execution_id)).rowcount
                if claimed:  # another process may have marked it meanwhile
                    outcome = Outcome(
                        execution_id=execution_id,
                        task_type=execution.task_type,
                        component=execution.component,
                        project=execution.project,
                        status="interrupted",
                        success=None,
                        ended_at=self._clock(),
                        error_message=why,
                    )
                    self._insert(driver_of(connection), [outcome])

    # ---------------------------------------------------------------------------------------------------------- write

    def append(self, *rows: Any) -> None:
        """Write records of any kinds in one transaction; when it returns they survive the death of the process."""
        if rows:
            with self._record() as driver:
                self._insert(driver, rows)

    def append_unless(self, kind: str, subjects: Collection[str], after: int, *rows: Any) -> bool:
        """Write records in one transaction, as `append` does, unless an event of a kind about these came after a place.

        False where one did: nothing is written then.
        """
        e = tables.events.c
        came = sa.select(e.seq).where(e.kind == kind, e.seq > after, e.subject.in_(list(subjects))).limit(1)
        with self._write() as connection:
            if connection.execute(came).first() is not None:
                return False
            self._insert(driver_of(connection), rows)
        return True

    def credit(self, credit: Credit) -> bool:
        """Write what a choice earned; false where that is on record already."""
        with self._write() as connection:
            column = tables.credits_.c.decision_id
            if connection.execute(sa.select(column).where(column == credit.decision_id)).scalar() is not None:
                return False
            self._insert(driver_of(connection), [credit])
            return True

    def start(self, execution: Execution, *rows: Any) -> None:
        """Write an execution that is about to run, with what was captured before."""
        with self._record() as driver:
            self._insert(driver, [execution, *rows])
            driver.execute(_START, (execution.id, execution.host, execution.pid, execution.process_started_at))

    def finish(self, outcome: Outcome, *rows: Any) -> PastRun | None:
        """Write how an execution ended, with everything noted during it.

        Return it as the newest past run where it comes next after the one this wrote before; None where others have ended
        meanwhile, so that the history must be read again.
        """
        with self._record() as driver:
            self._insert(driver, rows)
            insert = INSERTS[Outcome]
            seq = driver.execute(insert.statement, insert.values(outcome, self._sanitize)).lastrowid
            driver.execute(_FINISH, (outcome.execution_id,))
        if seq is None:
            return None
        comes_next, self._ended = seq == self._ended + 1, seq  # not before it is committed: else others get that place
        return past_run(seq, outcome) if comes_next else None

    def _insert(self, driver: sqlite3.Connection, rows: Sequence[Any]) -> None:
        groups: dict[type, list[tuple[Any, ...]]] = {}
        for row in rows:
            groups.setdefault(type(row), []).append(INSERTS[type(row)].values(row, self._sanitize))
        for kind, group in groups.items():
            statement, one = INSERTS[kind].statement, len(group) == 1
            if one:
                driver.execute(statement, group[0])
            else:
                driver.executemany(statement, group)

    # ----------------------------------------------------------------------------------------------------------- read

    def resolve(self, text: str) -> str:
        """Return the id of the one execution that has this id, starts or ends with it; raise NotFoundError."""
        column = tables.executions.c.id
        with self._read() as connection:
            if connection.execute(sa.select(column).where(column == text)).scalar():
                return text
            fitting = column.startswith(text, autoescape=True) | column.endswith(text, autoescape=True)
            found = connection.execute(sa.select(column).where(fitting).limit(3)).scalars().all() if len(text) > 2 else []
        if len(found) == 1:
            return str(found[0])
        if found:
            raise NotFoundError(f"{text!r} is the start or end of several executions ({', '.join(found)}): give more of the id")
        raise NotFoundError(f"there is no execution {text!r}: see `learning-loop executions list`")

    def execution(self, execution_id: str) -> ExecutionRecord:
        """Return one execution with everything on record about it; raise NotFoundError."""
        with self._read() as connection:
            found = records(connection, [tables.executions.c.id == execution_id], limit=1, parts=EVERYTHING)
        if not found:
            raise NotFoundError(f"there is no execution {execution_id!r}: see `learning-loop executions list`")
        return found[0]

    def executions(
        self,
        wanted: Filter | None = None,
        *,
        limit: int = 50,
        parts: Sequence[type] = (),
        order: str = "newest",
        phases: Sequence[str] = PHASES,
    ) -> list[ExecutionRecord]:
        """Return the executions that a filter lets through; `parts` are kinds of records to read with them.

        They come in the `order` newest, oldest, slowest or fastest first; of the last two, those whose duration is known.
        """
        chosen = conditions(wanted or Filter())
        if order in ("slowest", "fastest"):
            chosen.append(tables.outcomes.c.duration_s.is_not(None))
        with self._read() as connection:
            return records(connection, chosen, limit=limit, parts=parts, order=_ORDERS[order], phases=phases)

    def ids(self, wanted: Filter, *, limit: int) -> list[str]:
        """Return the ids of the executions that a filter lets through, the newest first."""
        with self._read() as connection:
            return ids_of(connection, conditions(wanted), limit)

    def noted_since(self, place: int | None) -> tuple[int, set[str]]:
        """Return the place of what was captured last, and which executions something from before them came to after a place.

        Where the place is None, it is the end.
        """
        p = tables.phases.c
        with self._read() as connection:
            if place is None:
                return connection.execute(sa.select(sa.func.max(p.seq))).scalar() or 0, set()
            rows = connection.execute(sa.select(p.seq, p.execution_id).where(p.seq > place, p.phase.in_(BEFORE))).all()
        return max((row.seq for row in rows), default=place), {row.execution_id for row in rows}

    def tally(self, wanted: Filter, by: str | None = None) -> list[Tally]:
        """Count the ended executions that a filter lets through, in all or for each `component`, `agent`, `type` or `error`.

        The commonest come first. Those interrupted do not count, nor those that have no such value.
        """
        with self._read() as connection:
            return [Tally(*row) for row in connection.execute(tally(wanted, by))]

    def course(self, wanted: Filter) -> list[tuple[bool | None, float | None, float | None]]:
        """Return success, duration in seconds and cost in USD of every ended execution, oldest first."""
        with self._read() as connection:
            return [(row[0] if row[0] is None else bool(row[0]), row[1], row[2]) for row in connection.execute(course(wanted))]

    def observations(self, wanted: Filter, *, most: int, features: bool = True) -> list[Observation]:
        """Return the ended runs that a filter lets through as patterns are sought in them; of more than `most` the newest.

        Without `features` they have those only that the task itself gives.
        """
        with self._read() as connection:
            return observations(connection, wanted, most, features=features)

    def exposed_since(self, place: int, *, limit: int) -> list[Exposed]:
        """Return the runs that something was drawn for and that ended after a place, in the order they ended."""
        with self._read() as connection:
            return exposed_since(connection, place, limit)

    def exposed(self, *, most: int = 100_000, execution_id: str | None = None) -> list[Exposed]:
        """Return the newest ended runs that something was drawn for, or one execution, in the order they ended."""
        with self._read() as connection:
            return newest_exposed(connection, most, execution_id)

    def runs_deciding(self, point: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (place, id) of ended runs, in that order, in which something was chosen at a decision point."""
        with self._read() as connection:
            return runs_deciding(connection, point, after, limit)

    def places_deciding(self, point: str, *, after: int) -> list[tuple[int, str]]:
        """Return (place, id) of all runs that ended after a place and chose something at a decision point, in that order."""
        with self._read() as connection:
            return places_deciding(connection, point, after)

    def runs_at(self, points: Sequence[str], *, since: datetime, most: int) -> list[str]:
        """Return the newest ended runs since then in which something was chosen at any of these points, in their order."""
        with self._read() as connection:
            return runs_at(connection, points, since, most)

    def credited(self, point: str, *, after: int = 0, limit: int, newest: bool = False) -> list[tuple[int, Decision, Credit]]:
        """Return (place, choice, what it earned) of choices outside of runs, in the order they were rewarded.

        Of more than `limit` the first, or the `newest`.
        """
        with self._read() as connection:
            return credited(connection, point, after, limit, newest=newest)

    def decision(self, decision_id: str) -> Decision | None:
        """Return a choice by its id; None where there is none."""
        table = tables.decisions
        with self._read() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == decision_id)).mappings().one_or_none()
        return None if row is None else Decision(**{name: row[name] for name in FIELDS[Decision]})

    def decisions(
        self, *, point: str | None = None, execution_id: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[tuple[int, Decision]]:
        """Return choices with their places, the newest first, those `before` a place."""
        d = tables.decisions.c
        exact = ((d.point, point), (d.execution_id, execution_id))
        chosen = [column == value for column, value in exact if value is not None]
        chosen += [d.seq < before] if before is not None else []
        statement = sa.select(tables.decisions).where(*chosen).order_by(d.seq.desc()).limit(limit)
        with self._read() as connection:
            rows = connection.execute(statement).mappings().all()
        return [(row["seq"], Decision(**{name: row[name] for name in FIELDS[Decision]})) for row in rows]

    def points(self) -> dict[str, int]:
        """Return how many choices were made at each decision point."""
        column = tables.decisions.c.point
        with self._read() as connection:
            rows = connection.execute(sa.select(column, sa.func.count()).group_by(column).order_by(column))
            return {str(point): int(count) for point, count in rows}

    def last_decided(self, point: str) -> datetime | None:
        """Return when something was last chosen at a decision point; None where nothing was."""
        d = tables.decisions.c
        with self._read() as connection:
            return connection.execute(sa.select(d.at).where(d.point == point).order_by(d.seq.desc()).limit(1)).scalar()

    def measured(self, metric: str) -> dict[str, float]:
        """Return the newest value of a measure by execution, of those that have it as a number."""
        f = tables.feedback.c
        excluded = sa.select(tables.events.c.subject).where(tables.events.c.kind == EXCLUDED)
        counts = (f.metric == metric, f.value.is_not(None), f.execution_id.not_in(excluded))
        chosen = sa.select(f.execution_id, f.value).where(*counts).order_by(f.seq)
        with self._read() as connection:
            return {row[0]: float(row[1]) for row in connection.execute(chosen)}

    def status_of(self, record: ExecutionRecord) -> str:
        """Return how an execution went as it stands now: what a person said later outranks what the run said."""
        f = tables.feedback.c
        said = sa.select(f.value).where(f.execution_id == record.execution.id, f.metric == "success").order_by(f.seq.desc())
        with self._read() as connection:
            value = connection.execute(said.limit(1)).scalar()
        return record.status if value is None else "succeeded" if value > 0 else "failed"

    def at_places(self, places: Sequence[int]) -> dict[int, ExecutionRecord]:
        """Return the executions at these places of the ledger."""
        e = tables.executions.c
        with self._read() as connection:
            place = {row[0]: row[1] for row in connection.execute(sa.select(e.id, e.seq).where(e.seq.in_(places)))}
            found = records(connection, [e.seq.in_(places)], limit=len(places))
        return {place[record.execution.id]: record for record in found}

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return which of these ids executions have."""
        every = sa.func.json_each(json.dumps(list(ids))).table_valued("value")
        with self._read() as connection:
            column = tables.executions.c.id
            return {
                str(found)
                for found in connection.execute(sa.select(column).where(column.in_(sa.select(every.c.value)))).scalars()
            }

    def last_place(self) -> int:
        """Return the place of the newest outcome, 0 where there is none."""
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.max(tables.outcomes.c.seq))).scalar() or 0)

    def kinds_since(self, place: int) -> tuple[set[Kind], int]:
        """Return the kinds of what ended after a place, and the newest place."""
        o = tables.outcomes.c
        kinds = sa.select(o.task_type, o.component, o.project, sa.func.max(o.seq)).where(o.seq > place)
        with self._read() as connection:
            rows = connection.execute(kinds.group_by(o.task_type, o.component, o.project)).all()
        return {Kind(type=row.task_type, component=row.component, project=row.project) for row in rows}, max(
            (int(row[3]) for row in rows), default=place
        )

    def last_credit(self) -> int:
        """Return the place of the newest reward of a choice, 0 where there is none."""
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.max(tables.credits_.c.seq))).scalar() or 0)

    def since(self, seq: int, limit: int) -> tuple[list[ExecutionRecord], int]:
        """Return finished executions whose outcome came after place `seq`, oldest first, and the last place read."""
        column = tables.outcomes.c.seq
        with self._read() as connection:
            rows = connection.execute(
                sa.select(tables.outcomes.c.execution_id, column).where(column > seq).order_by(column).limit(limit)
            ).all()
            if not rows:
                return [], seq
            found = records(connection, [tables.executions.c.id.in_([row[0] for row in rows])], limit=limit)
        return found[::-1], int(rows[-1][1])

    def past_runs(self, kind: Kind, *, after_seq: int = 0, limit: int = 200) -> list[PastRun]:
        """Return the newest finished runs of a kind after place `after_seq`, oldest first; no component means any."""
        with self._read() as connection:
            return past_runs(connection, kind, after_seq, limit)

    def first_durations(self, kind: Kind, limit: int) -> list[float]:
        """Return the durations of the first successful runs of a kind: the frozen baseline, in seconds."""
        o = tables.outcomes.c
        statement = (
            sa.select(o.duration_s)
            .where(*of_kind(kind.type, kind.component, kind.project), o.success.is_(True), o.duration_s.is_not(None))
            .order_by(o.seq)
            .limit(limit)
        )
        with self._read() as connection:
            return [float(value) for value in connection.execute(statement).scalars()]

    def names(self, *, after: int = 0, project: str | None = None) -> tuple[int, dict[str, set[str]], dict[str, str]]:
        """Return what the executions of a project that ended after a place are called by, and the place of the last one.

        Names come by `type`, `component`, `agent` and `tag`, with the text of one error for each fingerprint.
        """
        e, o = tables.executions.c, tables.outcomes.c
        columns = {"type": e.task_type, "component": e.component, "agent": e.agent, "tag": e.tags}
        ended = tables.executions.join(tables.outcomes, o.execution_id == e.id)
        new = sa.and_(o.seq > after, o.project.is_not_distinct_from(project))
        with self._read() as connection:
            last = connection.execute(sa.select(sa.func.max(o.seq))).scalar() or 0
            if last <= after:
                return after, {}, {}
            found: dict[str, set[str]] = {}
            for name, column in columns.items():
                values = connection.execute(sa.select(column).select_from(ended).where(new).distinct()).scalars()
                found[name] = (
                    {str(value) for value in values if value} if name != "tag" else {tag for tags in values for tag in tags}
                )
            errors = connection.execute(
                sa.select(o.error_fingerprint, sa.func.max(o.error_type), sa.func.max(o.error_message))
                .where(new, o.error_fingerprint.is_not(None))
                .group_by(o.error_fingerprint)
            ).all()
        return int(last), found, {row[0]: f"{row[1] or ''}: {row[2] or ''}" for row in errors}

    def listed(
        self,
        wanted: Filter,
        *,
        search: str | None = None,
        order: str = "started",
        descending: bool = True,
        after: Place | None = None,
        limit: int = 50,
    ) -> list[Row]:
        """Return a page of executions as lists show them, in an order of `listing.ORDERS`, those after a place."""
        statement = listed(wanted, search, order, after, limit, descending=descending)
        with self._read() as connection:
            return [Row(*row) for row in connection.execute(statement)]

    def number_of(self, wanted: Filter, *, search: str | None = None) -> int:
        """Return how many executions a filter and a search let through."""
        with self._read() as connection:
            return int(connection.execute(numbered(wanted, search)).scalar_one())

    def children(self, execution_id: str) -> list[Row]:
        """Return the executions that are part of one, the oldest first."""
        statement = listed(Filter(parent_id=execution_id), None, "started", None, 500, descending=False)
        with self._read() as connection:
            return [Row(*row) for row in connection.execute(statement)]

    def daily(self, since: datetime) -> list[tuple[str, str, int]]:
        """Return (day in UTC, status, how many) of the executions that ended since then, by day."""
        o = tables.outcomes.c
        day = sa.func.substr(sa.type_coerce(o.ended_at, sa.String), 1, 10)
        counted_ = sa.select(day, o.status, sa.func.count()).where(o.ended_at >= since).group_by(day, o.status).order_by(day)
        with self._read() as connection:
            return [(str(row[0]), str(row[1]), int(row[2])) for row in connection.execute(counted_)]

    def begun_before(self, host: str, before: datetime) -> list[str]:
        """Return the executions on a host that have not ended, though they began before then."""
        e, running = tables.executions.c, tables.running.c
        active = sa.select(e.id).join(tables.running, e.id == running.execution_id)
        with self._read() as connection:
            return list(connection.execute(active.where(running.host == host, e.started_at < before)).scalars())

    def places(self) -> dict[str, int]:
        """Return the place of the newest row of every kind: as long as they stay the same, so does what is on record."""
        newest = sa.union_all(
            *(sa.select(sa.literal(table.name), sa.func.max(table.c.seq)) for table in tables.TABLE_OF.values())
        )
        with self._read() as connection:
            return {str(name): int(place or 0) for name, place in connection.execute(newest)}

    def claim_answer(self, key: str, request: str, *, kept_since: datetime) -> Answered:
        """Take a key for a request that may come again, and return what is known of it."""
        with self._write() as connection:
            return claim(connection, key, request, self._clock(), kept_since)

    def keep_answer(self, key: str, status: int | None, body: str = "") -> None:
        """Keep what was answered; without a status the key is given back, for nothing was done."""
        with self._write() as connection:
            release(connection, key) if status is None else keep(connection, key, status, body)

    def counts(self) -> dict[str, int]:
        """Return how many executions there are by status, those still running among them."""
        o = tables.outcomes.c
        with self._read() as connection:
            found = {
                str(row[0]): int(row[1]) for row in connection.execute(sa.select(o.status, sa.func.count()).group_by(o.status))
            }
            found["running"] = int(connection.execute(sa.select(sa.func.count()).select_from(tables.running)).scalar_one())
        return found

    def mean_score(self, last: int) -> tuple[float | None, int]:
        """Return the mean overall score of the newest executions that have one, and how many it rests on."""
        s = tables.scores.c
        newest = sa.select(s.execution_id, s.overall).order_by(s.seq.desc()).limit(4 * last)
        found: dict[str, float | None] = {}
        with self._read() as connection:
            for execution_id, overall in connection.execute(newest):
                found.setdefault(execution_id, overall)  # of an execution scored again, the newest counts
        known = [overall for overall in list(found.values())[:last] if overall is not None]
        return (sum(known) / len(known) if known else None), len(known)

    def is_running(self, execution_id: str) -> bool:
        running = tables.running.c.execution_id
        with self._read() as connection:
            return connection.execute(sa.select(running).where(running == execution_id)).first() is not None

    def under_way(self) -> int:
        """Return how many executions have begun and not ended."""
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(tables.running)).scalar() or 0)

    def note_versions(self, **wanted: str) -> list[NoteVersion]:
        """Return the notes the loop wrote, with this `subject`, `note_id` or `execution_id` if given, the newest first."""
        n = tables.note_versions.c
        chosen = [n[name] == value for name, value in wanted.items()]
        with self._read() as connection:
            rows = connection.execute(sa.select(tables.note_versions).where(*chosen).order_by(n.seq.desc())).mappings()
            return [NoteVersion(**{name: row[name] for name in FIELDS[NoteVersion]}) for row in rows]

    def events(self, kind: str, subject: str | None = None, *, last: int | None = None) -> list[Event]:
        """Return the events of a kind, the oldest first; of more than `last` the newest."""
        e = tables.events.c
        chosen = [e.kind == kind, *([e.subject == subject] if subject is not None else [])]
        newest = sa.select(tables.events).where(*chosen).order_by(e.seq.desc()).limit(last)
        with self._read() as connection:
            rows = connection.execute(newest).mappings().all()
            return [Event(**{name: row[name] for name in FIELDS[Event]}) for row in reversed(rows)]

    def events_after(self, kind: str, place: int, *, most: int) -> list[tuple[int, Event]]:
        """Return the first events of a kind after a place, each with its own, the oldest first."""
        e = tables.events.c
        wanted = sa.select(tables.events).where(e.kind == kind, e.seq > place).order_by(e.seq).limit(most)
        with self._read() as connection:
            rows = connection.execute(wanted).mappings().all()
            return [(row["seq"], Event(**{name: row[name] for name in FIELDS[Event]})) for row in rows]

    def events_before(self, kind: str, place: int | None, *, most: int) -> list[tuple[int, Event]]:
        """Return the last events of a kind before a place, of all where that is None, each with its own, the newest first."""
        e = tables.events.c
        earlier = [e.seq < place] if place is not None else []
        wanted = sa.select(tables.events).where(e.kind == kind, *earlier).order_by(e.seq.desc()).limit(most)
        with self._read() as connection:
            rows = connection.execute(wanted).mappings().all()
            return [(row["seq"], Event(**{name: row[name] for name in FIELDS[Event]})) for row in rows]

    def last_event(self, *kinds: str) -> int:
        """Return the place of the newest event of these kinds, 0 where there is none."""
        e = tables.events.c
        with self._read() as connection:
            found = [connection.execute(sa.select(sa.func.max(e.seq)).where(e.kind == kind)).scalar() for kind in kinds]
        return max((int(place) for place in found if place is not None), default=0)

    def strategies(self) -> list[StrategyEntry]:
        """Return every strategy there ever was, the oldest first."""
        with self._read() as connection:
            return self._all_of(connection, StrategyEntry, sa.true())

    def strategy_versions(self, ids: Sequence[str]) -> dict[str, StrategyVersion]:
        """Return those of these versions that there are."""
        with self._read() as connection:
            rows = self._all_of(connection, StrategyVersion, tables.strategy_versions.c.id.in_(ids))
            return {version.id: version for version in rows}

    def versions_of(self, slug: str) -> list[StrategyVersion]:
        """Return every version of a strategy, the oldest first."""
        with self._read() as connection:
            return self._all_of(connection, StrategyVersion, tables.strategy_versions.c.slug == slug)

    def _all_of(self, connection: sa.Connection, kind: Any, wanted: Any) -> list[Any]:
        table = tables.TABLE_OF[kind]
        rows = connection.execute(sa.select(table).where(wanted).order_by(table.c.seq)).mappings()
        return [kind(**{name: row[name] for name in FIELDS[kind]}) for row in rows]

    def first_start(self) -> datetime | None:
        """Return when the first execution started, None where there is none."""
        with self._read() as connection:
            return connection.execute(sa.select(sa.func.min(tables.executions.c.started_at))).scalar()

    def last_execution(self) -> int:
        """Return the place of the newest execution, 0 where there is none."""
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.max(tables.executions.c.seq))).scalar() or 0)

    def earliest_start(self, *, after: int) -> datetime | None:
        """Return when the earliest of the executions started that were written after this place; None where none was."""
        e = tables.executions.c
        with self._read() as connection:
            return connection.execute(sa.select(sa.func.min(e.started_at)).where(e.seq > after)).scalar()

    def runs_between(self, since: datetime, before: datetime) -> bool:
        """Say whether an execution that started in this time is still running."""
        e, running = tables.executions.c, tables.running
        active = sa.select(e.id).select_from(running.join(tables.executions, e.id == running.c.execution_id))
        with self._read() as connection:
            return connection.execute(active.where(e.started_at >= since, e.started_at < before).limit(1)).first() is not None

    def extent(self, wanted: Filter) -> tuple[int, int, int, datetime | None]:
        """Return how many ended runs a filter lets through, the last places of outcomes and feedback, the newest's start.

        As long as these stay the same, so does everything that is computed from those runs.
        """
        e, o, f = tables.executions.c, tables.outcomes.c, tables.feedback.c
        ended = tables.executions.join(tables.outcomes, o.execution_id == e.id)
        chosen = [*conditions(wanted), *counted()]
        said = ended.join(tables.feedback, f.execution_id == e.id)
        with self._read() as connection:
            count, last, newest = connection.execute(
                sa.select(sa.func.count(), sa.func.max(o.seq), sa.func.max(e.started_at)).select_from(ended).where(*chosen)
            ).one()
            feedback = connection.execute(sa.select(sa.func.max(f.seq)).select_from(said).where(*chosen)).scalar()
        return int(count), int(last or 0), int(feedback or 0), newest

    # ---------------------------------------------------------------------------------------------------------- erase

    def forget(self, execution_id: str, *, reason: str) -> None:
        """Erase an execution's content for good, leaving its id and a tombstone; its children stay."""
        with self._erase(reason) as erasing:
            erasing.execution(execution_id)

    def forget_note(self, note_id: str, path: str, *, reason: str) -> None:
        """Erase what the ledger holds of a note, what people changed in it too, leaving tombstones."""
        with self._erase(reason) as erasing:
            erasing.note(note_id, path)

    def mask_events(self, masked: Callable[[Any], Any]) -> None:
        """Erase from events what must be gone, leaving a tombstone for each that is changed."""
        with self._erase("it named what is forgotten") as erasing:
            erasing.events(masked)

    @contextlib.contextmanager
    def _erase(self, reason: str) -> Iterator[Erasing]:
        """Erase in one transaction, and leave no page behind that holds what was erased."""

        def entomb(subject: str, what: str) -> None:
            data = {"what": what, "reason": reason}
            self._insert(driver_of(connection), [Event(kind="forgotten", subject=subject, at=self._clock(), data=data)])

        with self._write() as connection:
            yield Erasing(connection, entomb)
        self._wipe()

    def words_in_use(self, words: Collection[str]) -> set[str]:
        """Return which of these words executions are called, tagged with or have as a parameter; reads them all."""
        if not words:
            return set()
        with self._read() as connection:
            return words_in_use(connection, words)

    def forgotten(self, subject: str) -> bool:
        return bool(self.events("forgotten", subject))


def alive(pid: int, started_at: float | None) -> bool:
    """Say whether this very process still runs, and not another that got its number."""
    import psutil

    try:
        return started_at is None or abs(psutil.Process(pid).create_time() - started_at) < CLOCK_STEP_S
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, though not ours to look at
        return True
