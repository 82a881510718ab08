"""YAML as people write it here: one document, no aliases, every key with its line."""

from collections.abc import Iterator
from typing import Any

import yaml

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


MOST_DEPTH = 50


class YamlError(ValueError):
    """The text is no YAML that can be used; `line` counts from one."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def load(text: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """Return the document and the line of every key path; raise YamlError.

    Aliases are refused: a few lines of them can stand for gigabytes. So is what is nested deeply: the C loader recurses, and
    takes the process with it; and a key that is there twice, of which YAML would drop the first without a word.
    """
    try:
        if "*" in text or "&" in text or sum(map(text.count, "[{-:?")) > MOST_DEPTH:
            _check(text)
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            document = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise YamlError(str(problem), mark.line + 1 if mark else None) from None
    except (ValueError, OverflowError, RecursionError, TypeError) as error:  # e.g. a date like 2026-13-45
        if isinstance(error, YamlError):
            raise
        raise YamlError(str(error) or type(error).__name__) from None
    return document, dict(_lines(node, ()))


def _check(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent):
            raise YamlError("YAML aliases (*name) are not allowed: write the value out", line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_DEPTH:
            raise YamlError(f"it is nested more than {MOST_DEPTH} levels deep: write it flatter", line)


def _lines(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        found = set()
        for key, value in node.value:
            here = (*path, str(key.value))
            if (key.tag, here) in found:
                raise YamlError(f"{key.value!r} is there twice: keep one of them", key.start_mark.line + 1)
            found.add((key.tag, here))
            yield here, key.start_mark.line + 1
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _lines(item, path)


def dump(value: Any) -> str:
    """Return `value` as YAML that reads back equal, keys in their order, text never folded."""
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000))
