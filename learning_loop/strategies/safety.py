"""What no proposal may do, whoever makes it: a strategy that passes is still only a candidate."""

import json
from collections.abc import Collection, Sequence

from learning_loop.settings import Evolution
from learning_loop.strategies.strategy import ANY, Strategy


def faults(
    made: Strategy,
    parent: Strategy,
    limits: Evolution,
    *,
    agents: Sequence[str],
    rejected: Collection[str],
    known: Collection[str],
) -> list[str]:
    """Return why a proposal may not be tested; nothing where it may.

    `agents` are those that runners offer, `rejected` is what was tested and not taken, as `mark` has it, `known` the slugs of
    other strategies.
    """
    found = []
    if made.does == parent.does:
        found.append("it does what the strategy does already")
    if mark(made) in rejected:
        found.append("it was tested before, and not taken")
    if made.slug != parent.slug and made.slug in known:
        found.append(f"there is another strategy {made.slug!r}")
    if parent.task_type not in (ANY, made.task_type) or not set(parent.context_rules) <= set(made.context_rules):
        found.append("it is for work that the strategy is not for")
    if made.slug == parent.slug and (made.task_type, set(made.context_rules)) != (parent.task_type, set(parent.context_rules)):
        found.append("it would take the place of the strategy, and is for less work: give it a slug of its own")
    found += [f"no context has {name}" for name in made.strange]
    changed = [name for name in limits.fixed if getattr(made, name) != getattr(parent, name)]
    found += [f"{name} is fixed: strategies.evolution.fixed says so" for name in changed]
    if made.parallelism_config.max_parallel > max(limits.most_parallel, parent.parallelism_config.max_parallel):
        found.append(f"it does more than {limits.most_parallel} parts at once")
    if made.retry_policy.max_attempts > max(limits.most_attempts, parent.retry_policy.max_attempts):
        found.append(f"it tries more than {limits.most_attempts} times")
    new, old = made.retry_policy, parent.retry_policy
    for name in ("timeout_s", "longest_wait_s", "wait_s"):
        if (getattr(new, name) or 0.0) > max(limits.longest_timeout_s, getattr(old, name) or 0.0):
            found.append(f"its {name} is longer than {limits.longest_timeout_s:g} s")
    named = {agent for rule in made.agent_selection_rules for agent in rule.take}
    before = {agent for rule in parent.agent_selection_rules for agent in rule.take}
    if strangers := sorted(named - set(agents) - before):
        found.append(f"nobody offers the agent {strangers[0]!r}")
    return found


def mark(made: Strategy) -> str:
    """Return what tells one proposal from another, whatever they are called: what it is for, and what it does."""
    return json.dumps([made.task_type, sorted(made.context_rules), made.does], sort_keys=True)
