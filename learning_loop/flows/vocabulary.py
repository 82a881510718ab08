"""The names a workspace knows, kept in memory and topped up from ledger and index."""

from collections.abc import Iterator, Mapping

from learning_loop.app import App
from learning_loop.features import explain, family
from learning_loop.retrieval import Vocabulary
from learning_loop.retrieval.vocabulary import CATEGORIES

MOST_NAMES, MOST_ERRORS = 2_000, 500  # of a kind: beyond, naming one in a question is not what narrows it


class Names:
    """The vocabulary of one workspace, as fresh as its ledger and index."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._seq = 0
        self._ended: dict[str, set[str]] = {}
        self._errors: dict[str, str] = {}
        self._of_notes: object = None
        self._noted: dict[str, set[str]] = {}
        self._known: tuple[Vocabulary, Vocabulary] | None = None

    def vocabularies(self, upto: int) -> tuple[Vocabulary, Vocabulary]:
        """Return the names that notes or executions carry, and those that executions carry, with their errors.

        `upto` is the ledger's place that is known to have been reached.
        """
        if upto != self._seq:
            self._seq, names, errors = self._app.ledger.names(after=self._seq)
            for category, values in names.items():
                self._ended.setdefault(category, set()).update(values)
            self._errors |= {fingerprint: " ".join(_told(text)) for fingerprint, text in errors.items()}
            self._known = None
        change = self._app.index.store.meta("change")
        if change != self._of_notes:
            self._of_notes, self._noted, self._known = change, self._app.index.store.names(), None
        if self._known is None:
            errors = dict(list(self._errors.items())[-MOST_ERRORS:])
            both = {category: self._ended.get(category, set()) | self._noted.get(category, set()) for category in CATEGORIES}
            self._known = (Vocabulary(_bounded(both), errors), Vocabulary(_bounded(self._ended), errors))
        return self._known


def _bounded(names: Mapping[str, set[str]]) -> dict[str, list[str]]:
    return {category: sorted(values)[:MOST_NAMES] for category, values in names.items()}


def _told(error: str) -> Iterator[str]:
    kind, _, message = error.partition(": ")
    yield kind
    yield family(message).replace("<", " ").replace(">", " ")
    if known := explain(error):
        yield known.kind
        yield known.text
