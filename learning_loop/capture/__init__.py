"""What is written down about a run: state, assumptions and dependencies before it, what was noted during and after it."""

from learning_loop.capture.extractor import Observed, PatternExtractor
from learning_loop.capture.outcome import Verdict, read_junit, read_result
from learning_loop.capture.preview import digest, plain, preview
from learning_loop.capture.redaction import Redactor
from learning_loop.capture.state import GitState, git_state

__all__ = [
    "GitState",
    "Observed",
    "PatternExtractor",
    "Redactor",
    "Verdict",
    "digest",
    "git_state",
    "plain",
    "preview",
    "read_junit",
    "read_result",
]
