"""A template: what the good runs of a kind have in common, and where they may vary."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from learning_loop.features.encoding import OWN
from learning_loop.records import ExecutionRecord, Kind, slug
from learning_loop.stats.robust import quantile

MOST_VALUES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How runs of a kind that went well were done. Durations are seconds; counts are of the executions.

    `parts` is the shape that all of them share.
    """

    name: str
    kind: Kind
    description: str | None
    steps: tuple[str, ...]
    fixed: dict[str, Any]
    varied: dict[str, tuple[Any, ...]]
    dependencies: tuple[str, ...]
    decisions: dict[str, tuple[str, int, int]]
    discoveries: tuple[str, ...]
    usual_duration_s: tuple[float, float] | None
    parts: tuple[str, ...]
    executions: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return a digest of what the template says, apart from how many runs it rests on."""
        choices = {point: chosen for point, (chosen, _, _) in self.decisions.items()}
        said = [self.description, self.steps, self.fixed, sorted(self.varied), self.dependencies, choices, self.discoveries]
        return blake2b(json.dumps(said, default=str, sort_keys=True).encode(), digest_size=8).hexdigest()


def generalise(records: Sequence[ExecutionRecord], *, least: int) -> Template | None:
    """Return what at least `least` good runs of one kind share, newest first; None where there is nothing to say."""
    if len(records) < least:
        return None
    kind = records[0].execution.kind
    sequences = [tuple(step.role for step in record.steps if step.status == "completed") for record in records]
    steps = tuple(step for step in sequences[0] if all(step in other for other in sequences))
    names = [set(record.execution.parameters) for record in records]
    shared = [name for name in records[0].execution.parameters if all(name in other for other in names)]
    values = {name: _distinct([record.execution.parameters[name] for record in records]) for name in shared}
    dependencies = [set(record.execution.dependencies) for record in records]
    choices: dict[str, Counter[str]] = {}
    for record in records:
        for decision in (item for item in record.decisions if item.point != OWN):
            choices.setdefault(decision.point, Counter())[decision.chosen] += 1
    discoveries = Counter(str(text) for record in records for text in record.noted("post", "discoveries") or ())
    durations = sorted(
        record.outcome.duration_s for record in records if record.outcome and record.outcome.duration_s is not None
    )
    shapes = [record.outcome.shape if record.outcome else () for record in records]
    found = Template(
        name=slug("-".join(part for part in (kind.project, kind.type, kind.component) if part)),
        kind=kind,
        description=next((record.execution.description for record in records if record.execution.description), None),
        steps=steps,
        fixed={name: items[0] for name, items in values.items() if len(items) == 1},
        varied={name: tuple(items[:MOST_VALUES]) for name, items in values.items() if len(items) > 1},
        dependencies=tuple(name for name in records[0].execution.dependencies if all(name in other for other in dependencies)),
        decisions={point: (*counter.most_common(1)[0], counter.total()) for point, counter in sorted(choices.items())},
        discoveries=tuple(text for text, _ in discoveries.most_common(MOST_VALUES)),
        usual_duration_s=(quantile(durations, 0.1), quantile(durations, 0.9)) if durations else None,
        parts=tuple(part for part in shapes[0] if all(part in other for other in shapes)),
        executions=tuple(record.execution.id for record in records),
    )
    says_something = found.steps or found.fixed or found.varied or found.dependencies or found.decisions or found.discoveries
    return found if says_something else None


def _distinct(values: Sequence[Any]) -> list[Any]:
    seen: dict[str, Any] = {}
    for value in values:
        seen.setdefault(json.dumps(value, default=str, sort_keys=True), value)
    return list(seen.values())
