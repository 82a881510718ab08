"""Reading questions and ranking what was found. Pure: the index finds, this decides."""

from learning_loop.retrieval.insights import Answer, Insight, format_insights
from learning_loop.retrieval.question import Question, read_question
from learning_loop.retrieval.words import terms

__all__ = ["Answer", "Insight", "Question", "format_insights", "read_question", "terms"]
