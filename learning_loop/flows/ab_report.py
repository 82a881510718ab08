"""What a test says so far: its arms with intervals, by context and by project, its guards, and what it did."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from learning_loop.app import App
from learning_loop.experiments.ab import AbTest
from learning_loop.experiments.lift import Lift, Lifts
from learning_loop.experiments.moves import ALL
from learning_loop.flows.ab_judging import stratum
from learning_loop.flows.ab_tests import DRAWN, EVIDENCE, IN, POLICY, Experiment
from learning_loop.flows.experience import Episode, Log, Place
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Exposed, Kind
from learning_loop.settings import STRATEGY as POINT
from learning_loop.strategies.fitness import Fitness, fitness
from learning_loop.workspace import atomic_write

MOST_VALUES = 8  # of a feature of contexts, beyond which it is not told apart
BY = ("issue_type", "issue_complexity", "project_language", "project_size", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """An arm: its units, its mean reward (0 to 1), and by how much it is better than the one in force, with a 95 % interval.

    The interval holds however often one looks. `contexts` are the same for each value of a feature that was met often enough,
    `carries` what is to be expected of it in another project: its effect by project, and what that varies by.
    """

    version: str
    control: bool
    state: str
    units: int
    mean: float | None
    lift: Lift | None
    contexts: Mapping[str, Mapping[str, Lift]]
    carries: Fitness | None
    evidence: Mapping[str, float | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """A test as people read it."""

    test: Experiment
    at: datetime
    arms: tuple[ArmReport, ...]
    lost: int
    says: str


@dataclass(frozen=True, slots=True)
class _Unit:
    arm: str
    shares: Mapping[str, float]
    reward: float
    context: Mapping[str, Any]
    project: str | None


def report_of(app: App, test: Experiment) -> TestReport:
    """Return what a test says so far, from the ledger; each unit counts once, by its first run."""
    units, lost = _units(app, test)
    newest = app.ledger.events(EVIDENCE, test.id, last=1)
    settings = app.settings.strategies.tests
    ab = AbTest(test.control, test.candidates, settings, test.started_at, kept=newest[0].data["test"]) if newest else None
    arms = []
    for arm in (test.control, *test.candidates):
        own = [unit.reward for unit in units if unit.arm == arm]
        control = arm == test.control
        arms.append(
            ArmReport(
                version=arm,
                control=control,
                state=_state(test, arm),
                units=len(own),
                mean=sum(own) / len(own) if own else None,
                lift=None if control else _lift(units, test.control, arm, settings.strata),
                contexts={} if control else _by_context(units, test.control, arm, settings.strata),
                carries=None if control else _carries(units, test.control, arm),
                evidence={} if control or ab is None else ab.known(arm),
            )
        )
    return TestReport(test=test, at=app.clock(), arms=tuple(arms), lost=lost, says=_says(test))


def write_report(app: App, test: Experiment) -> str:
    """Write the report of a test as markdown, and return its path in the workspace."""
    path = app.workspace.reports / "experiments" / f"{test.id}.md"
    found = report_of(app, test)
    kept = app.ledger.strategy_versions([test.control, *test.candidates])
    text = app.templates.render("reports/experiment.md.j2", report=found, test=test, versions=kept)
    atomic_write(path, text.encode())
    return app.workspace.relative(path)


def _units(app: App, test: Experiment) -> tuple[list[_Unit], int]:
    """Return the units of a test by their first run, and of how many the outcome is not known."""
    found, seen, lost = list[_Unit](), set[str](), 0
    log = Log(app, POINT)
    excluded = {event.subject for event in app.ledger.events(EXCLUDED)}
    for episode, _ in log.episodes(Place(test.outcome, app.ledger.last_credit()), unknown=True):
        name = _unit_of(episode, test.id)
        if name is None or name in seen or episode.record is None or episode.record.execution.id in excluded:
            continue
        seen.add(name)
        choice = next((one for one in episode.decisions if one.policy == f"{POLICY}{test.id}"), None)
        if choice is None or choice.probabilities is None:
            continue
        if not episode.steps:
            lost += 1
            continue
        shares = dict(zip(choice.alternatives, choice.probabilities, strict=True))
        reward, project = log.scaled(episode)[0].reward, episode.record.execution.project
        found.append(_Unit(choice.chosen, shares, reward, choice.context, project))
    return found, lost


def _unit_of(episode: Episode, test: str) -> str | None:
    for one in episode.record.decisions if episode.record is not None else ():
        if one.point == f"{DRAWN}{test}":
            return str(one.context.get("unit")) if one.chosen == IN else None
    return None


def _exposed(units: Sequence[_Unit], control: str, arm: str, strata: Sequence[str]) -> list[Exposed]:
    found, at = [], datetime(1970, 1, 1, tzinfo=UTC)  # the order alone counts
    for place, unit in enumerate(units):
        if unit.arm not in (control, arm) or not unit.shares.get(arm) or not unit.shares.get(control):
            continue
        found.append(
            Exposed(
                place=place,
                id=str(place),
                kind=Kind(type=stratum(unit.context, strata)),
                ended_at=at,
                units=(ALL, arm),
                odds=(1.0, unit.shares[arm] / (unit.shares[arm] + unit.shares[control])),
                shown=frozenset((ALL, arm) if unit.arm == arm else (ALL,)),
                score=100 * unit.reward,
                success=None,
                duration_s=None,
                cost_usd=None,
                safety=None,
            )
        )
    return found


def _lift(units: Sequence[_Unit], control: str, arm: str, strata: Sequence[str]) -> Lift:
    return Lifts(_exposed(units, control, arm, strata)).of(arm)


def _by_context(units: Sequence[_Unit], control: str, arm: str, strata: Sequence[str]) -> dict[str, dict[str, Lift]]:
    found: dict[str, dict[str, Lift]] = {}
    for feature in BY:
        values = sorted({str(unit.context.get(feature)) for unit in units if unit.context.get(feature) is not None})
        if 1 < len(values) <= MOST_VALUES:
            found[feature] = {
                value: _lift([unit for unit in units if str(unit.context.get(feature)) == value], control, arm, strata)
                for value in values
            }
    return found


def _carries(units: Sequence[_Unit], control: str, arm: str) -> Fitness | None:
    """Return how an effect carries over between projects: inverse-propensity scores round the mean, by project."""
    both = [unit for unit in units if unit.arm in (control, arm) and unit.shares.get(arm) and unit.shares.get(control)]
    if not both:
        return None
    middle = float(np.mean([unit.reward for unit in both]))
    values: dict[str | None, list[float]] = {}
    for unit in both:
        odds = unit.shares[arm] / (unit.shares[arm] + unit.shares[control])
        off = unit.reward - middle
        values.setdefault(unit.project, []).append(off / odds if unit.arm == arm else -off / (1 - odds))
    return fitness(values)


def _state(test: Experiment, arm: str) -> str:
    if arm == test.control:
        return "in force when it began"
    if any(move.data["action"] == "rollback" and move.data["arm"] == arm for move in test.moves):
        return "taken back"
    if any(move.data["action"] == "promote" and move.data["arm"] == arm for move in test.moves):
        return "won"
    return "dropped" if arm in test.dropped else "on trial" if arm in test.alive else "not taken"


def _says(test: Experiment) -> str:
    if test.frozen:
        return "Units are missing: nothing is concluded until it is known why."
    if test.outranked:
        return f"{test.winner + ' won' if test.winner else 'It ended without a winner'}: {test.outranked}."
    return {
        "running": "It is under way: nothing is known yet.",
        "watching": f"{test.winner} won, is in force, and is watched.",
        "over": f"{test.winner} won, and is in force." if test.winner else "It ended without a winner.",
    }[test.phase.value]


def plain(report: TestReport) -> dict[str, Any]:
    """Return a report for programs."""

    def lift_of(lift: Lift | None) -> dict[str, Any] | None:
        return None if lift is None else {name: getattr(lift, name) for name in ("shown", "withheld", "effect", "low", "high")}

    return {
        "id": report.test.id,
        "strategy": report.test.slug,
        "phase": report.test.phase.value,
        "winner": report.test.winner,
        "frozen": report.test.frozen,
        "started_at": report.test.started_at.isoformat(),
        "reason": report.test.reason,
        "says": report.says,
        "lost": report.lost,
        "arms": [
            {
                "version": arm.version,
                "state": arm.state,
                "units": arm.units,
                "mean": arm.mean,
                "lift_points": lift_of(arm.lift),
                "contexts": {name: {value: lift_of(lift) for value, lift in of.items()} for name, of in arm.contexts.items()},
                "carries_over": None if arm.carries is None else {**arm.carries._asdict(), "value": arm.carries.value},
                "evidence": {name: value if math.isfinite(value) else None for name, value in arm.evidence.items()},
            }
            for arm in report.arms
        ],
        "moves": [{"at": move.at.isoformat(), **move.data} for move in report.test.moves],
    }
