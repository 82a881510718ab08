"""Conditions over the features of a task: a closed small grammar, parsed, printed, and held against facts.

    condition  =  all ("or" all)*
    all        =  one ("and" one)*
    one        =  "not" one  |  "(" condition ")"  |  test
    test       =  name ("=" | "!=" | "<" | "<=" | ">" | ">=") value  |  name "in" "(" value ("," value)* ")"

Names are `type`, `component`, `project`, `agent`, `tag`, `parameter.NAME`, `dependency.NAME`, `decision.POINT`, `state.NAME`.
Names and values are bare words, or JSON strings in double quotes. Printing what was parsed and parsing it again is an identity.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learning_loop.errors import ConditionError

Facts = Mapping[str, str | tuple[str, ...]]

PLAIN_NAMES = ("type", "component", "project", "agent", "tag")
SORTS = ("parameter", "dependency", "decision", "state")
CONTEXT = "context"  # the sort of name that conditions on a decision's context ask by: `context.language = python`
OPERATORS = ("=", "!=", "<=", ">=", "<", ">")
MOST_LENGTH, MOST_DEPTH = 4_000, 40
_KEYWORDS = ("and", "or", "not", "in")
_BARE = r"[^\s\"'(),=!<>`]+"
_TOKEN = re.compile(rf"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<op><=|>=|!=|=|<|>)|(?P<mark>[(),])|(?P<word>{_BARE}))")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One feature against one value, or for `in` against several."""

    name: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple["Condition", ...]


Condition = Comparison | Not | AllOf | AnyOf


def all_of(parts: Sequence[Condition]) -> Condition:
    """Return what holds where every part does; raise ConditionError where there is none."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, AllOf) else (part,))]
    if not flat:
        raise ConditionError("a condition needs at least one test, e.g. type = build")
    return flat[0] if len(flat) == 1 else AllOf(tuple(flat))


def any_of(parts: Sequence[Condition]) -> Condition:
    """Return what holds where any part does; raise ConditionError where there is none."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, AnyOf) else (part,))]
    if not flat:
        raise ConditionError("a condition needs at least one test, e.g. type = build")
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


# -------------------------------------------------------------------------------------------------------------- reading


def parse(text: str, *, names: Sequence[str] = PLAIN_NAMES, sorts: Sequence[str] = SORTS) -> Condition:
    """Return the condition a text stands for; raise ConditionError that says where it cannot be read.

    It may ask about `names`, by default those of a task, and about what belongs to one of the `sorts`.
    """
    if len(text) > MOST_LENGTH:
        raise ConditionError(f"the condition is longer than {MOST_LENGTH} characters: make it two rules")
    return _Parser(text, names, sorts).whole()


