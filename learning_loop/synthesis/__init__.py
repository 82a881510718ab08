"""The weekly synthesis: what a week comes to in numbers, what they say over the weeks, and what is likely to come back."""

from learning_loop.synthesis.metrics import Measure, Metrics, metrics_of
from learning_loop.synthesis.outlook import Outlook, outlook
from learning_loop.synthesis.periods import Period, week_of
from learning_loop.synthesis.statistics import WeekCounts, count_week

__all__ = ["Measure", "Metrics", "Outlook", "Period", "WeekCounts", "count_week", "metrics_of", "outlook", "week_of"]
