"""Measuring retrieval: whether the memory finds what answers a question, and is silent where nothing does.

The documents go into an index as notes do, the questions through the same search; beside it stand what one would do without
it: counting words as grep does, plain BM25, and nearness of vectors alone.
"""

import gzip
import json
import math
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.flows.asking import ask
from learning_loop.flows.query import find_notes
from learning_loop.index import Document, MemoryIndex
from learning_loop.index.store import match_any
from learning_loop.index.tables import embedded_text
from learning_loop.protocols import Embedder, Vectors
from learning_loop.retrieval import Vocabulary
from learning_loop.retrieval.chunks import Chunk, chunks_of
from learning_loop.retrieval.words import words_of

DEPTH = 10
ANYTIME = datetime(2000, 1, 1, tzinfo=UTC)  # no document has evidence, so that no ranking depends on the time
UNANSWERABLE = "adversarial"  # the category of questions that no document answers

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doc:
    """One document. Those of a `session` are parts of one note, in their order; ids are unique within a `sample`."""

    id: str
    text: str
    title: str = ""
    when: str | None = None
    speaker: str | None = None
    tags: tuple[str, ...] = ()
    session: str | None = None
    sample: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question with the ids of the documents that answer it, none where no document does."""

    text: str
    relevant: frozenset[str]
    sample: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one method did, over `queries` questions that have an answer; shares, but for milliseconds a question.

    `abstained` is the share of the unanswerable questions that got nothing, None where there are none; `silent` that of
    the answerable ones, which should have got something.
    """

    method: str
    queries: int
    recall_5: float
    recall_10: float
    mrr_10: float
    ndcg_10: float
    abstained: float | None
    silent: float
    p50_ms: float
    p95_ms: float


Ranker = Callable[[Query], list[str]]


def read_docs(path: Path) -> list[Doc]:
    """Read documents from JSONL, gzipped or not. Raise UsageError with the line that cannot be used."""
    found: list[Doc] = []
    seen: set[tuple[Any, str]] = set()
    for line, row in _rows(path):
        if not isinstance(row.get("text"), str) or row.get("doc_id") in (None, ""):
            raise UsageError(f"{path}:{line}: a document needs doc_id and text")
        if (name := (_text(row.get("sample")), str(row["doc_id"]))) in seen:
            raise UsageError(f"{path}:{line}: a document before has the doc_id {name[1]!r} as well: give each its own")
        seen.add(name)
        tags = row.get("tags") or ()
        found.append(
            Doc(
                id=str(row["doc_id"]),
                text=row["text"],
                title=str(row.get("title") or ""),
                when=_text(row.get("when")),
                speaker=_text(row.get("speaker")),
                tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (str(tags),) if tags else (),
                session=_text(row.get("session")),
                sample=_text(row.get("sample")),
            )
        )
    if not found:
        raise UsageError(f"{path}: holds no documents: one JSON object a line, with doc_id and text")
    return found


def read_queries(path: Path) -> list[Query]:
    """Read questions from JSONL, gzipped or not. Raise UsageError with the line that cannot be used."""
    found = []
    for line, row in _rows(path):
        relevant = row.get("relevant")
        if (
            not isinstance(row.get("query"), str)
            or not isinstance(relevant, list)
            or not all(isinstance(name, str | int) for name in relevant)
        ):
            raise UsageError(f"{path}:{line}: a question needs query, and relevant as a list of doc_ids")
        found.append(
            Query(
                text=row["query"],
                relevant=frozenset(str(name) for name in row["relevant"]),
                sample=_text(row.get("sample")),
                category=_text(row.get("category")),
            )
        )
    if not found:
        raise UsageError(f"{path}: holds no questions: one JSON object a line, with query and relevant")
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                line.encode()
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UsageError(f"{path}:{number}: is no JSON object")
                json.dumps(row, ensure_ascii=False).encode()
                yield number, row
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
    except UnicodeEncodeError:
        raise UsageError(f"{path}:{number}: holds half a character (a lone surrogate)") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{number}: is no JSON: {error.msg}") from None
    except ValueError as error:  # a number of five thousand digits
        raise UsageError(f"{path}:{number}: cannot be read: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}:{number}: is nested too deeply") from None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else value if isinstance(value, str) else json.dumps(value)


