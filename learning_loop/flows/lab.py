"""The lab: experiments with a hypothesis, a design, effects with intervals and a verdict, written as a report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.flows.synthesis import draw
from learning_loop.stats.student import Mean, difference_of, mean_of
from learning_loop.workspace import atomic_write

SUPPORTED, REFUTED, OPEN = "supported", "refuted", "not yet known"
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One measure of several arms over repetitions, and how much the first is above the second."""

    measure: str
    arms: Mapping[str, tuple[float, ...]]
    difference: Mean | None

    @classmethod
    def of(cls, measure: str, arms: Mapping[str, Sequence[float]]) -> "Effect":
        """Compare the first two arms; raise ValueError where there are fewer."""
        first, second, *_ = arms
        kept = {name: tuple(values) for name, values in arms.items()}
        return cls(measure=measure, arms=kept, difference=difference_of(kept[first], kept[second]))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.arms)

    def verdict(self, *, margin: float = 0.0) -> str:
        """Say whether the first arm is above the second, or no more than `margin` below it."""
        found = self.difference
        if found is None or found.low is None or found.high is None:
            return OPEN
        return SUPPORTED if found.low > -margin else REFUTED if found.high < -margin else OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What was asked, how, what came out, and what it means; `criteria` are passed or not, `says` in plain words."""

    number: str
    title: str
    hypothesis: str
    design: str
    seeds: tuple[int, ...]
    effects: tuple[Effect, ...]
    criteria: Mapping[str, bool]
    verdict: str
    says: tuple[str, ...] = ()
    tables: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)  # by heading, the first row its head

    def plain(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        found = asdict(self)
        for effect in found["effects"]:
            effect["means"] = {name: _told(mean_of(values)) for name, values in effect["arms"].items()}
            effect["difference"] = _told(Mean(*effect["difference"]) if effect["difference"] is not None else None)
        return found


def _told(mean: Mean | None) -> dict[str, Any] | None:
    return None if mean is None else mean._asdict()


def write_report(app: App, experiment: Experiment) -> Path:
    """Write the report with its charts under metrics/reports/lab-NUMBER, and return the path of the report."""
    folder = app.workspace.reports / f"lab-{experiment.number}"
    charts = {effect.measure: f"effect-{place}.svg" for place, effect in enumerate(experiment.effects, 1)}
    for measure, drawn in draw({effect.measure: chart_of(effect) for effect in experiment.effects}).items():
        atomic_write(folder / charts[measure], drawn)
    text = app.templates.render(
        "reports/lab.md.j2", experiment=experiment, charts=charts, mean_of=mean_of, at=app.clock(), said=said
    )
    atomic_write(folder / "report.json", (json.dumps(experiment.plain(), indent=2) + "\n").encode())
    atomic_write(folder / "report.md", text.encode())
    return folder / "report.md"


def said(mean: Mean | None, *, sign: bool = False) -> str:
    """Return a mean with its interval as people read it."""
    if mean is None:
        return "unknown"
    form = "+.3f" if sign else ".3f"
    value = format(mean.value, form)
    return value if mean.low is None or mean.high is None else f"{value} ({mean.low:{form}} to {mean.high:{form}})"


def chart_of(effect: Effect) -> dict[str, Any]:
    """Return each repetition as a dot, and the mean of each arm with its interval."""
    dots = [{"arm": name, "value": value} for name, values in effect.arms.items() for value in values]
    means = []
    for name, values in effect.arms.items():
        mean = mean_of(values)
        if mean is not None:
            means.append({"arm": name, "mean": mean.value, "low": mean.low, "high": mean.high})
    y = {"field": "arm", "type": "nominal", "title": None, "sort": list(effect.arms), "axis": {"labelLimit": 240}}
    colour = {"field": "arm", "type": "nominal", "legend": None, "scale": {"range": list(COLOURS)}}
    ends = {"field": "low", "type": "quantitative", "title": effect.measure, "scale": {"zero": False}}
    return {
        "width": 480,
        "height": 44 * len(effect.arms) + 20,
        "layer": [
            {
                "data": {"values": dots},
                "mark": {"type": "point", "filled": True, "opacity": 0.35, "size": 40},
                "encoding": {
                    "y": y,
                    "x": {"field": "value", "type": "quantitative", "title": effect.measure},
                    "color": colour,
                },
            },
            {
                "data": {"values": means},
                "mark": {"type": "rule", "strokeWidth": 3},
                "encoding": {"y": y, "x": ends, "x2": {"field": "high"}, "color": colour},
            },
            {
                "data": {"values": means},
                "mark": {"type": "tick", "thickness": 4, "size": 22},
                "encoding": {"y": y, "x": {"field": "mean", "type": "quantitative"}, "color": colour},
            },
        ],
        "config": {"view": {"stroke": None}, "font": "sans-serif"},
    }
