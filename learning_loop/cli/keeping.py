"""backup, restore, forget, completion."""

from pathlib import Path

import click

from learning_loop.cli.common import json_option, opened, print_json, synced, telling
from learning_loop.records import utc_now


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@json_option
@click.pass_context
def backup(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """Write ledger, notes, templates and configuration to FILE, a .tar.gz, while others go on working."""
    from learning_loop.flows.backup import backup as write

    with opened(ctx) as app:
        target = write(
            app, (file or Path(f"learning-loop-{utc_now():%Y%m%d-%H%M%S}.tar.gz")).resolve(), telling("writing files")
        )
    if as_json:
        print_json({"file": str(target), "bytes": target.stat().st_size})
    else:
        click.echo(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), help="The folder to restore into; by default this one."
)
@click.option("--replace", is_flag=True, help="Replace the workspace that is there; it is kept aside.")
@json_option
@click.pass_context
def restore(ctx: click.Context, file: Path, into: Path | None, replace: bool, as_json: bool) -> None:
    """Bring a backup back."""
    from learning_loop.flows.backup import restore as unpack

    root = into or ctx.obj["workspace"] or Path()
    aside = unpack(file, root, replace=replace, clock=utc_now)
    if as_json:
        print_json({"workspace": str(root.resolve()), "kept_aside": str(aside) if aside else None})
    else:
        click.echo(f"restored {root.resolve()}" + (f"; what was there stands in {aside}" if aside else ""))


@click.command()
@click.argument("name", required=False)
@click.option("--expired", is_flag=True, help="Forget all that is older than ledger.retention_days.")
@click.option("--reason", default="asked for", show_default=True, help="Kept on the tombstone.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask first.")
@json_option
@click.pass_context
def forget(ctx: click.Context, name: str | None, expired: bool, reason: str, yes: bool, as_json: bool) -> None:
    """Erase an execution or a note for good: from ledger, notes and index, leaving a tombstone. Backups are not touched."""
    from learning_loop.flows.forget import forget as erase
    from learning_loop.flows.forget import forget_expired

    if (name is None) == (not expired):
        raise click.UsageError("name an execution or a note, or say --expired")
    if not yes:
        click.confirm(f"Erase {name or 'all that is expired'} for good?", abort=True, err=True)
    with opened(ctx) as app:
        synced(app)
        found = forget_expired(app) if expired else [erase(app, name or "", reason=reason)]
    if as_json:
        print_json([{"id": item.id, "erased": item.erased, "rewritten": item.rewritten} for item in found])
        return
    for item in found:
        for path in item.erased:
            click.echo(f"erased {path}")
        for path in item.rewritten:
            click.echo(f"rewrote {path} without it")
    if not found:
        click.echo("nothing is expired")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: `source <(learning-loop completion bash)`."""
    from click.shell_completion import get_completion_class

    from learning_loop.cli.group import cli

    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(cli, {}, "learning-loop", "_LEARNING_LOOP_COMPLETE").source())
