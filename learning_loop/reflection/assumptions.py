"""Assumptions that a run contradicted, and how they enter the file people keep them in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from learning_loop.records import ExecutionRecord, Finding

HEADING = "## No longer holds"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An expectation in words that stay the same from run to run, what it rested on, and what happened instead."""

    expected: str
    ground: str
    happened: str


def contradiction(record: ExecutionRecord, findings: Sequence[Finding]) -> Contradiction | None:
    """Return the assumption that a surprising run contradicts: a stated one where a finding names it, else history's."""
    outcome = record.outcome
    predicted = record.noted("pre", "predicted") or {}
    if outcome is None:
        return None
    happened = "it succeeded" if outcome.success else f"it {outcome.status}: {outcome.error_message or 'no error was recorded'}"
    if stated := _stated(record, findings):
        return Contradiction(stated[0], "stated beforehand", stated[1])
    kind, share, runs = record.execution.kind, predicted.get("success"), predicted.get("runs")
    if share is not None and outcome.success is not None and (share > 0.5) != outcome.success:
        expected = f"{kind} {'succeeds' if share > 0.5 else 'fails'}"
        return Contradiction(expected, f"predicted with {max(share, 1 - share):.0%} from {runs} runs", happened)
    usual = predicted.get("duration_s")
    if usual is not None and outcome.duration_s is not None:
        direction = "longer" if outcome.duration_s > usual else "less"
        expected = f"{kind} takes about as long as usual"
        ground = f"{usual:.3g} s, from {predicted.get('duration_runs')} runs"
        return Contradiction(expected, ground, f"it took {direction}: {outcome.duration_s:.3g} s")
    return None


def _stated(record: ExecutionRecord, findings: Sequence[Finding]) -> tuple[str, str] | None:
    """Return (assumption, what contradicts it) where a stated assumption names what the leading finding is about."""
    noted = record.noted("pre", "assumptions") or {}
    for finding in findings[:1]:
        about = finding.subject.rpartition(":")[2].lower()
        if len(about) < 3:
            continue
        for assumption in (*noted.get("declared", ()), *noted.get("current", ())):
            if re.search(rf"\b{re.escape(about)}\b", assumption.lower()):
                return assumption, finding.text
    return None


def with_contradiction(text: str, found: Contradiction, *, reference: str) -> str:
    """Return an assumptions file with this contradiction under its heading; every other character stays.

    An assumption that already stands there is not entered twice: `text` comes back unchanged.
    """
    if text.count("\r\n") == text.count("\n") > 0:  # a file is written on in its own line ends
        unix = with_contradiction(text.replace("\r\n", "\n"), found, reference=reference)
        return unix.replace("\n", "\r\n")
    start = re.search(rf"^{re.escape(HEADING)}[ \t]*$", text, re.MULTILINE)
    line = f"- {found.expected}: {' '.join(found.happened.split())[:200]} ({found.ground}; {reference})\n"
    if start is None:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}{HEADING}\n\n{line}"
    after = re.search(r"^#{1,2}[ \t]", text[start.end() :], re.MULTILINE)
    end = start.end() + after.start() if after else len(text)
    section = text[start.end() : end]
    if f"- {found.expected}: " in section:
        return text
    items = section.rstrip("\n")
    gap = section[len(items) + 1 :]  # the blank lines before the next heading
    return text[: start.end()] + (f"{items}\n" if items.strip() else "\n\n") + line + gap + text[end:]
