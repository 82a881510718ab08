"""The shared vocabulary: what a run is described by, how errors are told apart, what sets runs apart."""

from learning_loop.features.conditions import Condition, facts_of, holds, parse, quoted, show
from learning_loop.features.contrast import Contrast, contrasts, differences
from learning_loop.features.encoding import declared, features_from, features_of, shape_of
from learning_loop.features.errors import Explanation, error_line, error_words, explain, family, fingerprint

__all__ = [
    "Condition",
    "Contrast",
    "Explanation",
    "contrasts",
    "declared",
    "differences",
    "error_line",
    "error_words",
    "explain",
    "facts_of",
    "family",
    "features_from",
    "features_of",
    "fingerprint",
    "holds",
    "parse",
    "quoted",
    "shape_of",
    "show",
]
