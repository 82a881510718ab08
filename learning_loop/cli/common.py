"""What commands share: opening the workspace, printing for people or for programs."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from learning_loop.app import App, find_workspace
from learning_loop.features import saying
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


@contextmanager
def opened_or_new(ctx: click.Context) -> Iterator[App]:
    """Open the workspace that is meant, for its settings; where there is none, one that is gone afterwards."""
    import tempfile

    if ctx.obj["workspace"] is not None or Workspace.find(Path.cwd()) is not None or "LEARNING_LOOP_WORKSPACE" in os.environ:
        with opened(ctx) as app:
            yield app
        return
    with tempfile.TemporaryDirectory(prefix="learning-loop-") as folder:
        workspace, _ = Workspace.init(Path(folder))
        with App.open(workspace, flags=ctx.obj["flags"], clock=utc_now) as app:
            yield app


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets, so that it is not lost where an exception would be; a second one interrupts."""
    stop = threading.Event()

    def stopped(_number: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, stopped)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def telling(label: str) -> Callable[[int, int], None]:
    """Return a progress that says on a terminal how far something is, once it has taken a second."""
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        spent = time.monotonic() - started
        if sys.stderr.isatty() and spent > 1:
            left = f"{spent / done * (total - done):.0f} s left" if done < total else "done"
            click.echo(f"\r{label}: {done} of {total}, {left:12}", err=True, nl=done == total)

    return progress


def synced(app: App) -> list[str]:
    """Take in what changed in the notes and the ledger, saying how far it is; return what could not be read."""
    from learning_loop.flows.indexing import Indexing

    indexing = Indexing(app)
    unread = indexing.sync_notes(progress=telling("reading notes"))
    indexing.sync_executions()
    return [str(error) for error in unread]


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
    return "unknown" if value is None else saying.seconds(value)
