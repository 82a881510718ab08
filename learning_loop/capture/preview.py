"""Any value as bounded, plain data: previews that can be stored, digests that tell inputs apart."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

MOST_DEPTH, MOST_ITEMS, MOST_TEXT, MOST_INNER_TEXT, MOST_BITS = 6, 100, 20_000, 1_000, 256
_SPOKEN = (PurePath, UUID, Decimal, datetime, date, time, timedelta)  # their str() says what they are
_DIGEST_HEAD, _DIGEST_TAIL = 1_000_000, 65_536


def plain(value: Any, depth: int = 0) -> Any:  # noqa: C901, PLR0911, PLR0912  (one line for each sort of value)
    """Return `value` as JSON data of bounded size; what has no plain form is named by its type.

    No repr of a foreign object is called: it may be slow, may fail, and may hold anything.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= MOST_BITS else f"<integer of {value.bit_length()} bits>"
    if isinstance(value, str):
        most = MOST_TEXT if depth <= 1 else MOST_INNER_TEXT
        return value if len(value) <= most else f"{value[:most]}… ({len(value)} characters)"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, _SPOKEN):
        return str(value)
    if isinstance(value, Enum):
        return plain(value.value, depth)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if depth >= MOST_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        items = list(islice(value.items(), MOST_ITEMS))
        found = {str(plain(key, MOST_DEPTH)): plain(item, depth + 1) for key, item in items}
        return found if len(value) <= MOST_ITEMS else {**found, "…": f"{len(value) - MOST_ITEMS} more"}
    if isinstance(value, list | tuple):
        found_items = [plain(item, depth + 1) for item in value[:MOST_ITEMS]]
        return found_items if len(value) <= MOST_ITEMS else [*found_items, f"… {len(value) - MOST_ITEMS} more"]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, depth + 1) for item in islice(value, MOST_ITEMS)), key=str)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name, None), depth + 1) for item in fields(value)[:MOST_ITEMS]}
    if isinstance(names := getattr(type(value), "model_fields", None), Mapping):
        return {name: plain(getattr(value, name, None), depth + 1) for name in names}
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def preview(value: Any, limit: int) -> str | None:
    """Return a plain value as text of at most `limit` characters; None for None."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def digest(value: Any) -> str | None:
    """Return a digest that is equal for equal plain values; None for None, and for what has no plain form.

    Of long texts and bytes the length, the first megabyte and the last 64 KiB count.
    """
    if value is None:
        return None
    if isinstance(value, str):
        data = value[:_DIGEST_HEAD].encode("utf-8", "surrogatepass") + value[_DIGEST_HEAD:][-_DIGEST_TAIL:].encode(
            "utf-8", "surrogatepass"
        )
    elif isinstance(value, bytes | bytearray):
        data = bytes(value[:_DIGEST_HEAD]) + bytes(value[_DIGEST_HEAD:][-_DIGEST_TAIL:])
    else:
        known = plain(value)
        if isinstance(known, str) and known.startswith("<") and not isinstance(value, str):
            return None
        data = json.dumps(known, sort_keys=True).encode()
    size = len(value) if isinstance(value, str | bytes | bytearray) else 0
    return blake2b(data + b"%d" % size, digest_size=16).hexdigest()
