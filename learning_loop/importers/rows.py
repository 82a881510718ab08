"""Rows of a file, one at a time, each with its line: what cannot be read is a bad row, never a silent gap."""

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from learning_loop.errors import MappingError

MOST_FIELD = 10_000_000
FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".xml": "junit"}
Read = Callable[[int], None]  # is told how many bytes of the file have been read


@dataclass(frozen=True, slots=True)
class Row:
    """One row by its columns; `line` counts from 1, of a row over several lines it is the last."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, why, and its text as far as it could be read."""

    line: int
    problem: str
    text: str


def format_of(path: Path) -> str:
    """Return `csv`, `jsonl` or `junit`, by the file's ending, before `.gz` where there is one; raise MappingError."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    ending = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""
    if ending not in FORMATS:
        raise MappingError(f"{path}: what it holds cannot be told by its name: say --format csv, jsonl or junit")
    return FORMATS[ending]


@contextlib.contextmanager
def opened(path: Path, read: Read | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked where it is gzipped; raise MappingError."""
    try:
        raw = _Counted(path, read)
    except OSError as error:
        raise MappingError(f"{path}: cannot be read: {error.strerror}") from None
    with io.BufferedReader(raw, 1 << 20) as packed:
        if packed.peek(2)[:2] != b"\x1f\x8b":
            yield packed
            return
        with gzip.open(packed, "rb") as file:
            yield file  # type: ignore[misc]  # the library says of it that it is no IO


class _Counted(io.FileIO):
    def __init__(self, path: Path, read: Read | None) -> None:
        super().__init__(path, "r")
        self._read, self._done = read, 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self._done += count or 0
        if self._read is not None:
            self._read(self._done)
        return count


def rows_of(path: Path, form: str, read: Read | None = None) -> Generator[Row | BadRow, None, None]:
    """Yield the rows of a CSV (or TSV) or JSONL file; raise MappingError where the file cannot be read at all."""
    with opened(path, read) as file:
        try:
            yield from _csv(path, file) if form == "csv" else _jsonl(file)
        except (EOFError, gzip.BadGzipFile, OSError, zlib.error) as error:
            raise MappingError(
                f"{path}: breaks off: {error}. What was read before is in; mend the file and import it again"
            ) from None


def _csv(path: Path, file: IO[bytes]) -> Iterator[Row | BadRow]:
    csv.field_size_limit(MOST_FIELD)
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, delimiter="\t" if ".tsv" in map(str.lower, path.suffixes) else ",")
        header: list[str] = next(reader, [])
        if not header or len(set(header)) != len(header):
            raise MappingError(f"{path}:1: the first line must name the columns, each once")
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(reader.line_num, f"cannot be read: {error}", "")
                continue
            if cells:
                yield _row(reader.line_num, header, cells)


def _row(line: int, header: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(header):
        return BadRow(line, f"has {len(cells)} columns, the header {len(header)}", _shown(cells))
    if any(not cell.isascii() and _broken(cell) for cell in cells):
        return BadRow(line, "is not UTF-8 text", _shown(cells))
    return Row(line, dict(zip(header, cells, strict=True)))


def _broken(cell: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in cell)


def _shown(cells: list[str]) -> str:
    return ",".join(cells).encode("utf-8", "replace").decode()[:2_000]


def _jsonl(file: IO[bytes]) -> Iterator[Row | BadRow]:
    for number, raw in enumerate(file, 1):
        if not raw.strip():
            continue
        if len(raw) > MOST_FIELD:
            yield BadRow(number, f"is longer than {MOST_FIELD // 1_000_000} MB", "")
            continue
        try:
            value = json.loads(raw.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"is no JSON: {error}", raw.decode("utf-8", "replace").strip()[:2_000])
            continue
        if isinstance(value, dict):
            yield Row(number, _flat(value))
        else:
            yield BadRow(
                number, f"must be an object, not a {type(value).__name__}", raw.decode("utf-8", "replace").strip()[:2_000]
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return an object with the fields of its inner objects under dotted names, beside the inner objects themselves."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found[f"{prefix}{name}"] = value
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
    return found
