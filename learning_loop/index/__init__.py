"""Derived search over notes and executions; everything here can be deleted and rebuilt."""

from learning_loop.index.documents import Document, RunDocument, Scope
from learning_loop.index.memory import MemoryIndex

__all__ = ["Document", "MemoryIndex", "RunDocument", "Scope"]
