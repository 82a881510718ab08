"""Earlier runs as causes are sought in them, each read once."""

import threading

from learning_loop.ledger import BEFORE, Filter, Ledger
from learning_loop.records import Decision, Phase
from learning_loop.reflection import Compared

KEPT = 5_000  # runs, a few kilobytes each


class Earlier:
    """Reads ended runs for comparing them, and keeps them.

    All that is compared of one stays as it is, but for what there was before it: git may take its time to answer. So one
    that something was added to is read again. Where too many would be kept, it begins anew.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._kept: dict[str, Compared] = {}
        self._place: int | None = None

    def runs(self, wanted: Filter, *, limit: int) -> list[Compared]:
        """Return the newest ended runs of those that a filter lets through, the newest first."""
        with self._lock:
            self._place, added = self._ledger.noted_since(self._place)
            for name in added:
                self._kept.pop(name, None)
            ids = self._ledger.ids(wanted, limit=limit)
            missing = tuple(name for name in ids if name not in self._kept)
            if missing:
                self._read(ids, missing)
            return [self._kept[name] for name in ids if name in self._kept]

    def _read(self, ids: list[str], missing: tuple[str, ...]) -> None:
        if len(self._kept) + len(missing) > KEPT:
            self._kept = {name: self._kept[name] for name in ids if name in self._kept}
        for record in self._ledger.executions(Filter(ids=missing), limit=len(missing), parts=(Phase, Decision), phases=BEFORE):
            if record.outcome is not None:
                self._kept[record.execution.id] = Compared.of(record)
