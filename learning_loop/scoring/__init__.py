"""The score card: four dimensions, each in its own file with its formula, and what the scores trigger."""

from learning_loop.scoring.card import ExecutionScoreCard, Trigger, score_run
from learning_loop.scoring.history import History, Prediction, between

__all__ = ["ExecutionScoreCard", "History", "Prediction", "Trigger", "between", "score_run"]
