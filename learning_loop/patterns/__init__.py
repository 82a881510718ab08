"""What recurs in the history: successes, failures, performance, dependencies; each tested, with its numbers."""

from learning_loop.patterns.candidates import Limits
from learning_loop.patterns.find import Found, find_patterns, review_patterns

__all__ = ["Found", "Limits", "find_patterns", "review_patterns"]
