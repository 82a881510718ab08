"""The report's charts, as Vega-Lite specifications: plain data, the same for a file and for a page."""

from collections.abc import Sequence
from typing import Any

from learning_loop.features.saying import clipped
from learning_loop.stats.student import Z95
from learning_loop.synthesis.statistics import WeekCounts

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
SHOWN_ERRORS, SHOWN_KINDS, SHOWN_COMPONENTS = 6, 6, 20
LABEL = 44
WHOLE = {"tickCount": {"signal": "max(1, min(ceil(height / 40), domain('y')[1]))"}}  # an axis of counts; tickMinStep has halves
_LOOK = {
    "background": "white",
    "padding": 8,
    "config": {
        "font": "Helvetica, Arial, sans-serif",
        "axis": {"labelFontSize": 11, "titleFontSize": 11, "grid": True, "gridColor": "#eee", "labelLimit": 260},
        "legend": {"labelFontSize": 11, "titleFontSize": 11, "labelLimit": 320},
        "title": {"fontSize": 13, "anchor": "start"},
        "view": {"stroke": None},
        "range": {"category": ["#2f6f9f", "#d1603d", "#5a9e6f", "#b58900", "#7b6ba8", "#8a8a8a"]},
    },
}


def charts(weeks: Sequence[WeekCounts]) -> dict[str, dict[str, Any]]:
    """Return the specifications by name; a chart that would show nothing is left out."""
    made = {
        "scores": _scores(weeks),
        "errors": _errors(weeks),
        "durations": _durations(weeks),
        "outcomes": _outcomes(weeks[-1]) if weeks else None,
    }
    return {name: {"$schema": SCHEMA, **_LOOK, **spec} for name, spec in made.items() if spec is not None}


def _week_axis(weeks: Sequence[WeekCounts]) -> dict[str, Any]:
    return {
        "field": "week",
        "type": "ordinal",
        "title": None,
        "sort": [week.week for week in weeks],
        "axis": {"labelAngle": -40},
    }


def _scores(weeks: Sequence[WeekCounts]) -> dict[str, Any] | None:
    """Return the mean score of each week, every kind weighted as over all weeks, with its 95 % band."""
    weights: dict[Any, int] = {}
    for week in weeks:
        for kind in week.kinds:
            weights[kind.kind] = weights.get(kind.kind, 0) + kind.scored
    values = []
    for week in weeks:
        known = [(weights[kind.kind], kind) for kind in week.kinds if kind.scored]
        total = sum(weight for weight, _ in known)
        if not total:
            continue
        mean = sum(weight * kind.score_sum / kind.scored for weight, kind in known) / total
        variance = 0.0
        for weight, kind in known:
            spread = kind.score_squares / kind.scored - (kind.score_sum / kind.scored) ** 2
            variance += (weight / total) ** 2 * max(spread, 0.0) / max(kind.scored - 1, 1)
        half = Z95 * variance**0.5
        values.append(
            {
                "week": week.week,
                "score": round(mean, 2),
                "low": round(max(mean - half, 0), 2),
                "high": round(min(mean + half, 100), 2),
            }
        )
    if len(values) < 2:
        return None
    shared: dict[str, Any] = {"x": _week_axis(weeks)}
    return {
        "title": "Score by week, mix of tasks held fixed (band: 95 %)",
        "width": 560,
        "height": 220,
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.2, "color": "#2f6f9f"},
                "encoding": {**shared, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "point": True, "color": "#2f6f9f"},
                "encoding": {
                    **shared,
                    "y": {"field": "score", "type": "quantitative", "title": "score", "scale": {"zero": False, "nice": True}},
                },
            },
        ],
    }


