"""The names a workspace knows, kept in memory and topped up from ledger and index."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from learning_loop.app import App
from learning_loop.features import explain, family
from learning_loop.retrieval import Vocabulary
from learning_loop.retrieval.vocabulary import CATEGORIES

MOST_NAMES, MOST_ERRORS = 20_000, 500  # of a kind, the first by the alphabet and the newest: a question is read against all


class Names:
    """The vocabularies of one workspace by project, as fresh as its ledger and index."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._known: dict[str | None, _Known] = {}

    def vocabularies(self, upto: int, project: str | None) -> tuple[Vocabulary, Vocabulary]:
        """Return the names that notes or executions of a project carry, and those that its executions carry, with their errors.

        `upto` is the ledger's place that is known to have been reached.
        """
        known = self._known.setdefault(project, _Known())
        if upto != known.seq:
            known.seq, names, errors = self._app.ledger.names(after=known.seq, project=project)
            for category, values in names.items():
                known.ended.setdefault(category, set()).update(values)
            known.errors |= {fingerprint: " ".join(_told(text)) for fingerprint, text in errors.items()}
            known.both = None
        change = self._app.index.store.meta("change")
        if change != known.change:
            known.change, known.noted, known.both = change, self._app.index.store.names(project), None
        if known.both is None:
            errors = dict(list(known.errors.items())[-MOST_ERRORS:])
            names = {category: known.ended.get(category, set()) | known.noted.get(category, set()) for category in CATEGORIES}
            known.both = (Vocabulary(_bounded(names), errors), Vocabulary(_bounded(known.ended), errors))
        return known.both


@dataclass
class _Known:
    """What one project's executions and notes are called by, up to a place in the ledger and a change of the index."""

    seq: int = 0
    ended: dict[str, set[str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    change: object = None
    noted: dict[str, set[str]] = field(default_factory=dict)
    both: tuple[Vocabulary, Vocabulary] | None = None


def _bounded(names: Mapping[str, set[str]]) -> dict[str, list[str]]:
    return {category: sorted(values)[:MOST_NAMES] for category, values in names.items()}


def _told(error: str) -> Iterator[str]:
    kind, _, message = error.partition(": ")
    yield kind
    yield family(message).replace("<", " ").replace(">", " ")
    if known := explain(error):
        yield known.kind
        yield known.text
