"""init, status, doctor, config."""

import os
from pathlib import Path

import click

from learning_loop.cli.common import json_option, opened, print_json, synced, table, workspace_of
from learning_loop.records import utc_now


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@json_option
@click.pass_context
def init(ctx: click.Context, folder: Path | None, as_json: bool) -> None:
    """Make FOLDER, or this one, a workspace: config/, templates/, memory/, metrics/. A file that is there stays as it is."""
    from learning_loop.workspace import Workspace

    workspace, written = Workspace.init(folder or ctx.obj["workspace"] or Path())
    if as_json:
        print_json({"workspace": str(workspace.root), "written": written})
        return
    for name in written:
        click.echo(f"  wrote {name}")
    click.echo(f"{workspace.root} is a workspace" + ("" if written else " already, with nothing missing") + ".")
    click.echo("Next: learning-loop run --type test --component NAME -- COMMAND")


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say what stands in the workspace."""
    from learning_loop.flows.status import status as look

    with opened(ctx) as app:
        found = look(app, synced(app))
    if as_json:
        print_json(found)
        return
    counts = found["executions"]
    total = sum(counts.values())
    parts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count)
    mean = found["mean_score"]
    click.echo(f"workspace   {found['workspace']} ({found['mode']})")
    click.echo(f"executions  {total}{f': {parts}' if parts else ''}")
    click.echo(f"last        {found['last_execution'] or 'none yet'}")
    click.echo(f"mean score  {'unknown' if mean['value'] is None else mean['value']} (of the newest {mean['of_newest']})")
    click.echo(f"notes       {', '.join(f'{count} {name}' for name, count in sorted(found['notes'].items())) or 'none yet'}")
    search = found["search"]
    read = (
        f", {search['embedded']} of {search['passages']} passages embedded by {search['model']}"
        if search["by"] != "words"
        else ""
    )
    click.echo(f"search      by {search['by']}{read}{': ' + search['why'] if search['why'] else ''}")
    for line in found["unreadable_notes"]:
        click.echo(f"unreadable  {line}")


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what is missing, customised, unreadable or out of date, and how to mend it; ends with 1 where something is wrong."""
    from learning_loop.flows.doctor import examine

    found = examine(workspace_of(ctx), environ=os.environ, clock=utc_now)
    wrong = any(symptom.level in ("warning", "error") for symptom in found)
    if as_json:
        print_json([{"level": symptom.level, "what": symptom.what, "mend": symptom.mend} for symptom in found])
    else:
        for symptom in found:
            click.echo(f"{symptom.level:8} {symptom.what}" + (f"\n         -> {symptom.mend}" if symptom.mend else ""))
        click.echo("something needs mending" if wrong else "nothing needs mending")
    ctx.exit(1 if wrong else 0)


@click.group()
def config() -> None:
    """Show the configuration in force."""


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@json_option
@click.pass_context
def show(ctx: click.Context, origin: bool, as_json: bool) -> None:
    """Show every setting with its value."""
    from learning_loop.workspace import load_configuration

    loaded = load_configuration(workspace_of(ctx).config, environ=os.environ, flags=ctx.obj["flags"])
    if as_json:
        print_json({key: {"value": value, "origin": source} for key, value, source in loaded.rows()})
        return
    rows = [[key, "" if value is None else str(value), *([source] if origin else [])] for key, value, source in loaded.rows()]
    table(["setting", "value", *(["origin"] if origin else [])], rows)
