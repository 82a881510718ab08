"""Episodes: one action after the other is chosen and carried out, until the state says that it is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

from learning_loop.errors import UsageError
from learning_loop.flows.run import Run
from learning_loop.protocols import Executor, Policy, State, StateAdapter
from learning_loop.records import ActionResult

MAX_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeStep:
    """One step: the action, who chose it, how likely it was, and what it came to."""

    action: str
    policy: str
    propensity: float | None
    result: ActionResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Played(Generic[State]):
    """How an episode went: its steps, where it ended, and whether that was an end or its steps were used up."""

    steps: tuple[EpisodeStep, ...]
    state: State
    completed: bool
    success: bool | None

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(step.action for step in self.steps)

    @property
    def reward(self) -> float:
        """What the steps earned by themselves, without what the whole is worth."""
        return sum(step.result.reward for step in self.steps)


def play(
    run: Run,
    state: State,
    adapter: StateAdapter[State],
    executor: Executor[State],
    *,
    point: str,
    max_steps: int = MAX_STEPS,
    policy: Policy | None = None,
    floor: float = 0.0,
) -> Played[State]:
    """Choose and carry out actions in a run until the state is done or the steps are used up.

    Each choice is made at the decision point, or by a `policy` given, with every action at least as likely as `floor`. Each
    is a step of the run with what it earned, so that a policy can be told what every action was owed. An episode that does not
    end did not succeed. Raise UsageError where a state that is not done allows nothing.
    """
    steps: list[EpisodeStep] = []
    now = adapter.project_state_to_task_state(state)
    while not now.done and len(steps) < max_steps:
        if not now.actions:
            raise UsageError(f"{point}: the state allows no action and is not done: {dict(now.facts)}")
        facts = {**now.facts, "step": len(steps)}
        before = len(run.observed.decisions)
        action = run.act(point, now.actions, facts, policy=policy, floor=floor)
        decision = run.observed.decisions[-1] if len(run.observed.decisions) > before else None
        with run.step(action) as step:
            result = executor.execute(action, state)
            step.output(result.output)
        if decision is not None:
            run.credit(result.reward, decision=decision.id)  # the work may have chosen since
        run.checkpoint(action, ok=result.ok, note=result.note, reward=result.reward, **_plain(now.facts))
        chosen_by, likely = ("none", None) if decision is None else (decision.policy, decision.propensity)
        steps.append(EpisodeStep(action=action, policy=chosen_by, propensity=likely, result=result))
        state = adapter.update_states_from_action(state, action, result)
        now = adapter.project_state_to_task_state(state)
    success = now.success if now.done else False
    run.outcome(success=success, steps=len(steps), completed=float(now.done))
    return Played(steps=tuple(steps), state=state, completed=now.done, success=success)


def _plain(facts: Any) -> dict[str, Any]:
    return {f"fact_{name}": value for name, value in facts.items()}


def efficiency(actions: Sequence[str], worth: dict[str, float]) -> float | None:
    """Return how early the actions that are worth most came, 0 to 1: the mean over steps, the earlier ones counting more."""
    weights = [1 / (place + 1) for place in range(len(actions))]
    if not actions:
        return None
    return sum(worth.get(action, 0.0) * weight for action, weight in zip(actions, weights, strict=True)) / sum(weights)
