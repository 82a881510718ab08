"""This project's own export: one record a line, each execution with all that is on record about it."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from learning_loop.records import Checkpoint, Credit, Decision, Execution, Feedback, Outcome, Phase, Score, Step, Usage

MARK = {"format": "learning-loop/1"}  # what the first line of an export is
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Execution, Outcome, Phase, Checkpoint, Decision, Credit, Usage, Step, Feedback, Score)
}


def to_line(record: Any) -> str:
    """Return a record as one line of JSON."""
    values = {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}
    return json.dumps({"record": type(record).__name__, **values}, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else str(value)


def is_own(values: Mapping[str, Any]) -> bool:
    """Say whether the first line of a file says that it is such an export."""
    return values.get("format") == MARK["format"]


def from_line(values: Mapping[str, Any]) -> Any:
    """Return the record that a line holds; raise ValueError that says what is wrong with it."""
    kind = KINDS.get(str(values.get("record")))
    if kind is None:
        raise ValueError(f"{values.get('record')!r} is no kind of record: one of {', '.join(KINDS)} is expected")
    given = {}
    for name, (is_moment, is_tuple) in _fields(kind.__name__).items():
        if name not in values:
            raise ValueError(f"{kind.__name__} without {name}")
        value = values[name]
        if name in ("id", "execution_id") and not isinstance(value, str) and kind is not Decision:
            raise ValueError(f"{kind.__name__} whose {name} is {value!r}")
        if is_moment and value is not None:
            value = datetime.fromisoformat(value)
        given[name] = tuple(value) if is_tuple and value is not None else value
    return kind(**given)


@cache
def _fields(name: str) -> dict[str, tuple[bool, bool]]:
    """Return of each field whether it holds a moment, and whether a tuple."""
    hints = typing.get_type_hints(KINDS[name])
    found = {}
    for field, hint in hints.items():
        kinds = [typing.get_origin(item) or item for item in (hint, *typing.get_args(hint))]
        found[field] = (datetime in kinds, tuple in kinds)
    return found
