"""policy: learned policies, and what they learn from; replay: policies on a log in which every option was tried."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from learning_loop.cli.common import json_option, opened, print_json, table, telling
from learning_loop.errors import LearningLoopError, UsageError


def _listed(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> list[str]:
    return [name.strip() for name in (given or "").split(",") if name.strip()]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--arm", required=True, metavar="COLUMN", help="The column that says which option was tried.")
@click.option("--reward", required=True, metavar="EXPRESSION", help='What a row is worth, e.g. "resolved - 0.25 * cost_usd".')
@click.option("--context", metavar="COLUMNS", callback=_listed, help="Columns known before the choice, with commas between.")
@click.option("--unit", metavar="COLUMN", help="The column that tells tasks apart; by default the first.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[:SETTING=VALUE,...]",
    default=("horizon", "probit", "epsilon"),
    show_default=True,
    help="A policy to try; may be given several times.",
)
@click.option("--shuffles", type=click.IntRange(2), default=20, show_default=True, help="How many orders of the tasks.")
@click.option("--floor", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Least probability of any option.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the orders and of what is drawn.")
@json_option
def replay(
    file: Path,
    arm: str,
    reward: str,
    context: list[str],
    unit: str | None,
    policies: tuple[str, ...],
    shuffles: int,
    floor: float,
    seed: int,
    as_json: bool,
) -> None:
    """Say what policies would have earned on a CSV or JSONL file with a row for each task and option.

    Each policy goes through the tasks once, in many orders, and sees the reward of what it chose alone. Beside it stand one
    option for all tasks, the best, and one taken at random; where there is a context, the same policy with the contexts of
    other tasks, too.
    """
    from learning_loop.flows.replay import read_matrix
    from learning_loop.flows.replay import replay as replayed

    matrix = read_matrix(file, arm=arm, reward=reward, context=context, unit=unit)
    found = []
    for name in policies:
        make = _maker(name, len(matrix.tasks), context)
        found.append(replayed(matrix, make, name=name, shuffles=shuffles, seed=seed, floor=floor, told=telling(name)))
    if as_json:
        about = {"tasks": len(matrix.tasks), "arms": dict(matrix.arms), "best": matrix.best, "random": matrix.random}
        print_json({**about, "unused": list(matrix.unused), "policies": [asdict(item) for item in found]})
        return
    rows = [["one at random", f"{matrix.random:.4f}", "", "0", ""]]
    if matrix.best is not None:
        rows.append([f"always {matrix.best}", f"{matrix.arms[matrix.best]:.4f}", "", "1", ""])
    for item in found:
        share = "" if item.share is None else f"{item.share:.2f}"
        control = "" if item.shuffled is None else f"{item.shuffled:.4f}"
        rows.append([item.policy, f"{item.mean:.4f}", f"{item.low:.4f} to {item.high:.4f}", share, control])
    table(["policy", "reward a task", "95 % interval", "share of the gap", "context of others"], rows)
    click.echo(f"\n{len(matrix.tasks)} tasks, {len(matrix.arms)} options on all of them, {shuffles} orders")
    if matrix.unused:
        click.echo(f"{len(matrix.unused)} rows could not be used; the first: {matrix.unused[0]}", err=True)


def _maker(text: str, tasks: int, context: list[str]) -> Callable[[], Any]:
    """Return what makes the policy that a text names; raise UsageError where there is none."""
    import yaml

    from learning_loop.policies import learner

    name, _, rest = text.partition(":")
    settings = {"horizon": tasks, "by": context} if name == "horizon" else {}
    for part in filter(None, rest.split(",")):
        key, sign, value = part.partition("=")
        if not sign:
            raise click.UsageError(f"{text!r}: write settings as NAME=VALUE, e.g. horizon:jitter=0.2")
        try:
            settings[key.strip()] = value.split("+") if key.strip() == "by" else yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.UsageError(f"{text!r}: {value!r} cannot be read; of several columns write by=ONE+OTHER") from None
    learner(name, **settings)
    return lambda: learner(name, **settings)


@click.group(name="policy")
def policy_() -> None:
    """Learned policies: what they learn from, how they stand, and what you say about them."""


@policy_.command()
@click.argument("point", required=False)
@json_option
@click.pass_context
def status(ctx: click.Context, point: str | None, as_json: bool) -> None:
    """Say of each decision point who chooses there, by which version, and how far its ramp has come."""
    from learning_loop.flows.points import POLICY, ledger_points, standing

    with opened(ctx) as app:
        counts = ledger_points(app.ledger)
        names = [point] if point else sorted({*counts, *app.settings.policies.points})
        found = {name: standing(app, name) for name in names}
        said = {name: app.ledger.events(POLICY, name) for name in names}
    if as_json:
        print_json({name: {"choices": counts.get(name, 0), **asdict(now)} for name, now in found.items()})
        return
    if not found:
        click.echo("no choices yet: let the work ask with `run.decide`, or code with `loop.decide`")
        return
    rows = [
        [name, str(counts.get(name, 0)), now.mode, now.version or "rules", _shared(now), _newest(said[name])]
        for name, now in found.items()
    ]
    table(["decision point", "choices", "mode", "policy", "its share", "what was said last"], rows)


def _shared(now: Any) -> str:
    if now.over:
        return now.over if now.over != "frozen" else f"{100 * now.share:.0f} %, frozen"
    return f"{100 * now.share:.0f} %"


def _newest(events: Any) -> str:
    return f"{events[-1].at:%Y-%m-%d} {events[-1].data['action']}: {events[-1].data.get('reason', '')}" if events else ""


@policy_.command()
@json_option
@click.pass_context
def stats(ctx: click.Context, as_json: bool) -> None:
    """Show what there is to learn from, and how the learned policies do beside the rules."""
    from learning_loop.flows.statistics import REWARD_TARGET, SUCCESS_TARGET, plain, statistics

    with opened(ctx) as app:
        found = statistics(app)
    if as_json:
        print_json(plain(found))
        return
    modes = {now.mode for _, now in found.points.values()} or {"shadow"}
    versions = [f"{point} {now.version}" for point, (_, now) in found.points.items() if now.version]
    click.echo(f"mode      {', '.join(sorted(modes))}")
    click.echo(f"policies  {', '.join(versions) or 'none: see `learning-loop policy train`'}")
    click.echo(f"\nexperiences   {found.experiences}")
    click.echo(f"mean reward   {_mean(found.reward, 1)}  (target above {REWARD_TARGET:.0f}, by {found.reward_name})")
    click.echo(f"success rate  {_percent(found.success)}  (target above {100 * SUCCESS_TARGET:.0f} %)")
    for heading, counts in (("task type", found.by_type), ("domain", found.by_domain)):
        if counts:
            click.echo()
            table([heading, "runs"], [[name, str(count)] for name, count in counts.items()])
    if found.by_mode:
        click.echo()
        rows = [
            [name, str(arm.runs), _mean(arm.reward, 1), _percent(arm.success), _mean(arm.cost_usd, 4), _mean(arm.duration_s, 2)]
            for name, arm in found.by_mode.items()
        ]
        table(["chosen by", "runs", "reward", "success", "USD", "seconds"], rows)
    click.echo(f"\nended as was likelier before   {_percent(found.accuracy)}")
    click.echo(f"predicted over real duration   {_percent(found.time_accuracy)}")
    click.echo(f"within its 90 % interval       {_percent(found.in_interval)}")
    click.echo(f"kept to safety                 {_percent(found.safety)}")
    click.echo(f"USD a run less than the rules  {_mean(found.resources, 4)}")


def _mean(mean: Any, digits: int) -> str:
    if mean is None:
        return "unknown"
    around = "" if mean.low is None else f" ({mean.low:.{digits}f} to {mean.high:.{digits}f})"
    return f"{mean.value:.{digits}f}{around}"


def _percent(mean: Any) -> str:
    if mean is None:
        return "unknown"
    around = "" if mean.low is None else f" ({100 * mean.low:.0f} to {100 * mean.high:.0f})"
    return f"{100 * mean.value:.0f} %{around} of {mean.of}"


@policy_.command()
@click.argument("point", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file; by default experiences.json.")
@json_option
@click.pass_context
def export(ctx: click.Context, point: str | None, output: Path | None, as_json: bool) -> None:
    """Write the choices of a decision point, or of all, with their propensities and what they earned."""
    from learning_loop.flows.experience import exported
    from learning_loop.flows.points import ledger_points
    from learning_loop.workspace import atomic_write

    target = output or Path("experiences.json")
    with opened(ctx) as app:
        names = [point] if point else sorted(ledger_points(app.ledger))
        steps, rewards = exported(app, {name: _settings(app, name) for name in names})
    atomic_write(target, (json.dumps(steps, indent=1, ensure_ascii=False, default=str) + "\n").encode())
    about = {"file": str(target), "experiences": len(rewards), "choices": len(steps)}
    if as_json:
        print_json(about)
        return
    click.echo(f"{len(rewards)} experiences, {len(steps)} choices -> {target}")
    if not rewards:
        click.echo("nothing to train on yet: choices count once their runs have ended and their reward is known")


@policy_.command()
@click.argument("point", required=False)
@click.option("--algo", help="Which learner; by default the one that is configured for the point.")
@click.option(
    "--epochs", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How often the episodes are gone over."
)
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file that `policy export` wrote.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Write the version there, as no candidate.")
@click.option("--only", metavar="NAME=VALUE", help="Learn from choices alone whose context says so, e.g. pack=tax-assist.")
@click.option("--start", metavar="VERSION", help="Go on from this version.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order that episodes are gone over in.")
@json_option
@click.pass_context
def train(
    ctx: click.Context,
    point: str | None,
    algo: str | None,
    epochs: int,
    data: Path | None,
    output: Path | None,
    only: str | None,
    start: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train a policy on what is on record of a decision point, and judge it on the newest part, beside the rules."""
    from learning_loop.flows.training import one_point, read_experiences
    from learning_loop.flows.training import train as trained

    name, _, value = (only or "").partition("=")
    with opened(ctx) as app:
        given = read_experiences(data, point) if data is not None else None
        where = one_point(app, point, given)
        found = trained(
            app,
            where,
            settings=_settings(app, where),
            algo=algo,
            epochs=epochs,
            episodes=given[where] if given is not None else None,
            output=output,
            only=(name, value) if only else None,
            start=start,
            seed=seed,
            told=telling(f"training {where}"),
        )
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"{found.version}: {found.learner} on {found.episodes} episodes, {found.held_out} held out -> {found.path}")
    click.echo(found.judgement.says)
    if found.judgement.overlap is not None:
        named = (f"{name} {one.value:.3g} ({one.low:.3g} to {one.high:.3g})" for name, one in found.judgement.estimates.items())
        click.echo(f"estimates: {'; '.join(named)}")
        worth, mean = found.judgement.overlap.effective, found.judgement.overlap.mean_weight
        click.echo(f"the log is worth {worth:.0f} episodes of its own; its weights are {mean:.2f} in the mean (1 is right)")
    click.echo(
        f"it may enter its ramp: `learning-loop policy mode ab_test {where}`"
        if found.judgement.passes
        else "it may not choose yet: it stays in shadow"
    )


