"""Configuring a run: each part of how it is carried out is a decision of its own, in the light of the task and the system."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.features.workload import workload_of
from learning_loop.records import APPROACHES, RETRIES, SAFETY, Configuration, Task
from learning_loop.scoring import Prediction, between

POINT = "orchestra"
MULTIPLIERS = ("1", "0.5", "0.75", "1.5", "2")  # what is taken without rules comes first
PARALLELISM = ("1", "2", "3", "4")
USE, LEAVE = "use", "leave"
Choose = Callable[[str, Sequence[str], Mapping[str, Any], Sequence[str]], Any]


def configured(
    run: Any,
    choose: Choose,
    *,
    agents: Sequence[str],
    skills: Sequence[str],
    available: Mapping[str, bool],
    safety_level: str,
) -> Configuration:
    """Choose every part; raise UsageError for a safety level there is none of, or where no agent is available.

    What is less strict than `safety_level` is masked: its probability is 0, whatever was learned.
    """
    if safety_level not in SAFETY:
        raise UsageError(f"there is no safety level {safety_level!r}: use one of {', '.join(SAFETY)}")
    free = [agent for agent in agents if available.get(agent, True)]
    if agents and not free:
        raise UsageError(f"none of the agents {', '.join(agents)} is available: wait, or name another one")
    context = state_of(run.task, run.prediction, skills=skills, available=available)
    context["concurrent_tasks"] = _concurrent(run)

    def part(name: str, options: Sequence[str], mask: Sequence[str] = ()) -> str:
        return str(choose(f"{POINT}.{name}", options, context, mask))

    allowed = SAFETY[: SAFETY.index(safety_level) + 1]
    return Configuration(
        agent=part("agent", free) if free else None,
        skills=tuple(skill for skill in skills if part(f"skill.{skill}", (USE, LEAVE)) == USE),
        approach=part("approach", APPROACHES),
        timeout_multiplier=float(part("timeout_multiplier", MULTIPLIERS)),
        parallelism=int(part("parallelism", PARALLELISM)),
        retry_strategy=part("retry_strategy", RETRIES),
        safety_level=part("safety_level", (*reversed(allowed), *SAFETY[len(allowed) :]), SAFETY[len(allowed) :]),
    )


def state_of(
    task: Task, prediction: Prediction | None, *, skills: Sequence[str] = (), available: Mapping[str, bool] | None = None
) -> dict[str, Any]:
    """Return the state vector: what the task asks for, how its kind went so far, and how the system stands.

    What is not known is left out. Numbers lie mostly in 0 to 1.
    """
    given = {"type": task.type, "critical": task.critical, "skills": list(skills), **task.parameters}
    duration = between(prediction.log_duration) if prediction is not None else None
    asked = workload_of(task.description or task.id, given, typical_s=duration[0] if duration else None).context()
    known: dict[str, Any] = {**asked, "system_load": _load()}
    if prediction is not None:
        known["success_rate"] = prediction.success
        if prediction.log_duration is not None:
            known["time_accuracy"] = math.exp(-MEAN_ABSOLUTE * prediction.log_duration.scale)
        if prediction.log_cost is not None:
            known["resource_efficiency"] = math.exp(-MEAN_ABSOLUTE * prediction.log_cost.scale)
    if available:
        known["agent_availability"] = sum(available.values()) / len(available)
        known["agents_free"] = [agent for agent, free in available.items() if free]
    return {name: value for name, value in known.items() if value is not None}


MEAN_ABSOLUTE = math.sqrt(2 / math.pi)  # of a standard normal variable: how far off a prediction is in the mean


def _load() -> float | None:
    """Return the system's load a processor, 1 at most; None where the system does not tell."""
    if not hasattr(os, "getloadavg"):
        return None
    return min(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)


def _concurrent(run: Any) -> float:
    """Return how many runs are under way in this workspace, ten or more being 1."""
    return min(run.app.ledger.under_way() / 10, 1.0) if run.app is not None else 0.0
