"""rules: what is known of each, and what people say about them; blame: what an execution was shown."""

from pathlib import Path
from typing import Any

import click

from learning_loop.cli.common import json_option, opened, print_json, table


@click.group()
def rules() -> None:
    """Rules: what each does, whether it helps, and what you say about it."""


def _effect(item: Any) -> str:
    lift = item.lift
    if lift.effect is None:
        return "unknown"
    return f"{lift.effect:+.0f} ({lift.low:+.0f} to {lift.high:+.0f})"


@rules.command("list")
@click.option("--all", "every", is_flag=True, help="Those in the archive, too.")
@json_option
@click.pass_context
def list_(ctx: click.Context, every: bool, as_json: bool) -> None:
    """List rules, those with most evidence first; then memory as a whole and the kinds of notes in it."""
    from learning_loop.experiments.lift import Lifts
    from learning_loop.flows.judging import catch_up
    from learning_loop.flows.lifts import memory_lifts, rule_lifts

    with opened(ctx) as app:
        catch_up(app)
        lifts = Lifts(app.ledger.exposed())
        found, memory = rule_lifts(app, retired=every, lifts=lifts), memory_lifts(app, lifts=lifts)
    if as_json:
        print_json({"rules": [item.plain() for item in found], "memory": [item.plain() for item in memory]})
        return
    if not found and not memory:
        click.echo("no rules yet: `learning-loop synthesize` proposes them, or write one into memory/rules/")
        return
    rows = [
        [_short(item) if item.rule else "", item.status or "", _counts(item), _effect(item), item.verdict, item.title]
        for item in (*found, *memory)
    ]
    table(["id", "status", "shown", "effect on the score", "verdict", "rule"], rows)


def _short(item: Any) -> str:
    return Path(item.id).stem if "/" in item.id else item.id[-8:]


def _counts(item: Any) -> str:
    return f"{item.lift.shown} of {item.lift.shown + item.lift.withheld}"


def _one(ctx: click.Context, name: str) -> tuple[Any, Any]:
    from learning_loop.flows.judging import catch_up
    from learning_loop.flows.lifts import rule_lift

    with opened(ctx) as app:
        catch_up(app)
        found = rule_lift(app, name)
        return found, found.rule


@rules.command()
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one rule: what it says, what is known of it, and what was done to it."""
    item, rule = _one(ctx, name)
    changes = [{"at": event.at, **{key: event.data[key] for key in ("action", "reason", "by")}} for event in item.moves]
    if as_json:
        print_json(item.plain() | {"says": rule.says, "path": rule.path, "pinned": rule.pinned, "changes": changes})
        return
    click.echo(f"{rule.title}  ({rule.id})")
    click.echo(f"says        {rule.says}")
    click.echo(f"status      {rule.status}{', pinned' if rule.pinned else ''}{', yours' if rule.mine else ''}")
    click.echo(f"note        {rule.path}")
    _say_effect(item)
    for change in changes:
        click.echo(f"{change['at'].astimezone():%Y-%m-%d}  {change['action']}: {change['reason']} (by the {change['by']})")


def _say_effect(item: Any) -> None:
    click.echo(f"shown       {item.lift.shown} times, withheld {item.lift.withheld}")
    click.echo(f"effect      {_effect(item)} as assigned, in points of the score (95 % interval, valid at every look)")
    if item.lift.followed is not None:
        said = "unknown" if item.lift.as_followed is None else f"{item.lift.as_followed:+.0f} points"
        click.echo(f"followed    {100 * item.lift.followed:.0f} % of the runs it was shown to; effect as followed {said}")
    for name, lift in item.by_type.items():
        known = "unknown" if lift.effect is None else f"{lift.effect:+.0f} ({lift.low:+.0f} to {lift.high:+.0f})"
        click.echo(f"  {name:10}{known}, {lift.shown} of {lift.shown + lift.withheld}")
    since = f" since {item.since.astimezone():%Y-%m-%d}" if item.since else ""
    click.echo(f"verdict     {item.verdict}{since}")


@rules.command()
@click.argument("name")
@json_option
@click.pass_context
def effect(ctx: click.Context, name: str, as_json: bool) -> None:
    """Say what showing a rule does to the score, with an interval that holds however often you look."""
    item, _ = _one(ctx, name)
    if as_json:
        print_json(item.plain())
    else:
        _say_effect(item)


@rules.command()
@click.argument("name")
@json_option
@click.pass_context
def why(ctx: click.Context, name: str, as_json: bool) -> None:
    """Say what a rule rests on: its pattern, every change to it, the executions behind it and what was written of them."""
    from learning_loop.flows.lifts import reasons

    with opened(ctx) as app:
        found = reasons(app, name)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['title']}: {found['says']}")
    click.echo(f"pattern     {found['pattern'] or 'none: a person wrote it'}")
    for data in found["changes"]:
        click.echo(f"{data['action']:12}{data['reason']}")
    for path in found["notes"]:
        click.echo(f"note        {path}")
    for execution in found["executions"]:
        click.echo(f"execution   {execution}")


def _saying(action: str, text: str, done: str) -> click.Command:
    @rules.command(action, help=text)
    @click.argument("name")
    @click.option("--reason", default="", help="Why; it is kept with the change.")
    @json_option
    @click.pass_context
    def command(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
        from learning_loop.flows.ruling import rule_that

        with opened(ctx) as app:
            rule = rule_that(app, name, action, reason=reason)
        if as_json:
            print_json({"id": rule.id, "title": rule.title, "status": rule.status, "pinned": rule.pinned})
        else:
            click.echo(f"{done}: {rule.title}")

    return command


_saying("approve", "Put a rule on trial, or make one on trial active; the gate goes on watching it.", "approved")
_saying("reject", "Reject a rule: it is shown no more, and not proposed again without new evidence.", "rejected")
_saying("pin", "Never withhold a rule; then nothing more is learned about it.", "pinned")
_saying("unpin", "Withhold a rule now and then again.", "no longer pinned")


@rules.command()
@click.argument("week")
@click.option("--reason", default="", help="Why; it is kept with the changes.")
@json_option
@click.pass_context
def rollback(ctx: click.Context, week: str, reason: str, as_json: bool) -> None:
    """Make the loop's own rules what they were after a week's synthesis, as 2026-W47."""
    from learning_loop.flows.ruling import roll_back
    from learning_loop.flows.synthesis import week_named

    with opened(ctx) as app:
        found = roll_back(app, week_named(app, week), reason=reason)
    if as_json:
        print_json({"week": found.week, "changed": found.changed, "left": found.left})
        return
    for title in found.changed:
        click.echo(f"as it was after {found.week}: {title}")
    for title in found.left:
        click.echo(f"left alone, for it is yours by now: {title}")
    if not found.changed and not found.left:
        click.echo(f"nothing changed since {found.week}")


@click.command()
@click.argument("execution")
@json_option
@click.pass_context
def blame(ctx: click.Context, execution: str, as_json: bool) -> None:
    """Show what an execution was shown of rules and notes, and what was withheld from it."""
    from learning_loop.flows.lifts import shown_to

    with opened(ctx) as app:
        found = shown_to(app, execution)
    if as_json:
        names = ("unit", "title", "odds", "shown")
        print_json([dict(zip(names, item, strict=True)) for item in found])
    elif not found:
        click.echo("nothing was to be shown to it")
    else:
        rows = [["shown" if shown else "withheld", f"{odds:.2f}", title] for _, title, odds, shown in found]
        table(["", "odds", "what"], rows)
