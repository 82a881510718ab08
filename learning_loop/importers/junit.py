"""JUnit XML: one execution a test case, as every CI system writes them."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from learning_loop.errors import MappingError
from learning_loop.importers.mapping import RowMapping
from learning_loop.importers.rows import BadRow, Read, Row, opened

MAPPING = RowMapping.model_validate(
    {
        "source": "junit",
        "key": ["suite", "classname", "name", "said_at", "number"],
        "id": "{classname}.{name}",
        "type": {"value": "test"},
        "component": "classname",
        "started_at": "timestamp",
        "duration": "time",
        "success": {"column": "result", "yes": ["passed"], "no": ["failed", "error"], "missing": ["skipped"]},
        "error_type": "error_type",
        "error_message": "error_message",
        "parameters": {"suite": "suite", "host": "hostname"},
    }
)


def junit_rows(path: Path, otherwise: str, read: Read | None = None) -> Iterator[Row | BadRow]:
    """Yield the test cases of a JUnit file; `otherwise` is when they ran where the file does not say.

    A file without times is known by its content. Raise MappingError where the file is no XML that can be used.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    suites: list[dict[str, str]] = []
    number, mark = 0, ""
    try:
        with opened(path) as file:
            mark = file_digest(file, "blake2b").hexdigest()[:24]  # type: ignore[arg-type]  # any file of bytes will do
        with opened(path, read) as file:
            for event, element in iterparse(file, events=("start", "end")):
                tag = element.tag.rpartition("}")[2]
                if tag in ("testsuite", "testsuites"):
                    if event == "start":
                        suites.append({**(suites[-1] if suites else {}), **element.attrib})
                    else:
                        suites.pop()
                        element.clear()
                elif event == "end" and tag == "testcase":
                    number += 1
                    suite = suites[-1] if suites else {}
                    timestamp = suite.get("timestamp")
                    values = _values(element, suite, number, timestamp or otherwise)
                    yield Row(number, values | {"said_at": timestamp or mark})
                    element.clear()
    except (ET.ParseError, DefusedXmlException, EOFError, OSError) as error:
        raise MappingError(f"{path}: is no JUnit XML that can be read: {error}") from None


def _seconds(text: str) -> str:
    """Return a number that may have commas: for thousands where there is a point, else as the point."""
    return text.replace(",", "") if "." in text else text.replace(",", ".")


def _values(case: ET.Element, suite: dict[str, str], number: int, timestamp: str) -> dict[str, str | None]:
    wrong = next((child for child in case if child.tag in ("failure", "error")), None)
    result = "passed" if wrong is None else "failed"
    if any(child.tag == "skipped" for child in case):
        result = "skipped"
    message = None
    if wrong is not None:
        message = wrong.get("message") or (wrong.text or "").strip() or wrong.tag
    return {
        "suite": suite.get("name", ""),
        "hostname": suite.get("hostname", ""),
        "timestamp": timestamp,
        "number": str(number),
        "classname": case.get("classname") or suite.get("name", ""),
        "name": case.get("name", ""),
        "time": _seconds(case.get("time", "")),
        "result": result,
        "error_type": None if wrong is None else wrong.get("type"),
        "error_message": message,
    }
