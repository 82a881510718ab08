"""strategy: how work is orchestrated, as data; experiment: A/B tests of strategies."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from learning_loop.cli.common import json_option, opened, print_json, table
from learning_loop.errors import ConfigurationError


@click.group(name="strategy")
def strategy() -> None:
    """Strategies: which work is done how, by whom, how often it is tried, and when a person is asked."""


@strategy.command(name="list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the strategies, the one first that rules take first, and what became of each."""
    from learning_loop.flows.points import standing
    from learning_loop.flows.strategies import load, overview
    from learning_loop.settings import STRATEGY

    with opened(ctx) as app:
        catalogue, mode = load(app), standing(app, STRATEGY)
        found = overview(app, catalogue)
    for problem in catalogue.problems:
        click.echo(f"warning: {problem}", err=True)
    if as_json:
        print_json({"mode": mode.mode, "problems": list(catalogue.problems), "strategies": found})
        return
    if not found:
        click.echo("no strategies yet: write one to config/strategies/, or `learning-loop init` for some to begin with")
        return
    rows = [
        [
            item["slug"],
            _for(item["document"]),
            item["version"] or "",
            item["origin"],
            "retired" if item["retired"] else "in force" if item["version"] else "on trial",
            _last(item["last"]),
        ]
        for item in found
    ]
    table(["strategy", "for", "version", "made by", "state", "what was said last"], rows)
    click.echo(f"\nmode: {mode.mode} ({mode.why})")


def _for(document: Any) -> str:
    return "" if document is None else " and ".join([f"type {document['task_type']}", *document["context_rules"]])


def _last(said: Any) -> str:
    return "" if said is None else f"{said['at']:%Y-%m-%d} {said['action']}: {said['reason']}"


@strategy.command()
@click.argument("slug")
@json_option
@click.pass_context
def show(ctx: click.Context, slug: str, as_json: bool) -> None:
    """Show a strategy: what it says, its versions, how it did, and what its decisions contributed."""
    from learning_loop.flows.evolution import eligible
    from learning_loop.flows.scoreboard import board
    from learning_loop.flows.strategies import load, standing_of
    from learning_loop.workspace import yaml

    with opened(ctx) as app:
        load(app)
        stands = standing_of(app, slug)
        versions = app.ledger.versions_of(slug)
        found = board(app, slug)
        may = eligible(app, slug)
    current = next((version for version in versions if version.id == stands.current), versions[-1])
    if as_json:
        print_json(
            {
                "slug": slug,
                "version": stands.current,
                "retired": stands.retired,
                "document": current.document,
                "versions": [asdict(version) for version in versions],
                "runs": found.plain(),
                "may_evolve": asdict(may),
            }
        )
        return
    click.echo(yaml.dump(current.document))
    rows = [
        [version.id, f"{version.at:%Y-%m-%d}", version.origin, found.told(version.id), version.reasoning]
        for version in versions
    ]
    table(["version", "since", "made by", "reward (95 %), runs", "why"], rows)
    for point, advantages in found.contributions.items():
        click.echo(f"\n{point}: by how much it was better than what else could have been decided")
        shown = [
            [option, f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})", str(one.taken), str(one.choices)]
            for option, one in advantages.items()
        ]
        table(["decided", "of the reward's range (95 %)", "taken", "of choices"], shown)
    click.echo(f"\nmay it evolve? {may.status}: {may.says}")


@strategy.command()
@click.argument("one")
@click.argument("other", required=False)
@click.pass_context
def diff(ctx: click.Context, one: str, other: str | None) -> None:
    """Show what changed between two versions, or since the version before; take a strategy's name for its version in force."""
    from learning_loop.flows.strategies import changes_of, load

    with opened(ctx) as app:
        load(app)
        for line in changes_of(app, one, other):
            click.echo(line)


