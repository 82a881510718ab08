"""JUnit XML: one execution a test case, as every CI system writes them."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from learning_loop.errors import MappingError
from learning_loop.importers.mapping import RowMapping
from learning_loop.importers.rows import BadRow, Read, Row, opened

MAPPING = RowMapping.model_validate(
    {
        "source": "junit",
        "key": ["suite", "classname", "name", "timestamp", "number"],
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

    Raise MappingError where the file is no XML that can be used.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    suites: list[dict[str, str]] = []
    number = 0
    try:
        with opened(path, read) as file:
            for event, element in iterparse(file, events=("start", "end")):
                if element.tag == "testsuite":
                    if event == "start":
                        suites.append({**(suites[-1] if suites else {}), **element.attrib})
                    else:
                        suites.pop()
                        element.clear()
                elif event == "end" and element.tag == "testcase":
                    number += 1
                    suite = suites[-1] if suites else {}
                    yield Row(number, _values(element, suite, number, suite.get("timestamp") or otherwise))
                    element.clear()
    except (ET.ParseError, DefusedXmlException, EOFError, OSError) as error:
        raise MappingError(f"{path}: is no JUnit XML that can be read: {error}") from None


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
        "time": case.get("time", "").replace(",", ""),
        "result": result,
        "error_type": None if wrong is None else wrong.get("type"),
        "error_message": message,
    }
