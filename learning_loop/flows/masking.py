"""Taking forgotten executions out of what was derived from them: reports, their charts, and the events behind them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from learning_loop.app import App
from learning_loop.records import FORGOTTEN, ExecutionRecord
from learning_loop.workspace import atomic_write

TELLING = 24  # characters of an error that tell it: charts and titles show no more of some
_NODES = re.compile(r">[^<]*<|\"[^\"]*\"")


@dataclass(frozen=True)
class Mask:
    """The ids and the beginnings of error texts that must go."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[ExecutionRecord]) -> "Mask":
        messages = [record.outcome.error_message for record in records if record.outcome and record.outcome.error_message]
        starts = {" ".join(message.split())[:TELLING] for message in messages}
        return cls(tuple(record.execution.id for record in records), tuple(sorted(start for start in starts if start)))

    def tells(self, text: str) -> bool:
        flat = " ".join(text.split())
        return any(start in flat for start in self.texts)

    def concerns(self, text: str) -> bool:
        return any(name in text for name in self.ids) or self.tells(text)

    def text(self, text: str) -> str:
        """Return a text without the ids; one that tells an error is gone as a whole."""
        if self.tells(text):
            return FORGOTTEN
        for name in self.ids:
            text = text.replace(name, FORGOTTEN)
        return text

    def plain(self, value: Any) -> Any:
        """Return the same of all the texts in lists and mappings."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        return {self.text(key): self.plain(item) for key, item in value.items()} if isinstance(value, dict) else value

    def lines(self, text: str) -> str:
        """Return markdown without the lines that tell an error, and without the ids."""
        return "".join(self.text(line) for line in text.splitlines(keepends=True) if not self.tells(line))

    def drawing(self, text: str) -> str:
        """Return an SVG whose texts and labels tell nothing."""
        starts = [escape(start) for start in self.texts]

        def masked(found: re.Match[str]) -> str:
            node = found[0]
            return f"{node[0]}{FORGOTTEN}{node[-1]}" if any(start in " ".join(node.split()) for start in starts) else node

        return _NODES.sub(masked, text)


def mask_derived(app: App, mask: Mask) -> list[str]:
    """Take what a mask names out of every report and every event; return the paths that were written again."""
    written = []
    for path in sorted(app.workspace.reports.rglob("*")):
        if not path.is_file():
            continue
        before = path.read_text(encoding="utf-8", errors="replace")
        after = _masked(path, before, mask)
        if after != before:
            atomic_write(path, after.encode())
            written.append(app.workspace.relative(path))
    app.ledger.mask_events(mask.concerns, mask.plain)
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
