"""The folder people see: configuration, templates, notes; and how its files are found, read and written.

`workspace.templates` is imported where something is rendered: jinja2 is nothing that a quick command should wait for.
"""

from learning_loop.workspace.config import Configuration, load_configuration
from learning_loop.workspace.files import Workspace, atomic_write
from learning_loop.workspace.notes import Note, NoteStore, with_front_matter

__all__ = [
    "Configuration",
    "Note",
    "NoteStore",
    "Workspace",
    "atomic_write",
    "load_configuration",
    "with_front_matter",
]
