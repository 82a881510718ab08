"""import, export: a history comes in from another tool, and goes out again."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from learning_loop.cli.common import json_option, number, opened, print_json, seconds, table, telling


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--map", "map_", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Which column says what (YAML)."
)
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl", "junit"]), help="What the file is, where its name does not say."
)
@click.option("--dry-run", is_flag=True, help="Show what the first rows become; write nothing.")
@json_option
@click.pass_context
def import_(
    ctx: click.Context, files: tuple[Path, ...], map_: Path | None, form: str | None, dry_run: bool, as_json: bool
) -> None:
    """Take a history in: CSV or JSONL by a mapping, JUnit XML, or an export of learning-loop; gzipped ones as they are.

    \b
    A mapping names the column that each field is read from:
        key: [build, job]              # what makes a row one; without it, the whole row
        type: job                      # a column
        id: "{build}-{job}"            # or a text with columns in it
        started_at: {column: date, format: "%d.%m.%Y", zone: Europe/Berlin}
        duration: {column: took_ms, unit: ms}
        success: {column: result, yes: [green], no: [red]}
        error_message: reason
        parameters: [os, compiler]
        project: {value: website}

    Importing again adds only what is new. Rows that cannot be used are set aside in metrics/imports/, with their lines.
    """  # noqa: D301  (\b keeps click from filling the lines of the mapping)
    from learning_loop.flows.importing import import_history, load_mapping
    from learning_loop.importers import format_of

    mapping = load_mapping(map_) if map_ is not None else None
    found = {}
    with opened(ctx) as app:
        for path in files:
            read = None if dry_run else _reading(path)
            found[str(path)] = import_history(app, path, mapping, form or format_of(path), dry_run=dry_run, read=read)
    if as_json:
        print_json({name: asdict(report) for name, report in found.items()})
        return
    for name, report in found.items():
        if dry_run and mapping is not None:
            table(["field", "from"], [[field, _said(item)] for field, item in mapping.sources.items()])
            click.echo()
        if dry_run:
            _show(report.shown)
        for row in report.bad:
            click.echo(f"{name}:{row.line}: {row.problem}", err=True)
        if report.bad_count > len(report.bad):
            click.echo(f"{name}: and {report.bad_count - len(report.bad)} more", err=True)
        if report.unseen:
            click.echo(f"{name}: no row has {', '.join(report.unseen)}, which the mapping names", err=True)
        if dry_run:
            click.echo(
                f"{name}: of the first {report.read} rows {report.read - report.bad_count} can be used; nothing was written"
            )
        else:
            aside = f", {report.bad_count} set aside in {report.set_aside}" if report.bad_count else ""
            click.echo(f"{name}: {report.read} rows, {report.added} executions added, {report.known} known already{aside}")


def _reading(path: Path) -> Callable[[int], None]:
    """Return who is told how many bytes have been read, and says in KB how far that is."""
    tell, size = telling(f"importing {path.name}, KB"), path.stat().st_size

    def read(done: int) -> None:
        tell(min(done, size) >> 10, max(size >> 10, 1))

    return read


def _said(item: Any) -> str:
    given = item.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in given.items())


def _show(shown: Sequence[Any]) -> None:
    rows = [
        [
            f"{item.execution.started_at:%Y-%m-%d %H:%M}",
            str(item.execution.kind),
            item.execution.agent or "",
            item.outcome.status,
            number(item.outcome.score),
            seconds(item.outcome.duration_s),
            ", ".join(f"{name}={value}" for name, value in item.execution.parameters.items())[:60],
            (item.outcome.error_message or "")[:60],
        ]
        for item in shown
    ]
    table(["started", "kind", "agent", "status", "score", "took", "parameters", "error"], rows)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@click.pass_context
def export(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Write every ended execution to a JSONL file that `import` reads; gzipped where its name ends in .gz."""
    from learning_loop.flows.importing import export_history

    with opened(ctx) as app:
        count = export_history(app, file, progress=telling("exporting"))
    if as_json:
        print_json({"file": str(file), "executions": count})
    else:
        click.echo(f"{count} executions written to {file}")
