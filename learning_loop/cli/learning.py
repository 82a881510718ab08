"""synthesize, alerts, metrics, schedule: what is learned week by week."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from learning_loop.cli.common import json_option, opened, print_json, table


@click.command()
@click.option("--week", help="The week, as 2026-W47; by default that of the newest run.")
@click.option("--month", help="Review a month, as 2026-11.")
@click.option("--sprint", help="Review a sprint, by its name.")
@click.option(
    "--all", "every", is_flag=True, help="Every week since the first run that has not been synthesised yet, in order."
)
@click.option("--dry-run", is_flag=True, help="Say what would change; write nothing.")
@json_option
@click.pass_context
def synthesize(
    ctx: click.Context, week: str | None, month: str | None, sprint: str | None, every: bool, dry_run: bool, as_json: bool
) -> None:
    """Learn from a week: find what recurs, change rules and notes a little, write the report.

    The same week again changes nothing. A month or a sprint is reviewed: it gets a report, and rules stay as they are.
    """
    from learning_loop.cli.common import telling
    from learning_loop.flows.synthesis import open_weeks, period_named
    from learning_loop.flows.synthesis import synthesize as carry_out

    if every and (dry_run or week or month or sprint):
        raise click.UsageError("--all goes alone")
    with opened(ctx) as app:
        if every:
            periods = open_weeks(app)
            tell = telling("weeks")
            found = []
            for number, period in enumerate(periods, 1):
                found.append(carry_out(app, period))
                tell(number, len(periods))
        else:
            found = [carry_out(app, period_named(app, week, month, sprint), dry_run=dry_run)]
        root = app.workspace.root
    if as_json:
        plain = [{name: item[name] for name in item} for item in found]
        print_json(plain if every else plain[0])
        return
    for item in found:
        _say(item, root, dry_run=dry_run)
    if not found:
        click.echo("every week is synthesised")


def _say(found: Any, root: Path, *, dry_run: bool) -> None:
    if not found.changed:
        click.echo(f"{found.period} was synthesised before, from the same {_many(found.runs, 'run')}: {found.report}")
        return
    would = "would be " if dry_run else ""
    click.echo(
        f"{found.period}: {_many(found.runs, 'run')}, {_many(found.patterns_identified, 'pattern')}, "
        f"{len(found.new_patterns)} new"
    )
    for title in found.new_patterns:
        click.echo(f"  new: {title}")
    for change in found.rule_changes:
        click.echo(f"  rule, {change}")
    for title in found.promoted:
        click.echo(f"  {would}promoted: {title}")
    for title in found.archived:
        click.echo(f"  {would}archived: {title}")
    for title in found.alerts:
        click.echo(f"  alert: {title}")
    click.echo("nothing was written" if dry_run else f"report: {_near(root / found.report)}")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _near(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@click.group()
def alerts() -> None:
    """Anti-patterns that stand: same errors, slower runs, little reuse, surprises, low scores."""


@alerts.command("list")
@click.option("--all", "every", is_flag=True, help="Those resolved, too.")
@json_option
@click.pass_context
def list_(ctx: click.Context, every: bool, as_json: bool) -> None:
    """List alerts, the newest first."""
    from learning_loop.flows.alerts import alerts as all_alerts

    with opened(ctx) as app:
        found = all_alerts(app, resolved=every)
    if as_json:
        print_json([_plain(alert) for alert in found])
    elif not found:
        click.echo("no alert stands")
    else:
        rows = [
            [alert.id, alert.state, f"{alert.opened_at.astimezone():%Y-%m-%d}", alert.title, alert.advice] for alert in found
        ]
        table(["alert", "state", "since", "what", "what to do"], rows)


def _plain(alert: Any) -> dict[str, Any]:
    names = ("id", "sort", "state", "title", "text", "advice", "opened_at", "changed_at", "note", "executions")
    return {name: getattr(alert, name) for name in names}


@alerts.command()
@click.argument("name")
@json_option
@click.pass_context
def ack(ctx: click.Context, name: str, as_json: bool) -> None:
    """Say that somebody looks at an alert; it stands until its cause is gone."""
    from learning_loop.flows.alerts import acknowledge

    with opened(ctx) as app:
        alert = acknowledge(app, name)
    print_json(_plain(alert)) if as_json else click.echo(f"acknowledged: {alert.title}")


@alerts.command()
@click.argument("name")
@json_option
@click.pass_context
def resolve(ctx: click.Context, name: str, as_json: bool) -> None:
    """Close an alert; it opens again only for what happens from now on."""
    from learning_loop.flows.alerts import resolve as close

    with opened(ctx) as app:
        alert = close(app, name)
    print_json(_plain(alert)) if as_json else click.echo(f"resolved: {alert.title}")


@click.command()
@json_option
@click.pass_context
def metrics(ctx: click.Context, as_json: bool) -> None:
    """Key figures of learning, each with its interval and what it rests on; docs/metrics.md has the formulas."""
    from learning_loop.dashboard import LearningDashboard

    with opened(ctx) as app:
        report = LearningDashboard(app).generate_report()
    if as_json:
        print_json(report)
        return
    found = report["metrics"]
    rows = [
        [name.replace("_", " "), *_measured(found[name])]
        for name in ("component_reuse_rate", "pattern_stability", "overall_improvement")
    ]
    rows += [[f"trend of {name}", *_measured(item)] for name, item in report["trends"].items() if name != "score"]
    for name, agent in found["agent_effectiveness"].items():
        rows.append([f"agent {name}: success", *_measured(agent["success"])])
        rows.append([f"agent {name}: score", *_measured(agent["score"])])
    for name, hours in found["api_integration_time"].items():
        rows.append([f"integration of {name}", "not yet" if hours is None else f"{hours:.1f} hours", "", ""])
    table(["figure", "value", "95 % interval", "rests on"], rows)
    for line in report["recommendations"]:
        click.echo(f"- {line}")


def _measured(item: dict[str, Any]) -> list[str]:
    share = item["unit"] == "share of runs"

    def shown(value: float) -> str:
        return f"{100 * value:.0f} %" if share else f"{value:.2f}"

    value = "unknown" if item["value"] is None else shown(item["value"]) + ("" if share else f" {item['unit']}")
    interval = "" if item["low"] is None or item["high"] is None else f"{shown(item['low'])} to {shown(item['high'])}"
    return [value, interval, str(item["n"])]


@click.group()
def schedule() -> None:
    """Have synthesis carried out when it is due, also what was missed while the machine was off."""


@schedule.command()
@click.option("--once", is_flag=True, help="End after what is due now: for cron and systemd.")
@click.pass_context
def run(ctx: click.Context, once: bool) -> None:
    """Carry out what is due, and stay to do so at every slot until stopped with Ctrl-C."""
    from learning_loop.app import App
    from learning_loop.cli.common import workspace_of
    from learning_loop.jobs import run as tick

    workspace = workspace_of(ctx)
    if not once:
        click.echo("waiting for what is due; Ctrl-C stops", err=True)
    try:
        done = tick(lambda: App.open(workspace, flags=ctx.obj["flags"]), click.echo, partial(click.echo, err=True), once=once)
        ctx.exit(0 if done else 1)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


@schedule.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say what is due, what comes next, and what was done last."""
    from learning_loop.jobs import due, upcoming

    with opened(ctx) as app:
        waiting, coming, done = due(app), upcoming(app), app.ledger.events("job", last=5)
    if as_json:
        plain = {"due": waiting, "next": coming}
        found = {name: [{"job": s.job, "period": s.period.label, "at": s.at} for s in items] for name, items in plain.items()}
        print_json({**found, "done": [{"slot": event.subject, "at": event.at, **event.data} for event in done]})
        return
    rows = [["due", slot.job, slot.period.label, f"{slot.at:%a %Y-%m-%d %H:%M %Z}"] for slot in waiting]
    rows += [["next", slot.job, slot.period.label, f"{slot.at:%a %Y-%m-%d %H:%M %Z}"] for slot in coming]
    rows += [["done", *event.subject.split(":", 1), f"{event.at.astimezone():%a %Y-%m-%d %H:%M %Z}"] for event in done]
    table(["", "job", "period", "when"], rows)


@schedule.command()
@click.option("--for", "which", type=click.Choice(["cron", "systemd"]), default="cron", show_default=True)
@click.pass_context
def install(ctx: click.Context, which: str) -> None:
    """Print how to have this done by cron or by systemd; nothing is installed."""
    import shlex
    import shutil
    import sys

    from learning_loop.cli.common import workspace_of
    from learning_loop.jobs import recipes

    command = shutil.which("learning-loop") or f"{sys.executable} -m learning_loop"
    click.echo(recipes(command, shlex.quote(str(workspace_of(ctx).root)))[which], nl=False)
