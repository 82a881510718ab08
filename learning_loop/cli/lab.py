"""Packs and the lab: runs of packs, and experiments with them."""

from collections import Counter
from typing import Any

import click

from learning_loop.cli.common import json_option, opened, print_json, table, telling, workspace_of

MODES = click.Choice(["static", "rule", "rl"])


def _run(ctx: click.Context, pack: str, mode: str, version: str | None, **options: Any) -> tuple[list[Any], str]:
    import os

    from learning_loop.examples.harbor import packs
    from learning_loop.examples.harbor.runs import policy_of, run_packs
    from learning_loop.orchestrator import LearningOrchestrator

    names = packs() if pack == "all" else [pack]
    with LearningOrchestrator(workspace=workspace_of(ctx).root, flags=ctx.obj["flags"], environ=os.environ) as loop:
        by, called = policy_of(loop.app, mode, version)
        return run_packs(loop, names, by, mode=mode, **options), called


@click.command()
@click.argument("pack")
@click.option("--mode", type=MODES, default="rule", show_default=True, help="A fixed order, rules, or what was learned.")
@click.option("--runs", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many.")
@click.option(
    "--explore", type=click.FloatRange(0, 0.16), default=0.05, show_default=True, help="Least probability of any action."
)
@click.option("--max-steps", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Of a run, at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the days that the packs have.")
@json_option
@click.pass_context
def generate(
    ctx: click.Context, pack: str, mode: str, runs: int, explore: float, max_steps: int, seed: int, as_json: bool
) -> None:
    """Run a pack, or `all` of them in turn, many times, so that there is something to learn from."""
    found, called = _run(
        ctx, pack, mode, None, runs=runs, floor=explore, seed=seed, max_steps=max_steps, told=telling(f"running {pack}")
    )
    done = [run for run in found if run.played.success]
    rewards = [run.reward for run in found if run.reward is not None]
    if as_json:
        print_json(
            {
                "pack": pack,
                "mode": mode,
                "policy": called,
                "runs": [
                    {
                        "execution_id": run.execution_id,
                        "pack": run.pack,
                        "actions": list(run.played.actions),
                        "success": run.played.success,
                        "reward": run.reward,
                    }
                    for run in found
                ],
            }
        )
        return
    mean = f"{sum(rewards) / len(rewards):.2f}" if rewards else "unknown"
    click.echo(f"{len(found)} runs of {pack} by {called}: {len(done)} succeeded, mean reward {mean}")
    taken = Counter(action for run in found for action in run.played.actions)
    table(["action", "taken"], [[action, str(count)] for action, count in taken.most_common()])


@click.command(name="run-pack-dynamic")
@click.argument("pack")
@click.option("--mode", type=MODES, default="rule", show_default=True, help="A fixed order, rules, or what was learned.")
@click.option("--version", help="Which version of the policy; by default the newest.")
@click.option("--max-steps", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Of a run, at most.")
@click.option("--seed", type=int, help="Of the day that the pack has; by default another one each time.")
@json_option
@click.pass_context
def run_pack(
    ctx: click.Context, pack: str, mode: str, version: str | None, max_steps: int, seed: int | None, as_json: bool
) -> None:
    """Run a pack once, and show what was done step by step."""
    import secrets

    drawn = secrets.randbelow(1_000_000) if seed is None else seed
    (run,), called = _run(ctx, pack, mode, version, runs=1, floor=0.0, seed=drawn, max_steps=max_steps)
    steps = [
        {"action": step.action, "propensity": step.propensity, "ok": step.result.ok, "note": step.result.note}
        for step in run.played.steps
    ]
    if as_json:
        print_json(
            {
                "execution_id": run.execution_id,
                "policy": called,
                "success": run.played.success,
                "reward": run.reward,
                "steps": steps,
            }
        )
        return
    rows = [
        [str(number), step["action"], f"{step['propensity']:.2f}", "done" if step["ok"] else "failed", step["note"]]
        for number, step in enumerate(steps, 1)
    ]
    table(["", "action", "probability", "", "what came of it"], rows)
    ended = "succeeded" if run.played.success else "did not succeed" if run.played.completed else "did not end"
    reward = "unknown" if run.reward is None else f"{run.reward:.2f}"
    click.echo(f"\n{pack} by {called}: {ended}, reward {reward}; `learning-loop executions show {run.execution_id[-8:]}`")


@click.group()
def lab() -> None:
    """Experiments: whether what is learned is of use, with effects, intervals and a verdict."""


@lab.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the experiments."""
    from learning_loop.examples.harbor.experiments import listed

    found = listed()
    if as_json:
        print_json(found)
        return
    table(["number", "experiment"], [[number, about] for number, about in found.items()])


@lab.command()
@click.argument("number")
@click.option(
    "--repeat", type=click.IntRange(3, 1_000), default=5, show_default=True, help="Repetitions, each with its own seed."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The first of the seeds.")
@json_option
@click.pass_context
def run(ctx: click.Context, number: str, repeat: int, seed: int, as_json: bool) -> None:
    """Carry out an experiment and write its report; it takes a minute or more."""
    from learning_loop.examples.harbor.experiments import run_experiment
    from learning_loop.flows.lab import said, write_report

    with opened(ctx) as app:
        found = run_experiment(number, range(seed, seed + repeat), telling(f"experiment {number}"))
        path = write_report(app, found)
        shown = app.workspace.relative(path)
    if as_json:
        print_json({"report": shown, **found.plain()})
        return
    click.echo(f"{found.number} {found.title}: {found.verdict}\n")
    for what, met in found.criteria.items():
        click.echo(f"  {'passed    ' if met else 'not passed'}  {what}")
    click.echo()
    for effect in found.effects:
        first, second = effect.names[:2]
        click.echo(f"  {effect.measure}, {first} less {second}: {said(effect.difference, sign=True)}")
    click.echo(f"\n-> {shown}")


@lab.command()
@click.option("--trials", type=click.IntRange(2, 10_000), default=20, show_default=True, help="How many settings to try.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is tried, and of the days.")
@json_option
def sweep(trials: int, seed: int, as_json: bool) -> None:
    """Look for the learner's best settings with Optuna."""
    from learning_loop.examples.harbor.experiments import sweep as swept

    found = swept(trials, seed, telling("sweep"))
    if as_json:
        print_json(found)
        return
    best = sorted(found["trials"], key=lambda trial: -trial["reward"])[:10]
    names = list(best[0])
    table(names, [[f"{trial[name]:.4g}" for name in names] for trial in best])
    for what, name in (("the best of them", "again"), ("the usual settings", "usual")):
        mean = found[name]
        click.echo(
            f"{what}, on days they had not seen: {mean.value:.3g} ({mean.low:.3g} to {mean.high:.3g}, {mean.of} repetitions)"
        )