@strategy.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_context
def validate(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """Say what is wrong with strategies, by default those of the workspace; ends with 4 where something is."""
    from learning_loop.flows.strategies import read_each, read_strategies

    if files:
        found, problems = read_each({path: str(path) for path in files})
    else:
        with opened(ctx) as app:
            found, problems = read_strategies(app)
    for made in found:
        click.echo(f"{made.slug}: {made.name}")
    if problems:
        raise ConfigurationError("; ".join(problems))


@strategy.command()
@click.argument("slug", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be proposed, and begin nothing.")
@click.option("--force", is_flag=True, help="Now, though it may not be time, or though there is little to go by.")
@json_option
@click.pass_context
def evolve(ctx: click.Context, slug: str | None, dry_run: bool, force: bool, as_json: bool) -> None:
    """Look for changes that may make a strategy better, and put them to a test; without a name, all that may evolve."""
    from learning_loop.flows.evolution import evolve as evolved
    from learning_loop.flows.evolution import evolve_due, plain, proposers_of

    with opened(ctx) as app:
        proposers = proposers_of(app)
        if slug is not None:
            found = [evolved(app, slug, proposers=proposers, force=force, dry_run=dry_run)]
        elif dry_run or force:
            raise click.UsageError("say which strategy is meant: --dry-run and --force are for one")
        else:
            found = evolve_due(app, proposers)
    if as_json:
        print_json([plain(one) for one in found])
        return
    for one in found:
        click.echo(f"{one.slug}: {one.status}: {one.says}" + (f"; test {one.test}" if one.test else ""))
        for made in one.proposals:
            click.echo(f"  {made.strategy.slug} (by {made.origin}): {made.reasoning}")
            click.echo(f"    hoped for: {made.expected_improvement}")
        for what, why in one.refused:
            click.echo(f"  refused: {what}: {why}")
    if not found:
        click.echo(
            "nothing may evolve now: `learning-loop strategy show NAME` says why; strategies evolve in ab_test and production"
        )


@strategy.command()
@click.argument("slug")
@click.option("--reason", default="", help="Why: it stays on record.")
@click.pass_context
def retire(ctx: click.Context, slug: str, reason: str) -> None:
    """Take a strategy out of use; its file stays as it is."""
    from learning_loop.flows.strategies import load
    from learning_loop.flows.strategies import retire as retired

    with opened(ctx) as app:
        load(app)
        retired(app, slug, reason=reason)
    click.echo(f"{slug} is retired: `learning-loop strategy revive {slug}` brings it back")


@strategy.command()
@click.argument("slug")
@click.option("--version", help="Which version; by default the one that was in force last.")
@click.option("--reason", default="", help="Why: it stays on record.")
@click.pass_context
def revive(ctx: click.Context, slug: str, version: str | None, reason: str) -> None:
    """Put a strategy into force again, or another version of it."""
    from learning_loop.flows.strategies import load
    from learning_loop.flows.strategies import revive as revived

    with opened(ctx) as app:
        load(app)
        now = revived(app, slug, version, reason=reason)
    click.echo(f"{slug}: {now} is in force")


@click.group(name="experiment")
def experiment() -> None:
    """A/B tests of strategies: what is tested, what is known of it, and your word on it."""


@experiment.command(name="list")
@json_option
@click.pass_context
def list_tests(ctx: click.Context, as_json: bool) -> None:
    """List the tests, the newest first."""
    from learning_loop.flows.ab_judging import judge
    from learning_loop.flows.ab_tests import experiments

    with opened(ctx) as app:
        judge(app)
        found = sorted(experiments(app).values(), key=lambda test: test.started_at, reverse=True)
    if as_json:
        print_json([{**asdict(test), "moves": [{"at": move.at, **move.data} for move in test.moves]} for test in found])
        return
    if not found:
        click.echo("no tests yet: `learning-loop strategy evolve` begins one, `learning-loop experiment start` another")
        return
    rows = [
        [
            test.id,
            test.slug,
            test.phase.value + (", frozen" if test.frozen else ""),
            test.winner or "",
            f"{test.started_at:%Y-%m-%d}",
            test.moves[-1].data["reason"],
        ]
        for test in found
    ]
    table(["test", "strategy", "state", "winner", "since", "what was said last"], rows)


@experiment.command(name="show")
@click.argument("name")
@json_option
@click.pass_context
def show_test(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show what a test says so far, and write that as markdown."""
    from learning_loop.flows.ab_judging import judge
    from learning_loop.flows.ab_report import plain, report_of, write_report
    from learning_loop.flows.ab_tests import experiment_named

    with opened(ctx) as app:
        judge(app)
        test = experiment_named(app, name)
        if as_json:
            print_json(plain(report_of(app, test)))
            return
        path = write_report(app, test)
        click.echo((app.workspace.root / path).read_text(encoding="utf-8"))
    click.echo(f"-> {path}", err=True)


@experiment.command(name="start")
@click.argument("versions", nargs=-1, required=True)
@click.option("--control", help="The version they are held against; by default the one in force of the first one's strategy.")
@click.option("--reason", default="", help="Why: it stays on record.")
@click.pass_context
def start_test(ctx: click.Context, versions: tuple[str, ...], control: str | None, reason: str) -> None:
    """Begin a test of versions against the one in force."""
    from learning_loop.flows.ab_tests import start
    from learning_loop.flows.points import standing
    from learning_loop.flows.strategies import load, standing_of
    from learning_loop.settings import STRATEGY

    with opened(ctx) as app:
        load(app)
        against = control or standing_of(app, versions[0].partition("@")[0]).current
        name = start(app, str(against), versions, by="person", reason=reason or "a person said so")
        mode = standing(app, STRATEGY).mode
    click.echo(f"{name}: {', '.join(versions)} against {against}")
    if mode not in ("ab_test", "production"):
        click.echo(
            f"strategies are in {mode}: units come to it once `learning-loop policy mode ab_test strategy` was said", err=True
        )


@experiment.command(name="stop")
@click.argument("name")
@click.option("--reason", default="", help="Why: it stays on record.")
@click.pass_context
def stop_test(ctx: click.Context, name: str, reason: str) -> None:
    """End a test without a winner, or the watching of one."""
    from learning_loop.flows.ab_tests import stop

    with opened(ctx) as app:
        stop(app, name, reason=reason)
    click.echo(f"{name} is over")


@click.command(name="spending")
@json_option
@click.pass_context
def spending(ctx: click.Context, as_json: bool) -> None:
    """Say what the language model cost, and what became of what it proposed."""
    from learning_loop.flows.language import spending as spent

    with opened(ctx) as app:
        found, settings = spent(app), app.settings.language_model
    if as_json:
        print_json(asdict(found))
        return
    model = (
        f"{settings.provider}:{settings.model}" if settings.model else "none: see language_model in config/learning_loop.yaml"
    )
    click.echo(f"model        {model}{'' if settings.enabled else ' (switched off)'}")
    click.echo(f"today        {found.today_usd:.4f} of {settings.usd_per_day:g} USD")
    click.echo(f"in all       {found.total_usd:.4f} USD for {found.asked} questions, {found.failed} without a usable answer")
    for use, usd in found.by_use.items():
        click.echo(f"  {use:11}{usd:.4f} USD")
    each = "unknown" if found.usd_per_accepted is None else f"{found.usd_per_accepted:.4f} USD for each"
    click.echo(f"accepted     {found.accepted} of {found.proposed} proposed rules and strategies: {each}")
