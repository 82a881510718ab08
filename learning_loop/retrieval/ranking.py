"""Ranking: what was found by words and by meaning, on one scale.

Every part of a score is bounded and needs no scaling by the other candidates; the parts add up to a share of what could be
had, with a model or without one: BM25 saturates as b / (b + 8), cosines are what they are. The weights were chosen once on
three public collections (developer notes, outage post-mortems, conversations) and are no better on one for being worse on
another. Reciprocal rank fusion (Cormack et al., SIGIR 2009, k = 60) was measured on the same and is worse than its lexical
half alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

SATURATION = 8.0  # the BM25 at which words count half
WEIGHTS = {
    "meaning": 1.0,  # cosine of the chunk
    "words": 1.2,  # saturated BM25 of the chunk
    "note": 0.4,  # that of the best chunk of its note
    "beside": 0.3,  # cosine of the better of the two chunks next to it
    "named": 0.2,  # the question names its author, component or a tag
    "asked": 0.3,  # it is of the kinds and the time that the question speaks of
}
CONFIRMED, RECENT, MEASURED = 0.1, 0.05, 0.2  # at most so much for how often, how lately, and with what effect: by judgement,
# for no public collection has evidence; small, so that they decide between notes that fit about equally well
HALF_OFTEN, HALF_LIFE_DAYS, FULL_EFFECT = 3.0, 90.0, 10.0
LEAST_LIKENESS, SHARE_WEIGHT = 0.437, 0.41  # of a chunk that answers: its cosine with the words it shares
LEAST_SHARE, ENOUGH_WORDS, LEAST_SHARE_OF_MANY = 0.5, 4, 0.25  # where there is no model: half the words, or a good few
TAIL = 0.6  # of the best score: what is further behind changed no recall that was measured, and reads as noise
PAST = frozenset({"superseded", "retired", "archived", "rejected"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a chunk and its note besides their words.

    `effect` is in points of the score, None where it was not measured.
    """

    source: str = ""  # decides between equals
    names: tuple[frozenset[str], ...] = ()  # the words of each name it carries
    status: str = "active"
    asked: bool = False
    seen: int = 0
    changed: datetime | None = None
    effect: float | None = None


