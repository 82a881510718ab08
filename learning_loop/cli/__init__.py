"""The command line: `learning-loop COMMAND`. Each command's module is imported when it is called."""

from learning_loop.cli.group import main

__all__ = ["main"]
