"""The root command: global options, lazy subcommands, errors as one line with an exit code."""

import difflib
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from learning_loop import __version__
from learning_loop.errors import LearningLoopError

COMMANDS = {  # name: (module, attribute, help): the help stands here too, so that listing commands imports none
    "init": ("workspace", "init", "Make a folder a workspace."),
    "run": ("run", "run", "Run a command with the loop round it."),
    "import": ("importing", "import_", "Take in the history of another tool."),
    "export": ("importing", "export", "Write the history to a file."),
    "query": ("memory", "query", "Ask the memory in plain words."),
    "index": ("memory", "index", "Bring the index up to date with the notes."),
    "eval": ("memory", "evaluation", "Measure the memory on your own questions."),
    "synthesize": ("learning", "synthesize", "Learn from a week: patterns, rules, the report."),
    "schedule": ("learning", "schedule", "Have synthesis carried out when it is due."),
    "metrics": ("learning", "metrics", "Key figures of learning."),
    "rules": ("rules", "rules", "What each rule does, whether it helps, and what you say about it."),
    "blame": ("rules", "blame", "What an execution was shown, and what was withheld from it."),
    "rewards": ("rewards", "rewards", "What runs were worth, by rewards that are data."),
    "policy": ("policies", "policy_", "Learned policies: what they learn from, and how they stand."),
    "strategy": ("strategies", "strategy", "How work is orchestrated: strategies as data, and how they evolve."),
    "experiment": ("strategies", "experiment", "A/B tests of strategies."),
    "spending": ("strategies", "spending", "What the language model cost, and what became of what it proposed."),
    "serve": ("serving", "serve", "Serve pages for people and a REST interface for programs."),
    "follow": ("serving", "follow", "Find out what runs teach that were recorded over the network."),
    "token": ("serving", "token", "Who may do what over the network."),
    "replay": ("policies", "replay", "Try policies on a log in which every option was tried."),
    "generate-dynamic-runs": ("lab", "generate", "Run a pack many times, so that there is something to learn from."),
    "run-pack-dynamic": ("lab", "run_pack", "Run a pack once, step by step."),
    "lab": ("lab", "lab", "Experiments with an effect, an interval and a verdict."),
    "alerts": ("learning", "alerts", "List, acknowledge or resolve alerts."),
    "executions": ("executions", "executions", "List past executions, or show one."),
    "feedback": ("executions", "feedback", "Add a measure to a past execution."),
    "reflect": ("executions", "reflect", "Look for the root cause of a past run."),
    "status": ("workspace", "status", "Say what stands in the workspace."),
    "doctor": ("workspace", "doctor", "Say what is wrong in the workspace, and how to mend it."),
    "config": ("workspace", "config", "Show the configuration in force."),
    "backup": ("keeping", "backup", "Write the whole workspace to one file."),
    "restore": ("keeping", "restore", "Bring a backup back."),
    "forget": ("keeping", "forget", "Erase an execution or a note for good."),
    "completion": ("keeping", "completion", "Print the completion script of a shell."),
}


ALSO = {  # other spellings, which are not listed
    "learning": ("policies", "stats"),
    "learning-stats": ("policies", "stats"),
    "learning-export": ("policies", "export"),
    "learning-train": ("policies", "train"),
    "learning-mode": ("policies", "mode"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS and cmd_name not in ALSO:
            return None
        module, attribute, *_ = COMMANDS.get(cmd_name) or ALSO[cmd_name]
        found = getattr(import_module(f"learning_loop.cli.{module}"), attribute)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and args[0] not in ALSO and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f": did you mean {close[0]!r}?" if close else ": see --help"))
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="learning-loop")
@click.option(
    "-C",
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    help="The workspace; by default the one this folder lies in.",
)
@click.option("--set", "flags", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. --set recall.notes=3.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, workspace: Path | None, flags: tuple[str, ...], debug: bool) -> None:
    """Go round any task runner: record, score, reflect, remember, and bring the right memory back.

    Exit codes: 0 done, 1 the doctor found something or a query found nothing, 2 wrong usage, 3 no usable workspace,
    4 wrong configuration, 5 no usable ledger, 6 no such execution or note, 7 no usable model. `run` ends as its command ends.
    """
    pairs = [flag.partition("=") for flag in flags]
    if wrong := next((name for name, sign, _ in pairs if not sign), None):
        raise click.UsageError(f"--set {wrong}: write it as KEY=VALUE")
    ctx.obj = {"workspace": workspace, "flags": {name: value for name, _, value in pairs}, "debug": debug}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given[: given.index("--") if "--" in given else None]
    try:
        code: Any = cli.main(given, prog_name="learning-loop", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LearningLoopError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # nobody reads any more, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"error: {type(error).__name__}: {error}. This is a fault of learning-loop: run again with --debug and report it",
            err=True,
        )
        sys.exit(1)
