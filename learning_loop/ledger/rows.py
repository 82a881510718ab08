"""Records as rows: for each kind one statement, made once, and its values as the database keeps them."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import dialect, insert

from learning_loop.ledger import tables
from learning_loop.records import StrategyEntry, StrategyVersion

FIELDS = {kind: tuple(item.name for item in fields(kind)) for kind in tables.TABLE_OF}
ONCE = (StrategyEntry, StrategyVersion)  # what they say is in their names: there is nothing to write twice
HARMLESS = (sa.Integer, sa.Float, sa.Boolean, tables.Timestamp)  # types of columns in which nothing secret can stand
_DIALECT = dialect()


class Insert:
    """How records of one kind are written: SQLAlchemy says once how, so that a run need not ask for it every time."""

    def __init__(self, table: sa.Table, names: Sequence[str], *, once: bool = False) -> None:
        columns = [column for column in table.c if column.name in names]
        statement = insert(table).on_conflict_do_nothing() if once else insert(table)
        self.statement = str(statement.compile(dialect=_DIALECT, column_keys=[column.name for column in columns]))
        self._columns = [
            (column.name, not isinstance(column.type, HARMLESS), column.type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
            for column in columns
        ]

    def values(self, row: Any, sanitize: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Return what is bound to the statement for a record; what is neither number nor moment is sanitised."""
        found = []
        for name, tells, bound in self._columns:
            value = getattr(row, name)
            if tells and value is not None:
                value = sanitize(value)
            found.append(value if bound is None else bound(value))
        return tuple(found)


INSERTS = {kind: Insert(table, FIELDS[kind], once=kind in ONCE) for kind, table in tables.TABLE_OF.items()}
