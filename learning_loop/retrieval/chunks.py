"""Markdown cut along its own structure: what belongs under one heading stays together, blocks stay whole."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MOST_WORDS = 180  # of one chunk: what the embedder reads at once, with its title, in most prose
CONTEXT_WORDS = 60  # of each neighbour that a chunk is also found by
_PLAIN = re.compile(r"[*`#>]+|\]\([^)]*\)|[\[\]|]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One part of a note. `heading` is the path of headings it stands under, `line` its first line, counted from 1.

    `who` said it, where that is known of the part alone; `anchor` names it within its note, where it has a name.
    """

    text: str
    heading: str = ""
    line: int = 1
    who: str | None = None
    anchor: str | None = None


def chunks_of(body: str) -> tuple[Chunk, ...]:
    """Cut the body of a note into chunks of at most about `MOST_WORDS` words.

    Sections are kept apart, paragraphs, lists, tables and code are kept whole where they fit. A body without text gives
    one empty chunk, so that every note can be found by its title.
    """
    found: list[Chunk] = []
    for heading, blocks in _sections(body):
        held: list[tuple[int, str]] = []
        words = 0
        for line, text in _fitting(blocks):
            count = len(text.split())
            if held and words + count > MOST_WORDS:
                found.append(_chunk(heading, held))
                held, words = [], 0
            held.append((line, text))
            words += count
        if held:
            found.append(_chunk(heading, held))
    return tuple(found) or (Chunk(text=""),)


def _chunk(heading: str, held: list[tuple[int, str]]) -> Chunk:
    return Chunk(text="\n\n".join(text for _, text in held), heading=heading, line=held[0][0])


def _sections(body: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Yield (path of headings, blocks with their first lines); a heading with nothing under it is a block itself."""
    lines = body.splitlines()
    path: dict[int, str] = {}
    blocks: list[tuple[int, str]] = []
    heading: tuple[int, str] | None = None

    def section() -> Iterator[tuple[str, list[tuple[int, str]]]]:
        if blocks or heading is not None:
            yield " > ".join(path[level] for level in sorted(path)), blocks or [heading or (1, "")]

    for level, start, end in _blocks(body):
        text = "\n".join(lines[start:end]).strip()
        if level is None:
            blocks.append((start + 1, text))
            continue
        yield from section()
        path = {known: name for known, name in path.items() if known < level}
        title = _PLAIN.sub("", text.splitlines()[0]).strip() if text else ""
        path[level], blocks, heading = title, [], (start + 1, title)
    yield from section()


def _blocks(body: str) -> Iterator[tuple[int | None, int, int]]:
    """Yield (level of a heading or None, first line, line after the last) of every top-level block."""
    for token in _parser().parse(body):
        if token.level == 0 and token.map is not None and token.nesting >= 0:
            yield int(token.tag[1:]) if token.type == "heading_open" else None, token.map[0], token.map[1]


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])  # what stands inside a block is not looked at
    return parser


def _fitting(blocks: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield blocks, the long ones cut at line ends and, where a line is long, between words."""
    for first, text in blocks:
        if len(text.split()) <= MOST_WORDS * 3 // 2:
            yield first, text
            continue
        held: list[str] = []
        start, words = first, 0
        for number, line in enumerate(text.splitlines(), first):
            parts = line.split()
            if held and words + len(parts) > MOST_WORDS:
                yield start, "\n".join(held)
                held, words = [], 0
            if len(parts) > MOST_WORDS:
                for place in range(0, len(parts), MOST_WORDS):
                    yield number, " ".join(parts[place : place + MOST_WORDS])
                continue
            if not held:
                start = number
            held.append(line)
            words += len(parts)
        if held:
            yield start, "\n".join(held)


def neighbours(chunks: tuple[Chunk, ...], place: int) -> str:
    """Return the words that stand next to a chunk in its note: the end of the one before, the start of the one after."""
    before = chunks[place - 1].text.split()[-CONTEXT_WORDS:] if place else []
    after = chunks[place + 1].text.split()[:CONTEXT_WORDS] if place + 1 < len(chunks) else []
    return " ".join([*before, *after])
