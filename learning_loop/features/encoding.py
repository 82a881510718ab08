"""What a run is described by: `name -> value` features for comparing, a set of parts for its shape."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from learning_loop.records import ExecutionRecord

MOST_VALUE = 120


def features_of(record: ExecutionRecord) -> dict[str, str]:
    """Return all that may explain a run: parameters, state, dependencies, decisions, agent and tags, as texts.

    Names are `parameter:load`, `state:git.commit`, `dependency:python:numpy`, `decision:select_agent`, `tag:nightly`.
    """
    execution = record.execution
    found = {f"parameter:{name}": _value(value) for name, value in _flat(execution.parameters)}
    for phase in record.phases:
        if phase.phase in ("pre", "state"):
            found |= {f"state:{name}": _value(value) for name, value in _flat(phase.data.get("initial_state") or {})}
            for name, check in (phase.data.get("dependencies") or {}).items():
                found[f"dependency:{name}"] = (check.get("version") or "present") if check.get("satisfied") else "missing"
    found |= {f"decision:{decision.point}": decision.chosen for decision in record.decisions}
    found |= {f"tag:{tag}": "yes" for tag in execution.tags}
    if execution.agent:
        found["agent"] = execution.agent
    return found


def shape_of(
    parameters: Mapping[str, Any], dependencies: Iterable[str], steps: Iterable[str], decision_points: Iterable[str]
) -> tuple[str, ...]:
    """Return the parts a run is made of, sorted; two runs are alike as far as they share them."""
    parts = {f"step:{name}" for name in steps} | {f"dependency:{name}" for name in dependencies}
    parts |= {f"decision:{point}" for point in decision_points}
    for name, value in _flat(parameters):
        parts |= {f"parameter:{name}", f"parameter:{name}={_value(value)}"}
    return tuple(sorted(parts))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)
    return text if len(text) <= MOST_VALUE else text[: MOST_VALUE - 1] + "…"
