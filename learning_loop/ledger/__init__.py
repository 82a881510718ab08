"""Evidence: an append-only ledger in SQL, the only place that knows the tables."""

from learning_loop.ledger.store import EVERYTHING, Filter, Ledger

__all__ = ["EVERYTHING", "Filter", "Ledger"]