# ----------------------------------------------------------------------------------------------------------- the methods


def fill(index: MemoryIndex, docs: Sequence[Doc], embedder: Embedder | None, progress: Progress | None = None) -> None:
    """Put documents into an index as notes: those of a session as the chunks of one."""
    groups: dict[tuple[str | None, str], list[Doc]] = {}
    for number, doc in enumerate(docs):
        groups.setdefault((doc.sample, doc.session or f"\0{number}"), []).append(doc)
    index.store.put(_document(place, group) for place, group in enumerate(groups.values()))
    if embedder is not None:
        index.vectors.embed_missing(embedder, progress=progress)


def _document(place: int, group: Sequence[Doc]) -> Document:
    first = group[0]
    if first.session is None:
        chunks = tuple(
            Chunk(text=chunk.text, heading=chunk.heading, line=chunk.line, who=first.speaker, anchor=first.id)
            for chunk in chunks_of(first.text)
        )
    else:
        chunks = tuple(Chunk(text=doc.text, line=line, who=doc.speaker, anchor=doc.id) for line, doc in enumerate(group, 1))
    return Document(
        source=f"{place}",
        id=f"{place}",
        category="note",
        title=first.title,
        summary="",
        chunks=chunks,
        said=" ".join(first.tags),
        dated=first.when,
        project=first.sample,
        tags=first.tags,
    )


def memory(index: MemoryIndex, docs: Sequence[Doc], embedder: Embedder | None) -> Ranker:
    """Return the search that a question goes through."""
    whole = not any(doc.session for doc in docs)

    def ranked(query: Query) -> list[str]:
        asked = ask(query.text, (_NO_NAMES, _NO_NAMES), now=ANYTIME, project=query.sample, k=DEPTH if whole else 4 * DEPTH)
        hits = find_notes(index, asked, embedder, notes=whole)
        return list(dict.fromkeys(str(hit.section) for hit in hits))[:DEPTH]

    return ranked


_NO_NAMES = Vocabulary()


def grep(docs: Sequence[Doc]) -> Ranker:
    """Return documents by how many different words of the question they contain."""
    texts = [(doc, " ".join([doc.title, doc.text, doc.when or "", doc.speaker or ""]).lower()) for doc in docs]

    def ranked(query: Query) -> list[str]:
        words = set(words_of(query.text))
        counted = [(sum(word in text for word in words), doc.id) for doc, text in texts if doc.sample == query.sample]
        return [name for count, name in sorted(counted, key=lambda item: -item[0])[:DEPTH] if count]

    return ranked


def bm25(docs: Sequence[Doc]) -> Ranker:
    """Return documents by BM25 over their text and title, every word of the question counting (k1 = 1.2, b = 0.75)."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5(text, sample UNINDEXED, name UNINDEXED, tokenize='porter unicode61')"
    )
    connection.executemany(
        "INSERT INTO words VALUES (?, ?, ?)", [(f"{doc.title} {doc.text}", doc.sample, doc.id) for doc in docs]
    )

    def ranked(query: Query) -> list[str]:
        match = match_any(dict.fromkeys(words_of(query.text)))
        if not match:
            return []
        rows = connection.execute(
            "SELECT name FROM words WHERE words MATCH ? AND sample IS ? ORDER BY rank LIMIT ?", (match, query.sample, DEPTH)
        )
        return [str(row[0]) for row in rows]

    return ranked


def embed_whole(docs: Sequence[Doc], embedder: Embedder, progress: Progress | None = None) -> Vectors:
    """Return the vectors of documents, each embedded whole, as (len(docs), dimension)."""
    import numpy as np

    parts = []
    for start in range(0, len(docs), 64):
        parts.append(embedder.embed([_whole(doc) for doc in docs[start : start + 64]]))
        if progress is not None:
            progress(min(start + 64, len(docs)), len(docs))
    return np.concatenate(parts)


def dense(docs: Sequence[Doc], vectors: Vectors, embedder: Embedder) -> Ranker:
    """Return documents by the cosine of their vector to the question's."""
    import numpy as np

    samples = {doc.sample for doc in docs}
    places = {sample: np.array([place for place, doc in enumerate(docs) if doc.sample == sample]) for sample in samples}

    def ranked(query: Query) -> list[str]:
        here = places.get(query.sample)
        if here is None:
            return []
        likeness = vectors[here] @ embedder.embed_query(query.text)
        return [docs[int(here[place])].id for place in np.argsort(-likeness, kind="stable")[:DEPTH]]

    return ranked


