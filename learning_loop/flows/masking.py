"""Taking forgotten executions out of what was derived from them: reports, their charts, and the events behind them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from learning_loop.app import App
from learning_loop.features import family
from learning_loop.ledger import Filter
from learning_loop.records import FORGOTTEN, ExecutionRecord
from learning_loop.workspace import atomic_write

SHOWN = 24  # characters of an error that every chart shows
LEAST, TELLING = 12, 60  # characters of an error's family by which it is known again; shorter ones only where they stand alone
_NODES = re.compile(r">[^<]*<|\"[^\"]*\"")
_REPORTS = ("report.md", "report.json")


@dataclass(frozen=True)
class Mask:
    """The ids that must go, and the families of errors that no run is left of."""

    ids: tuple[str, ...]
    families: tuple[str, ...]

    @classmethod
    def of(cls, app: App, records: Sequence[ExecutionRecord]) -> "Mask":
        """Return the mask of executions that are erased already; what other runs said as well stays."""
        families = set()
        for outcome in (record.outcome for record in records):
            if outcome is None or not outcome.error_message:
                continue
            left = Filter(fingerprints=(outcome.error_fingerprint or "",))
            if not app.ledger.executions(left, limit=1):
                families.add(family(outcome.error_message)[:TELLING])
                families.add(family(f"{outcome.error_type or ''}: {outcome.error_message}")[:TELLING])
        return cls(tuple(record.execution.id for record in records), tuple(sorted(text for text in families if text)))

    def tells(self, text: str) -> bool:
        flat = family(re.sub(r"\\([\[\]*|])", r"\1", unescape(text)).replace("…", ""))  # as it was before it was written
        return any(known in flat if len(known) >= LEAST else known == flat for known in self.families)

    def text(self, text: str) -> str:
        """Return a text without the ids; one that tells an error is gone as a whole."""
        if self.tells(text):
            return FORGOTTEN
        for name in self.ids:
            text = text.replace(name, FORGOTTEN)
        return text

    def plain(self, value: Any) -> Any:
        """Return the same of all the texts in lists and mappings; their keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        return {key: self.plain(item) for key, item in value.items()} if isinstance(value, dict) else value

    def lines(self, text: str) -> str:
        """Return markdown without the lines that tell an error, cell by cell in tables, and without the ids."""
        kept = []
        for line in text.splitlines(keepends=True):
            parts = [line, *re.split(r"(?<!\\)\||\*\*|[“”]", line)]
            if not any(self.tells(part.strip()) for part in parts if part.strip()):
                kept.append(self.text(line))
        return "".join(kept)

    def drawing(self, text: str) -> str:
        """Return an SVG whose texts and labels tell nothing: charts show the beginnings of errors."""
        starts = [escape(known[:SHOWN]) for known in self.families if len(known) >= LEAST]

        def masked(found: re.Match[str]) -> str:
            node = found[0]
            return f"{node[0]}{FORGOTTEN}{node[-1]}" if any(start in node for start in starts) else node

        return _NODES.sub(masked, text)


def mask_derived(app: App, mask: Mask) -> list[str]:
    """Take what a mask names out of every report and every event; return the paths that were written again."""
    written = []
    for path in sorted(app.workspace.reports.glob("*/*")):
        if not path.is_file() or (path.name not in _REPORTS and path.suffix != ".svg"):
            continue
        before = path.read_text(encoding="utf-8", errors="replace")
        after = _masked(path, before, mask)
        if after != before:
            atomic_write(path, after.encode())
            written.append(app.workspace.relative(path))
    app.ledger.mask_events(mask.plain)
    return written


def _masked(path: Path, text: str, mask: Mask) -> str:
    if path.suffix == ".svg":
        return mask.drawing(text)
    if path.suffix != ".json":
        return mask.lines(text)
    try:
        document = json.loads(text)
    except ValueError:  # no report of ours
        return text
    masked = mask.plain(document)
    return text if masked == document else json.dumps(masked, indent=2, ensure_ascii=False) + "\n"