class _Parser:
    def __init__(self, text: str, names: Sequence[str], sorts: Sequence[str]) -> None:
        self._text, self._names, self._sorts = text, names, sorts
        self._tokens: list[tuple[str, str, int]] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._wrong(place, "this cannot be read: put texts with spaces in double quotes")
            kind = found.lastgroup or "word"
            self._tokens.append((kind, found[kind], found.start(kind)))
            place = found.end()
        self._at = 0

    def whole(self) -> Condition:
        found = self._any(0)
        if self._at < len(self._tokens):
            raise self._wrong(self._tokens[self._at][2], "`and` or `or` is missing before this")
        return found

    def _any(self, depth: int) -> Condition:
        if depth > MOST_DEPTH:
            raise ConditionError("the condition is nested too deeply: write it flatter")
        parts = [self._all(depth)]
        while self._keyword("or"):
            parts.append(self._all(depth))
        return any_of(parts)

    def _all(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._keyword("and"):
            parts.append(self._one(depth))
        return all_of(parts)

    def _one(self, depth: int) -> Condition:
        if depth > MOST_DEPTH:
            raise ConditionError("the condition is nested too deeply: write it flatter")
        if self._keyword("not"):
            return Not(self._one(depth + 1))
        if self._mark("("):
            found = self._any(depth + 1)
            self._expect(")")
            return found
        return self._test()

    def _test(self) -> Comparison:
        place = self._place()
        name = self._value("a name such as component or parameter.size")
        self._check(name, place)
        if self._keyword("in"):
            self._expect("(")
            values = [self._value("a value")]
            while self._mark(","):
                values.append(self._value("a value"))
            self._expect(")")
            return Comparison(name, "in", tuple(values))
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "op":
            operator = self._tokens[self._at][1]
            self._at += 1
            return Comparison(name, operator, (self._value("a value"),))
        raise self._wrong(self._place(), f"after {name} one of {' '.join(OPERATORS)} in (...) is expected")

    def _check(self, name: str, place: int) -> None:
        sort, _, rest = name.partition(".")
        if name not in self._names and not (sort in self._sorts and rest):
            known = ", ".join([*self._names, *(f"{sort}.NAME" for sort in self._sorts)])
            what = "not known of a task" if self._names == PLAIN_NAMES else "no name here"
            raise self._wrong(place, f"{name!r} is {what}: use one of {known}")

    def _place(self) -> int:
        return self._tokens[self._at][2] if self._at < len(self._tokens) else len(self._text)

    def _value(self, wanted: str) -> str:
        kind, token, place = self._tokens[self._at] if self._at < len(self._tokens) else ("end", "", len(self._text))
        if kind not in ("word", "text") or (kind == "word" and token in _KEYWORDS):
            raise self._wrong(place, f"{wanted} is expected here")
        self._at += 1
        if kind == "word":
            return token
        try:
            return str(json.loads(token))
        except ValueError:
            raise self._wrong(place, "this text in quotes cannot be read: escape as in JSON") from None

    def _keyword(self, word: str) -> bool:
        return self._take("word", word)

    def _mark(self, mark: str) -> bool:
        return self._take("mark", mark)

    def _take(self, kind: str, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][:2] == (kind, token):
            self._at += 1
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self._mark(mark):
            raise self._wrong(self._place(), f"{mark!r} is expected here")

    def _wrong(self, place: int, problem: str) -> ConditionError:
        near = self._text[place : place + 30].strip()
        where = f"at character {place + 1} ({near!r})" if near else "at its end"
        return ConditionError(f"the condition {self._text!r} cannot be used: {where}, {problem}")


# ------------------------------------------------------------------------------------------------------------- printing


def show(condition: Condition) -> str:
    """Return the text of a condition; parsing it gives the condition back."""
    if isinstance(condition, Comparison):
        name, values = quoted(condition.name), [quoted(value) for value in condition.values]
        return f"{name} in ({', '.join(values)})" if condition.operator == "in" else f"{name} {condition.operator} {values[0]}"
    if isinstance(condition, Not):
        inner = show(condition.part)
        return f"not {inner}" if isinstance(condition.part, Comparison | Not) else f"not ({inner})"
    word = " and " if isinstance(condition, AllOf) else " or "
    return word.join(f"({show(part)})" if isinstance(part, AnyOf) else show(part) for part in condition.parts)


def quoted(text: str) -> str:
    """Return a name or value as conditions write it: bare where it can be."""
    bare = re.fullmatch(_BARE, text) and text not in _KEYWORDS
    return text if bare else json.dumps(text, ensure_ascii=False)


# -------------------------------------------------------------------------------------------------------------- holding


def holds(condition: Condition, facts: Facts) -> bool:
    """Say whether a condition holds; a feature that is not there equals nothing and is neither above nor below."""
    if isinstance(condition, Comparison):
        return _test(condition, facts.get(condition.name))
    if isinstance(condition, Not):
        return not holds(condition.part, facts)
    chosen = all if isinstance(condition, AllOf) else any
    return chosen(holds(part, facts) for part in condition.parts)


def _test(test: Comparison, found: str | tuple[str, ...] | None) -> bool:
    several = found if isinstance(found, tuple) else () if found is None else (found,)
    if test.operator == "in":
        return any(value in test.values for value in several)
    wanted = test.values[0]
    if test.operator == "=":
        return wanted in several
    if test.operator == "!=":
        return wanted not in several
    limit = number(wanted)
    return limit is not None and any(_compare(number(value), test.operator, limit) for value in several)


def _compare(value: float | None, operator: str, limit: float) -> bool:
    if value is None:
        return False
    return {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[operator]


def number(text: str) -> float | None:
    """Return what a text counts as a number; None for any other text, infinities and NaN included."""
    if not re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", text):
        return None
    found = float(text)
    return found if abs(found) != float("inf") else None


def parts_of(condition: Condition | None) -> tuple[Condition, ...]:
    """Return the conditions that must all hold; none where there is no condition."""
    return () if condition is None else condition.parts if isinstance(condition, AllOf) else (condition,)


def names_of(condition: Condition) -> list[str]:
    """Return the names of the features that a condition asks about."""
    if isinstance(condition, Comparison):
        return [condition.name]
    parts = (condition.part,) if isinstance(condition, Not) else condition.parts
    return [name for part in parts for name in names_of(part)]


def facts_of(features: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
    """Return features, named as `parameter:size`, as conditions name them: `parameter.size`; tags become one tuple."""
    found: dict[str, str | tuple[str, ...]] = {}
    tags = []
    for name, value in features.items():
        sort, _, rest = name.partition(":")
        if sort == "tag" and rest:
            tags.append(rest)
        else:
            found[f"{sort}.{rest}" if rest else sort] = value
    if tags:
        found["tag"] = tuple(sorted(tags))
    return found


def facts_of_context(context: Mapping[str, Any]) -> dict[str, str | tuple[str, ...]]:
    """Return a decision's context as conditions ask about it: `context.NAME`, `type` and the like, labels as `tag`."""
    found: dict[str, str | tuple[str, ...]] = {}
    for name, value in context.items():
        if value is not None:
            told = tuple(map(_told, value)) if isinstance(value, list | tuple) else _told(value)
            found[f"{CONTEXT}.{name}"] = found[name] = told
    return found | ({"tag": found["labels"]} if "labels" in found else {})


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_of(feature: str, value: str) -> Comparison:
    """Return the test that one feature has one value."""
    sort, _, rest = feature.partition(":")
    return (
        Comparison("tag", "=", (rest,))
        if sort == "tag" and rest
        else Comparison(f"{sort}.{rest}" if rest else sort, "=", (value,))
    )
