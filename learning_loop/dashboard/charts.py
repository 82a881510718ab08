"""The charts of the pages, as Vega-Lite specifications: plain data, drawn in the browser, in the colours of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from learning_loop.synthesis.charts import WHOLE

Rows = Sequence[Mapping[str, Any]]
Spec = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
HEIGHT = 190
SHORT = 40  # letters, so many that names beside each other lie flat
STATES = {"succeeded": "#3f8657", "failed": "#c4532f", "cancelled": "#9a7400", "interrupted": "#7159a6", "unknown": "#8a93a3"}


def _chart(rows: Rows, **spec: Any) -> Spec:
    return {"$schema": SCHEMA, "width": "container", "height": HEIGHT, "data": {"values": [dict(row) for row in rows]}, **spec}


def _axis(name: str, kind: str, **more: Any) -> Spec:
    return {"field": name, "type": kind, "title": more.pop("title", name), **more}


def _labels(rows: Rows, name: str, angle: int) -> Spec:
    """Return an axis whose labels lie flat where all of them together are short."""
    length = sum(len(str(value)) for value in {row[name] for row in rows})
    return {"labelAngle": 0 if length <= SHORT else angle}


def bands(rows: Rows, y: str, *, title: str, domain: tuple[float, float] | None = None) -> Spec | None:
    """Draw a value by `day` with its interval from `low` to `high`, a line for each `who`."""
    if len({row["day"] for row in rows}) < 2:
        return None
    scale = {"scale": {"domain": list(domain)}} if domain else {"scale": {"zero": False}}
    x, colour = _axis("day", "temporal", title=None), _axis("who", "nominal", title=None)
    line = {"x": x, "y": _axis(y, "quantitative", title=title, **scale), "color": colour}
    tips = [_axis(name, kind) for name, kind in (("day", "temporal"), ("who", "nominal"), (y, "quantitative"))]
    tips += [_axis(name, "quantitative") for name in ("low", "high", "runs")]
    return _chart(
        rows,
        layer=[
            {
                "mark": {"type": "area", "opacity": 0.15},
                "encoding": {**line, "y": _axis("low", "quantitative", title=title, **scale), "y2": {"field": "high"}},
            },
            {"mark": {"type": "line", "point": True}, "encoding": {**line, "tooltip": tips}},
        ],
    )


def bars(rows: Rows, x: str, *, title: str, colour: str | None = None, sort: Any = None, count: str = "runs") -> Spec | None:
    """Draw how many there are of each value, in order of the values or as given by `sort`."""
    if not rows:
        return None
    encoding: Spec = {
        "x": _axis(x, "ordinal", title=title, sort=sort, axis=_labels(rows, x, -90)),
        "y": _axis(count, "quantitative", title=count, stack="zero", axis=WHOLE),
        "tooltip": [_axis(name, "nominal") for name in dict.fromkeys([x, *([colour] if colour else []), count])],
    }
    if colour:
        fixed = {"scale": {"domain": list(STATES), "range": list(STATES.values())}} if colour == "status" else {}
        encoding["color"] = _axis(colour, "nominal", title=None, **fixed)
    return _chart(rows, mark="bar", encoding=encoding)


def shares(rows: Rows, of: str, *, count: str = "runs") -> Spec | None:
    """Draw shares as a pie."""
    if not rows:
        return None
    return _chart(
        rows,
        mark={"type": "arc", "innerRadius": 45},
        encoding={
            "theta": _axis(count, "quantitative"),
            "color": _axis(of, "nominal", title=None),
            "tooltip": [_axis(of, "nominal"), _axis(count, "quantitative")],
        },
    )


def heat(rows: Rows, x: str, y: str, value: str, *, title: str) -> Spec | None:
    """Draw a value for each pair, the darker the more."""
    if not rows:
        return None
    high = len({row[y] for row in rows})
    found = _chart(
        rows,
        mark="rect",
        encoding={
            "x": _axis(x, "nominal", title=None, axis=_labels(rows, x, -30)),
            "y": _axis(y, "nominal", title=None, sort=None, axis={"labelLimit": 240}),
            "color": _axis(value, "quantitative", title=title, scale={"scheme": "blues", "domain": [0, 1]}),
            "tooltip": [
                _axis(x, "nominal"),
                _axis(y, "nominal"),
                _axis(value, "quantitative", format=".0%"),
                _axis("runs", "quantitative"),
            ],
        },
    )
    return {**found, "height": max(26 * high, 80)}


def intervals(rows: Rows, *, title: str) -> Spec | None:
    """Draw `effect` with its interval from `low` to `high` for each `name`, beside a line where nothing is."""
    if not rows:
        return None
    y = _axis("name", "nominal", title=None, sort=None, axis={"labelLimit": 220})
    found = _chart(
        rows,
        layer=[
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": _axis("low", "quantitative", title=title), "x2": {"field": "high"}, "y": y},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60},
                "encoding": {
                    "x": _axis("effect", "quantitative", title=title), "y": y, "color": _axis("verdict", "nominal", title=None),
                    "tooltip": [_axis(name, "nominal") for name in ("name", "effect", "low", "high", "verdict")],
                },
            },
            {"mark": {"type": "rule", "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 0}}},
        ],
    )  # fmt: skip
    return {**found, "height": max(24 * len(rows), 60)}


def evidence(rows: Rows, limits: Rows) -> Spec | None:
    """Draw the logarithms of e-values by `units`, a line for each `what`, and the bars that they have to reach."""
    if not rows:
        return None
    x = _axis("units", "quantitative", title="units that ended")
    return _chart(
        rows,
        layer=[
            {
                "mark": {"type": "line", "point": True},
                "encoding": {
                    "x": x,
                    "y": _axis("log_e", "quantitative", title="log e-value"), "color": _axis("what", "nominal", title=None),
                    "tooltip": [_axis(name, "nominal") for name in ("units", "what", "log_e")],
                },
            },
            {
                "data": {"values": [dict(row) for row in limits]},
                "mark": {"type": "rule", "strokeDash": [4, 3]},
                "encoding": {"y": _axis("log_e", "quantitative", title="log e-value"), "color": _axis("what", "nominal")},
            },
        ],
    )  # fmt: skip
