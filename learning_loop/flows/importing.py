"""Importing a history: read, map, score against what came before, commit batch by batch; and writing one out again."""

import gzip
import json
import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from learning_loop.app import App
from learning_loop.capture import digest
from learning_loop.errors import MappingError, WorkspaceError
from learning_loop.flows.history import Histories
from learning_loop.importers import BadRow, Row, RowMapping, from_line, is_own, junit_rows, rows_of, to_line
from learning_loop.importers.junit import MAPPING as JUNIT
from learning_loop.importers.mapping import Imported
from learning_loop.importers.own import MARK
from learning_loop.importers.rows import Read
from learning_loop.ledger import EVERYTHING, Filter
from learning_loop.records import Event, Execution, Outcome, PastRun, Score
from learning_loop.workspace import yaml

BATCH = 1_000  # rows committed at once
SHOWN, LOOKED_AT = 5, 1_000  # rows a dry run shows, and reads
MOST_KINDS = 50_000  # whose history is kept while importing
MOST_BAD = 20  # bad rows that are told one by one; all are in the file they are set aside in
Item = TypeVar("Item")


@dataclass
class ImportReport:
    """What an import came to: rows read, executions added, those known already, and the rows set aside, with where.

    `bad` are the first of those set aside, `unseen` the columns that the mapping names and no row had.
    """

    read: int = 0
    added: int = 0
    known: int = 0
    bad_count: int = 0
    bad: list[BadRow] = field(default_factory=list)
    set_aside: str | None = None
    unseen: tuple[str, ...] = ()
    shown: list[Imported] = field(default_factory=list)


def load_mapping(path: Path) -> RowMapping:
    """Read a mapping file; raise MappingError with what to mend."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: cannot be read: {error}") from None
    try:
        document, lines = yaml.load(text)
    except yaml.YamlError as error:
        raise MappingError(f"{path}:{error.line or 1}: {error}") from None
    if not isinstance(document, dict):
        raise MappingError(f"{path}:1: must hold `field: column` lines, e.g. started_at: date")
    try:
        return RowMapping.model_validate({"source": path.stem, **{str(key): value for key, value in document.items()}})
    except ValidationError as error:
        first = error.errors()[0]
        where = tuple(str(part) for part in first["loc"])
        line = next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), 1)
        message = first["msg"].removeprefix("Value error, ")
        known = ", ".join(RowMapping.model_fields)
        hint = f"; a mapping knows {known}" if first["type"] == "extra_forbidden" and len(where) == 1 else ""
        raise MappingError(f"{path}:{line}: {'.'.join(where)}: {message[:1].lower()}{message[1:]}{hint}") from None


def import_history(
    app: App, path: Path, mapping: RowMapping | None, form: str, *, dry_run: bool = False, read: Read | None = None
) -> ImportReport:
    """Take a file's rows into the ledger, and return what came of it; `read` is told how many bytes have been read.

    Each row's execution is named by its key, so that importing again, after a crash or with a longer file, adds only what is
    not there. Bad rows go to `metrics/imports/`, with their lines. A dry run reads the first thousand rows and writes nothing.
    Raise MappingError.
    """
    report = ImportReport()
    mark = digest(str(path.resolve())) or ""  # two files may have one name
    bad = _SetAside(None if dry_run else app.workspace.metrics / "imports" / f"{path.name}.{mark[:4]}.bad.jsonl", app, report)
    groups: Iterator[tuple[str, list[Any]]]
    if form == "jsonl" and is_own(_first(path)):
        groups = _own(path, report, bad, read)
    else:
        if form == "junit":
            mapping, rows = mapping or JUNIT, junit_rows(path, app.clock().isoformat(), read)
        elif mapping is None:
            raise MappingError(f"{path}: say with --map which column says what; `learning-loop import --help` shows how")
        else:
            rows = rows_of(path, form, read)
        groups = _mapped(path, islice(rows, LOOKED_AT) if dry_run else rows, mapping, report, bad, strict=form == "csv")
    if dry_run:
        for _, records in islice(groups, LOOKED_AT):
            report.shown += [item for item in records if isinstance(item, Imported)][: SHOWN - len(report.shown)]
        return report
    with _alone(app):
        scorer = _Scorer(app)
        try:
            for batch in _batches(groups):
                there = app.ledger.known([run for run, _ in batch])
                new: dict[str, list[Any]] = {}
                for run, records in batch:
                    if run not in there:
                        new.setdefault(run, records)  # of two rows with one key the first counts
                app.ledger.append(*(row for records in new.values() for record in records for row in scorer.rows(record)))
                report.added += len(new)
                report.known += len(batch) - len(new)
        finally:
            bad.close()
    counted = {"rows": report.read, "added": report.added, "known": report.known, "set_aside": report.bad_count}
    app.ledger.append(Event(kind="import", subject=path.name, at=app.clock(), data=counted))
    return report


def _alone(app: App) -> Any:
    """Return a lock: two imports at once would both take the same rows for new."""
    from filelock import FileLock

    app.workspace.locks.mkdir(parents=True, exist_ok=True)
    return FileLock(app.workspace.locks / "import.lock")


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        yield batch


def _mapped(
    path: Path, rows: Iterable[Row | BadRow], mapping: RowMapping, report: ImportReport, bad: "_SetAside", *, strict: bool
) -> Iterator[tuple[str, list[Any]]]:
    """Yield the execution of every good row; where `strict`, every column that is named must be in the first."""
    unseen = {column for item in mapping.sources.values() for column in item.columns} | set(mapping.key)
    for row in rows:
        report.read += 1
        if isinstance(row, BadRow):
            bad.add(row)
            continue
        if strict and unseen:
            mapping.check(row.values, path)
        if unseen:
            unseen -= set(row.values)
        try:
            imported = mapping.execution(row.values)
        except ValueError as error:
            bad.add(BadRow(row.line, str(error), json.dumps(dict(row.values), ensure_ascii=False, default=str)[:2_000]))
            continue
        yield imported.execution.id, [imported]
    report.unseen = tuple(sorted(unseen)) if report.read else ()


def _first(path: Path) -> dict[str, Any]:
    with closing(rows_of(path, "jsonl")) as rows:
        first = next(rows, None)
    return dict(first.values) if isinstance(first, Row) else {}


def _own(path: Path, report: ImportReport, bad: "_SetAside", read: Read | None) -> Iterator[tuple[str, list[Any]]]:
    """Yield each execution of an export with its records."""
    current: tuple[str, list[Any]] | None = None
    for row in islice(rows_of(path, "jsonl", read), 1, None):
        if isinstance(row, BadRow):
            bad.add(row)
            continue
        try:
            record = from_line(row.values)
        except (ValueError, TypeError) as error:
            bad.add(BadRow(row.line, str(error), json.dumps(dict(row.values), ensure_ascii=False, default=str)[:2_000]))
            continue
        if isinstance(record, Execution):
            yield from _whole(current, bad)
            report.read += 1
            current = (record.id, [record])
        elif current is not None and record.execution_id == current[0]:
            current[1].append(record)
        else:
            bad.add(BadRow(row.line, "belongs to no execution before it", json.dumps(dict(row.values), default=str)[:2_000]))
    yield from _whole(current, bad)


def _whole(current: tuple[str, list[Any]] | None, bad: "_SetAside") -> Iterator[tuple[str, list[Any]]]:
    """Yield an execution that is there as a whole: of a file that was cut off, the last one is not."""
    if current is None:
        return
    if any(isinstance(record, Outcome) for record in current[1]):
        yield current
    else:
        bad.add(BadRow(0, f"{current[0]} has no outcome: the file breaks off there", current[0]))


class _Scorer:
    """Makes the ledger's rows of what was read: mapped rows are scored against the history before them."""

    def __init__(self, app: App) -> None:
        self._version = app.settings.scoring.version
        self._histories = Histories(app, fresh_s=math.inf, most_kinds=MOST_KINDS)

    def rows(self, record: Any) -> Iterator[Any]:
        if not isinstance(record, Imported):
            yield record
            return
        execution, outcome = record.execution, record.outcome
        yield from (execution, outcome)
        if not record.scored:
            return
        kind = execution.kind
        card = self._histories.score(execution.task_id, kind, outcome, self._histories.predict(kind))
        score: Score = card.record(execution.id, scoring=self._version, at=outcome.ended_at)
        yield score
        past = PastRun(
            seq=0,
            execution_id=execution.id,
            component=execution.component,
            status=outcome.status,
            success=outcome.success,
            ended_at=outcome.ended_at,
            error_message=outcome.error_message,
            duration_s=outcome.duration_s,
            cost_usd=outcome.cost_usd,
            shape=frozenset(outcome.shape),
        )
        self._histories.take(kind, past)


