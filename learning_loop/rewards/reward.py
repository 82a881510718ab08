"""A reward as data: terms over what is known of a run, each worth points; kept apart, added up, and clipped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Value = bool | float | str


def _number(value: Any) -> Any:
    """Refuse truth values where points are meant: `each: yes` is no number."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004  (pydantic takes a ValueError)
    return value


Points = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
USES = "uses"  # the calls of models, which `scope` counts


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a model, as far as a reward asks."""

    model: str
    success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one run: `values` by the names terms ask for, the calls of models, and when it ended."""

    values: Mapping[str, Value | None]
    uses: Sequence[Use] = ()
    ended_at: datetime | None = None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scope(_Strict):
    """Which calls of models count: those whose model's name holds one of these texts, and that succeeded or failed."""

    model: tuple[str, ...] = ()
    success: bool | None = None

    def count(self, uses: Sequence[Use]) -> int:
        return sum(
            (not self.model or any(part in use.model for part in self.model))
            and (self.success is None or use.success == self.success)
            for use in uses
        )


class Term(_Strict):
    """What one thing known of a run is worth.

    A value that `map` names has those points. Else it has those of the lowest limit it is `below` or the highest it is
    `above`, or `otherwise`. Else the value times `weight`; or, of a count, `each` for those beyond the first `free`, of which
    `cap` at most count. What is unknown counts as `missing`, or leaves the whole reward unknown; until `delay_days` after the
    run's end it may still come, and the reward waits for it.
    """

    of: str
    map: dict[str, Points] = Field(default_factory=dict)
    below: dict[Points, Points] = Field(default_factory=dict)
    above: dict[Points, Points] = Field(default_factory=dict)
    otherwise: Points = 0.0
    weight: Points | None = None
    each: Points | None = None
    free: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    cap: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    scope: Scope | None = None
    delay_days: Annotated[float, Field(ge=0, le=3_650)] = 0.0
    missing: Points | Literal["unknown"] = 0.0

    @field_validator("map", mode="before")
    @classmethod
    def _as_texts(cls, given: Any) -> Any:
        return {_text(value): points for value, points in given.items()} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.map or self.below or self.above or self.weight is not None or self.each is not None):
            raise ValueError("says not what its value is worth: give it map, below, above, weight or each")
        if self.weight is not None and self.each is not None:
            raise ValueError("cannot have both weight and each: weight is per unit of a measure, each per one of a count")
        if (self.of == USES) != (self.scope is not None):
            raise ValueError(f"needs `scope` where it is `of: {USES}`, and only there")
        if self.each is None and (self.free or self.cap is not None):
            raise ValueError("has free or cap, which only a term with each can have")
        return self

    def points(self, facts: Facts) -> float | None:
        """Return what it is worth; None where that is unknown."""
        value = self.scope.count(facts.uses) if self.scope is not None else facts.values.get(self.of)
        if value is None:
            return None
        if (text := _text(value)) in self.map:
            return self.map[text]
        if isinstance(value, str):
            return self.otherwise
        passed = [points for limit, points in sorted(self.below.items()) if value < limit]
        passed += [points for limit, points in sorted(self.above.items(), reverse=True) if value > limit]
        if passed:
            return passed[0]
        if self.weight is not None:
            return self.weight * value
        if self.each is not None:
            counted = max(value - self.free, 0.0)
            return self.each * (counted if self.cap is None else min(counted, self.cap))
        return self.otherwise


class Reward(_Strict):
    """Terms by name, added up and clipped. `name` is the file's; `description` says what it is for.

    `main` is the term that is meant: where another one makes most of a gain, the reward is being gamed.
    """

    name: str
    description: str = ""
    main: str = "success"
    clip: tuple[Points, Points] | None = None
    terms: dict[str, Term] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip: {list(self.clip)} must be the lowest and then the highest reward")
        if self.main not in self.terms:
            raise ValueError(f"main: {self.main!r} is none of its terms: {', '.join(self.terms)}")
        return self

    @property
    def version(self) -> str:
        """What tells this reward from another of its name: what its terms say."""
        said = self.model_dump_json(exclude={"description"})
        return f"{self.name}@{blake2b(said.encode(), digest_size=4).hexdigest()}"

    def worth(self, facts: Facts, *, now: datetime) -> "Worth":
        """Return what a run is worth, by all that is known of it now."""
        points: dict[str, float | None] = {}
        unknown = []
        known = mature = True
        for name, term in self.terms.items():
            found = term.points(facts)
            if found is None:
                unknown.append(name)
                waiting = facts.ended_at is None or now < facts.ended_at + timedelta(days=term.delay_days)
                mature = mature and not (waiting and term.delay_days)
                known = known and term.missing != "unknown"
                found = None if term.missing == "unknown" else term.missing
            points[name] = found
        raw = sum(value for value in points.values() if value is not None) if known and mature else None
        clipped = raw if raw is None or self.clip is None else min(max(raw, self.clip[0]), self.clip[1])
        return Worth(version=self.version, raw=raw, clipped=clipped, terms=points, unknown=tuple(unknown), mature=mature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What one run is worth: every term's points, their sum, and that clipped; None where it is unknown, or not yet known.

    `unknown` are the terms that have what their missing value counts.
    """

    version: str
    raw: float | None
    clipped: float | None
    terms: Mapping[str, float | None] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    mature: bool = True


def _text(value: Any) -> str:
    """Return a value as a map names it: `true`, `3`, `2.5`, or a text as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(int(value)) if value == int(value) else repr(float(value))
    return str(value)
