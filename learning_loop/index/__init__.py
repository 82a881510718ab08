"""The index over notes and executions: derived, disposable, rebuilt from what it was made of."""

from learning_loop.index.lexical import Document, LexicalIndex, Scope

__all__ = ["Document", "LexicalIndex", "Scope"]