class _SetAside:
    """Bad rows: the first are told, all are written to a file beside the evidence, redacted, with their lines."""

    def __init__(self, path: Path | None, app: App, report: ImportReport) -> None:
        self._path, self._app, self._report = path, app, report
        self._file: Any = None

    def add(self, found: BadRow) -> None:
        row = BadRow(found.line, self._app.redact(found.problem), self._app.redact(found.text))
        self._report.bad_count += 1
        if len(self._report.bad) < MOST_BAD:
            self._report.bad.append(row)
        if self._path is None:
            return
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8")
                self._report.set_aside = self._app.workspace.relative(self._path)
            line = {"line": row.line, "problem": row.problem, "text": row.text}
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise WorkspaceError(f"cannot write {self._path}: {error.strerror}. Make metrics/ writable") from None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def export_history(app: App, path: Path, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Write every ended execution, with all that is on record about it, to a JSONL file, and return how many; gzipped by name.

    The file appears when it is whole.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    total, done, seq = sum(app.ledger.counts().values()), 0, 0
    try:
        with opener(temporary, "wt", encoding="utf-8") as file:
            file.write(json.dumps(MARK) + "\n")
            while True:
                found, seq = app.ledger.since(seq, BATCH)
                if not found:
                    break
                ids = tuple(record.execution.id for record in found)
                for record in app.ledger.executions(Filter(ids=ids), limit=BATCH, parts=EVERYTHING, order="oldest"):
                    parts = (
                        record.phases,
                        record.checkpoints,
                        record.decisions,
                        record.credits,
                        record.usage,
                        record.steps,
                        record.feedback,
                    )
                    rows = [record.execution, record.outcome, *(item for part in parts for item in part), record.score]
                    file.writelines(to_line(item) + "\n" for item in rows if item is not None)
                done += len(found)
                if progress:
                    progress(done, total)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WorkspaceError(f"cannot write {path}: {error.strerror}. Choose a folder you may write to") from None
    return done
