"""Reading questions and ranking what was found. Pure: the index finds, this decides."""

from learning_loop.retrieval.insights import Answer, Insight
from learning_loop.retrieval.question import Question, read_question
from learning_loop.retrieval.vocabulary import Vocabulary
from learning_loop.retrieval.words import terms

__all__ = ["Answer", "Insight", "Question", "Vocabulary", "read_question", "terms"]
