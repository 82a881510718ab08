"""What many requests ask: how much, from where on, and why. A cursor says where a page ended, as a text that only we read."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Query

from learning_loop.errors import NotFoundError

Item = TypeVar("Item")
Limit = Annotated[int, Query(ge=1, le=500, description="At most so many.")]
Why = Annotated[str, Query(alias="reason", max_length=2_000, description="Why; it is kept with what is done.")]
Cursor = Annotated[str | None, Query(max_length=1_000, description="The `next` of the page before.")]


def cursor_of(*place: Any) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in place]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def place_of(cursor: str, *kinds: type | None) -> list[Any]:
    """Return what a cursor says, of each of these kinds; None is a number that may be unknown. Raise NotFoundError."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return [_read(value, kind) for value, kind in zip(found, kinds, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise NotFoundError("there is no such page: leave `cursor` out to begin at the first") from None


def _read(value: Any, kind: type | None) -> Any:
    if kind is None:
        return None if value is None else _read(value, float)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is float and isinstance(value, int):
        value = float(value)
    if type(value) is not kind or (isinstance(value, int) and abs(value) >= 2**63):
        raise ValueError
    return value


def part(
    items: Sequence[Item], cursor: str | None, limit: int, *, key: Callable[[Item], tuple[str, str]]
) -> tuple[list[Item], str | None]:
    """Return a page of a list that is all there, its largest `key` first, and the cursor of the next.

    The cursor is the key of the last one shown: whatever comes to the list meanwhile, nothing is shown twice or left out.
    """
    left = sorted(items, key=key, reverse=True)
    if cursor:
        last = tuple(place_of(cursor, str, str))
        left = [item for item in left if key(item) < last]
    shown = left[:limit]
    return shown, cursor_of(*key(shown[-1])) if len(left) > limit else None