def _errors(weeks: Sequence[WeekCounts]) -> dict[str, Any] | None:
    totals: dict[str, int] = {}
    texts: dict[str, str] = {}
    for week in weeks:
        for name, error in week.errors.items():
            totals[name] = totals.get(name, 0) + error.count
            texts.setdefault(name, error.text)
    if not totals:
        return None
    top = sorted(totals, key=lambda name: (-totals[name], name))[:SHOWN_ERRORS]
    values = [
        {"week": week.week, "error": clipped(texts[name], LABEL), "runs": week.errors[name].count}
        for week in weeks
        for name in top
        if name in week.errors
    ]
    return {
        "title": "Commonest error families by week",
        "width": 560,
        "height": 220,
        "data": {"values": values},
        "mark": "bar",
        "encoding": {
            "x": _week_axis(weeks),
            "y": {"field": "runs", "type": "quantitative", "title": "failed runs", "axis": WHOLE},
            "color": {"field": "error", "type": "nominal", "title": None, "legend": {"orient": "bottom", "columns": 2}},
        },
    }


def _durations(weeks: Sequence[WeekCounts]) -> dict[str, Any] | None:
    runs: dict[str, int] = {}
    for week in weeks:
        for kind in week.kinds:
            if kind.duration_median is not None:
                runs[str(kind.kind)] = runs.get(str(kind.kind), 0) + kind.durations
    top = sorted(runs, key=lambda name: (-runs[name], name))[:SHOWN_KINDS]
    values = [
        {"week": week.week, "kind": clipped(str(kind.kind), LABEL), "seconds": round(kind.duration_median, 4)}
        for week in weeks
        for kind in week.kinds
        if kind.duration_median is not None and str(kind.kind) in top
    ]
    if len({value["week"] for value in values}) < 2:
        return None
    return {
        "title": "Median duration by week",
        "width": 560,
        "height": 220,
        "data": {"values": values},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": _week_axis(weeks),
            "y": {"field": "seconds", "type": "quantitative", "title": "seconds", "scale": {"type": "log", "nice": True}},
            "color": {"field": "kind", "type": "nominal", "title": None, "legend": {"orient": "bottom", "columns": 2}},
        },
    }


def _outcomes(week: WeekCounts) -> dict[str, Any] | None:
    """Return a heat map of components by how their runs ended; where tasks have no component, of types."""
    counts: dict[str, dict[str, int]] = {}
    for kind in week.kinds:
        row = counts.setdefault(kind.component or kind.type, {"succeeded": 0, "failed": 0, "unknown": 0})
        row["succeeded"] += kind.succeeded
        row["failed"] += kind.failed + kind.listed
        row["unknown"] += kind.runs - kind.succeeded - kind.failed - kind.listed
    if len(counts) < 2:
        return None
    top = sorted(counts, key=lambda name: (-sum(counts[name].values()), name))[:SHOWN_COMPONENTS]
    labels = {name: clipped(name, LABEL) for name in top}
    values = [
        {
            "component": labels[name],
            "outcome": outcome,
            "runs": count,
            "share": count / max(sum(counts[name].values()), 1),
        }
        for name in top
        for outcome, count in counts[name].items()
    ]
    shared = {
        "x": {
            "field": "outcome",
            "type": "nominal",
            "title": None,
            "sort": ["succeeded", "failed", "unknown"],
            "axis": {"labelAngle": 0, "grid": False},
        },
        "y": {
            "field": "component",
            "type": "nominal",
            "title": None,
            "sort": list(labels.values()),
            "axis": {"grid": False},
        },
    }
    return {
        "title": f"How runs ended in {week.week}, by component",
        "width": 320,
        "height": {"step": 22},
        "data": {"values": values},
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    **shared,
                    "color": {
                        "field": "share",
                        "type": "quantitative",
                        "title": "share",
                        "scale": {"scheme": "blues", "domain": [0, 1]},
                    },
                },
            },
            {
                "mark": {"type": "text", "fontSize": 11},
                "encoding": {
                    **shared,
                    "text": {"field": "runs", "type": "quantitative"},
                    "color": {"condition": {"test": "datum.share > 0.55", "value": "white"}, "value": "#333"},
                },
            },
        ],
    }