def _whole(doc: Doc) -> str:
    return embedded_text(title=doc.title, heading="", dated=doc.when, who=doc.speaker, text=doc.text)


# ----------------------------------------------------------------------------------------------------------- the measures


def measure(method: str, ranker: Ranker, queries: Iterable[Query], *, progress: Progress | None = None) -> Row:
    """Ask every question and return how a method did; a recall is the mean share of a question's documents found."""
    given = list(queries)
    ranked, took = [], []
    for number, query in enumerate(given, 1):
        started = time.perf_counter()
        ranked.append(ranker(query))
        took.append((time.perf_counter() - started) * 1000)
        if progress is not None:
            progress(number, len(given))
    answerable = [(query, found) for query, found in zip(given, ranked, strict=True) if not _unanswerable(query)]
    unanswerable = [found for query, found in zip(given, ranked, strict=True) if _unanswerable(query)]
    if not answerable:
        raise UsageError("no question has a relevant document: there is nothing to measure")
    took.sort()
    return Row(
        method=method,
        queries=len(answerable),
        recall_5=_mean(recall_at(query.relevant, found, 5) for query, found in answerable),
        recall_10=_mean(recall_at(query.relevant, found, 10) for query, found in answerable),
        mrr_10=_mean(reciprocal_rank(query.relevant, found) for query, found in answerable),
        ndcg_10=_mean(ndcg(query.relevant, found) for query, found in answerable),
        abstained=_mean(float(not found) for found in unanswerable) if unanswerable else None,
        silent=_mean(float(not found) for _, found in answerable),
        p50_ms=took[len(took) // 2],
        p95_ms=took[min(len(took) - 1, int(0.95 * len(took)))],
    )


def _unanswerable(query: Query) -> bool:
    return not query.relevant or query.category == UNANSWERABLE


def recall_at(relevant: frozenset[str], found: Sequence[str], depth: int) -> float:
    return len(relevant & set(found[:depth])) / len(relevant)


def reciprocal_rank(relevant: frozenset[str], found: Sequence[str]) -> float:
    return next((1 / place for place, name in enumerate(found[:DEPTH], 1) if name in relevant), 0.0)


def ndcg(relevant: frozenset[str], found: Sequence[str]) -> float:
    """Return the normalised discounted cumulative gain at ten, with relevance 0 or 1 (Jarvelin and Kekalainen, 2002)."""
    gain = sum(1 / math.log2(place + 1) for place, name in enumerate(found[:DEPTH], 1) if name in relevant)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(DEPTH, len(relevant)) + 1))


def _mean(values: Iterable[float]) -> float:
    given = list(values)
    return sum(given) / len(given)


def evaluate(
    docs: Sequence[Doc],
    queries: Sequence[Query],
    *,
    folder: Path,
    embedder: Embedder | None,
    progress: Callable[[str], Progress],
    others: Mapping[str, Ranker] | None = None,
) -> list[Row]:
    """Return how the memory does on these questions, and BM25 and grep; `folder` takes the index.

    `progress` gives, for what is about to be done, who is told how far it is. `others` are more methods to measure.
    """
    known = {(doc.sample, doc.id) for doc in docs}
    if lost := next((name for query in queries for name in query.relevant if (query.sample, name) not in known), None):
        raise UsageError(f"a question says that {lost!r} is relevant, and no document has that doc_id: mend one of the files")
    with closing(MemoryIndex(folder)) as index:
        fill(index, docs, embedder, progress("embedding"))
        rows = [measure("memory", memory(index, docs, embedder), queries, progress=progress("memory"))]
    methods = {"bm25": bm25(docs), "grep": grep(docs), **(others or {})}
    return rows + [measure(name, ranker, queries, progress=progress(name)) for name, ranker in methods.items()]
