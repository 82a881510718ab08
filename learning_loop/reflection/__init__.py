"""What the evidence says about a run: root causes, templates, contradicted assumptions. No language model, no I/O."""

from learning_loop.reflection.assumptions import Contradiction, contradiction, with_contradiction
from learning_loop.reflection.improvements import improvements
from learning_loop.reflection.root_cause import Compared, differences_from, root_cause
from learning_loop.reflection.template import Template, generalise

__all__ = [
    "Compared",
    "Contradiction",
    "Template",
    "contradiction",
    "differences_from",
    "generalise",
    "improvements",
    "root_cause",
    "with_contradiction",
]
