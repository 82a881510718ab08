"""The index of a memory: notes found by their words and by their meaning, executions by their words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from learning_loop.index.documents import Scope
from learning_loop.index.store import IndexStore, match_any, where
from learning_loop.index.tables import PLACES, words_table
from learning_loop.index.vectors import VectorIndex, View
from learning_loop.protocols import Embedder, Vectors
from learning_loop.records import Hit
from learning_loop.retrieval.ranking import TAIL, Candidate, Ranked, Standing, answers, covered, rank, shortlist
from learning_loop.retrieval.words import words_of

POOL = 40  # candidates by words, and as many by meaning: more of them changed no answer that was measured
NARROW = 1_000  # chunks of a scope whose vectors are all looked at
MOST_POOL = 4_000  # where one long note takes the places of others: beyond, it is what the question is about
SHORTLIST = 2  # times as many as are wanted: what may be lifted by what stands beside it, or by what is known of its note
LOOKED_AT = 3  # hits of which one must answer
PASSAGE = 400  # characters of a chunk that are shown
FILE = "index.db"


class MemoryIndex:
    """One folder: the index's file with the FAISS file beside it. Delete the folder, and it is made anew."""

    def __init__(self, folder: Path) -> None:
        self.store = IndexStore(folder / FILE)
        self.vectors = VectorIndex(self.store)

    def close(self) -> None:
        self.store.close()

    @property
    def changes(self) -> int:
        """How often what it has of notes was changed, counted from anywhere: as long as it stays the same, so do they."""
        return int(self.store.meta("change") or 0)

    def delete(self) -> None:
        self.store.delete()
        self.vectors.remove_files()

    def scrub(self) -> None:
        """Leave nothing in the files of what was removed."""
        with self.vectors.alone():  # what another process is embedding may be what is erased
            self.store.scrub()
            self.vectors.remove_files()

    def search(
        self,
        terms: Sequence[str],
        scope: Scope,
        *,
        limit: int,
        now: datetime,
        text: str = "",
        embedder: Embedder | None = None,
        preferred: Scope | None = None,
        notes: bool = True,
    ) -> list[Hit]:
        """Return what fits, best first: by the `terms`, and by the meaning of `text` where there is an embedder.

        Of notes that fit alike, those that are also of the kinds and the time `preferred` come first. With `notes`, each note
        stands once, with its best chunk; else every chunk stands for itself. Scores lie in 0 to 1.
        Where the best have nothing to do with the question, nothing comes back. Raise ModelError where the embedder fails.
        """
        if limit <= 0 or not (terms or (text.strip() and embedder)):
            return []
        view = self.vectors.view()
        query = None
        if embedder is not None and text.strip() and view.model == embedder.identity and view.segments:
            query = embedder.embed_query(text)
        with self.store.snapshot() as connection:
            find = Finder(connection, view, scope, unrelated=embedder.unrelated if embedder is not None else 0.0)
            pool = max(POOL, 5 * limit)
            while True:
                strengths = find.by_words(match_any(terms), pool)
                near = find.by_meaning(query, pool) if query is not None else []
                candidates = find.candidates(strengths, near, query)
                many = len({candidate.note for candidate in candidates}) >= limit
                if many or not notes or max(len(strengths), len(near)) < pool or pool >= MOST_POOL:
                    break
                pool *= 8  # one long note has taken the places of others
            listed = shortlist(candidates, SHORTLIST * limit, each=2 if notes else None)
            if query is not None:
                listed = find.with_neighbours(listed, query)
            passages = find.passages([candidate.chunk for candidate, _ in listed])
        standings = {number: passage.standing(preferred or scope) for number, passage in passages.items()}
        ranked = rank(listed, standings, frozenset(words_of(text)) | frozenset(terms), now=now, notes=notes)[:limit]
        least = TAIL * max((item.score for item in ranked), default=0.0) if query is not None else 0.0
        ranked = [item for item in ranked if item.score >= least]
        if not any(passages[item.chunk].answers(item, terms) for item in ranked[:LOOKED_AT]):
            return []
        found = [passages[item.chunk].hit(item) for item in ranked]
        past = [hit for hit in found if hit.status != "active"]
        if not past or scope.active:
            return found
        standing = self.search(  # however many versions of a note are past, they push out none that stands
            terms,
            replace(scope, active=True),
            limit=limit,
            now=now,
            text=text,
            embedder=embedder,
            preferred=preferred,
            notes=notes,
        )
        return [*standing, *past][:limit]

    def newest(self, scope: Scope, *, limit: int) -> list[Hit]:
        """Return the notes in the scope, newest first, all with the same score."""
        return [hit_of(row, 0.5) for row in self.store.note_rows(SHOWN, scope, limit=limit)]

    def hit(self, source: str, score: float) -> Hit | None:
        """Return one note as a hit; None where the index has none of that source."""
        row = self.store.note_row(SHOWN, source)
        return hit_of(row, score) if row is not None else None