def _settings(app: Any, point: str) -> Any:
    """Return the settings of a point: the configured ones, those of the packs, or None for the usual ones."""
    from learning_loop.examples.harbor import POINT

    if point == POINT and point not in app.settings.policies.points:
        from learning_loop.examples.harbor.runs import SETTINGS

        return SETTINGS
    return None


@policy_.command()
@click.argument("mode", required=False, type=click.Choice(["disabled", "shadow", "ab_test", "production"]))
@click.argument("point", required=False)
@click.option("--reason", default="", help="Why: it stays on record.")
@click.pass_context
def mode(ctx: click.Context, mode: str | None, point: str | None, reason: str) -> None:
    """Say in which mode a decision point is to be, or all; without a mode, show it.

    disabled: rules choose, nothing is learned. shadow: rules choose, what would have been chosen is logged. ab_test: a learned
    policy chooses for more and more units, as far as it helps. production: for all but the holdout.
    """
    from learning_loop.flows.points import ledger_points, standing
    from learning_loop.flows.ramps import set_mode

    with opened(ctx) as app:
        names = [point] if point else sorted({*ledger_points(app.ledger), *app.settings.policies.points})
        refused = []
        for name in names:
            try:
                says = set_mode(app, name, mode, reason=reason) if mode is not None else None
            except LearningLoopError as error:
                refused.append(error)
                continue
            now = standing(app, name)
            click.echo(f"{name}: {now.mode} ({now.why})" + (f"; {says}" if says else ""))
        if refused:
            raise UsageError("; ".join(map(str, refused)))
        if not names:
            click.echo(f"{app.settings.policies.mode} (policies.mode); there is no decision point yet")


@policy_.command()
@click.argument("point")
@click.option("--version", help="Which version; by default the one that chooses.")
@click.option("--reason", default="", help="Why: it stays on record.")
@click.pass_context
def rollback(ctx: click.Context, point: str, version: str | None, reason: str) -> None:
    """Take a learned policy back, at once and for good; the one before it that had its full share chooses, else the rules."""
    from learning_loop.flows.points import standing
    from learning_loop.flows.ramps import roll_back

    with opened(ctx) as app:
        gone = roll_back(app, point, version, reason=reason)
        now = standing(app, point)
    click.echo(f"{point}: {gone} was taken back; now {now.version or 'the rules'}")
