"""A rule: `when` a condition holds of a task, `then` advise, set a parameter, prefer or avoid an option, or check the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from learning_loop.errors import ConditionError
from learning_loop.features.conditions import Condition, Facts, holds, parse, show

STATUSES = ("candidate", "trial", "active", "retired", "rejected")
SHOWN = ("trial", "active")  # the statuses in which a rule has an effect
ACTIONS = ("advise", "set", "prefer", "avoid", "check")
CHECKED = (  # what a check may ask about a run
    "status", "success", "score", "accuracy", "efficiency", "reusability", "surprise", "duration_s", "cost_usd", "tokens",
    "exit_code", "tests_passed", "tests_total", "attempts", "failed_attempts", "error_type",
)  # fmt: skip
KNOWN_BEFORE = ("parameter", "dependency")  # what a condition may ask about: state and decisions come later
MOST_ADVICE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """What a rule does; at least one of these is there. `prefer` and `avoid` name options by decision point."""

    advise: str | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    prefer: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    avoid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    check: Condition | None = None

    @classmethod
    def read(cls, given: Any) -> "Then":
        """Read what stands under `then`; raise ConditionError that says what to write instead."""
        if not isinstance(given, Mapping) or not given:
            raise ConditionError(f"then must say at least one of {', '.join(ACTIONS)}, e.g. then: {{advise: pin the version}}")
        if unknown := [str(name) for name in given if name not in ACTIONS]:
            raise ConditionError(f"then cannot {unknown[0]!r}: use {', '.join(ACTIONS)}")
        advise = given.get("advise")
        if advise is not None and (not isinstance(advise, str) or not 0 < len(advise.strip()) <= MOST_ADVICE):
            raise ConditionError(f"then.advise must be a text of at most {MOST_ADVICE} characters")
        settings = given.get("set") or {}
        if not isinstance(settings, Mapping):
            raise ConditionError("then.set must be a mapping of parameters, e.g. set: {retries: 3}")
        check = given.get("check")
        return cls(
            advise=advise.strip() if advise else None,
            set={str(name): value for name, value in settings.items()},
            prefer=_options("prefer", given.get("prefer")),
            avoid=_options("avoid", given.get("avoid")),
            check=None if check is None else parse(str(check), names=CHECKED, sorts=()),
        )

    @property
    def acts(self) -> bool:
        """Whether it does more than to advise or to check."""
        return bool(self.set or self.prefer or self.avoid)

    @property
    def only_sets(self) -> bool:
        """Whether all it does is set parameters."""
        return bool(self.set) and not (self.advise or self.prefer or self.avoid)

    def plain(self) -> dict[str, Any]:
        """Return what stands under `then` in a note; reading it gives this back."""
        found: dict[str, Any] = {"advise": self.advise} if self.advise else {}
        found |= {"set": dict(self.set)} if self.set else {}
        for name, options in (("prefer", self.prefer), ("avoid", self.avoid)):
            if options:
                found[name] = {point: list(names) if len(names) > 1 else names[0] for point, names in options.items()}
        return found | ({"check": show(self.check)} if self.check is not None else {})


def _options(name: str, given: Any) -> dict[str, tuple[str, ...]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConditionError(f"then.{name} must name options by decision point, e.g. {name}: {{model: small}}")
    found = {}
    for point, options in given.items():
        several = options if isinstance(options, list | tuple) else [options]
        if not several or not all(isinstance(item, str | int | float) for item in several):
            raise ConditionError(f"then.{name}.{point} must be an option or a list of options")
        found[str(point)] = tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in several)
    return found


@dataclass(frozen=True, kw_only=True)  # without slots, for what is computed once
class Rule:
    """One rule note. `when` None holds always. `pattern` is the key of the pattern it was proposed from, if any.

    `mine` says that a person wrote or edited it, or locked it: the loop leaves it alone. One that is `pinned` is never
    withheld, one for `safety` never from a task that is critical.
    """

    id: str
    path: str
    title: str
    when: Condition | None
    then: Then
    status: str
    mine: bool
    pattern: str | None = None
    evidence: tuple[str, ...] = ()
    pinned: bool = False
    safety: bool = False

    @cached_property
    def unit(self) -> str:
        """What is shown or withheld: the rule as it reads now. One that reads otherwise has evidence of its own."""
        return f"rule:{quote(self.id)}@{blake2b(self.says.encode(), digest_size=4).hexdigest()}"

    @property
    def shown(self) -> bool:
        return self.status in SHOWN

    def matches(self, facts: Facts) -> bool:
        return self.when is None or holds(self.when, facts)

    def plain(self) -> dict[str, Any]:
        """Return what of a rule may change, as its note has it."""
        return {"when": None if self.when is None else show(self.when), "then": self.then.plain(), "status": self.status}

    @cached_property
    def says(self) -> str:
        """Return the rule as one line; two rules that say the same are one."""
        return f"when {show(self.when) if self.when is not None else 'always'}: {said(self.then)}"


def _texts(given: Any) -> tuple[str, ...]:
    several = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return tuple(str(item) for item in several)


def said(then: Then) -> str:
    """Return what a rule does as people read it."""
    parts = [then.advise] if then.advise else []
    parts += [f"set {name} to {value}" for name, value in then.set.items()]
    parts += [f"prefer {' or '.join(names)} for {point}" for point, names in then.prefer.items()]
    parts += [f"avoid {' and '.join(names)} for {point}" for point, names in then.avoid.items()]
    parts += [f"check {show(then.check)}"] if then.check is not None else []
    return "; ".join(parts)


def read_rule(*, id: str, path: str, title: str, meta: Mapping[str, Any], written_by_loop: bool) -> Rule:  # noqa: A002
    """Read a rule from a note's front matter; raise ConditionError that names the note."""
    when, status = meta.get("when"), str(meta.get("status") or "active")
    if status not in STATUSES:
        raise ConditionError(f"{path}: status {status!r} is none of {', '.join(STATUSES)}")
    try:
        return Rule(
            id=id,
            path=path,
            title=title,
            when=None if when is None else parse(str(when), sorts=KNOWN_BEFORE),
            then=Then.read(meta.get("then")),
            status=status,
            mine=not written_by_loop or bool(meta.get("locked")),
            pattern=str(meta["pattern"]) if meta.get("pattern") else None,
            evidence=_texts(meta.get("evidence")),
            pinned=bool(meta.get("pinned")),
            safety=bool(meta.get("safety")),
        )
    except ConditionError as error:
        raise ConditionError(f"{path}: {error}") from None
