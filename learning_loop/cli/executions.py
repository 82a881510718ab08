"""executions, feedback, reflect: looking at past runs and adding to what is known of them."""

from dataclasses import asdict
from datetime import UTC

import click

from learning_loop.cli.common import json_option, number, opened, print_json, seconds, synced, table
from learning_loop.features.encoding import OWN
from learning_loop.ledger import Filter
from learning_loop.records import Decision, ExecutionRecord


@click.group()
def executions() -> None:
    """List past executions, or show one."""


@executions.command("list")
@click.option("--type", "task_type", help="Only this type of task.")
@click.option("--component", help="Only this component.")
@click.option("--project", help="Only this project.")
@click.option("--agent", help="Only this agent.")
@click.option("--sprint", help="Only this sprint.")
@click.option("--status", type=click.Choice(["running", "succeeded", "failed", "cancelled", "interrupted", "unknown"]))
@click.option("-n", "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True)
@json_option
@click.pass_context
def list_(
    ctx: click.Context,
    task_type: str | None,
    component: str | None,
    project: str | None,
    agent: str | None,
    sprint: str | None,
    status: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List executions, the newest first."""
    wanted = Filter(
        types=_those(task_type),
        components=_those(component),
        project=project,
        agents=_those(agent),
        sprint=sprint,
        status=status,
    )
    with opened(ctx) as app:
        found = app.ledger.executions(wanted, limit=limit)
    if as_json:
        print_json([summary(record) for record in found])
        return
    if not found:
        click.echo("no executions yet: run one with `learning-loop run -- COMMAND`" if wanted == Filter() else "none fits")
        return
    rows = [
        [
            record.execution.id,
            f"{record.execution.started_at.astimezone():%Y-%m-%d %H:%M}",
            str(record.execution.kind),
            record.status,
            number(record.score.overall if record.score else None),
            seconds(record.outcome.duration_s if record.outcome else None),
            record.execution.task_id,
        ]
        for record in found
    ]
    table(["execution", "started", "kind", "status", "score", "took", "task"], rows)


def summary(record: ExecutionRecord) -> dict[str, object]:
    """Return the few fields of an execution that lists show."""
    execution, outcome = record.execution, record.outcome
    return {
        "id": execution.id,
        "task_id": execution.task_id,
        "type": execution.task_type,
        "component": execution.component,
        "project": execution.project,
        "agent": execution.agent,
        "sprint": execution.sprint,
        "parent_id": execution.parent_id,
        "started_at": execution.started_at.astimezone(UTC).isoformat(),
        "status": record.status,
        "success": outcome.success if outcome else None,
        "duration_s": outcome.duration_s if outcome else None,
        "score": record.score.overall if record.score else None,
    }


@executions.command()
@click.argument("execution_id")
@json_option
@click.pass_context
def show(ctx: click.Context, execution_id: str, as_json: bool) -> None:
    """Show one execution with everything on record about it; the start or end of its id is enough."""
    from learning_loop.flows.contributions import contributed

    with opened(ctx) as app:
        record = app.ledger.execution(app.ledger.resolve(execution_id))
        contributions = contributed(app, record)
        synced(app)
        notes = app.index.store.citing([record.execution.id])
    if as_json:
        print_json({**asdict(record), "status": record.status, "notes": notes, "contributions": contributions})
        return
    execution, outcome, score = record.execution, record.outcome, record.score
    click.echo(f"{execution.id}  {execution.kind}  {record.status}")
    click.echo(f"task        {execution.task_id}" + (f": {execution.description}" if execution.description else ""))
    click.echo(
        f"started     {execution.started_at.astimezone():%Y-%m-%d %H:%M:%S}"
        + (f", part of {execution.parent_id}" if execution.parent_id else "")
    )
    for name, value in execution.parameters.items():
        click.echo(f"parameter   {name} = {value}")
    for name, check in (record.noted("pre", "dependencies") or {}).items():
        state = check.get("version") or "there" if check.get("satisfied") else check.get("reason")
        click.echo(f"dependency  {name}: {state}")
    if outcome is not None:
        click.echo(f"took        {seconds(outcome.duration_s)} (cpu {seconds(outcome.cpu_s)})")
        if outcome.error_message:
            click.echo(f"error       {outcome.error_type or ''} {outcome.error_message}".rstrip())
        if outcome.attempts:
            cost = "unknown" if outcome.cost_usd is None else f"{outcome.cost_usd:.4f} USD"
            click.echo(f"models      {outcome.attempts} calls, {cost}, {outcome.fallback_rotations} fallbacks")
    for step in record.steps:
        click.echo(
            f"step        {step.step_id} {step.role}: {step.status}"
            + (f", same output as {step.repeats}" if step.repeats else "")
        )
    for decision in record.decisions:
        _show_decision(decision, contributions.get(decision.id))
    for item in record.feedback:
        said = item.text if item.value is None else f"{item.value:g}"
        click.echo(f"measure     {item.metric} = {said} ({item.source})")
    if score is not None:
        click.echo(f"score       {number(score.overall)}  ({score.scoring})")
        for name in ("accuracy", "efficiency", "reusability", "surprise"):
            click.echo(f"  {name:12}{number(getattr(score, name)):8} {score.basis.get(name, '')}")
    for path in notes:
        click.echo(f"note        {path}")


@executions.command()
@click.argument("execution_id")
@click.option("--reason", required=True, help="Why it is no evidence; it is kept with the execution.")
@json_option
@click.pass_context
def exclude(ctx: click.Context, execution_id: str, reason: str, as_json: bool) -> None:
    """Take an execution out of all evidence; it stays on record."""
    from learning_loop.flows.judging import catch_up
    from learning_loop.flows.ruling import exclude as carry_out

    with opened(ctx) as app:
        event = carry_out(app, execution_id, reason=reason)
        catch_up(app)
    if as_json:
        print_json({"id": event.subject, "reason": reason, "restarted": event.data["units"]})
    else:
        click.echo(f"excluded: {event.subject}; `learning-loop synthesize` writes the report of its week again")
        for unit in event.data["units"]:
            click.echo(f"begins anew: the evidence of {unit}")


def _show_decision(decision: Decision, contribution: float | None) -> None:
    if decision.point == OWN:
        for unit, odds in zip(decision.alternatives, decision.probabilities or (), strict=True):
            verb = "shown" if unit in decision.chosen.split() else "withheld"
            click.echo(f"{verb:12}{unit} (shown with probability {odds:.2f})")
        return
    sure = "unknown" if decision.propensity is None else f"{decision.propensity:.2f}"
    click.echo(f"decision    {decision.point}: {decision.chosen} of {', '.join(decision.alternatives)} (propensity {sure})")
    if contribution is not None:
        click.echo(
            f"            contributed {contribution:+.3f} of the reward's range, beside what else could have been decided"
        )


@click.command()
@click.argument("execution_id")
@click.argument("metric")
@click.argument("value")
@click.option("--source", default="person", show_default=True, help="Whose judgement it is.")
@json_option
@click.pass_context
def feedback(ctx: click.Context, execution_id: str, metric: str, value: str, source: str, as_json: bool) -> None:
    """Add a measure to a past execution: `learning-loop feedback ID satisfaction 4`, `... success false`.

    success, score, tests_passed, tests_total and exit_code change its accuracy; any other metric is kept beside it.
    """
    import json

    from learning_loop.flows.feedback import give_feedback

    try:
        read = json.loads(value)
    except ValueError:
        read = value
    with opened(ctx) as app:
        found = app.ledger.resolve(execution_id)
        score = give_feedback(app, found, metric, read if isinstance(read, bool | int | float | str) else value, source=source)
    if as_json:
        print_json({"execution_id": found, "metric": metric, "score": score.overall if score else None})
        return
    click.echo(f"{found}: {metric} = {value}" + (f"; score now {number(score.overall)}" if score else ""))


@click.command()
@click.argument("task_id")
@json_option
@click.pass_context
def reflect(ctx: click.Context, task_id: str, as_json: bool) -> None:
    """Look for the root cause of a past run, by its execution's or its task's id."""
    from learning_loop.flows.reflect import Reflector

    with opened(ctx) as app:
        cause = Reflector(app).root_cause_analysis(task_id)
    if as_json:
        print_json({**asdict(cause), "summary": cause.summary})
        return
    click.echo(f"{cause.execution_id}, compared with {cause.compared_with} earlier runs of its kind")
    if cause.error:
        click.echo(f"error: {' '.join(cause.error.split())[:400]}")
    for number_, finding in enumerate(cause.findings, 1):
        click.echo(f"{number_}. {finding.kind}: {finding.text}\n   ({', '.join(finding.executions[:5])})")
    if not cause.findings:
        click.echo(cause.summary)


def _those(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)
