"""What commands share: opening the workspace, printing for people or for programs."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from learning_loop.app import App, Progress, find_workspace
from learning_loop.errors import NoteError
from learning_loop.records import utc_now
from learning_loop.workspace import Workspace

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def workspace_of(ctx: click.Context) -> Workspace:
    return find_workspace(ctx.obj["workspace"], os.environ)


@contextmanager
def opened(ctx: click.Context) -> Iterator[App]:
    """Open the workspace that is meant."""
    with App.open(workspace_of(ctx), flags=ctx.obj["flags"], clock=utc_now) as app:
        yield app


def telling(label: str) -> Progress:
    """Return a progress that says on a terminal how far something is, once it has taken a second."""
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        spent = time.monotonic() - started
        if sys.stderr.isatty() and spent > 1:
            left = f"{spent / done * (total - done):.0f} s left" if done < total else "done"
            click.echo(f"\r{label}: {done} of {total}, {left:12}", err=True, nl=done == total)

    return progress


def synced(app: App) -> list[NoteError]:
    """Bring the index up to date, saying how far it is; return what could not be read."""
    return app.sync_index(telling("reading notes"))


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def table(columns: list[str], rows: list[list[str]]) -> None:
    """Print rows under their columns: as a fitted table on a terminal, as tab-separated values elsewhere."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            click.echo("\t".join(" ".join(cell.split()) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        shown.add_column(
            column, overflow="fold" if number == len(columns) - 1 else "ellipsis", no_wrap=number < len(columns) - 1
        )
    for row in rows:
        shown.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console().print(shown)


def number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f}"


def seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"
