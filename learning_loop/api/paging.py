"""Cursors: where a page ended, as a text that only we read."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Query

from learning_loop.errors import NotFoundError

Item = TypeVar("Item")
Limit = Annotated[int, Query(ge=1, le=500, description="At most so many.")]
Cursor = Annotated[str | None, Query(max_length=1_000, description="The `next` of the page before.")]


def cursor_of(*place: Any) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in place]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def place_of(cursor: str, *kinds: type) -> list[Any]:
    """Return what a cursor says, a value of each of these kinds, or None in its place; raise NotFoundError."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return [_read(value, kind) for value, kind in zip(found, kinds, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise NotFoundError("there is no such page: leave `cursor` out to begin at the first") from None


def _read(value: Any, kind: type) -> Any:
    if value is None:
        return None
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is float and isinstance(value, int):
        value = float(value)
    if type(value) is not kind or (isinstance(value, int) and abs(value) >= 2**63):
        raise ValueError
    return value


def part(items: Sequence[Item], cursor: str | None, limit: int) -> tuple[list[Item], str | None]:
    """Return a page of a list that is all there, and the cursor of the next."""
    (start,) = place_of(cursor, int) if cursor else (0,)
    if not isinstance(start, int) or start < 0:
        raise NotFoundError("there is no such page: leave `cursor` out to begin at the first")
    shown = list(items[start : start + limit])
    return shown, cursor_of(start + limit) if start + limit < len(items) else None
