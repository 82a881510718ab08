"""Key figures of learning: reuse, integration times, agents, stability of practices, improvement."""

from typing import Any

from learning_loop.app import App
from learning_loop.flows.measuring import measure, recommendations
from learning_loop.orchestrator import LearningOrchestrator
from learning_loop.synthesis import Metrics

NAMES = (
    "component_reuse_rate",
    "api_integration_time",
    "agent_effectiveness",
    "pattern_stability",
    "overall_improvement",
)


class LearningDashboard:
    """Figures over the runs of a workspace; `source` is its loop, or the open workspace itself.

    `metrics` holds them as of the last update, None where nothing is known yet; docs/metrics.md has each formula.
    """

    def __init__(self, source: LearningOrchestrator | App) -> None:
        self._source = source
        self.metrics: dict[str, Any] = dict.fromkeys(NAMES)
        self._figures: Metrics | None = None

    @property
    def _app(self) -> App:
        return self._source if isinstance(self._source, App) else self._source.app

    def update_metrics(self, execution_result: Any = None) -> dict[str, Any]:  # noqa: ARG002  (what a run gave is in the ledger)
        """Bring the figures up to date with what is on record, and return them; a run's result is on record when it ends."""
        self._app.drain()
        self._figures = measure(self._app)
        self.metrics = self._figures.plain()
        return self.metrics

    def calculate_trends(self) -> dict[str, Any]:
        """Return how the figures go from week to week, each with its interval."""
        figures = self._figures or self._updated()
        return {"score": figures.overall_improvement.plain()} | {name: found.plain() for name, found in figures.trends.items()}

    def generate_recommendations(self) -> list[str]:
        """Return what the figures and the alerts suggest doing; nothing where nothing is clear."""
        return recommendations(self._app, self._figures or self._updated())

    def generate_report(self) -> dict[str, Any]:
        """Return `metrics`, `trends` and `recommendations`, brought up to date."""
        self.update_metrics()
        return {
            "metrics": self.metrics,
            "trends": self.calculate_trends(),
            "recommendations": self.generate_recommendations(),
        }

    def _updated(self) -> Metrics:
        self.update_metrics()
        return self._figures or measure(self._app)
