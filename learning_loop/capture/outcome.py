"""What a runner's result says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_loop.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of how a run went, apart from exceptions; `faults` are claims that cannot be used."""

    success: bool | None = None
    score: float | None = None
    tests_passed: int | None = None
    tests_total: int | None = None
    exit_code: int | None = None
    faults: tuple[str, ...] = ()


MOST_COUNT = 2**53
_SILENT = (type(None), str, bytes, int, float, list, tuple, set)


def read_result(result: Any) -> Verdict:
    """Read `success`, `score` (0-100), `tests_passed`, `tests_total`, `exit_code` or `returncode` from a result.

    A mapping is read by key, any other object by attribute. What a result does not say stays unknown.
    """
    if isinstance(result, _SILENT) or (isinstance(result, dict) and not result):
        return Verdict()
    found: dict[str, Any] = {}
    faults = []
    for field, names, valid, wanted in _FIELDS:
        for name in names:
            value = result.get(name) if isinstance(result, Mapping) else _attribute(result, name)
            if value is None:
                continue
            if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
                value = value.item()
            if valid(value):
                found[field] = value
            elif isinstance(result, Mapping):  # an attribute of that name may be anything, a method for one
                faults.append(
                    f"the result's {name} is {type(value).__name__} {str(value)[:40]!r}: {wanted} is needed, so it was ignored"
                )
            break
    passed, total = found.get("tests_passed"), found.get("tests_total")
    if passed is not None and total is not None and passed > total:
        del found["tests_passed"], found["tests_total"]
        faults.append(f"the result's tests_passed is {passed} of {total}: it cannot be more than there are, so it was ignored")
    return Verdict(**found, faults=tuple(faults))


def _attribute(result: Any, name: str) -> Any:
    return getattr(result, name, None) if name in getattr(result, "__dict__", {}) or hasattr(type(result), name) else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_COUNT


def _code(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_COUNT


_FIELDS: list[tuple[str, tuple[str, ...], Any, str]] = [
    ("success", ("success",), lambda value: isinstance(value, bool), "true or false"),
    ("score", ("score",), lambda value: _number(value) and 0 <= value <= 100, "a number from 0 to 100"),
    ("tests_passed", ("tests_passed",), _count, "a count"),
    ("tests_total", ("tests_total",), _count, "a count"),
    ("exit_code", ("exit_code", "returncode"), _code, "a whole number"),
]


def read_junit(path: Path) -> tuple[int, int, str | None]:
    """Return (tests passed, tests run, the first failure's message) of a JUnit XML file; skipped tests do not count.

    Raise UsageError where the file cannot be read as such.
    """
    from xml.etree import ElementTree as ET

    try:
        text = path.read_bytes()
        if b"<!ENTITY" in text.replace(b"\0", b""):  # in UTF-16 as well
            raise UsageError(f"{path}: declares XML entities, which are not read: write it without them")
        root = ET.fromstring(text)  # noqa: S314  (entities are refused above)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}. Check that the command writes it") from None
    except ET.ParseError as error:
        raise UsageError(f"{path}: is no XML: {error}. Check that the command writes JUnit XML") from None
    passed = total = 0
    message = None
    for case in root.iter("testcase"):
        if case.find("skipped") is not None:
            continue
        total += 1
        failure = next((found for name in ("failure", "error") if (found := case.find(name)) is not None), None)
        if failure is None:
            passed += 1
        elif message is None:
            message = failure.get("message") or (failure.text or "").strip().split("\n")[0] or None
    return passed, total, message
