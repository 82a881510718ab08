"""replay: policies on a log in which every option was tried."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from learning_loop.cli.common import json_option, print_json, table, telling


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
            raise click.UsageError(f"{text!r}: write settings as NAME=VALUE, e.g. horizon:width=0.7")
        try:
            settings[key.strip()] = value.split("+") if key.strip() == "by" else yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.UsageError(f"{text!r}: {value!r} cannot be read; of several columns write by=ONE+OTHER") from None
    learner(name, **settings)
    return lambda: learner(name, **settings)
