"""What a language model is asked for: proposals, and answers with their sources. All of it is checked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from learning_loop.app import App
from learning_loop.errors import ConditionError, LearningLoopError
from learning_loop.flows.language import ORIGIN, Voice, printable, voice
from learning_loop.patterns.find import Found
from learning_loop.records import Pattern, slug
from learning_loop.retrieval import Answer
from learning_loop.rules.propose import Proposal as RuleProposal
from learning_loop.rules.rule import Then
from learning_loop.strategies import Strategy
from learning_loop.strategies.analysis import Analysis
from learning_loop.strategies.propose import Proposal
from learning_loop.workspace import yaml

WORTH = 1.0  # of a model's proposal: where it passes the checks, it comes before those whose worth was computed
MOST_RULES = 3
Text = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(printable)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Mutation(_Said):
    """A changed strategy as a document, why it should do better, and what it should improve."""

    strategy: dict[str, Any]
    reasoning: Text
    expected_improvement: Text
    evidence: tuple[str, ...] = ()


class Mutations(_Said):
    mutations: Annotated[tuple[Mutation, ...], Field(max_length=10)]


class Advice(_Said):
    """What to do about one pattern."""

    pattern: str
    advise: Text
    evidence: tuple[str, ...] = ()


class Advices(_Said):
    rules: Annotated[tuple[Advice, ...], Field(max_length=20)]


class Statement(_Said):
    """One statement, with the numbers of the findings it rests on."""

    text: Text
    findings: tuple[int, ...] = ()


class Statements(_Said):
    statements: Annotated[tuple[Statement, ...], Field(max_length=12)]


# --------------------------------------------------------------------------------------------------------- strategies


class StrategyProposer:
    """Proposes changes of a strategy by a language model. What cites runs that there are none of is left out."""

    def __init__(self, model: Voice, *, fixed: Sequence[str]) -> None:
        self._model, self._fixed = model, fixed

    def __call__(self, parent: Strategy, analysis: Analysis, agents: Sequence[str], most: int) -> list[Proposal]:
        said = self._model.ask(
            "strategies",
            Mutations,
            strategy=yaml.dump(parent.model_dump(mode="json")),
            analysis=analysis,
            agents=list(agents),
            fixed=list(self._fixed),
            most=most,
        )
        shown = {run.id for run in (*analysis.failures, *analysis.successes)}
        found = [_proposal(parent, mutation, shown) for mutation in said.mutations]
        return [one for one in found if one is not None]


def _proposal(parent: Strategy, mutation: Mutation, shown: Collection[str]) -> Proposal | None:
    """Return a mutation as a proposal; None where it is no strategy, or rests on runs that it was not shown."""
    if not mutation.evidence or not set(mutation.evidence) <= set(shown):
        return None
    own = {name: value for name, value in mutation.strategy.items() if name in Strategy.model_fields}
    kept = {"slug": parent.slug, "task_type": parent.task_type, "rank": parent.rank, "name": parent.name}
    if own.get("context_rules", list(parent.context_rules)) != list(parent.context_rules):
        kept |= {"slug": slug(f"{parent.slug[:40]} {own.get('slug') or own.get('name') or 'by model'}", 60)}
        if kept["slug"] == parent.slug:
            return None  # it would narrow the strategy itself
    try:
        made = Strategy.model_validate({**parent.model_dump(mode="json"), **own, **kept, "reasoning": mutation.reasoning})
    except (ValidationError, ConditionError):
        return None
    return Proposal(
        strategy=made,
        reasoning=mutation.reasoning,
        expected_improvement=mutation.expected_improvement,
        origin=ORIGIN,
        worth=WORTH,
        part="model",
    )


# -------------------------------------------------------------------------------------------------------------- rules


def rule_proposals(app: App, found: Found, ruled: Collection[str], *, budget: str, warnings: list[str]) -> list[RuleProposal]:
    """Return rules that a language model proposes for patterns that have none; none where there is none, or it fails.

    `ruled` are the keys of patterns that have a rule. Each rule rests on the runs of its pattern, and on no others.
    """
    patterns = {pattern.key: pattern for pattern in found.patterns if pattern.key not in ruled and pattern.executions}
    model = voice(app, "rules")
    if model is None or not patterns:
        return []
    try:
        said = model.ask("rules", Advices, budget=budget, patterns=list(patterns.values())[:20], most=MOST_RULES)
    except LearningLoopError as error:
        warnings.append(f"no rule was proposed by a language model: {error}")
        return []
    made = [_rule(patterns[advice.pattern], advice) for advice in said.rules if _rests(advice, patterns)]
    return made[:MOST_RULES]


def _rests(advice: Advice, patterns: Mapping[str, Pattern]) -> bool:
    pattern = patterns.get(advice.pattern)
    return pattern is not None and bool(advice.evidence) and set(advice.evidence) <= set(pattern.executions)


def _rule(pattern: Pattern, advice: Advice) -> RuleProposal:
    text = " ".join(advice.advise.split())
    return RuleProposal(
        key=f"rule: {pattern.key}",
        title=text[:120],
        when=None,
        then=Then.read({"advise": text}),
        reason=f"{pattern.text} (A language model put this advice into words; it has to show that it helps.)",
        pattern=pattern.key,
        effect=pattern.effect,
        low=pattern.low,
        executions=tuple(name for name in pattern.executions if name in advice.evidence),
        origin=ORIGIN,
    )


# ------------------------------------------------------------------------------------------------------------ answers


@dataclass(frozen=True, slots=True)
class Written:
    """An answer in sentences: each with the places of the insights it rests on, from one on. `by` is the model."""

    statements: tuple[tuple[str, tuple[int, ...]], ...]
    by: str

    @property
    def text(self) -> str:
        return " ".join(f"{text} {''.join(f'[{number}]' for number in numbers)}" for text, numbers in self.statements)


def written(app: App, answer: Answer, warnings: list[str]) -> Written | None:
    """Return an answer in sentences, each with what it rests on; None where there is no model, or it says nothing usable."""
    model = voice(app, "answers")
    if model is None:
        warnings.append("no language model is configured to write answers: see language_model in config/learning_loop.yaml")
        return None
    if not answer:
        return None
    shown = answer.insights[:20]
    try:
        said = model.ask("answers", Statements, question=answer.question, headline=answer.headline, insights=list(shown))
    except LearningLoopError as error:
        warnings.append(str(error))
        return None
    kept = [
        (" ".join(one.text.split()), tuple(dict.fromkeys(one.findings)))
        for one in said.statements
        if one.findings and all(1 <= number <= len(shown) for number in one.findings)
    ]
    return Written(tuple(kept), model.identity) if kept else None
