"""A strategy as data: which work it is for, and how that is taken apart, given to agents, tried again and handed over."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from learning_loop.errors import ConditionError
from learning_loop.features.conditions import CONTEXT, PLAIN_NAMES, Condition, Facts, facts_of_context, holds, names_of, parse
from learning_loop.strategies.context import NAMES

POINT = "strategy"  # the decision point at which a version is chosen
DECOMPOSE, SELECT_AGENT, PARALLELIZE = "loop:decompose", "loop:select_agent", "loop:parallelize"
RETRY, ESCALATE = "loop:retry", "loop:escalate"
PARTS = (DECOMPOSE, SELECT_AGENT, PARALLELIZE, RETRY, ESCALATE)  # the decision points of what a version then does
APPROACHES = ("single", "parallel", "hierarchical")
ANY = "any"
TROUBLE = ("attempts", "elapsed_s", "cost_usd", "error")  # what an escalation may ask about, beside the context

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _condition(text: str | None, names: Sequence[str] = PLAIN_NAMES) -> str | None:
    """Return a condition as it was written; raise ValueError where it cannot be read."""
    if text is not None:
        try:
            parse(text, names=names, sorts=(CONTEXT,))
        except ConditionError as error:
            raise ValueError(str(error)) from None
    return text


class AgentRule(_Strict):
    """Whom to take where a condition holds, the first on offer; without `when` it always holds."""

    when: str | None = None
    take: tuple[str, ...]

    @field_validator("take", mode="before")
    @classmethod
    def _several(cls, take: Any) -> Any:
        return (take,) if isinstance(take, str) else take

    @field_validator("when")
    @classmethod
    def _reads(cls, when: str | None) -> str | None:
        return _condition(when)


class Parallelism(_Strict):
    """How many parts are worked on at a time."""

    max_parallel: Annotated[int, Field(ge=1, le=256)] = 1


class RetryPolicy(_Strict):
    """How often idempotent work is tried, and how long is waited before that: longer each time, with chance in it.

    An attempt that takes longer than `timeout_s` has failed. With `other_agent` each attempt is the next agent's.
    """

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1
    wait_s: Seconds = 0.2
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    longest_wait_s: Seconds = 10.0
    timeout_s: Annotated[float, Field(gt=0, le=604_800)] | None = None
    other_agent: bool = False


class EscalationRule(_Strict):
    """When a person is asked: where a condition on the context and on what went wrong holds after an attempt that failed.

    Where it says `stop`, nothing is tried any more after that.
    """

    when: str
    stop: bool = True

    @field_validator("when")
    @classmethod
    def _reads(cls, when: str) -> str:
        return str(_condition(when, (*PLAIN_NAMES, *TROUBLE)))


class Strategy(_Strict):
    """One strategy. `context_rules` must all hold of the context it is for; `task_type` is a type of task, or any.

    Where several apply, the one with the lowest `rank` comes first, and of these the one that is for less.
    """

    slug: Name
    name: Annotated[str, Field(min_length=1, max_length=200)]
    task_type: Annotated[str, Field(min_length=1, max_length=100)] = ANY
    context_rules: tuple[str, ...] = ()
    decomposition_approach: Literal["single", "parallel", "hierarchical"] = "single"
    agent_selection_rules: tuple[AgentRule, ...] = ()
    parallelism_config: Parallelism = Parallelism()
    retry_policy: RetryPolicy = RetryPolicy()
    escalation_rules: tuple[EscalationRule, ...] = ()
    rank: Annotated[int, Field(ge=0, le=1_000)] = 50
    reasoning: Annotated[str, Field(max_length=4_000)] = ""

    @field_validator("context_rules", mode="before")
    @classmethod
    def _several(cls, rules: Any) -> Any:
        return (rules,) if isinstance(rules, str) else rules

    @field_validator("context_rules")
    @classmethod
    def _read(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for rule in rules:
            _condition(rule)
        return rules

    @property
    def says(self) -> dict[str, Any]:
        """What it does and for which work: two that say the same are one version."""
        return self.model_dump(mode="json", exclude={"name", "rank", "reasoning"})

    @property
    def does(self) -> dict[str, Any]:
        """What it does, whatever it is for."""
        return {name: value for name, value in self.says.items() if name not in ("slug", "task_type", "context_rules")}

    @property
    def asks(self) -> list[str]:
        """The features of a context that decide whether it is for work, and who does it."""
        rules = [rule.when for rule in self.agent_selection_rules if rule.when is not None]
        return [*self.limits, *(name for rule in rules for name in names_of(_parsed(rule)))]

    @property
    def limits(self) -> list[str]:
        """The features of a context that decide whether it is for work."""
        return [name for rule in self.context_rules for name in names_of(_parsed(rule))]

    @property
    def strange(self) -> list[str]:
        """What it asks about that no context has."""
        known = {"type", "component", "project", "tag", *(f"{CONTEXT}.{name}" for name in NAMES)}
        return [name for name in self.asks if name not in known]

    def is_for(self, facts: Facts) -> bool:
        """Say whether it is for work of such a context, given as `facts_of_context` does."""
        typed = self.task_type in (ANY, facts.get("type"), facts.get(f"{CONTEXT}.issue_type"))
        return typed and all(holds(_parsed(rule), facts) for rule in self.context_rules)

    def agents(self, facts: Facts, offered: Sequence[str]) -> tuple[str, ...]:
        """Return the agents on offer in the order they are to be taken; as they were offered where no rule holds."""
        for rule in self.agent_selection_rules:
            if rule.when is None or holds(_parsed(rule.when), facts):
                named = dict.fromkeys(agent for agent in rule.take if agent in offered)
                if named:
                    return (*named, *(agent for agent in offered if agent not in named))
        return tuple(offered)

    def escalates(self, facts: Facts) -> EscalationRule | None:
        """Return the first rule by which a person is asked; `facts` are those of the context, and of `TROUBLE`."""
        return next((rule for rule in self.escalation_rules if holds(_parsed(rule.when), facts)), None)


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> Condition:
    """Return a condition that was found to be one; what it may ask about was looked at when it was read."""
    return parse(text, names=(*PLAIN_NAMES, *TROUBLE), sorts=(CONTEXT,))


def version_of(strategy: Strategy) -> str:
    """Return what a version of a strategy is called: the strategy, and what tells this version of it from others."""
    mark = blake2b(json.dumps(strategy.says, sort_keys=True).encode(), digest_size=4).hexdigest()
    return f"{strategy.slug}@{mark}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a strategy that may be chosen."""

    id: str
    strategy: Strategy

    @classmethod
    def of(cls, strategy: Strategy) -> Self:
        return cls(id=version_of(strategy), strategy=strategy)


@dataclass(frozen=True)
class Catalogue:
    """The versions there are to choose from, one of each strategy, in the order in which rules take them."""

    versions: tuple[Version, ...] = ()
    problems: tuple[str, ...] = ()

    def for_(self, facts: Facts) -> list[Version]:
        return applies(self.versions, facts)

    @classmethod
    def of(cls, versions: Iterable[Version], problems: Sequence[str] = ()) -> Self:
        def order(version: Version) -> tuple[int, int, str]:
            strategy = version.strategy
            narrow = (strategy.task_type != ANY) + len(strategy.context_rules)
            return strategy.rank, -narrow, strategy.slug

        return cls(tuple(sorted(versions, key=order)), tuple(problems))


def applies(versions: Iterable[Version], facts: Facts) -> list[Version]:
    """Return those of the versions that are for work of such a context, in their order."""
    return [version for version in versions if version.strategy.is_for(facts)]


def facts_with(context: Mapping[str, Any], **trouble: Any) -> Facts:
    """Return a context as conditions ask about it, with what went wrong."""
    return facts_of_context(context) | {name: str(value) for name, value in trouble.items() if value is not None}
