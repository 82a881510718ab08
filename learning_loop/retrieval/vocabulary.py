"""The names this workspace knows, and finding them in a question, spelling forgiven."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from learning_loop.features import error_words
from learning_loop.retrieval.words import STOP, words_of

CATEGORIES = ("component", "agent", "type", "tag")  # of names; of two that fit equally well, the earlier one is meant
LONG_WORD, SHORT_WORD, OTHER_LETTER = 8, 5, 7  # letters from which two slips are forgiven, one, and one that is another letter
LEAST_STEM = 4
ENDINGS = ("s", "es", "d", "ed", "ing", "ings", "ment", "ments")
RARE = 0.5  # a word in more than this share of all errors tells none of them apart
MOST_CACHED = 10_000
_DOUBLED = re.compile(r"(.)\1")


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

    def find(
        self, words: list[Word], *, within_names: AbstractSet[str] = frozenset(), exact: AbstractSet[str] = frozenset()
    ) -> dict[str, tuple[str, ...]]:
        """Return the names that the words mean, by category, and mark those words as used; some words name nothing.

        Whole names come first, the longest before shorter ones; then single words that stand in the name of exactly one
        component, as people shorten them. Words that are to be taken as `exact` mean a name only as they are written; words
        `within_names` do so only beside others, as in task-queue.
        """
        found: dict[str, list[str]] = {}
        held = exact | within_names
        meant = [self._parts.meant(word.text, exactly=word.text in held) for word in words]
        never = within_names | STOP
        alone = [frozenset() if word.text in never else parts for word, parts in zip(words, meant, strict=True)]
        for place, (word, after) in enumerate(pairwise(words)):
            if after.text == "component" and word.text not in self._names and (name := self._shortened(alone[place])):
                words[place : place + 2] = [Word(word.text, used=True), Word(after.text, used=True)]
                found.setdefault("component", []).append(name)
        for _, place, category, name, length in sorted(self._whole_names(meant, alone)):
            span = words[place : place + length]
            if not any(word.used for word in span):
                words[place : place + length] = [Word(word.text, used=True) for word in span]
                found.setdefault(category, []).append(name)
        if "component" not in found:
            for place, word in enumerate(words):
                if not word.used and (name := self._shortened(alone[place])):
                    words[place] = Word(word.text, used=True)
                    found.setdefault("component", []).append(name)
        return {category: tuple(dict.fromkeys(names)) for category, names in found.items()}

    def _whole_names(
        self, meant: Sequence[AbstractSet[str]], alone: Sequence[AbstractSet[str]]
    ) -> Iterator[tuple[tuple[int, int, str], int, str, str, int]]:
        """Yield (order, place, category, name, words it takes) of every name that stands in a question as a whole."""
        for place, parts in enumerate(meant):
            for part in parts:
                for rank, category, name, others in self._starting_with.get(part, ()):
                    after = meant[place + 1 : place + 1 + len(others)]
                    whole = len(after) == len(others) and all(other in at for other, at in zip(others, after, strict=True))
                    if whole and (others or part in alone[place]):
                        yield (-len(others), rank, name), place, category, name, len(others) + 1

    def find_errors(self, words: list[Word], joined: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the fingerprints of the error families that most of the unused words speak of, and mark those words.

        `joined` are pairs of words written as one, of which no more than a plural is forgiven.
        """
        hits: dict[str, set[str]] = {}
        for text in {word.text for word in words if not word.used}:
            for saying in error_words(text):
                for part in self._telling_parts.meant(saying, shortened=True):
                    for fingerprint in self._telling[part]:
                        hits.setdefault(fingerprint, set()).add(text)
        for text in joined:
            for fingerprint in self._telling.get(text) or self._telling.get(text.removesuffix("s")) or ():
                hits.setdefault(fingerprint, set()).add(text)
        if not hits:
            return ()
        most = max(len(texts) for texts in hits.values())
        chosen = tuple(fingerprint for fingerprint in self.errors if len(hits.get(fingerprint, ())) == most)
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
    def _parts(self) -> "Lexicon":
        return Lexicon(
            {part for names in self.names.values() for name in names for part in words_of(name)} | set(self._starting_with)
        )

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
    def _telling(self) -> dict[str, list[str]]:
        """The error families by each word of theirs that not half of all families have."""
        families: dict[str, list[str]] = {}
        for fingerprint, text in self.errors.items():
            for part in dict.fromkeys(_descriptive(text)):
                families.setdefault(part, []).append(fingerprint)
        most = max(1.0, RARE * len(self.errors))
        return {part: fingerprints for part, fingerprints in families.items() if len(fingerprints) <= most}

    @cached_property
    def _telling_parts(self) -> "Lexicon":
        return Lexicon(self._telling)


def _descriptive(text: str) -> Iterator[str]:
    for word in words_of(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)):
        if len(word) > 2 and word not in STOP and word not in ("error", "exception"):
            yield word


class Lexicon:
    """Words that can be meant, found by what people write: with another ending, or a slip of the fingers.

    No slip changes the first letter. What a word means is kept, for questions speak of the same things.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted(set(words))
        self._all = frozenset(self._words)
        self._alike: dict[tuple[str, int], list[str]] = {}
        for word in self._words:
            self._alike.setdefault((word[0], len(word)), []).append(word)
        self._known: dict[tuple[str, bool], frozenset[str]] = {}

    def meant(self, word: str, *, exactly: bool = False, shortened: bool = False) -> frozenset[str]:
        """Return the words that this one may mean: itself alone, where `exactly`.

        Where it may be `shortened`, the start of a word is enough, as in cert for certificate.
        """
        if exactly:
            return frozenset({word}) & self._all
        if (found := self._known.get((word, shortened))) is None:
            if len(self._known) >= MOST_CACHED:
                self._known.clear()
            found = self._known[word, shortened] = frozenset(self._meant(word, shortened=shortened))
        return found

    def _meant(self, word: str, *, shortened: bool) -> Iterator[str]:
        if word in self._all:
            yield word
        for ending in ENDINGS:
            stem = word.removesuffix(ending)
            if stem != word and len(stem) >= LEAST_STEM and stem in self._all:
                yield stem
        if word.endswith("ies") and f"{word[:-3]}y" in self._all:
            yield f"{word[:-3]}y"
        if len(word) >= LEAST_STEM:
            for name in self._words[bisect_left(self._words, word) :]:
                if not name.startswith(word):
                    break
                if shortened or len(name) - len(word) <= 1:
                    yield name
        if not word.isdigit():
            yield from self._slipped(word)

    def _slipped(self, word: str) -> Iterator[str]:
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract

        for length in range(len(word) - 2, len(word) + 3):
            shorter = min(length, len(word))
            slips = 2 if shorter >= LONG_WORD else 1 if shorter >= SHORT_WORD - 1 else 0
            near = self._alike.get((word[:1], length), ())
            if not near or not slips or slips < abs(length - len(word)):
                continue
            for name, distance, _ in extract(word, near, scorer=OSA.distance, score_cutoff=slips, limit=None):
                other = distance == 1 and length == len(word) and sorted(name) != sorted(word)
                doubled = _DOUBLED.sub(r"\1", name) == _DOUBLED.sub(r"\1", word)
                if not name.isdigit() and (length >= OTHER_LETTER or not other) and (shorter >= SHORT_WORD or doubled):
                    yield name
