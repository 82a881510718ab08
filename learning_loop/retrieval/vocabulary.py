"""The names this workspace knows, and finding them in a question, spelling forgiven."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

from learning_loop.features import error_words
from learning_loop.retrieval.words import STOP, words_of

CATEGORIES = ("component", "agent", "type", "tag")  # of names; of two that fit equally well, the earlier one is meant
LONG_WORD, SHORT_WORD = 8, 5  # letters from which two slips are forgiven, and one
LEAST_STEM = 4
ENDINGS = 5  # letters by which a word may be longer than the name it means: deploy, deployments
RARE = 0.5  # a word in more than this share of all errors tells none of them apart


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a question; `used` once something has been read from it."""

    text: str
    used: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """Components, agents, task types and tags by category; `errors` has the text of each error family by fingerprint."""

    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    def find(self, words: list[Word], *, apart_from: AbstractSet[str] = frozenset()) -> dict[str, tuple[str, ...]]:
        """Return the names that the words mean, by category, and mark those words as used; some words name nothing.

        Whole names come first, the longest before shorter ones; then single words that stand in the name of exactly one
        component, as people shorten them.
        """
        found: dict[str, list[str]] = {}
        for place, (word, after) in enumerate(pairwise(words)):
            if after.text == "component" and word.text not in self._names and (name := self._shortened(word.text)):
                words[place : place + 2] = [Word(word.text, used=True), Word(after.text, used=True)]
                found.setdefault("component", []).append(name)
        for category, name, parts in self._whole:
            for place in range(len(words) - len(parts) + 1):
                span = words[place : place + len(parts)]
                if not any(word.used or word.text in apart_from for word in span) and all(
                    same(word.text, part) for word, part in zip(span, parts, strict=True)
                ):
                    words[place : place + len(parts)] = [Word(word.text, used=True) for word in span]
                    found.setdefault(category, []).append(name)
        if "component" not in found:
            for place, word in enumerate(words):
                if not word.used and word.text not in STOP | apart_from and (name := self._shortened(word.text)):
                    words[place] = Word(word.text, used=True)
                    found.setdefault("component", []).append(name)
        return {category: tuple(dict.fromkeys(names)) for category, names in found.items()}

    def find_errors(self, words: list[Word], joined: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the fingerprints of the error families that most of the unused words speak of, and mark those words.

        `joined` are pairs of words written as one, of which no more than a plural is forgiven.
        """
        hits: dict[str, set[str]] = {}
        for fingerprint, parts in self._telling.items():
            for text in [word.text for word in words if not word.used]:
                if any(same(saying, part, shortened=True) for saying in error_words(text) for part in parts):
                    hits.setdefault(fingerprint, set()).add(text)
            for text in joined:
                if text.removesuffix("s") in parts or text in parts:
                    hits.setdefault(fingerprint, set()).add(text)
        if not hits:
            return ()
        most = max(len(texts) for texts in hits.values())
        chosen = tuple(fingerprint for fingerprint, texts in hits.items() if len(texts) == most)
        read = {text for fingerprint in chosen for text in hits[fingerprint]}
        words[:] = [Word(word.text, used=word.used or word.text in read) for word in words]
        return chosen

    @cached_property
    def _whole(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Every name with its words, and written as one word; the longest first."""
        found = []
        for rank, category in enumerate(CATEGORIES):
            for name in self.names.get(category, ()):
                parts = tuple(words_of(name))
                if parts:
                    found.append((len(parts), rank, category, name, parts))
                if len(parts) > 1:
                    found.append((len(parts), rank, category, name, ("".join(parts),)))
        found.sort(key=lambda item: (-item[0], item[1], item[3]))
        return [(category, name, parts) for _, _, category, name, parts in found]

    def _shortened(self, word: str) -> str | None:
        fitting = {name for name, parts in self._parts.items() if any(same(word, part) for part in parts)}
        return fitting.pop() if len(fitting) == 1 else None

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.names.get("component", ()))

    @cached_property
    def _parts(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(words_of(name)) for name in self.names.get("component", ()) if len(words_of(name)) > 1}

    @cached_property
    def _telling(self) -> dict[str, frozenset[str]]:
        """The words of each error family that not half of all families have."""
        parts = {fingerprint: frozenset(_descriptive(text)) for fingerprint, text in self.errors.items()}
        counts = Counter(part for words in parts.values() for part in words)
        most = max(1.0, RARE * len(parts))
        return {name: frozenset(part for part in words if counts[part] <= most) for name, words in parts.items()}


def _descriptive(text: str) -> Iterator[str]:
    for word in words_of(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)):
        if len(word) > 2 and word not in STOP and word not in ("error", "exception"):
            yield word


@lru_cache(maxsize=50_000)
def same(word: str, name: str, *, shortened: bool = False) -> bool:
    """Say whether a word means a name of one word: the same but for an ending, or for a slip of the fingers.

    Where it may be `shortened`, the start of the name is enough, as in cert for certificate.
    """
    if word == name:
        return True
    if len(name) >= LEAST_STEM and word.startswith(name) and len(word) - len(name) <= ENDINGS:
        return True
    if len(word) >= LEAST_STEM and name.startswith(word) and (shortened or len(name) - len(word) <= 1):
        return True
    if word[:1] != name[:1] or word.isdigit() or name.isdigit() or abs(len(word) - len(name)) > 2:
        return False
    from rapidfuzz.distance import OSA

    length = min(len(word), len(name))
    slips = 2 if length >= LONG_WORD else 1 if max(len(word), len(name)) >= SHORT_WORD else 0
    return bool(slips) and OSA.distance(word, name, score_cutoff=slips) <= slips


def as_words(text: str) -> list[Word]:
    return [Word(word) for word in words_of(text)]


def unused(words: Iterable[Word]) -> list[str]:
    return [word.text for word in words if not word.used]
