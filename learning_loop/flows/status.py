"""What stands in a workspace, in a few numbers."""

from collections.abc import Sequence
from typing import Any

from learning_loop.app import App
from learning_loop.errors import NoteError

RECENT = 50


def status(app: App, faults: Sequence[NoteError]) -> dict[str, Any]:
    """Return counts of executions and notes, the mean of the newest scores with its count, and how questions are answered.

    `faults` are the notes that could not be read when the index was brought up to date.
    """
    mean, rests_on = app.ledger.mean_score(RECENT)
    newest = app.ledger.executions(limit=1)
    kinds = app.index.counts()
    kinds.pop("execution", None)
    return {
        "workspace": str(app.workspace.root),
        "mode": app.settings.mode,
        "executions": app.ledger.counts(),
        "last_execution": newest[0].execution.started_at.isoformat() if newest else None,
        "mean_score": {"value": None if mean is None else round(mean, 1), "of_newest": rests_on},
        "scoring": app.settings.scoring.version,
        "notes": kinds,
        "unreadable_notes": [str(fault) for fault in faults],
        "search": "lexical",
    }
