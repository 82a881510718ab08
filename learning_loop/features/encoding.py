"""What a run is described by: `name -> value` features for comparing, a set of parts for its shape."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from learning_loop.records import ExecutionRecord

MOST_VALUE = 120
RESERVED = "loop:"  # what decision points of the loop's own begin with
OWN = f"{RESERVED}expose"  # which notes and rules a run was shown
RAMP = f"{RESERVED}ramp:"  # by whom a choice was made, the learned policy or the rules
SHADOW = f"{RESERVED}shadow:"  # what the learned policy would have chosen


def features_of(record: ExecutionRecord) -> dict[str, str]:
    """Return all that may explain a run: parameters, state, dependencies, decisions, agent and tags, as texts.

    Names are `parameter:load`, `state:git.commit`, `dependency:python:numpy`, `decision:select_agent`, `tag:nightly`.
    """
    execution = record.execution
    before = [phase.data for phase in record.phases if phase.phase in ("pre", "state")]
    chosen = [(decision.point, decision.chosen) for decision in record.decisions]
    return declared(execution.dependencies) | features_from(
        execution.parameters, before, chosen, execution.tags, execution.agent
    )


def declared(dependencies: Iterable[str]) -> dict[str, str]:
    """Return the versions that declared dependencies are pinned to: `python:numpy==2.1` is `dependency:python:numpy` 2.1."""
    pinned = (name.partition("==") for name in dependencies)
    return {f"dependency:{name.strip()}": version.strip() for name, sign, version in pinned if sign and name and version}


def features_from(
    parameters: Mapping[str, Any],
    before: Iterable[Mapping[str, Any]],
    decisions: Iterable[tuple[str, str]],
    tags: Iterable[str],
    agent: str | None,
) -> dict[str, str]:
    """Return the same of a run's parts; `before` is the data captured before it ran.

    A parameter that a rule set is none: the loop would learn from what it did itself.
    """
    before = list(before)
    own = {name for data in before for name in data.get("set_by_rules") or ()}
    given = {name: value for name, value in parameters.items() if name not in own} if own else parameters
    found = {f"parameter:{name}": _value(value) for name, value in _flat(given)}
    for data in before:
        found |= {f"state:{name}": _value(value) for name, value in _flat(data.get("initial_state") or {})}
        for name, check in (data.get("dependencies") or {}).items():
            found[f"dependency:{name}"] = (check.get("version") or "present") if check.get("satisfied") else "missing"
    found |= {f"decision:{point}": chosen for point, chosen in decisions if not point.startswith(RESERVED)}
    found |= {f"tag:{tag}": "yes" for tag in tags}
    if agent:
        found["agent"] = agent
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
