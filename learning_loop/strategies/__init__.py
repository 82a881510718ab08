"""Strategies: how work is to be orchestrated, as data that people write and evidence changes."""

from learning_loop.strategies.context import context_of
from learning_loop.strategies.strategy import PARTS, Catalogue, Strategy, Version, applies, version_of

__all__ = ["PARTS", "Catalogue", "Strategy", "Version", "applies", "context_of", "version_of"]
