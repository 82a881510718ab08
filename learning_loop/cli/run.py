"""run: any command with the loop round it."""

import os
from pathlib import Path

import click

from learning_loop import LearningOrchestrator
from learning_loop.cli.common import number, seconds
from learning_loop.records import Report


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--type", "task_type", default="command", show_default=True, help="What sort of task it is, e.g. test or build.")
@click.option("--component", help="What it works on; by default the program's name.")
@click.option("--id", "task_id", help="The task's name; by default its type, component and command.")
@click.option("--agent", help="Who or what carries it out.")
@click.option("--description", help="What it is for, in words.")
@click.option(
    "--param", "-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; the command finds them as JSON."
)
@click.option(
    "--depends", multiple=True, metavar="NAME", help="python:NAME, file:PATH or command:NAME, checked before the run."
)
@click.option("--assume", multiple=True, metavar="TEXT", help="Something this run takes for granted.")
@click.option("--tag", multiple=True)
@click.option("--project", help="The project it belongs to.")
@click.option("--sprint", help="The sprint it belongs to.")
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), help="JUnit XML that the command writes: tests passed of total."
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the loop's report as JSON to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on standard error, in place of the words.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing beside what the command says.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context,
    task_type: str,
    component: str | None,
    task_id: str | None,
    agent: str | None,
    description: str | None,
    pairs: tuple[str, ...],
    depends: tuple[str, ...],
    assume: tuple[str, ...],
    tag: tuple[str, ...],
    project: str | None,
    sprint: str | None,
    junit: Path | None,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND with the loop round it: `learning-loop run --type test --component api -- pytest -q`.

    Output passes through as it comes; this ends as the command ends. The command finds its briefing in the markdown file
    named by LEARNING_LOOP_BRIEFING, its parameters in the JSON file named by LEARNING_LOOP_PARAMETERS.
    """
    from learning_loop.capture.process import end_like
    from learning_loop.flows.command import carry_out, parameters_of

    task = {
        "id": task_id or " ".join(dict.fromkeys([task_type, *([component] if component else []), Path(command[0]).name])),
        "type": task_type,
        "component": component or Path(command[0]).name,
        "agent": agent,
        "description": description,
        "parameters": {"command": list(command), **parameters_of(pairs)},
        "dependencies": list(depends),
        "assumptions": list(assume),
        "tags": list(tag),
        "project": project,
        "sprint": sprint,
    }
    loop = LearningOrchestrator(workspace=ctx.obj["workspace"], flags=ctx.obj["flags"])
    tail = loop.settings.capture.output_tail_bytes
    with loop.run(task) as under_way:
        under_way.result = carry_out(under_way, command, environ=os.environ, tail_bytes=tail, junit=junit)
    found = loop.finish(under_way)
    loop.close()
    exit_code = under_way.result["exit_code"]
    if report is not None:
        try:
            report.write_text(_as_json(found, loop), encoding="utf-8")
        except OSError as error:  # the command's own exit code must still be ours
            click.echo(f"[learning-loop] warning: cannot write {report}: {error.strerror}", err=True)
    if as_json:
        click.echo(_as_json(found, loop), err=True)
    elif not quiet:
        ended = found.outcome
        took = seconds(ended.duration_s if ended else None)
        word = ended.status if ended else "unrecorded"
        click.echo(f"[learning-loop] {word} in {took}, score {number(found.score)} ({found.execution_id})", err=True)
        for sign, lines in (
            ("learned", found.learnings),
            ("next time", found.improvements),
            ("wrote", found.notes),
            ("warning", found.warnings),
        ):
            for line in lines:
                click.echo(f"[learning-loop] {sign}: {line}", err=True)
    end_like(exit_code)


def _as_json(found: Report, loop: LearningOrchestrator) -> str:
    import dataclasses
    import json

    shown = {
        name: found[name] for name in ("execution_id", "result", "score", "learnings", "improvements", "notes", "warnings")
    }
    shown["outcome"] = dataclasses.asdict(found.outcome) if found.outcome else None
    shown["scores"], shown["basis"] = found.card.scores, found.card.basis
    return json.dumps(loop.redact(shown), indent=2, default=str)
