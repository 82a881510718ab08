"""The names this workspace knows, and finding them in a question, spelling forgiven."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
        meant = [set() if word.text in apart_from else self._parts_meant(word.text) for word in words]
        for place, (word, after) in enumerate(pairwise(words)):
            if after.text == "component" and word.text not in self._names and (name := self._shortened(meant[place])):
                words[place : place + 2] = [Word(word.text, used=True), Word(after.text, used=True)]
                found.setdefault("component", []).append(name)
        for _, place, category, name, length in sorted(self._whole_names(meant)):
            span = words[place : place + length]
            if not any(word.used for word in span):
                words[place : place + length] = [Word(word.text, used=True) for word in span]
                found.setdefault(category, []).append(name)
        if "component" not in found:
            for place, word in enumerate(words):
                if not word.used and word.text not in STOP and (name := self._shortened(meant[place])):
                    words[place] = Word(word.text, used=True)
                    found.setdefault("component", []).append(name)
        return {category: tuple(dict.fromkeys(names)) for category, names in found.items()}

    def _whole_names(self, meant: Sequence[AbstractSet[str]]) -> Iterator[tuple[tuple[int, int, str], int, str, str, int]]:
        """Yield (order, place, category, name, words it takes) of every name that stands in a question as a whole."""
        for place, parts in enumerate(meant):
            for part in parts:
                for rank, category, name, others in self._starting_with.get(part, ()):
                    if all(other in at for other, at in zip(others, meant[place + 1 :], strict=False)) and len(
                        meant
                    ) > place + len(others):
                        yield (-len(others), rank, name), place, category, name, len(others) + 1

    def _parts_meant(self, word: str) -> set[str]:
        """Return the parts of names that a word of a question may mean."""
        return {part for part in self._parts.get(word[:1], ()) if same(word, part)}

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
    def _starting_with(self) -> dict[str, list[tuple[int, str, str, tuple[str, ...]]]]:
        """Every name by its first word, with the words after it; and once more as one word."""
        found: dict[str, list[tuple[int, str, str, tuple[str, ...]]]] = {}
        for rank, category in enumerate(CATEGORIES):
            for name in self.names.get(category, ()):
                first, *others = words_of(name) or [""]
                found.setdefault(first, []).append((rank, category, name, tuple(others)))
                if others:
                    found.setdefault("".join([first, *others]), []).append((rank, category, name, ()))
        found.pop("", None)
        return found

    @cached_property
    def _parts(self) -> dict[str, list[str]]:
        """All words of names by their first letter, which no slip of the fingers changes."""
        parts = {part for names in self.names.values() for name in names for part in words_of(name)}
        found: dict[str, list[str]] = {}
        for part in sorted(parts | set(self._starting_with)):
            found.setdefault(part[0], []).append(part)
        return found

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.names.get("component", ()))

    def _shortened(self, meant: AbstractSet[str]) -> str | None:
        """Return the one component of several words that has one of these in its name; None for none or several."""
        fitting = {name for part in meant for name in self._with_part.get(part, ())}
        return fitting.pop() if len(fitting) == 1 else None

    @cached_property
    def _with_part(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.names.get("component", ()):
            parts = words_of(name)
            for part in parts if len(parts) > 1 else ():
                found.setdefault(part, []).append(name)
        return found

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
    if word.endswith("ies") and name.endswith("y") and word[:-3] == name[:-1]:
        return True
    if len(word) >= LEAST_STEM and name.startswith(word) and (shortened or len(name) - len(word) <= 1):
        return True
    if word[:1] != name[:1] or word.isdigit() or name.isdigit() or abs(len(word) - len(name)) > 2:
        return False
    from rapidfuzz.distance import OSA

    length = min(len(word), len(name))
    slips = 2 if length >= LONG_WORD else 1 if max(len(word), len(name)) >= SHORT_WORD else 0
    return bool(slips) and OSA.distance(word, name, score_cutoff=slips) <= slips
