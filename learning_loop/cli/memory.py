"""query, index, eval: asking the memory, keeping its index, measuring it."""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from learning_loop.cli.common import json_option, opened, opened_or_new, print_json, table, telling, until_stopped


def _say(line: str) -> None:
    click.echo(line, err=True)


def _written(app: Any, answer: Any) -> tuple[Any, list[str]]:
    from learning_loop.flows.modelling import written

    warnings: list[str] = []
    return written(app, answer, warnings), warnings


@click.command()
@click.argument("question", nargs=-1, required=True)
@click.option("-k", "most", type=click.IntRange(1, 100), help="At most so many insights: 8, or all where all are asked for.")
@click.option("--project", help="Ask within this project; without it, only what belongs to none is seen.")
@click.option(
    "--kind", help="Only notes of this kind: pattern, template, rule, decision, assumption, gotcha, reflection, lesson."
)
@click.option("--type", "task_type", help="Only this type of task.")
@click.option("--component", help="Only this component.")
@click.option("--tag", help="Only what carries this tag.")
@click.option("--agent", help="Only this agent.")
@click.option("--outcome", type=click.Choice(["failed", "succeeded"]), help="Only what went so.")
@click.option("--since", help="Only from then on: 2026-03-01, yesterday, March, week 46.")
@click.option("--before", help="Only until then.")
@click.option("--explain", is_flag=True, help="Say what each score adds up from.")
@click.option("--markdown", is_flag=True, help="Print markdown.")
@click.option("--write", is_flag=True, help="Have a language model answer in sentences, each with what it rests on.")
@json_option
@click.pass_context
def query(
    ctx: click.Context,
    /,
    question: tuple[str, ...],
    most: int | None,
    project: str | None,
    explain: bool,
    markdown: bool,
    write: bool,
    as_json: bool,
    **narrowed: str | None,
) -> None:
    """Ask the memory in plain words: `learning-loop query "what failed last time we built the wheel?"`.

    Ends with 1 where nothing is known.
    """
    from learning_loop.flows.query import LearningQueryInterface

    narrowed["type"] = narrowed.pop("task_type")
    filters = {name: value for name, value in narrowed.items() if value is not None}
    with opened(ctx) as app:
        answer = LearningQueryInterface(app).query(
            " ".join(question),
            k=most,
            project=project,
            filters=filters,
            explain=explain,
            progress=telling("reading notes"),
            say=_say,
        )
        said, told = _written(app, answer) if write else (None, [])
    for warning in (*answer.warnings, *told):
        click.echo(f"warning: {warning}", err=True)
    if said is not None and not as_json:
        click.echo(f"{said.text}\n\n(by {said.by}; the numbers are those of the findings below)\n")
    if as_json:
        print_json({**answer.as_dict(), **({"written": asdict(said) if said is not None else None} if write else {})})
    elif markdown or not sys.stdout.isatty():
        click.echo(answer.markdown)
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(answer.markdown))
    ctx.exit(0 if answer else 1)


@click.command()
@click.option("--rebuild", is_flag=True, help="Read every note and run anew; questions meanwhile see the index as it was.")
@click.option("--watch", is_flag=True, help="Go on: take in what changes until stopped with Ctrl-C.")
@json_option
@click.pass_context
def index(ctx: click.Context, rebuild: bool, watch: bool, as_json: bool) -> None:
    """Bring the index up to date with the notes and the ledger, and embed what is new.

    Questions do this for what little has changed; this does all of it, and says how long it will take.
    """
    from learning_loop.flows.indexing import Indexing

    with opened(ctx) as app:
        indexing = Indexing(app)
        if rebuild:
            indexing.rebuild(reading=telling("reading notes"))
        _report(app, indexing, as_json)
        if watch:
            _watch(app, indexing, as_json)


def _watch(app: Any, indexing: Any, as_json: bool) -> None:
    with until_stopped() as stop:
        _say("watching; Ctrl-C stops")
        seen = app.index.store.meta("change")
        indexing.watch()
        while not stop.wait(0.2):
            app.drain()
            if (now := app.index.store.meta("change")) != seen:
                seen = now
                _report(app, indexing, as_json)
        indexing.close()


def _report(app: Any, indexing: Any, as_json: bool) -> None:
    synced = indexing.complete(reading=telling("reading notes"), embedding=telling("embedding passages"), say=_say)
    size = app.index.store.size()
    model = indexing.loaded
    found = {**size, "model": model.identity if model is not None else None, "warnings": synced.warnings}
    for warning in synced.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{size['notes']} notes in {size['chunks']} passages, {size['embedded']} embedded; {size['executions']} executions"
    )
    click.echo(f"model: {found['model'] or 'none: found by words only'}")


@click.group("eval")
def evaluation() -> None:
    """Measure the memory on your own questions."""


@evaluation.command()
@click.option(
    "--docs", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="Documents, as JSONL."
)
@click.option(
    "--queries", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="Questions, as JSONL."
)
@json_option
@click.pass_context
def retrieval(ctx: click.Context, docs: Path, queries: Path, as_json: bool) -> None:
    """Say whether the memory finds what answers a question, beside grep, BM25 and vectors alone.

    A document is {"doc_id", "text"} with optional "title", "when", "speaker", "tags", "session" and "sample"; a question is
    {"query", "relevant": [doc_id, ...]} with optional "category" and "sample". Both files may be gzipped. A question with
    nothing relevant, or of the category adversarial, should find nothing.
    """
    from learning_loop.flows.evaluation import dense, embed_whole, evaluate, read_docs, read_queries
    from learning_loop.flows.indexing import Indexing

    documents, questions = read_docs(docs), read_queries(queries)
    with opened_or_new(ctx) as app, tempfile.TemporaryDirectory(prefix="learning-loop-") as folder:
        indexing = Indexing(app)
        embedder = indexing.embedder(say=_say)
        others = {}
        if embedder is not None:
            others["dense"] = dense(documents, embed_whole(documents, embedder, telling("embedding whole documents")), embedder)
        rows = evaluate(documents, questions, folder=Path(folder), embedder=embedder, progress=telling, others=others)
    found = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()} for row in rows
    ]
    if embedder is None:
        click.echo(f"warning: found by words only: {indexing.fault or 'memory.embedder is lexical'}", err=True)
    if as_json:
        print_json({"model": embedder.identity if embedder else None, "documents": len(documents), "methods": found})
        return
    columns = list(found[0])
    table(columns, [[_cell(row[column]) for column in columns] for row in found])


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
