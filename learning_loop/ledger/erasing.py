"""Erasing what must be gone, and finding what else holds its words."""

import json
from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa

from learning_loop.ledger import tables
from learning_loop.records import FORGOTTEN, NOTE_EDIT

_E, _X = tables.events.c, tables.executions.c
_BLANK: dict[str, Any] = {
    "task_id": FORGOTTEN,
    "task_type": FORGOTTEN,
    "parameters": {},
    "host": "",
    "pid": 0,
    "process_started_at": None,
    **dict.fromkeys(("dependencies", "assumptions", "tags"), ()),
    **dict.fromkeys(("component", "agent", "description", "project", "sprint", "inputs_digest", "inputs_preview")),
}


class Erasing:
    """Erases in one transaction; `entomb` writes a tombstone, for what and its sort: the database lets nothing go without."""

    def __init__(self, connection: sa.Connection, entomb: Callable[[str, str], None]) -> None:
        self._connection, self._entomb = connection, entomb
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
        connection.execute(tables.answers.update().values(body=None))  # they may hold anything

    def execution(self, execution_id: str) -> None:
        """Erase all of an execution but its id and when it ran."""
        self._entomb(execution_id, "execution")
        for table in (*tables.OF_EXECUTION, tables.running):
            self._connection.execute(table.delete().where(table.c.execution_id == execution_id))
        self._connection.execute(tables.executions.update().where(_X.id == execution_id).values(_BLANK))

    def note(self, note_id: str, path: str) -> None:
        """Erase the versions of a note, and what people changed in it."""
        self._entomb(note_id, "note")
        self._connection.execute(tables.note_versions.delete().where(tables.note_versions.c.note_id == note_id))
        self._change(sa.and_(_E.kind == NOTE_EDIT, _E.subject == path), lambda data: {**data, "diff": None})

    def events(self, masked: Callable[[Any], Any]) -> None:
        """Mask the data of all events but tombstones."""
        self._change(_E.kind != "forgotten", masked)

    def _change(self, chosen: sa.ColumnElement[bool], changed: Callable[[Any], Any]) -> None:
        for seq, data in self._connection.execute(sa.select(_E.seq, _E.data).where(chosen)).all():
            if (now := changed(data)) != data:
                self._entomb(f"event:{seq}", "event")
                self._connection.execute(tables.events.update().where(_E.seq == seq).values(data=now))


def words_in_use(connection: sa.Connection, words: Collection[str]) -> set[str]:
    """Return which of these words executions are called, tagged with or have as a parameter; reads them all."""
    found = set[str]()
    wanted = sa.select(sa.func.json_each(json.dumps(sorted(words))).table_valued("value").c.value)
    for column in (_X.task_id, _X.task_type, _X.component, _X.project, _X.agent):
        found |= set(connection.execute(sa.select(column).where(column.in_(wanted)).distinct()).scalars())
    for column in (_X.parameters, _X.tags):
        items = sa.func.json_each(column).table_valued("value")
        inside = tables.executions.join(items, sa.true())
        rows = sa.select(items.c.value).select_from(inside).where(items.c.value.in_(wanted)).distinct()
        found |= set(connection.execute(rows).scalars())
    return found
