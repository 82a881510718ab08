"""The vectors of chunks under FAISS: one immutable file, memory-mapped, and what came after it in memory.

A chunk's number only ever grows, so the file covers all chunks up to one number and the tail all after it; chunks that are
gone are passed over when candidates are looked up. Once the tail, or what is gone, is a fifth of the file, a new file is
written beside it and named in the same transaction that readers see it by: they hold the old one until they look again.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learning_loop.index.store import IndexStore
from learning_loop.index.tables import embedded_text
from learning_loop.protocols import Embedder, Vectors

FLAT_MOST, HALF_MOST = 100_000, 400_000  # exact in float32, exact in float16, then a graph: by time measured at each size
LINKS, WIDTH, EFFORT = 16, 128, 200  # of the graph: HNSW's M, efSearch and efConstruction
TAIL_LEAST, TAIL_SHARE = 2_000, 0.2
WINDOW = 64  # chunks that are embedded and committed at once

_BARE = "key NOT IN (SELECT key FROM vectors)"

Progress = Callable[[int, int], None]


class VectorIndex:
    """Makes and shows the vectors of one model at a time, in the index's file and in the FAISS file beside it."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._view = View()

    def embed_missing(
        self,
        embedder: Embedder,
        *,
        progress: Progress | None = None,
        go_on: Callable[[], bool] = lambda: True,
        wait: bool = True,
        window: int = WINDOW,
    ) -> int:
        """Embed the chunks that have no vector yet, oldest first, while `go_on()`; return how many still have none.

        Another model than the vectors came from drops them all first: two are never mixed. One process embeds at a time;
        unless `wait`, another's work is left to it.
        """
        from filelock import Timeout

        try:
            with self.alone(wait=wait):
                return self._embed(embedder, progress, go_on, window)
        except Timeout:
            return self.view().bare

    def alone(self, *, wait: bool = True) -> Any:
        """Return a lock, for `with`, that one thread of one process holds while it embeds; unless `wait`, Timeout at once."""
        from filelock import FileLock

        return FileLock(self._store.path.with_name("embed.lock"), timeout=-1 if wait else 0)

    def _embed(self, embedder: Embedder, progress: Progress | None, go_on: Callable[[], bool], window: int) -> int:
        if self._store.meta("model") != embedder.identity:
            with self._store.change() as connection:
                connection.execute("DELETE FROM vectors")
                connection.execute("DELETE FROM meta WHERE name IN ('vectors', 'covered', 'held')")
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('model', ?)", (embedder.identity,))
        with self._store.use() as connection:
            bare = [row[0] for row in connection.execute(f"SELECT rowid FROM chunks WHERE {_BARE} ORDER BY rowid")]
            noted = _number(connection, "bare")
        if noted != len(bare):
            with self._store.change() as connection:
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('bare', ?)", (len(bare),))
        total = len(bare)
        while bare and go_on():
            chosen, bare = bare[:window], bare[window:]
            texts = self._texts(chosen)
            vectors = embedder.embed(list(texts.values()))
            with self._store.change() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO vectors SELECT ?, ? WHERE EXISTS (SELECT 1 FROM chunks WHERE key = ?)",
                    [(key, vector.astype("float16").tobytes(), key) for key, vector in zip(texts, vectors, strict=True)],
                )
                connection.execute("UPDATE meta SET value = max(0, value - ?) WHERE name = 'bare'", (len(chosen),))
            if progress is not None:
                progress(total - len(bare), total)
        self._consolidate()
        return len(bare)

    def _texts(self, numbers: Sequence[int]) -> dict[bytes, str]:
        """Return what is to be embedded of these chunks, by key: equal texts are embedded once."""
        with self._store.use() as connection:
            rows = connection.execute(
                "SELECT key, notes.title, heading, dated, who, text FROM chunks JOIN notes ON notes.rowid = note "
                "WHERE chunks.rowid IN (SELECT value FROM json_each(?))",
                (json.dumps(list(numbers)),),
            )
            return {
                key: embedded_text(title=title, heading=heading, dated=dated, who=who, text=text)
                for key, title, heading, dated, who, text in rows
            }

    def _consolidate(self) -> None:
        """Write a new file, of all up to the first that has no vector, where too much has come or gone since the last."""
        with self._store.snapshot() as connection:
            covered, held = (_number(connection, name) for name in ("covered", "held"))
            living, after = connection.execute(
                "SELECT count(*) FILTER (WHERE rowid <= ?), count(*) FILTER (WHERE rowid > ?) FROM chunks", (covered, covered)
            ).fetchone()
            file = connection.execute("SELECT value FROM meta WHERE name = 'vectors'").fetchone()
            there = file is None or self._store.path.with_name(file[0]).is_file()
            if there and max(after, held - living) <= _bearable(held):
                return
            first_bare = connection.execute(f"SELECT min(rowid) FROM chunks WHERE {_BARE}").fetchone()[0]
            numbers, vectors = _vectors_of(connection, 0, first_bare)
        if not len(numbers):
            return
        name = f"vectors-{secrets.token_hex(6)}.faiss"
        _write(self._store.path.with_name(name), numbers, vectors)
        with self._store.change() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("vectors", name), ("covered", int(numbers[-1])), ("held", len(numbers))],
            )
            connection.execute("DELETE FROM vectors WHERE key NOT IN (SELECT key FROM chunks)")
        self.remove_files(but=name)

    def remove_files(self, *, but: str = "") -> None:
        """Remove the FAISS files; who has one open keeps it until they look again."""
        for old in self._store.path.parent.glob("vectors-*"):
            if old.name != but:
                old.unlink(missing_ok=True)

    @property
    def seen(self) -> "View":
        """The vectors as they were when they were last looked at."""
        return self._view

    def view(self) -> "View":
        """Return the vectors as they stand."""
        with self._store.use() as connection:
            change = connection.execute("SELECT value FROM meta WHERE name = 'change'").fetchone()
            if change is not None and change[0] == self._view.known.get("change"):
                return self._view
            known = dict(connection.execute("SELECT name, value FROM meta"))
            base, covered = self._view.base, int(known.get("covered") or 0)
            file = known.get("vectors")
            if file != self._view.file or base is None:
                base = Segment.read(self._store.path.with_name(file)) if file else None
            if base is None:  # none yet, removed by hand or damaged: everything is in the database
                covered = 0
            stays = ("born", "model", "vectors", "covered")  # one file's numbers never come to mean something else
            same = base is not None or file is None
            same = same and all(known.get(name) == self._view.known.get(name) for name in stays)
            self._view = View(
                known=known,
                file=file,
                base=base,
                tail=_tail(connection, covered, self._view.tail if same else None),
                bare=int(known.get("bare") or 0),
                projects=connection.execute("SELECT 1 FROM projects WHERE name IS NOT NULL LIMIT 1").fetchone() is not None,
            )
        return self._view


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The vectors at one moment: those of the file and those after it; `bare` chunks have none yet, or are gone."""

    known: Mapping[str, Any] = field(default_factory=dict)  # what the index says of itself
    file: str | None = None
    base: "Segment | None" = None
    tail: "Segment | None" = None
    bare: int = 0
    projects: bool = False  # whether any note belongs to one

    @property
    def model(self) -> str | None:
        """The identity of the model that the vectors are of."""
        return self.known.get("model")

    @property
    def due(self) -> bool:
        """Whether passages are to be embedded, or the file is to be written, for it is lost or what came after it is much."""
        held, after = (len(segment.numbers) if segment is not None else 0 for segment in (self.base, self.tail))
        return self.bare > 0 or (self.file is not None and self.base is None) or after > _bearable(held)

    @property
    def segments(self) -> tuple["Segment", ...]:
        return tuple(segment for segment in (self.base, self.tail) if segment is not None)

    @property
    def most(self) -> int:
        return max((len(segment.numbers) for segment in self.segments), default=0)

    def nearest(self, query: Vectors, count: int) -> list[int]:
        """Return the numbers of the chunks nearest to a vector, of each segment at most `count`."""
        return [number for segment in self.segments for number in segment.search(query, count)]

    def cosines(self, query: Vectors, numbers: Sequence[int], *, zero: float = 0.0) -> dict[int, float]:
        """Return how near the chunks with these numbers are, counted from `zero`; those without a vector are left out."""
        found: dict[int, float] = {}
        for segment in self.segments:
            found |= segment.cosines(query, numbers, zero)
        return found


class Segment:
    """Vectors with their numbers, ascending, under one FAISS index; `rows` sees them where FAISS keeps them."""

    def __init__(self, numbers: Any, index: Any, whole: Any = None) -> None:
        import faiss

        self.numbers = numbers
        self._index = index
        self._whole = whole  # what the index stands on
        inner: Any = faiss.downcast_index(index)
        storage: Any = faiss.downcast_index(inner.storage) if hasattr(inner, "storage") else inner
        kind = "float32" if storage.code_size == 4 * index.d else "float16"
        codes = faiss.rev_swig_ptr(storage.codes.data(), index.ntotal * storage.code_size)
        self.rows = codes.view(kind).reshape(index.ntotal, index.d)
        self._kept = storage

    @classmethod
    def read(cls, path: Path) -> "Segment | None":
        import faiss
        import numpy as np

        if not path.is_file():
            return None
        try:
            whole = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError:  # damaged: it is made anew from the database
            path.unlink(missing_ok=True)
            return None
        index: Any = faiss.downcast_index(whole)  # looks at the whole, without owning it
        numbers = faiss.vector_to_array(index.id_map).astype(np.int64)
        return cls(numbers, faiss.downcast_index(index.index), whole)

    @classmethod
    def of(cls, numbers: Any, vectors: Any) -> "Segment":
        import faiss

        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        return cls(numbers, index)

    def search(self, query: Vectors, count: int) -> list[int]:
        import faiss

        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # two threads on one query wait for each other
        _, places = self._index.search(query[None, :], min(count, self._index.ntotal))
        faiss.omp_set_num_threads(threads)
        return [int(self.numbers[place]) for place in places[0] if place >= 0]

    def cosines(self, query: Vectors, numbers: Sequence[int], zero: float = 0.0) -> dict[int, float]:
        import numpy as np

        wanted = np.asarray(numbers, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.numbers, wanted), len(self.numbers) - 1)
        here = self.numbers[places] == wanted
        likeness = (self.rows[places[here]].astype(np.float32, copy=False) @ query - zero) / (1 - zero)
        return dict(zip(wanted[here].tolist(), likeness.tolist(), strict=True))


def _bearable(held: int) -> float:
    """Return how many vectors may have come or gone since a file of so many was written."""
    return max(TAIL_LEAST, TAIL_SHARE * held)


def _tail(connection: sqlite3.Connection, covered: int, known: Segment | None) -> Segment | None:
    """Return the vectors after a number, those that are known already not read again."""
    import numpy as np

    statement = "SELECT rowid FROM chunks WHERE rowid > ? AND key IN (SELECT key FROM vectors) ORDER BY rowid"
    now = np.fromiter((row[0] for row in connection.execute(statement, (covered,))), dtype=np.int64)
    if not len(now):
        return None
    if known is None or not np.isin(known.numbers, now).any():
        return Segment.of(*_vectors_of(connection, covered, None))
    stays = np.isin(known.numbers, now)
    new = [int(number) for number in now[~np.isin(now, known.numbers)]]
    numbers, vectors = _read(connection, "chunks.rowid IN (SELECT value FROM json_each(?))", (json.dumps(new),))
    every = np.concatenate([known.numbers[stays], numbers])
    order = np.argsort(every)
    return Segment.of(every[order], np.concatenate([known.rows[stays], vectors.reshape(-1, known.rows.shape[1])])[order])


def _vectors_of(connection: sqlite3.Connection, after: int, before: int | None) -> tuple[Any, Any]:
    """Return the numbers, ascending, and the vectors of the embedded chunks between two numbers."""
    return _read(connection, "chunks.rowid > ? AND chunks.rowid < ?", (after, before if before is not None else 1 << 62))


def _read(connection: sqlite3.Connection, condition: str, values: Sequence[Any]) -> tuple[Any, Any]:
    import numpy as np

    rows = connection.execute(
        f"SELECT chunks.rowid, vector FROM chunks JOIN vectors USING (key) WHERE {condition} ORDER BY chunks.rowid", values
    ).fetchall()
    numbers = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    vectors = np.frombuffer(b"".join(row[1] for row in rows), dtype=np.float16).astype(np.float32)
    return numbers, vectors.reshape(len(rows), -1) if rows else vectors


def _write(path: Path, numbers: Any, vectors: Any) -> None:
    """Write a FAISS file whole or not at all."""
    import faiss

    width = vectors.shape[1]
    inner: Any
    if len(numbers) <= FLAT_MOST:
        inner = faiss.IndexFlatIP(width)
    elif len(numbers) <= HALF_MOST:
        inner = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        inner.train(vectors[:1])
    else:
        inner = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction, inner.hnsw.efSearch = EFFORT, WIDTH
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(vectors, numbers)
    temporary = path.with_suffix(".tmp")
    try:
        faiss.write_index(index, str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _number(connection: sqlite3.Connection, name: str) -> int:
    found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(found[0]) if found is not None else 0