class Candidate(NamedTuple):
    """A chunk that may answer. `words` is its BM25, 0 where none matches; cosines are None where they are not known.

    `beside` is the cosine of the better of the chunks next to it.
    """

    chunk: int
    note: int
    words: float
    meaning: float | None
    beside: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A candidate with its score and the parts that add up to it, cut to 0 to 1."""

    chunk: int
    note: int
    score: float
    past: bool
    meaning: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


def shortlist(candidates: Sequence[Candidate], most: int, *, each: int | None = None) -> list[tuple[Candidate, float]]:
    """Return the best candidates by words and meaning, each with the BM25 of its note's best chunk, of `each` note so many.

    What is known of their notes comes after, for the best alone: looking it up costs more than it could change further down.
    """
    best: dict[int, float] = {}
    for candidate in candidates:
        best[candidate.note] = max(best.get(candidate.note, 0.0), candidate.words)
    scored = [(sum(_parts(candidate, best[candidate.note])), candidate) for candidate in candidates]
    scored.sort(key=lambda item: (-item[0], item[1].chunk))
    found: list[tuple[Candidate, float]] = []
    listed: dict[int, int] = {}
    for score, candidate in scored:
        listed[candidate.note] = listed.get(candidate.note, 0) + 1
        if score and (each is None or listed[candidate.note] <= each):
            found.append((candidate, best[candidate.note]))
            if len(found) == most:
                break
    return found


def _parts(candidate: Candidate, best: float) -> tuple[float, float, float, float]:
    """Return what meaning, words, note and what stands beside add to a score."""
    meaning = max(0.0, candidate.meaning or 0.0)
    beside = meaning if candidate.beside is None else max(0.0, candidate.beside)
    return (
        WEIGHTS["meaning"] * meaning,
        WEIGHTS["words"] * saturated(candidate.words),
        WEIGHTS["note"] * saturated(best),
        WEIGHTS["beside"] * beside,
    )


def rank(
    listed: Sequence[tuple[Candidate, float]],
    standings: Mapping[int, Standing],
    asked: AbstractSet[str],
    *,
    now: datetime,
    notes: bool,
) -> list[Ranked]:
    """Return a shortlist, best first, what is superseded, retired or archived after everything else.

    `standings` has each chunk's, and what it does not have is left out; `asked` has the words of the question. With `notes`,
    each note stands once, by its best chunk.
    """
    embedded = any(candidate.meaning is not None for candidate, _ in listed)
    whole = sum(weight for part, weight in WEIGHTS.items() if embedded or part not in ("meaning", "beside"))
    found = []
    for candidate, best in listed:
        standing = standings.get(candidate.chunk)
        if standing is None:
            continue
        parts = dict(zip(("meaning", "words", "note", "beside"), _parts(candidate, best), strict=True))
        if any(name <= asked for name in standing.names if name):
            parts["named"] = WEIGHTS["named"]
        if standing.asked:
            parts["asked"] = WEIGHTS["asked"]
        parts |= _evidence(standing, now)
        parts = {part: value / whole for part, value in parts.items() if value}
        found.append(
            Ranked(
                chunk=candidate.chunk,
                note=candidate.note,
                score=min(1.0, max(0.0, sum(parts.values()))),
                past=standing.status in PAST,
                meaning=candidate.meaning,
                parts=parts,
            )
        )
    found.sort(key=lambda ranked: (ranked.past, -ranked.score, standings[ranked.chunk].source, ranked.chunk))
    return _one_each(found) if notes else found


def covered(terms: Iterable[str], words: Iterable[str]) -> tuple[float, int]:
    """Return which share of the terms, and how many, are among the words, endings aside."""
    wanted = {stem(term) for term in terms}
    found = len(wanted.intersection(map(stem, words)))
    return (found / len(wanted) if wanted else 0.0), found


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return a word without its ending, as far as telling a match from none needs it."""
    for end in ("ing", "ed", "es", "s", "e"):
        if word.endswith(end) and len(word) > len(end) + 2:
            return word[: -len(end)]
    return word


def answers(meaning: float | None, share: float, count: int) -> bool:
    """Say whether a chunk has to do with a question, rather than merely being nearest to it.

    `meaning` is its cosine, `share` and `count` say how many of the question's words it has. The limits do not depend on how
    much there is to search in. They were set where questions on one of three collections, asked of another, mostly get
    nothing, and questions on its own nearly always something.
    """
    if meaning is None:
        return share >= LEAST_SHARE or (count >= ENOUGH_WORDS and share >= LEAST_SHARE_OF_MANY)
    return meaning + SHARE_WEIGHT * share >= LEAST_LIKENESS


def saturated(strength: float) -> float:
    return strength / (strength + SATURATION)


def _evidence(standing: Standing, now: datetime) -> dict[str, float]:
    """Return what a note gains for being confirmed often and lately, and for what showing it was measured to do."""
    found = {"confirmed": CONFIRMED * standing.seen / (standing.seen + HALF_OFTEN)}
    if standing.changed is not None:
        age = max(0.0, (now - standing.changed).total_seconds() / 86_400)
        found["recent"] = RECENT * 0.5 ** (age / HALF_LIFE_DAYS)
    if standing.effect is not None:
        found["measured"] = MEASURED * max(-1.0, min(1.0, standing.effect / FULL_EFFECT))
    return found


def _one_each(ranked: Sequence[Ranked]) -> list[Ranked]:
    seen: dict[int, Ranked] = {}
    for item in ranked:
        seen.setdefault(item.note, item)
    return list(seen.values())
