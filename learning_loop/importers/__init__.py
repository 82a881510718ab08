"""Histories of other tools: rows of CSV and JSONL by a mapping, JUnit XML, and this project's own export."""

from learning_loop.importers.junit import junit_rows
from learning_loop.importers.mapping import RowMapping
from learning_loop.importers.own import from_line, is_own, to_line
from learning_loop.importers.rows import BadRow, Row, format_of, rows_of

__all__ = [
    "BadRow",
    "Row",
    "RowMapping",
    "format_of",
    "from_line",
    "is_own",
    "junit_rows",
    "rows_of",
    "to_line",
]
