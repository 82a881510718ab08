"""Reusability: how much of this run's shape earlier successful runs share."""

from learning_loop.scoring.history import History


def reusability(shape: frozenset[str], history: History) -> tuple[float | None, str]:
    """Return 0-100 or None, and what it rests on: the Jaccard similarity with the most alike earlier success or template.

    The shape is the set of the run's steps, parameters (names, and names with values), dependencies and decision points.
    Without any of these, or without an earlier success or a template that had some, it is unknown.
    """
    if not shape:
        return None, "unknown: the run recorded no steps, parameters, dependencies or decisions"
    if not history.shapes:
        return None, "unknown: there is no earlier success to compare with"
    best = max(_jaccard(shape, other) for other in history.shapes)
    return 100 * best, f"most alike of {len(history.shapes)} shapes that succeeded"


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)
