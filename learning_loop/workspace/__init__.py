"""The folder people see: configuration, templates, notes; and how its files are found, read and written."""

from learning_loop.workspace.config import Configuration, load_configuration
from learning_loop.workspace.files import Workspace, atomic_write
from learning_loop.workspace.notes import Note, NoteStore, with_front_matter
from learning_loop.workspace.templates import Templates

__all__ = [
    "Configuration",
    "Note",
    "NoteStore",
    "Templates",
    "Workspace",
    "atomic_write",
    "load_configuration",
    "with_front_matter",
]