class Finder:
    """One search on one connection: candidates, what is known of them, and the hits in the end."""

    def __init__(self, connection: Any, view: View, scope: Scope, *, unrelated: float) -> None:
        self._connection = connection
        self._unrelated = unrelated
        self._view = view
        self._scope = scope
        self._project = scope.project
        self._whole_project = replace(scope, project=None) == Scope()
        self._everything = self._whole_project and scope.project is None and not view.projects
        self._condition, self._values = where(scope)

    def by_words(self, match: str, pool: int) -> dict[int, float]:
        """Return the best chunks by BM25 over their columns."""
        words = words_table(self._connection, self._project)
        if not match or words is None:
            return {}
        join, condition, values = "", "", list[Any]()
        if not self._whole_project:
            join = f"JOIN notes ON notes.rowid = {words}.rowid >> {PLACES}"
            condition, values = f"AND {self._condition}", self._values
        statement = f"SELECT {words}.rowid, -rank FROM {words} {join} WHERE {words} MATCH ? {condition} ORDER BY rank LIMIT ?"
        return dict(self._connection.execute(statement, (match, *values, pool)))

    def by_meaning(self, query: Vectors, pool: int) -> list[int]:
        """Return the nearest chunks that lie in the scope.

        A narrow scope is gone through as a whole; in a wide one the list of the nearest is followed as far as it takes.
        """
        if self._everything:
            return self._view.nearest(query, pool)
        inside = self._inside()
        if inside is not None:
            cosines = self._view.cosines(query, inside)
            return sorted(cosines, key=lambda number: -cosines[number])[:pool]
        count = pool
        while True:
            found = self._in_scope(self._view.nearest(query, count))
            if len(found) >= pool or count >= self._view.most:
                return found
            count *= 4

    def _inside(self) -> list[int] | None:
        """Return all chunks in the scope, None where they are many."""
        rows = self._connection.execute(
            f"SELECT chunks.rowid FROM notes CROSS JOIN chunks ON chunks.rowid BETWEEN notes.rowid << {PLACES} "
            f"AND (notes.rowid + 1 << {PLACES}) - 1 WHERE {self._condition} LIMIT ?",
            (*self._values, NARROW + 1),
        ).fetchall()
        return [row[0] for row in rows] if len(rows) <= NARROW else None

    def _in_scope(self, numbers: list[int]) -> list[int]:
        rows = self._connection.execute(
            f"SELECT wanted.value FROM json_each(?) AS wanted JOIN notes ON notes.rowid = wanted.value >> {PLACES} "
            f"WHERE {self._condition}",
            (json.dumps(numbers), *self._values),
        )
        return [row[0] for row in rows]

    def candidates(self, strengths: dict[int, float], near: Sequence[int], query: Vectors | None) -> list[Candidate]:
        """Return what was found by words or by meaning."""
        numbers = list({**dict.fromkeys(near), **strengths})
        cosines = self._likeness(query, numbers) if query is not None else {}
        return [Candidate(number, number >> PLACES, strengths.get(number, 0.0), cosines.get(number)) for number in numbers]

    def with_neighbours(self, listed: Sequence[tuple[Candidate, float]], query: Vectors) -> list[tuple[Candidate, float]]:
        """Return a shortlist with the cosine of what stands next to each chunk in its note."""
        around = {
            candidate.chunk: [
                number for number in (candidate.chunk - 1, candidate.chunk + 1) if number >> PLACES == candidate.note
            ]
            for candidate, _ in listed
        }
        cosines = self._likeness(query, list({number for numbers in around.values() for number in numbers}))
        found = []
        for candidate, best in listed:
            beside = [cosines[number] for number in around[candidate.chunk] if number in cosines]
            found.append((candidate._replace(beside=max(beside)) if beside else candidate, best))
        return found

    def _likeness(self, query: Vectors, numbers: Sequence[int]) -> dict[int, float]:
        """Return the cosines of chunks, 0 being what texts without anything in common have, whatever the model."""
        return self._view.cosines(query, numbers, zero=self._unrelated)

    def passages(self, chunks: Sequence[int]) -> dict[int, "Passage"]:
        """Return what is known of chunks, by their numbers; what is gone since it was found is left out."""
        rows = self._connection.execute(
            f"SELECT chunks.rowid, {_PASSAGE} FROM chunks JOIN notes ON notes.rowid = chunks.note "
            "WHERE chunks.rowid IN (SELECT value FROM json_each(?))",
            (json.dumps(chunks),),
        )
        return {number: Passage(values[: len(SHOWN)], *values[len(SHOWN) :]) for number, *values in rows}


