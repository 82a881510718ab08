"""The index of a memory: notes found by their words and by their meaning, executions by their words."""

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from learning_loop.index.documents import Document, Scope
from learning_loop.index.store import IndexStore, match_any, where, words_table
from learning_loop.index.vectors import VectorIndex, View
from learning_loop.protocols import Embedder, Vectors
from learning_loop.records import Hit
from learning_loop.retrieval.ranking import TAIL, Candidate, Ranked, Standing, answers, covered, rank, shortlist
from learning_loop.retrieval.words import words_of

POOL = 40  # candidates by words, and as many by meaning: more of them changed no answer that was measured
NARROW = 1_000  # chunks of a scope whose vectors are all looked at
MOST_POOL = 4_000
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
        notes: bool = True,
    ) -> list[Hit]:
        """Return what fits, best first: by the `terms`, and by the meaning of `text` where there is an embedder.

        With `notes`, each note stands once, with its best chunk; else every chunk stands for itself. Scores lie in 0 to 1.
        Where the best have nothing to do with the question, nothing comes back.
        """
        if limit <= 0 or not (terms or (text.strip() and embedder)):
            return []
        view = self.vectors.view()
        query = None
        if embedder is not None and text.strip() and view.model == embedder.identity and view.segments:
            query = embedder.embed_query(text)
        with self.store.snapshot() as connection:
            find = Finder(connection, view, scope)
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
            standings = find.standings({candidate.note for candidate, _ in listed})
            asked = frozenset(words_of(text)) | frozenset(terms)
            ranked = rank(listed, standings, asked, now=now, notes=notes)
            least = TAIL * ranked[0].score if ranked and query is not None else 0.0
            ranked = [item for item in ranked[:limit] if item.past or item.score >= least]
            return find.hits(ranked, terms)

    def newest(self, scope: Scope, *, limit: int) -> list[Hit]:
        """Return the notes in the scope, newest first, all with the same score."""
        return [hit_of(row, 0.5) for row in self.store.note_rows(SHOWN, scope, limit=limit)]

    def hit(self, source: str, score: float) -> Hit | None:
        """Return one note as a hit; None where the index has none of that source."""
        row = self.store.note_row(SHOWN, source)
        return hit_of(row, score) if row is not None else None

    def put(self, documents: Iterable[Document] = (), **others: Any) -> None:
        self.store.put(documents, **others)


