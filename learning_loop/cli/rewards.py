"""rewards: what runs were worth, by a reward that is data."""

from dataclasses import asdict

import click

from learning_loop.cli.common import json_option, opened, print_json, table


@click.group()
def rewards() -> None:
    """Rewards: what runs were worth, and by which terms."""


@rewards.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the rewards there are: the packaged ones, and yours in config/rewards/."""
    from learning_loop.flows.rewards import load_rewards

    with opened(ctx) as app:
        found = load_rewards(app)
    if as_json:
        print_json([reward.model_dump() | {"version": reward.version} for reward in found.values()])
        return
    table(["reward", "terms", "for"], [[name, str(len(item.terms)), item.description] for name, item in found.items()])


@rewards.command()
@click.argument("name")
@click.option("-n", "limit", type=click.IntRange(1), default=1_000, show_default=True, help="How many runs, the newest first.")
@click.option("--type", "task_type", help="Runs of this type only.")
@click.option("--component", help="Runs of this component only.")
@click.option("--runs", "each", is_flag=True, help="Show every run.")
@json_option
@click.pass_context
def show(
    ctx: click.Context, name: str, limit: int, task_type: str | None, component: str | None, each: bool, as_json: bool
) -> None:
    """Show what runs were worth by a reward, in the mean and by term; a changed reward counts for all of history."""
    from learning_loop.flows.rewards import gamed, reward_named, rewards_of, summary_of
    from learning_loop.ledger import Filter

    wanted = Filter(ended=True, types=(task_type,) if task_type else (), components=(component,) if component else ())
    with opened(ctx) as app:
        reward = reward_named(app, name)
        found, problems = rewards_of(app, reward, wanted, limit=limit)
    worths = [worth for _, worth in found]
    about, half = summary_of(worths), len(worths) // 2
    warning = gamed(reward, worths[half:], worths[:half])  # the newest first
    problems = (*problems, *([warning] if warning else []))
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    if as_json:
        runs = {"by_run": {run: asdict(worth) for run, worth in found}} if each else {}
        print_json({"version": reward.version, **asdict(about), **runs})
        return
    if not found:
        click.echo("no runs yet")
        return
    if each:
        for run, worth in found:
            said = "unknown" if worth.clipped is None else f"{worth.clipped:g}"
            terms = ", ".join(f"{term} {points:+g}" for term, points in worth.terms.items() if points)
            click.echo(f"{run}  {said}{'' if worth.mature else ' (waiting)'}  {terms}")
        click.echo()
    interval = "" if about.low is None else f" ({about.low:.1f} to {about.high:.1f})"
    mean = "unknown" if about.mean is None else f"{about.mean:.1f}{interval}"
    click.echo(f"{name}: {mean} a run, over {about.known} of {about.runs} runs")
    if about.waiting or about.clipped:
        click.echo(f"{about.waiting} may still change, {about.clipped} were clipped")
    rows = [
        [term, "unknown" if points is None else f"{points:+.1f}", str(count)] for term, (points, count) in about.terms.items()
    ]
    table(["term", "points a run", "runs"], rows)
