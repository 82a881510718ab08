"""Whether an answer says what the oracle knows to be right."""

from typing import Any

from learning_loop.retrieval import Answer
from tests.questions import oracle
from tests.questions.world import ERRORS, World

NEAR_TOP = 3  # where one note answers, it is to be among the first so many


def right(world: World, want: dict[str, Any], answer: Answer) -> bool:
    """Say whether an answer is right: the very execution, count, name or notes, not merely something like it."""
    form, where = next(iter(want)), want.get("where", {})
    if form == "nothing":
        return not answer
    if not answer:
        return False
    first = answer[0]
    if form in ("last", "slowest"):
        return first.id == oracle.check(world, want)
    if form == "count":
        return first.count == len(oracle.runs(world, want[form]))
    if form == "top":
        value, count = oracle.top(world, want[form], where)[0]
        return first.value == (ERRORS[value][0] if want[form] == "error" else value) and first.count == count
    if form in ("best", "worst"):
        ranked = oracle.shares(world, want[form], where)
        return first.value == ranked[0 if form == "best" else -1][0]
    if form == "trend":
        return first.value == oracle.trend(world, want[form], where)
    if form == "runs":
        fitting = {run.id for run in oracle.runs(world, want[form])}
        cited = [insight.id for insight in answer if insight.category == "execution"]
        return bool(cited) and set(cited) <= fitting
    if form == "all":
        known = {note.key for note in world.notes}  # a workspace has notes of its own from the start
        return {insight.id for insight in answer} & known == {note.key for note in oracle.notes(world, want[form])}
    keys = want[form] if isinstance(want[form], list) else [want[form]]
    return bool(set(keys) & {insight.id for insight in answer.insights[:NEAR_TOP]})
