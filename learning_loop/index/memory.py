"""The index of a memory: notes found by their words and by their meaning, executions by their words."""

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from learning_loop.index.documents import Document, Scope
from learning_loop.index.store import IndexStore, match_any, where, words_table
from learning_loop.index.vectors import VectorIndex, View
from learning_loop.protocols import Embedder, Vectors
from learning_loop.records import Hit
from learning_loop.retrieval.ranking import TAIL, Candidate, Ranked, Standing, answers, covered, rank
from learning_loop.retrieval.words import words_of

POOL = 50  # candidates by words, and as many by meaning: more of them changed no answer that was measured
LOOKED_AT = 5  # hits of which one must answer
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
        with self.store.use() as connection:
            find = _Finder(connection, view, scope)
            strengths = find.by_words(match_any(terms))
            near = find.by_meaning(query) if query is not None else []
            candidates, standings = find.candidates(strengths, near, query)
            asked = frozenset(words_of(text)) | frozenset(terms)
            ranked = rank(candidates, standings, asked, now=now, notes=notes)
            least = TAIL * ranked[0].score if ranked and query is not None else 0.0
            ranked = [item for item in ranked[:limit] if item.past or item.score >= least]
            return find.hits(ranked, terms)

    def newest(self, scope: Scope, *, limit: int) -> list[Hit]:
        """Return the notes in the scope, newest first, all with the same score."""
        return [_hit(row, 0.5) for row in self.store.note_rows(scope, limit=limit)]

    def hit_of(self, row: dict[str, Any], score: float) -> Hit:
        """Return a note's row as a hit."""
        return _hit(row, score)

    def put(self, documents: Iterable[Document] = (), **others: Any) -> None:
        self.store.put(documents, **others)


class _Finder:
    """One search on one connection: candidates, what is known of them, and the hits in the end."""

    def __init__(self, connection: Any, view: View, scope: Scope) -> None:
        self._connection = connection
        self._view = view
        self._scope = scope
        self._project = scope.project
        self._whole_project = replace(scope, project=None) == Scope()
        self._everything = self._whole_project and scope.project is None and not view.projects
        self._condition, self._values = where(scope)

    def by_words(self, match: str) -> dict[int, float]:
        """Return the best chunks by BM25 over their columns."""
        words = words_table(self._connection, self._project)
        if not match or words is None:
            return {}
        join, condition, values = "", "", list[Any]()
        if not self._whole_project:
            join = f"JOIN chunks ON chunks.rowid = {words}.rowid JOIN notes ON notes.rowid = chunks.note"
            condition, values = f"AND {self._condition}", self._values
        statement = f"SELECT {words}.rowid, -rank FROM {words} {join} WHERE {words} MATCH ? {condition} ORDER BY rank LIMIT ?"
        return dict(self._connection.execute(statement, (match, *values, POOL)))

    def by_meaning(self, query: Vectors) -> list[int]:
        """Return the nearest chunks that lie in the scope: as far down the list as it takes to find enough of them."""
        count, found = POOL, list[int]()
        while True:
            found = self._in_scope(self._view.nearest(query, count))
            if len(found) >= POOL or count >= self._view.most:
                return found
            count *= 4

    def _in_scope(self, numbers: list[int]) -> list[int]:
        condition = "1" if self._everything else self._condition
        rows = self._connection.execute(
            "SELECT chunks.rowid FROM json_each(?) AS wanted JOIN chunks ON chunks.rowid = wanted.value "
            f"JOIN notes ON notes.rowid = chunks.note WHERE {condition}",
            (json.dumps(numbers), *([] if self._everything else self._values)),
        )
        return [row[0] for row in rows]

    def candidates(
        self, strengths: dict[int, float], near: Sequence[int], query: Vectors | None
    ) -> tuple[list[Candidate], dict[int, Standing]]:
        numbers = sorted({*strengths, *near})
        around = sorted({place for number in numbers for place in (number - 1, number, number + 1)})
        rows = self._connection.execute(
            "SELECT rowid, note, who FROM chunks WHERE rowid IN (SELECT value FROM json_each(?))", (json.dumps(around),)
        ).fetchall()
        note_of = {row[0]: row[1] for row in rows}
        who = {row[0]: row[2] for row in rows}
        cosines = self._view.cosines(query, list(note_of)) if query is not None else {}
        found = []
        for number in numbers:
            note = note_of.get(number)
            if note is None:  # gone since it was found
                continue
            beside = [cosines[place] for place in (number - 1, number + 1) if note_of.get(place) == note and place in cosines]
            found.append(
                Candidate(
                    chunk=number,
                    note=note,
                    words=strengths.get(number, 0.0),
                    meaning=cosines.get(number),
                    beside=max(beside, default=None),
                    names=(frozenset(words_of(who[number])),) if who[number] else (),
                )
            )
        return found, self._standings({candidate.note for candidate in found})

    def _standings(self, notes: AbstractSet[int]) -> dict[int, Standing]:
        rows = self._connection.execute(
            "SELECT rowid, component, agent, tags, status, seen, changed, effect FROM notes "
            "WHERE rowid IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(notes)),),
        )
        return {
            number: Standing(
                names=tuple(frozenset(words_of(name)) for name in (component, agent, *json.loads(tags)) if name),
                status=status,
                seen=seen,
                changed=_moment(changed),
                effect=effect,
            )
            for number, component, agent, tags, status, seen, changed, effect in rows
        }

    def hits(self, ranked: Sequence[Ranked], terms: Sequence[str]) -> list[Hit]:
        """Return what is to be shown of the best; nothing where none of the first few answers."""
        notes = {
            row["rowid"]: row
            for row in _rows(self._connection, "SELECT rowid, * FROM notes", "rowid", [item.note for item in ranked])
        }
        chunks = {
            row["rowid"]: row
            for row in _rows(
                self._connection,
                "SELECT rowid, heading, anchor, title, text, said FROM chunks",
                "rowid",
                [item.chunk for item in ranked],
            )
        }
        if not any(_answers(item, chunks[item.chunk], terms) for item in ranked[:LOOKED_AT]):
            return []
        found = []
        for item in ranked:
            chunk = chunks[item.chunk]
            section = chunk["anchor"] or chunk["heading"] or None
            note = notes[item.note]
            passage = " ".join(chunk["text"].split())
            text = passage[:PASSAGE] + ("..." if len(passage) > PASSAGE else "")
            found.append(_hit({**note, "summary": text or note["summary"]}, item.score, section=section, parts=item.parts))
        return found


def _answers(item: Ranked, chunk: dict[str, Any], terms: Sequence[str]) -> bool:
    words = frozenset(words_of(" ".join((chunk["title"], chunk["text"], chunk["said"]))))
    return answers(item.meaning, *covered(terms, words))


def _rows(connection: Any, select: str, column: str, values: Sequence[int]) -> list[dict[str, Any]]:
    rows = connection.execute(f"{select} WHERE {column} IN (SELECT value FROM json_each(?))", (json.dumps(values),))
    names = [item[0] for item in rows.description]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _hit(row: dict[str, Any], score: float, **found: Any) -> Hit:
    return Hit(
        id=row["id"],
        source=row["source"],
        category=row["category"],
        title=row["title"],
        text=row["summary"],
        score=score,
        at=_moment(row["at"]),
        task_type=row["task_type"],
        component=row["component"],
        outcome=row["outcome"],
        status=row["status"],
        evidence=tuple(json.loads(row["evidence"])),
        **found,
    )


def _moment(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
