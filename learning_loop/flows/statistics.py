"""What there is to learn from, and how what was learned does: figures with their counts and intervals."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learning_loop.app import App
from learning_loop.features.encoding import RAMP
from learning_loop.features.workload import workload_of
from learning_loop.flows.experience import LEARNED, RULES
from learning_loop.flows.points import Standing, ledger_points, standing
from learning_loop.flows.rewards import facts_of, reward_named
from learning_loop.importers.crm import Crm, read_crm
from learning_loop.ledger import Filter
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Decision, ExecutionRecord, Feedback, Phase, Step, Usage
from learning_loop.stats.contingency import wilson
from learning_loop.stats.student import Mean, difference_of, mean_of

REWARD_TARGET, SUCCESS_TARGET = 80.0, 0.85
MOST = 10_000  # runs, the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What the runs came to for which one side chose: the learned policy, the rules, or neither."""

    runs: int
    reward: Mean | None
    success: Mean | None
    cost_usd: Mean | None
    duration_s: Mean | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The runs there are to learn from.

    `accuracy` is the share of runs that ended as was thought likelier before them, `time_accuracy` the mean of the smaller over
    the larger of predicted and real duration, `in_interval` the share of durations and costs that lay where nine of ten were
    predicted to lie, `safety` the share of runs that kept to safety, each of those where it is known.
    `resources` is how much less the learned policy's runs cost than the rules', in USD a run.
    """

    experiences: int
    reward: Mean | None
    success: Mean | None
    by_type: Mapping[str, int]
    by_domain: Mapping[str, int]
    by_mode: Mapping[str, Arm]
    accuracy: Mean | None
    time_accuracy: Mean | None
    in_interval: Mean | None
    safety: Mean | None
    resources: Mean | None
    reward_name: str
    points: Mapping[str, tuple[int, Standing]]


def statistics(app: App, *, limit: int = MOST) -> Statistics:
    """Return the figures over the newest runs; what a person took out of the evidence is left out."""
    reward = reward_named(app, app.settings.policies.reward)
    asks_crm = any(term.of.startswith("crm.") for term in reward.terms.values())
    crm = read_crm(app.workspace.root) if asks_crm else Crm()
    excluded = {event.subject for event in app.ledger.events(EXCLUDED)}
    parts = (Usage, Step, Feedback, Decision, Phase)
    found = app.ledger.executions(Filter(ended=True), limit=limit, parts=parts)
    records = [record for record in found if record.execution.id not in excluded]
    worth = {record.execution.id: reward.worth(facts_of(record, crm), now=app.clock()).clipped for record in records}
    sides: dict[str, list[ExecutionRecord]] = defaultdict(list)
    for record in records:
        sides[_side(record)].append(record)
    kinds = [_kind(record) for record in records]
    cost = {name: [_cost(record) for record in of] for name, of in sides.items()}
    said = [{item.metric: item.value for item in record.feedback}.get("safety") for record in records]
    points = {point: (count, standing(app, point)) for point, count in ledger_points(app.ledger).items()}
    points |= {point: (0, standing(app, point)) for point in app.settings.policies.points if point not in points}
    return Statistics(
        experiences=len(records),
        reward=mean_of([value for value in worth.values() if value is not None]),
        success=_share(record.success for record in records),
        by_type=dict(Counter(kind for kind, _ in kinds).most_common()),
        by_domain=dict(Counter(domain for _, domain in kinds if domain is not None).most_common()),
        by_mode={name: _arm(of, worth) for name, of in sorted(sides.items())},
        accuracy=_share(_foreseen(record) for record in records),
        in_interval=_share(held for record in records for held in _held(record)),
        time_accuracy=mean_of([value for record in records if (value := _in_time(record)) is not None]),
        safety=_share(None if value is None else value > 0 for value in said),
        resources=difference_of(_known(cost.get(RULES, ())), _known(cost.get(LEARNED, ()))),
        reward_name=reward.version,
        points=points,
    )


def _side(record: ExecutionRecord) -> str:
    """Return by whom a draw let a run be chosen for: where there are several points, the learned policy at any counts as it."""
    chosen = {decision.chosen for decision in record.decisions if decision.point.startswith(RAMP)}
    return LEARNED if LEARNED in chosen else RULES if chosen else "not drawn"


def _kind(record: ExecutionRecord) -> tuple[str, str | None]:
    execution = record.execution
    given = {"type": execution.task_type, **execution.parameters}
    found = workload_of(execution.description or execution.task_id, given)
    return found.task_type or execution.task_type, found.domain


def _arm(records: Sequence[ExecutionRecord], worth: Mapping[str, float | None]) -> Arm:
    rewards = [worth[record.execution.id] for record in records]
    durations = [record.outcome.duration_s if record.outcome is not None else None for record in records]
    return Arm(
        runs=len(records),
        reward=mean_of(_known(rewards)),
        success=_share(record.success for record in records),
        cost_usd=mean_of(_known(_cost(record) for record in records)),
        duration_s=mean_of(_known(durations)),
    )


def _cost(record: ExecutionRecord) -> float | None:
    return record.outcome.cost_usd if record.outcome is not None else None


def _foreseen(record: ExecutionRecord) -> bool | None:
    """Say whether a run ended as was thought likelier before it."""
    predicted, success = record.noted("pre", "predicted"), record.success
    likely = predicted.get("success") if isinstance(predicted, dict) else None
    return None if likely is None or success is None else (likely >= 0.5) == success


def _in_time(record: ExecutionRecord) -> float | None:
    predicted = record.noted("pre", "predicted")
    typical = predicted.get("duration_s") if isinstance(predicted, dict) else None
    real = record.outcome.duration_s if record.outcome is not None else None
    return min(typical, real) / max(typical, real) if typical and real else None


def _held(record: ExecutionRecord) -> Iterator[bool]:
    """Yield of duration and cost whether they lay where they were predicted to."""
    predicted, outcome = record.noted("pre", "predicted"), record.outcome
    if isinstance(predicted, dict) and outcome is not None and outcome.success:
        for name, real in (("duration", outcome.duration_s), ("cost", outcome.cost_usd)):
            between = predicted.get(f"{name}_between")
            if between is not None and real is not None:
                yield between[0] <= real <= between[1]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _share(values: Iterable[bool | None]) -> Mean | None:
    """Return a share with its interval: E. B. Wilson, JASA 22, 1927."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = wilson(sum(known), len(known))
    return Mean(sum(known) / len(known), low, high, len(known))


def plain(found: Statistics) -> dict[str, Any]:
    """Return it as JSON keeps it."""

    def told(mean: Mean | None) -> Any:
        return None if mean is None else mean._asdict()

    arms = {
        name: {
            "runs": arm.runs,
            **{field: told(getattr(arm, field)) for field in ("reward", "success", "cost_usd", "duration_s")},
        }
        for name, arm in found.by_mode.items()
    }
    means = {
        name: told(getattr(found, name))
        for name in ("reward", "success", "accuracy", "time_accuracy", "in_interval", "safety", "resources")
    }
    points = {
        point: {"choices": count, "mode": now.mode, "version": now.version, "share": now.share}
        for point, (count, now) in found.points.items()
    }
    return {
        "experiences": found.experiences,
        **means,
        "by_type": dict(found.by_type),
        "by_domain": dict(found.by_domain),
        "by_mode": arms,
        "reward_name": found.reward_name,
        "points": points,
    }
