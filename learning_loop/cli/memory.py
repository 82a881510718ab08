"""query: asking the memory."""

import sys
from dataclasses import asdict

import click

from learning_loop.cli.common import json_option, opened, print_json, synced


@click.command()
@click.argument("question", nargs=-1, required=True)
@click.option("-k", "most", type=click.IntRange(1, 100), default=8, show_default=True, help="At most so many insights.")
@click.option("--project", help="Ask within this project; without it, only what belongs to none is seen.")
@click.option("--markdown", is_flag=True, help="Print markdown.")
@json_option
@click.pass_context
def query(ctx: click.Context, question: tuple[str, ...], most: int, project: str | None, markdown: bool, as_json: bool) -> None:
    """Ask the memory in plain words: `learning-loop query "what failed last time we built the wheel?"`.

    Ends with 1 where nothing is known.
    """
    from learning_loop.flows.query import LearningQueryInterface

    with opened(ctx) as app:
        synced(app)
        answer = LearningQueryInterface(app).query(" ".join(question), k=most, project=project)
    for warning in answer.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json({"question": answer.question, "results": [asdict(insight) for insight in answer]})
    elif markdown or not sys.stdout.isatty():
        click.echo(answer.markdown)
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(answer.markdown))
    ctx.exit(0 if answer else 1)
