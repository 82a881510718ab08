"""A deterministic reading of a question: which outcome, which kind of note, how recent, about what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from learning_loop.retrieval.words import terms

_OUTCOMES = {
    "failed": r"fail\w*|broke\w*|break\w*|error\w*|wrong|crash\w*|problem\w*|issue\w*|bug\w*",
    "succeeded": r"work(?:ed|s|ing)?|succe\w+|passed|good|best",
}
_KINDS = {
    "pattern": r"patterns?",
    "template": r"templates?",
    "rule": r"rules?",
    "decision": r"decisions?",
    "assumption": r"assum\w+",
    "gotcha": r"gotchas?|pitfalls?",
    "reflection": r"reflections?|root causes?",
    "lesson": r"lessons?|learnings?|learned",
}
_LAST = re.compile(r"\blast (?:time|run|attempt|execution)\b|\bmost recent\w*\b|\blatest\b", re.IGNORECASE)
_SIMILAR = re.compile(r"\bsimilar\b.*?\bto\b\s+(?P<type>[\w.-]+)(?:\s+with\s+(?P<component>[\w.-]+))?", re.IGNORECASE)
_FRAME = {
    "similar",
    "component",
    "components",
    "task",
    "tasks",
    "common",
    "specific",
    "latest",
    "recent",
    "time",
}  # of questions
_ALL = re.compile(r"\b(?:show|list)\b.*\ball\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a question asks; `terms` are what is searched for, the rest narrows."""

    text: str
    terms: tuple[str, ...]
    outcome: str | None = None
    kinds: tuple[str, ...] = ()
    last: bool = False
    everything: bool = False
    type: str | None = None
    component: str | None = None
    spoken: frozenset[str] = frozenset()  # words that were read as an outcome, a kind or "similar": not searched for
    named: frozenset[str] = frozenset()  # words that name the type or component


def read_question(text: str, names: Mapping[str, Sequence[str]]) -> Question:
    """Read a question in plain words; `names` are the task types, components and agents this workspace knows."""
    lowered = text[:10_000].lower()
    outcomes = [name for name, pattern in _OUTCOMES.items() if re.search(rf"\b(?:{pattern})\b", lowered)]
    kinds = tuple(name for name, pattern in _KINDS.items() if re.search(rf"\b(?:{pattern})\b", lowered))
    words = set(terms(text))
    similar = _SIMILAR.search(text)
    task_type = _known(similar["type"] if similar else None, words, names.get("type", ()))
    component = _known(similar["component"] if similar else None, words, names.get("component", ()))
    read = [pattern for name, pattern in _OUTCOMES.items() if name in outcomes] + [_KINDS[name] for name in kinds]
    spoken = {word for word in words for pattern in read if re.fullmatch(pattern, word)}
    return Question(
        text=text,
        terms=tuple(terms(text)),
        outcome=outcomes[0] if len(outcomes) == 1 else None,
        kinds=kinds,
        last=bool(_LAST.search(text)),
        everything=bool(_ALL.search(text)),
        type=task_type,
        component=component,
        spoken=frozenset(spoken | _FRAME),
        named=frozenset(terms(f"{task_type or ''} {component or ''}")),
    )


def _known(given: str | None, words: set[str], names: Sequence[str]) -> str | None:
    """Return the known name that was given, or whose words the question all uses, the longest first."""
    fitting = [name for name in names if name == given] or [
        name for name in names if (parts := set(terms(name))) and parts <= words
    ]
    return max(fitting, key=len, default=None)
