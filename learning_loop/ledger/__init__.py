"""Evidence: an append-only ledger in SQL, the only place that knows the tables."""

from learning_loop.ledger.reading import BEFORE, EVERYTHING
from learning_loop.ledger.selection import Filter
from learning_loop.ledger.store import Ledger

__all__ = ["BEFORE", "EVERYTHING", "Filter", "Ledger"]
