"""Rules: what they say, which are proposed from patterns, and the small changes a week makes to them."""

from learning_loop.rules.changes import Change, plan_changes
from learning_loop.rules.propose import Proposal, proposals
from learning_loop.rules.rule import SHOWN, STATUSES, Rule, Then, read_rule, said

__all__ = ["SHOWN", "STATUSES", "Change", "Proposal", "Rule", "Then", "plan_changes", "proposals", "read_rule", "said"]