class Finder:
    """One search on one connection: candidates, what is known of them, and the hits in the end."""

    def __init__(self, connection: Any, view: View, scope: Scope) -> None:
        self._connection = connection
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
            join = f"JOIN chunks ON chunks.rowid = {words}.rowid JOIN notes ON notes.rowid = chunks.note"
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
            f"SELECT chunks.rowid FROM notes JOIN chunks ON chunks.note = notes.rowid WHERE {self._condition} LIMIT ?",
            (*self._values, NARROW + 1),
        ).fetchall()
        return [row[0] for row in rows] if len(rows) <= NARROW else None

    def _in_scope(self, numbers: list[int]) -> list[int]:
        rows = self._connection.execute(
            "SELECT chunks.rowid FROM json_each(?) AS wanted JOIN chunks ON chunks.rowid = wanted.value "
            f"JOIN notes ON notes.rowid = chunks.note WHERE {self._condition}",
            (json.dumps(numbers), *self._values),
        )
        return [row[0] for row in rows]

    def candidates(self, strengths: dict[int, float], near: Sequence[int], query: Vectors | None) -> list[Candidate]:
        """Return what was found by words or by meaning; what is gone since then is left out."""
        numbers = list({**dict.fromkeys(near), **strengths})
        cosines = self._view.cosines(query, numbers) if query is not None else {}
        return [
            Candidate(number, note, strengths.get(number, 0.0), cosines.get(number), None, _name(who) if who else _NO_NAME)
            for number, note, who in self._chunks("rowid, note, who", numbers)
        ]

    def with_neighbours(self, listed: Sequence[tuple[Candidate, float]], query: Vectors) -> list[tuple[Candidate, float]]:
        """Return a shortlist with the cosine of what stands next to each chunk in its note."""
        around = list({place: None for candidate, _ in listed for place in (candidate.chunk - 1, candidate.chunk + 1)})
        note_of = dict(self._chunks("rowid, note", around))
        cosines = self._view.cosines(query, list(note_of))
        found = []
        for candidate, best in listed:
            places = (candidate.chunk - 1, candidate.chunk + 1)
            beside = [cosines[place] for place in places if place in cosines and note_of[place] == candidate.note]
            found.append((candidate._replace(beside=max(beside)) if beside else candidate, best))
        return found

    def _chunks(self, columns: str, numbers: Sequence[int]) -> list[Any]:
        statement = f"SELECT {columns} FROM chunks WHERE rowid IN (SELECT value FROM json_each(?))"
        return list(self._connection.execute(statement, (json.dumps(numbers),)))

    def standings(self, notes: AbstractSet[int]) -> dict[int, Standing]:
        """Return what is known of notes besides their words."""
        rows = self._connection.execute(
            "SELECT rowid, source, component, agent, tags, status, seen, changed, effect FROM notes "
            "WHERE rowid IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(notes)),),
        )
        return {
            number: Standing(
                source=source,
                names=_names(component, agent, tags),
                status=status,
                seen=seen,
                changed=_moment(changed),
                effect=effect,
            )
            for number, source, component, agent, tags, status, seen, changed, effect in rows
        }

    def hits(self, ranked: Sequence[Ranked], terms: Sequence[str]) -> list[Hit]:
        """Return what is to be shown of the best; nothing where none of the first few answers."""
        rows = self._connection.execute(
            f"SELECT {_SHOWN}, chunks.rowid, heading, anchor, text, chunks.title, chunks.said FROM chunks "
            "JOIN notes ON notes.rowid = chunks.note WHERE chunks.rowid IN (SELECT value FROM json_each(?))",
            (json.dumps([item.chunk for item in ranked]),),
        )
        shown = {row[len(SHOWN)]: row for row in rows}
        if not any(_answers(item, shown[item.chunk][-3:], terms) for item in ranked[:LOOKED_AT]):
            return []
        found = []
        for item in ranked:
            *note, _, heading, anchor, text, _, _ = shown[item.chunk]
            hit = hit_of(note, item.score)
            passage = " ".join(text.split())
            passage = passage[:PASSAGE] + ("..." if len(passage) > PASSAGE else "")
            text = passage if heading and passage else hit.text or passage  # of a note's beginning, what its summary says
            found.append(replace(hit, text=text, section=anchor or heading or None, parts=item.parts))
        return found


_NO_NAME: frozenset[str] = frozenset()


@lru_cache(maxsize=10_000)
def _names(component: str | None, agent: str | None, tags: str) -> tuple[frozenset[str], ...]:
    return tuple(_name(name) for name in (component, agent, *json.loads(tags)) if name)


@lru_cache(maxsize=10_000)
def _name(text: str) -> frozenset[str]:
    return frozenset(words_of(text))


def _answers(item: Ranked, texts: Sequence[str], terms: Sequence[str]) -> bool:
    return answers(item.meaning, *covered(terms, frozenset(words_of(" ".join(texts)))))


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
_SHOWN = ", ".join(f"notes.{name}" for name in SHOWN)


def hit_of(row: Sequence[Any], score: float) -> Hit:
    """Return a note as a hit, from a row of the columns in `SHOWN`."""
    return Hit(
        id=row[0],
        source=row[1],
        category=row[2],
        title=row[3],
        text=row[4],
        score=score,
        at=_moment(row[5]),
        task_type=row[6],
        component=row[7],
        outcome=row[8],
        status=row[9],
        evidence=tuple(json.loads(row[10])),
    )


def _moment(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
