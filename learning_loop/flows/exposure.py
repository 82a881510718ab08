"""What a run is shown of all that was recalled: each thing is now and then withheld at random, so that its effect is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import quote

from learning_loop.app import App
from learning_loop.features.encoding import OWN
from learning_loop.flows.rules import Applied
from learning_loop.records import Briefing, Task
from learning_loop.rules import Rule

MEMORY = "memory"  # all of it: a small share of runs is shown nothing


def expose(
    app: App,
    task: Task,
    execution_id: str,
    briefing: Briefing,
    rules: Sequence[Rule],
    odds: Callable[[Rule], float],
    *,
    visible: bool,
) -> tuple[Briefing, Applied]:
    """Draw what is shown, and return the briefing without the rest, the rules that apply, and the decision.

    Nothing is drawn where nothing is eligible. From a critical task memory as a whole is never withheld, nor is from any a
    rule that is pinned. With the decision stands whether the work takes `run`, and so can see what it is shown.
    """
    settings = app.settings.evidence
    kinds = dict.fromkeys(hit.category for hit in briefing.notes)
    if not kinds and not rules and not briefing.executions:
        return briefing, Applied()
    chances = {MEMORY: 1.0 if task.critical else 1 - settings.holdout}
    chances |= {_unit(kind): 1 - settings.kind_holdout for kind in kinds}
    chances |= {rule.unit: odds(rule) for rule in rules}
    decision = app.decider.expose(OWN, chances, whole=MEMORY, context={"visible": visible}, execution_id=execution_id)
    shown = set(decision.chosen.split())
    kept = (rule for rule in rules if rule.unit in shown or rule.pinned or (rule.safety and task.critical))
    seen = tuple(kept)
    notes = tuple(hit for hit in briefing.notes if _unit(hit.category) in shown)
    executions = briefing.executions if MEMORY in shown else ()
    applied = Applied(seen, decision)
    return replace(briefing, rules=applied.hits, notes=notes, executions=executions), applied


def _unit(kind: str) -> str:
    return f"kind:{quote(kind)}"
