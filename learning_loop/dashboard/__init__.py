"""The dashboard: key figures of what is learned, for programs and for people."""

from learning_loop.dashboard.metrics import LearningDashboard

__all__ = ["LearningDashboard"]
