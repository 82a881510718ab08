"""Which column says what: a mapping file, checked once, that makes an execution and its outcome of each row."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from learning_loop.errors import MappingError
from learning_loop.features import fingerprint, shape_of
from learning_loop.records import Execution, Outcome

UNITS = {"s": 1.0, "ms": 0.001, "us": 1e-6, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
YES = ("1", "true", "yes", "y", "ok", "pass", "passed", "success", "succeeded", "successful", "resolved", "green")
NO = ("0", "false", "no", "n", "fail", "failed", "failure", "error", "errored", "unresolved", "red")
FIRST_YEAR, LAST_YEAR = 1971, 2200
MISSING = ("", "null", "none", "nan", "n/a")


class Source(BaseModel):
    """Where a field comes from: a column, a text with columns in braces, or one value for all rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str | None = None
    text: str | None = None
    value: Any = None
    pattern: str | None = None
    split: str | None = None
    unit: Literal["s", "ms", "us", "min", "h", "d"] = "s"
    format: str | None = None
    zone: str = "UTC"
    yes: tuple[str, ...] = YES
    no: tuple[str, ...] = NO
    missing: tuple[str, ...] = MISSING

    @field_validator("yes", "no", "missing", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        several = value if isinstance(value, list | tuple) else [value]
        spoken = {True: ("true", "yes"), False: ("false", "no"), None: ("null",)}  # as YAML reads yes, no and null
        known = isinstance(value, bool) or value is None
        given = [value] if known else several
        return tuple(
            text
            for item in given
            for text in (spoken[item] if isinstance(item, bool) or item is None else (str(item).lower(),))
        )

    @field_validator("text")
    @classmethod
    def _parses(cls, value: str | None) -> str | None:
        try:
            list(Formatter().parse(value or ""))
        except ValueError as error:
            raise ValueError(f"{value!r} has an open brace: {error}") from None
        return value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is no time zone: write it as Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if sum(item is not None for item in (self.column, self.text, self.value)) != 1:
            raise ValueError("say exactly one of column, text and value")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        if self.column is not None:
            return (self.column,)
        return tuple(name for _, name, _, _ in Formatter().parse(self.text or "") if name)

    def read(self, row: Mapping[str, Any]) -> Any:
        """Return what a row says; None where it says nothing."""
        if self.value is not None:
            return self.value
        found = row.get(self.column) if self.column is not None else self._composed(row)
        if isinstance(found, str):
            found = found.strip()
            if found.lower() in self.missing:
                return None
            if self.pattern is not None:
                match = re.search(self.pattern, found)
                return None if match is None else match[1] if match.re.groups else match[0]
        return found

    def _composed(self, row: Mapping[str, Any]) -> str:
        parts = []
        for literal, name, _, _ in Formatter().parse(self.text or ""):
            parts += [literal, "" if not name or row.get(name) is None else _text(row[name])]
        return "".join(parts)


Given = Annotated[Source, Field()]


class RowMapping(BaseModel):
    """What a mapping file says. `key` are the columns that make a row one; without it the whole row is its key.

    Two rows of one `source` with the same key are the same execution, in whichever files they stand. A file of `only_failures`
    says nothing of what they are a share of: its rows are not scored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = ""
    key: tuple[str, ...] = ()
    only_failures: bool = False
    id: Given | None = None
    type: Given = Source(value="task")
    component: Given | None = None
    agent: Given | None = None
    description: Given | None = None
    project: Given | None = None
    sprint: Given | None = None
    tags: Given | None = None
    dependencies: Given | None = None
    parameters: dict[str, Given] = {}
    started_at: Given | None = None
    ended_at: Given | None = None
    duration: Given | None = None
    success: Given | None = None
    score: Given | None = None
    error_type: Given | None = None
    error_message: Given | None = None
    exit_code: Given | None = None
    tests_passed: Given | None = None
    tests_total: Given | None = None
    cost_usd: Given | None = None
    tokens: Given | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        """Read `component: os` as a column, `id: "{a}-{b}"` as a text, and a list of parameters as columns of their names."""
        if not isinstance(given, dict):
            return given
        found = dict(given)
        if isinstance(found.get("parameters"), list):
            found["parameters"] = {str(name): name for name in found["parameters"]}
        for name, value in found.items():
            if name == "parameters" and isinstance(value, dict):
                found[name] = {str(key): _source(item) for key, item in value.items()}
            elif name == "key":
                found[name] = value if isinstance(value, list | tuple) else [value]
            elif name not in ("source", "only_failures"):
                found[name] = _source(value)
        return found

    @model_validator(mode="after")
    def _timed(self) -> "RowMapping":
        if self.started_at is None and self.ended_at is None:
            raise ValueError("started_at or ended_at is needed: name the column that says when a row happened")
        if self.only_failures and self.success is not None:
            raise ValueError("only_failures says how every row went: leave success out")
        return self

    @property
    def sources(self) -> dict[str, Source]:
        named = {name: getattr(self, name) for name in type(self).model_fields}
        found = {name: item for name, item in named.items() if isinstance(item, Source)}
        return found | {f"parameters.{name}": item for name, item in self.parameters.items()}

    def check(self, columns: Mapping[str, Any], path: Path) -> None:
        """Raise MappingError where a column that is named is not in the file."""
        wanted = {column: name for name, item in self.sources.items() for column in item.columns}
        wanted |= dict.fromkeys(self.key, "key")
        for column, name in wanted.items():
            if column not in columns:
                raise MappingError(f"{path}: has no column {column!r}, which {name} names; it has {', '.join(columns)}")

    def execution(self, row: Mapping[str, Any]) -> "Imported":
        """Return what a row is; raise ValueError that says what is wrong with it."""
        started, ended, duration = self._times(row)
        success, score = False if self.only_failures else self._flag(row), self._number(row, "score", most=100)
        passed, total = self._count(row, "tests_passed"), self._count(row, "tests_total")
        exit_code = self._count(row, "exit_code", signed=True)
        error_type, message = self._words(row, "error_type"), self._words(row, "error_message")
        if success is None and exit_code is not None:
            success = exit_code == 0
        if success is None and passed is not None and total:
            success = passed == total
        if success is None and (error_type or message):
            success = False
        parameters = {
            name: value for name, item in self.parameters.items() if (value := _plain(item.read(row), item)) is not None
        }
        identity = f"import-{self._key(row)}"
        task_type, component = self._words(row, "type") or "task", self._words(row, "component")
        dependencies = self._list(row, "dependencies")
        execution = Execution(
            id=identity,
            task_id=self._words(row, "id") or identity,
            task_type=task_type,
            component=component,
            agent=self._words(row, "agent"),
            description=self._words(row, "description"),
            parameters=parameters,
            dependencies=dependencies,
            assumptions=(),
            tags=self._list(row, "tags"),
            project=self._words(row, "project"),
            sprint=self._words(row, "sprint"),
            parent_id=None,
            critical=False,
            idempotent=False,
            inputs_digest=None,
            inputs_preview=None,
            started_at=started,
            host="import",
            pid=0,
            process_started_at=None,
        )
        outcome = Outcome(
            execution_id=identity,
            task_type=task_type,
            component=component,
            project=execution.project,
            status="unknown" if success is None else "succeeded" if success else "failed",
            success=success,
            ended_at=ended,
            score=score,
            tests_passed=passed,
            tests_total=total,
            exit_code=exit_code,
            error_type=error_type if success is not True else None,
            error_message=message if success is not True else None,
            error_fingerprint=fingerprint(error_type, message) if success is False else None,
            duration_s=duration,
            cost_usd=self._number(row, "cost_usd"),
            tokens=self._count(row, "tokens"),
            shape=shape_of(parameters, dependencies, (), ()),
        )
        return Imported(execution, outcome, scored=not self.only_failures)

    def _key(self, row: Mapping[str, Any]) -> str:
        named = {name: row.get(name) for name in self.key} if self.key else dict(row)
        if self.key and all(value in (None, "") for value in named.values()):
            raise ValueError(f"{', '.join(self.key)}: its key is empty, so that it could not be told from others")
        text = json.dumps([self.source, named], sort_keys=True, default=str, ensure_ascii=False)
        return blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()

    def _times(self, row: Mapping[str, Any]) -> tuple[datetime, datetime, float | None]:
        started, ended = self._moment(row, "started_at"), self._moment(row, "ended_at")
        duration = self._number(row, "duration")
        if duration is not None and self.duration is not None:
            duration *= UNITS[self.duration.unit]
        if started is None and ended is None:
            raise ValueError("it does not say when it happened")
        try:
            if started is None and ended is not None:
                started = ended - timedelta(seconds=duration or 0.0)
            if ended is None and started is not None:
                ended = started + timedelta(seconds=duration or 0.0)
        except OverflowError:
            raise ValueError(f"a duration of {duration:g} s cannot be") from None
        if started is None or ended is None or ended < started:
            raise ValueError("it ended before it started")
        if duration is None and self.started_at is not None and self.ended_at is not None:
            duration = (ended - started).total_seconds()
        return started, ended, duration

    def _moment(self, row: Mapping[str, Any], name: str) -> datetime | None:
        item: Source | None = getattr(self, name)
        value = item.read(row) if item is not None else None
        if item is None or value is None:
            return None
        try:
            found = _moment_of(value, item)
        except (ValueError, OverflowError, OSError):
            hint = f" by the format {item.format!r}" if item.format else ": say its format, as %d.%m.%Y %H:%M"
            raise ValueError(f"{name}: {str(value)[:60]!r} cannot be read as a time{hint}") from None
        if not FIRST_YEAR < found.year < LAST_YEAR:
            raise ValueError(f"{name}: {str(value)[:60]!r} is no time that a run can have had")
        return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(item.zone))).astimezone(UTC)

    def _flag(self, row: Mapping[str, Any]) -> bool | None:
        value = self.success.read(row) if self.success is not None else None
        if self.success is None or value is None:
            return None
        if isinstance(value, bool):
            return value
        text = (f"{value:g}" if isinstance(value, float) else str(value)).lower()
        if text in self.success.yes or text in self.success.no:
            return text in self.success.yes
        raise ValueError(f"success: {text[:60]!r} is neither yes nor no: list it under yes, no or missing")

    def _number(self, row: Mapping[str, Any], name: str, *, most: float | None = None) -> float | None:
        item: Source | None = getattr(self, name)
        value = item.read(row) if item is not None else None
        if value is None:
            return None
        try:
            found = float(str(value).strip().removesuffix("%").replace("_", ""))
        except ValueError:
            raise ValueError(f"{name}: {str(value)[:60]!r} is no number") from None
        if not math.isfinite(found) or found < 0 or (most is not None and found > most):
            raise ValueError(f"{name}: {found:g} must be {f'from 0 to {most:g}' if most else '0 or more'}")
        return found

    def _count(self, row: Mapping[str, Any], name: str, *, signed: bool = False) -> int | None:
        item: Source | None = getattr(self, name)
        value = item.read(row) if item is not None else None
        if value is None:
            return None
        try:
            found = int(float(str(value)))
        except (ValueError, OverflowError):
            raise ValueError(f"{name}: {str(value)[:60]!r} is no whole number") from None
        if (found < 0 and not signed) or abs(found) > 2**53:
            raise ValueError(f"{name}: {found} cannot be")
        return found

    def _words(self, row: Mapping[str, Any], name: str) -> str | None:
        item: Source | None = getattr(self, name)
        value = item.read(row) if item is not None else None
        return None if value is None else _text(value)[:4_000] or None

    def _list(self, row: Mapping[str, Any], name: str) -> tuple[str, ...]:
        item: Source | None = getattr(self, name)
        value = item.read(row) if item is not None else None
        if item is None or value is None:
            return ()
        parts = value if isinstance(value, list | tuple) else str(value).split(item.split) if item.split else [value]
        return tuple(dict.fromkeys(text for part in parts if (text := _text(part).strip())))


@dataclass(frozen=True, slots=True)
class Imported:
    """An execution of another tool's history, with how it ended, and whether that is to be scored."""

    execution: Execution
    outcome: Outcome
    scored: bool = True


def _source(given: Any) -> Any:
    if isinstance(given, str):
        return {"text": given} if "{" in given else {"column": given}
    if isinstance(given, dict):  # yes and no, as YAML reads them
        return {{True: "yes", False: "no"}.get(key, key): value for key, value in given.items()}
    return given


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _plain(value: Any, item: Source) -> Any:
    return [part.strip() for part in value.split(item.split)] if isinstance(value, str) and item.split else value


def _moment_of(value: Any, item: Source) -> datetime:
    if item.format:
        return datetime.strptime(str(value), item.format)  # noqa: DTZ007  (its zone is the mapping's)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    return datetime.fromisoformat(str(value))
