"""Taking forgotten executions out of what was derived from them: reports, their charts, and the events behind them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from learning_loop.app import App
from learning_loop.features import family
from learning_loop.ledger import Filter
from learning_loop.records import FORGOTTEN, Execution, ExecutionRecord
from learning_loop.workspace import atomic_write

SHOWN = 24  # characters of an error that every chart shows
LEAST, TELLING = 12, 60  # characters of an error's family by which it is known again; shorter ones only where they stand alone
LEAST_WORD, LONGEST_WORD = 4, 200
_NODES = re.compile(r">[^<]*<|\"[^\"]*\"")
_REPORTS = ("report.md", "report.json")


@dataclass(frozen=True)
class Mask:
    """The ids that must go, the families of errors that no run is left of, and the words that no run has any more."""

    ids: tuple[str, ...]
    families: tuple[str, ...]
    words: tuple[str, ...] = ()

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
        words = {word for record in records for word in _words(record.execution)}
        return cls(
            ids=tuple(record.execution.id for record in records),
            families=tuple(sorted(text for text in families if text)),
            words=tuple(sorted(words - app.ledger.words_in_use(words), key=len, reverse=True)),
        )

    def tells(self, text: str) -> bool:
        flat = family(re.sub(r"\\([\[\]*|])", r"\1", unescape(text)).replace("…", ""))  # as it was before it was written
        return any(known in flat if len(known) >= LEAST else known == flat for known in self.families)

    def text(self, text: str) -> str:
        """Return a text without the ids and the words; one that tells an error is gone as a whole."""
        if self.tells(text):
            return FORGOTTEN
        for name in self.ids:
            text = text.replace(name, FORGOTTEN)
        for word in self.words:
            text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", FORGOTTEN, text)
        return text

    def plain(self, value: Any) -> Any:
        """Return the same of all the texts in lists and mappings; what describes one of the runs goes as a whole."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.plain(item) for item in value if not (isinstance(item, dict) and item.get("id") in self.ids)]
        if isinstance(value, dict):
            return {FORGOTTEN if key in self.words else key: self.plain(item) for key, item in value.items()}
        return value

    def lines(self, text: str) -> str:
        """Return markdown without the lines that tell an error or describe one of the runs, and without the ids."""
        kept = []
        for line in text.splitlines(keepends=True):
            if any(f'id="run-{name}"' in line for name in self.ids):
                continue
            parts = [line, *re.split(r"(?<!\\)\||\*\*|[“”]", line)]
            if not any(self.tells(part.strip()) for part in parts if part.strip()):
                kept.append(self.text(line))
        return "".join(kept)

    def drawing(self, text: str) -> str:
        """Return an SVG whose texts and labels tell nothing: charts show the beginnings of errors."""
        starts = [escape(known[:SHOWN]) for known in self.families if len(known) >= LEAST]

        def masked(found: re.Match[str]) -> str:
            node = found[0]
            return f"{node[0]}{FORGOTTEN}{node[-1]}" if any(start in node for start in starts) else self.text(node)

        return _NODES.sub(masked, text)


def _words(execution: Execution) -> Iterator[str]:
    """Yield what an execution was called and given, as far as it is a word that says something."""
    named = (execution.task_id, execution.task_type, execution.component, execution.project, execution.agent)
    for value in (*named, *execution.tags, *execution.parameters.values()):
        if isinstance(value, str) and LEAST_WORD <= len(value) <= LONGEST_WORD and any(map(str.isalpha, value)):
            yield value


def mask_derived(app: App, mask: Mask) -> list[str]:
    """Take what a mask names out of every report and every event; return the paths that were written again."""
    written = []
    for path in sorted(app.workspace.reports.glob("*/*")):
        ours = path.name in _REPORTS or path.suffix == ".svg" or path.parent.name == "experiments"
        if not path.is_file() or not ours:
            continue
        before = path.read_text(encoding="utf-8", errors="replace")
        after = _masked(path, before, mask)
        if after != before:
            atomic_write(path, after.encode())
            written.append(app.workspace.relative(path))
    if (notices := app.settings.notify.file) is not None and (path := app.workspace.root / notices).is_file():
        told = path.read_text(encoding="utf-8", errors="replace").splitlines()
        masked = [_masked_line(line, mask) for line in told]
        if masked != told:
            atomic_write(path, "".join(f"{line}\n" for line in masked).encode())
            written.append(notices)
    app.ledger.mask_events(replace(mask, words=()).plain)  # what is computed from them stays comparable
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


def _masked_line(line: str, mask: Mask) -> str:
    try:
        return json.dumps(mask.plain(json.loads(line)), ensure_ascii=False)
    except ValueError:  # not ours, or cut short
        return mask.text(line)
