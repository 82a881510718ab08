"""How the versions of a strategy did, and what its decisions contributed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from learning_loop.app import App
from learning_loop.flows.contributions import Contributions, past, plain_of
from learning_loop.flows.drift import since_drift
from learning_loop.settings import STRATEGY as POINT
from learning_loop.stats.advantage import Advantage
from learning_loop.strategies import PARTS
from learning_loop.strategies.fitness import Fitness, fitness


@dataclass(frozen=True, slots=True)
class Board:
    """By version: its fitness over projects, and its runs; and by decision point what each option contributed."""

    versions: Mapping[str, Fitness]
    contributions: Mapping[str, Mapping[str, Advantage]]

    def told(self, version: str) -> str:
        found = self.versions.get(version)
        if found is None:
            return "no runs lately"
        return (
            f"{found.mean:.3f} ({found.mean - 1.96 * found.error:.3f} to {found.mean + 1.96 * found.error:.3f}), {found.runs}"
        )

    def plain(self) -> dict[str, Any]:
        return {
            "versions": {name: {**one._asdict(), "value": one.value} for name, one in self.versions.items()},
            "contributions": {point: plain_of(of) for point, of in self.contributions.items()},
        }


def board(app: App, slug: str) -> Board:
    """Return how a strategy did in the days that evolution looks at."""
    days = app.settings.strategies.evolution.within_days
    found = past(app, since_drift(app, app.clock() - timedelta(days=days)))
    rewards: dict[str, dict[str | None, list[float]]] = {}
    for made in found.of(POINT):
        if made.decision.chosen.partition("@")[0] == slug:
            of = rewards.setdefault(made.decision.chosen, {})
            of.setdefault(made.record.execution.project, []).append(made.experience.reward)
    fit = {version: one for version, values in rewards.items() if (one := fitness(values)) is not None}
    contributions = {}
    for point in PARTS:
        told = Contributions(found.of(point)).advantages()
        if told:
            contributions[point.partition(":")[2]] = told
    return Board(fit, contributions)
