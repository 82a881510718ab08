"""Policies that learn nothing: fixed shares, and rules that people wrote."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from learning_loop.errors import ConfigurationError, UsageError
from learning_loop.features.conditions import CONTEXT, SORTS, Condition, facts_of_context, holds, parse


class Static:
    """Takes options in fixed shares, by default the first one offered; an option that has no share is not taken.

    Where none of the options offered has a share, the first one is taken.
    """

    name = "static"

    def __init__(self, *, shares: Mapping[str, float] | None = None) -> None:
        self._shares = dict(shares or {})
        if any(share < 0 for share in self._shares.values()):
            raise UsageError("the policy static needs shares of 0 or more")
        self.version = f"{self.name}/{_mark(self._shares)}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        found = [self._shares.get(option, 0.0) for option in options]
        return found if sum(found) else [1.0, *(0.0 for _ in options[1:])]


class RuleBased:
    """Takes what the first rule says whose condition holds of the context and that names an option on offer; else the first.

    Rules are as the configuration has them: `{when: context.language = python, take: tester}`, where `take` may be a list of
    options, the first on offer being taken, and a rule without `when` always holds. Raises ConfigurationError.
    """

    name = "rules"

    def __init__(self, *, rules: Sequence[Mapping[str, Any]] = ()) -> None:
        self._rules = [_read(rule, number) for number, rule in enumerate(rules, 1)]
        self.version = f"{self.name}/{_mark([dict(rule) for rule in rules])}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        facts = facts_of_context(context) if self._rules else {}
        for when, take in self._rules:
            if when is None or holds(when, facts):
                for option in take:
                    if option in options:
                        return [float(item == option) for item in options]
        return [1.0, *(0.0 for _ in options[1:])]


def _read(rule: Mapping[str, Any], number: int) -> tuple[Condition | None, tuple[str, ...]]:
    if not isinstance(rule, Mapping):
        raise ConfigurationError(f"rule {number} of a policy must be a mapping with `when` and `take`")
    take, when = rule.get("take"), rule.get("when")
    several = take if isinstance(take, list | tuple) else [take]
    if unknown := set(rule) - {"when", "take"}:
        raise ConfigurationError(f"rule {number} of a policy cannot say {min(unknown)!r}: it has `when` and `take`")
    if take is None or not several:
        raise ConfigurationError(f"rule {number} of a policy says not what to take: add `take: OPTION`")
    return None if when is None else parse(str(when), sorts=(*SORTS, CONTEXT)), tuple(str(item) for item in several)


def _mark(given: Any) -> str:
    """Return what tells one setting from another."""
    return blake2b(json.dumps(given, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()