SHOWN = (
    "id",
    "source",
    "category",
    "title",
    "summary",
    "at",
    "task_type",
    "component",
    "outcome",
    "status",
    "evidence",
)
_SUMMARY, _EVIDENCE = SHOWN.index("summary"), SHOWN.index("evidence")
_PASSAGE = ", ".join(
    [
        *(f"notes.{name}" for name in (*SHOWN, "agent", "tags", "seen", "changed", "effect")),
        *(f"chunks.{name}" for name in ("who", "heading", "anchor", "text", "title", "said")),
    ]
)


class Passage(NamedTuple):
    """A chunk and its note, as the index has them."""

    note: Sequence[Any]  # the columns in `SHOWN`
    agent: str | None
    tags: str
    seen: int
    changed: str | None
    effect: float | None
    who: str | None
    heading: str
    anchor: str | None
    text: str
    title: str
    said: str

    def standing(self, preferred: Scope) -> Standing:
        """Return what is known of it besides its words."""
        columns = dict(zip(SHOWN, self.note, strict=True))
        return Standing(
            source=columns["source"],
            names=_names(self.who, columns["component"], self.agent, self.tags),
            status=columns["status"],
            asked=_preferred(columns["category"], columns["at"], preferred),
            seen=self.seen,
            changed=_moment(self.changed),
            effect=self.effect,
        )

    def answers(self, item: Ranked, terms: Sequence[str]) -> bool:
        """Say whether it has to do with a question, as `answers` does."""
        return answers(item.meaning, *covered(terms, words_of(f"{self.text} {self.title} {self.said}")))

    @property
    def lists_evidence(self) -> bool:
        """Whether it but names the executions that its note rests on."""
        named = {word.strip("`") for word in self.text.split()}
        return named <= {"-", "*", *json.loads(self.note[_EVIDENCE])}

    def hit(self, item: Ranked) -> Hit:
        """Return what is shown of it: the passage; of a note's beginning, and of its list of evidence, the note's summary."""
        passage = " ".join(self.text.split())
        passage = passage[:PASSAGE] + ("..." if len(passage) > PASSAGE else "")
        telling = self.heading and passage and not self.lists_evidence
        text = passage if telling else self.note[_SUMMARY] or passage
        return hit_of(self.note, item.score, text=text, section=self.anchor or self.heading or None, parts=item.parts)


def _preferred(category: str, at: str | None, scope: Scope) -> bool:
    if not (scope.categories or scope.since or scope.before):
        return False
    moment = _moment(at)
    if (scope.since or scope.before) and moment is None:
        return False
    return (
        (not scope.categories or category in scope.categories)
        and (scope.since is None or moment is None or moment >= scope.since)
        and (scope.before is None or moment is None or moment < scope.before)
    )


@lru_cache(maxsize=10_000)
def _names(who: str | None, component: str | None, agent: str | None, tags: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(words_of(name)) for name in (who, component, agent, *json.loads(tags)) if name)


def hit_of(
    row: Sequence[Any],
    score: float,
    *,
    text: str | None = None,
    section: str | None = None,
    parts: Mapping[str, float] | None = None,
) -> Hit:
    """Return a note as a hit, from a row of the columns in `SHOWN`; its summary, where no other `text` is given."""
    return Hit(
        id=row[0],
        source=row[1],
        category=row[2],
        title=row[3],
        text=row[_SUMMARY] if text is None else text,
        score=score,
        at=_moment(row[5]),
        task_type=row[6],
        component=row[7],
        outcome=row[8],
        status=row[9],
        evidence=tuple(json.loads(row[10])),
        section=section,
        parts=parts,
    )


def _moment(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
