"""What stands in a workspace, in a few numbers."""

from collections.abc import Sequence
from typing import Any

from learning_loop.app import App
from learning_loop.errors import ModelError

RECENT = 50


def status(app: App, faults: Sequence[str]) -> dict[str, Any]:
    """Return counts of executions and notes, the mean of the newest scores with its count, and how questions are answered.

    `faults` are the notes that could not be read when the index was brought up to date.
    """
    mean, rests_on = app.ledger.mean_score(RECENT)
    newest = app.ledger.executions(limit=1)
    kinds = app.index.store.counts()
    return {
        "workspace": str(app.workspace.root),
        "mode": app.settings.mode,
        "executions": app.ledger.counts(),
        "last_execution": newest[0].execution.started_at.isoformat() if newest else None,
        "mean_score": {"value": None if mean is None else round(mean, 1), "of_newest": rests_on},
        "scoring": app.settings.scoring.version,
        "notes": kinds,
        "unreadable_notes": list(faults),
        "search": search_of(app),
    }


def search_of(app: App) -> dict[str, Any]:
    """Return how questions are answered: by which model, how much of the memory it has read, and what is in the way.

    Nothing is loaded or exported for it.
    """
    size = app.index.store.size()
    found: dict[str, Any] = {
        "by": "words",
        "model": None,
        "passages": size["chunks"],
        "embedded": size["embedded"],
        "why": None,
    }
    embedded_by = app.index.store.meta("model")
    if app.embedder is not None:
        return {**found, "by": "words and meaning", "model": app.embedder.identity}
    try:
        model = app.model
    except ModelError as error:
        return {**found, "why": str(error)}
    if model is None:
        configured = app.settings.memory.embedder
        found["why"] = "memory.embedder is lexical" if configured == "lexical" else "no model is installed"
        return found
    if (identity := model.identity) is None:
        return {**found, "model": model.name, "why": f"{model.name} has not been prepared yet: run `learning-loop index`"}
    found["model"] = identity
    if embedded_by not in (None, identity):
        return {**found, "why": f"the passages were embedded by {embedded_by}: `learning-loop index` embeds them anew"}
    return {**found, "by": "words and meaning"}
