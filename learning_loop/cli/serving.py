"""serve: the REST interface and the pages; token: who may do what there."""

import ipaddress
import os
import sys
import threading

import click

from learning_loop.cli.common import json_option, opened, print_json, table, until_stopped, workspace_of
from learning_loop.errors import UsageError
from learning_loop.flows.tokens import SCOPES

FOLLOW_S, REST_S = 0.5, 3.0  # between two looks for runs that ended; after something was found, for recall then looks anew


@click.command()
@click.option("--host", help="The address to listen at; by default serve.host, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="By default serve.port, 8420; 0 takes any that is free.")
@click.option("--open", "browse", is_flag=True, help="Open the pages in a browser.")
@click.pass_context
def serve(ctx: click.Context, host: str | None, port: int | None, browse: bool) -> None:
    """Serve pages for people under /admin and a REST interface for programs under /api/v1, until stopped with Ctrl-C.

    Other addresses than the loopback's are served once there is a token: `learning-loop token create NAME`.
    """
    from learning_loop.api import Served, application
    from learning_loop.api.running import serve as run
    from learning_loop.flows.tokens import tokens
    from learning_loop.orchestrator import LearningOrchestrator

    with LearningOrchestrator(workspace=workspace_of(ctx).root, flags=ctx.obj["flags"], environ=os.environ) as loop:
        settings = loop.app.settings.serve
        at = host or settings.host
        if not _is_loopback(at) and not any(token.stands(loop.app.clock()) for token in tokens(loop.app)):
            raise UsageError(f"{at} can be reached by others: make a token first, with `learning-loop token create NAME`")
        served = Served(loop, flags=ctx.obj["flags"])

        def ready(address: str) -> None:
            click.echo(f"pages      {address}/admin\nREST       {address}/api/v1 (OpenAPI: {address}/api/v1/openapi.json)")
            click.echo("Ctrl-C stops", err=True)
            if browse:
                click.launch(f"{address}/admin")

        run(application(served, hosts=[at]), served, host=at, port=settings.port if port is None else port, ready=ready)


@click.command()
@click.option("--once", is_flag=True, help="Do what is due, and end.")
@click.option("--while-open", is_flag=True, hidden=True, help="End with the standard input, at the lowest priority.")
@click.pass_context
def follow(ctx: click.Context, once: bool, while_open: bool) -> None:
    """Find out what runs teach that were recorded over the network: reflections, alerts, evidence about rules.

    `learning-loop serve` has this done beside it; a second one waits until the first has ended.
    """
    from learning_loop.orchestrator import LearningOrchestrator

    if while_open:
        os.nice(19)  # before there are threads, which have each their own
    with (
        LearningOrchestrator(workspace=workspace_of(ctx).root, flags=ctx.obj["flags"], environ=os.environ) as loop,
        until_stopped() as stop,
    ):
        if while_open:
            threading.Thread(target=_stop_with_input, args=(stop,), daemon=True).start()
        follower = loop.follower()
        done = 0
        while True:
            done += (found := follower.follow(lambda: not stop.is_set()))
            if once or stop.wait(REST_S if found else FOLLOW_S):
                break
        follower.close()
        if not while_open:
            click.echo(f"reflected on {done} runs")


def _stop_with_input(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@click.group()
def token() -> None:
    """Tokens: who may do what over the network. Once there is one, everybody needs one."""


@token.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), default=("read",), show_default=True,
    help="What it may do: look, record runs, change what is learned, erase and give tokens; may be given several times.",
)  # fmt: skip
@click.option("--days", type=click.FloatRange(0, min_open=True), default=90, show_default=True, help="How long it lives.")
@click.option("--forever", is_flag=True, help="It lives until it is revoked.")
@json_option
@click.pass_context
def create(ctx: click.Context, name: str, scopes: tuple[str, ...], days: float, forever: bool, as_json: bool) -> None:
    """Make a token and print it, this once: the ledger has only its digest."""
    from learning_loop.flows.tokens import create_token

    with opened(ctx) as app:
        made, text = create_token(app, name, scopes, days=None if forever else days)
    if as_json:
        print_json({"id": made.id, "name": made.name, "scopes": made.scopes, "expires_at": made.expires_at, "token": text})
        return
    click.echo(text)
    until = "until it is revoked" if made.expires_at is None else f"until {made.expires_at.astimezone():%Y-%m-%d}"
    click.echo(f"{made.name} may {', '.join(made.scopes)} {until}; keep it: it is not shown again", err=True)


@token.command(name="list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the tokens there are, and those that were."""
    from learning_loop.flows.tokens import tokens

    with opened(ctx) as app:
        found, now = tokens(app), app.clock()
    states = ["revoked" if one.revoked else "stands" if one.stands(now) else "over" for one in found]
    if as_json:
        names = ("id", "name", "scopes", "created_at", "expires_at")
        print_json(
            [{name: getattr(one, name) for name in names} | {"state": state} for one, state in zip(found, states, strict=True)]
        )
        return
    if not found:
        click.echo("no tokens: on this machine everybody may do everything, and no other address is served")
        return
    rows = [
        [one.id, one.name, ", ".join(one.scopes), state, f"{one.expires_at:%Y-%m-%d}" if one.expires_at else "revoked"]
        for one, state in zip(found, states, strict=True)
    ]
    table(["id", "name", "may", "", "until"], rows)


@token.command()
@click.argument("name")
@click.pass_context
def revoke(ctx: click.Context, name: str) -> None:
    """Take a token's rights away, by its name or id."""
    from learning_loop.flows.tokens import revoke_token

    with opened(ctx) as app:
        gone = revoke_token(app, name)
    click.echo(f"{gone.name} is revoked")
