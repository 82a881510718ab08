"""Efficiency: how duration and cost compare with what such runs usually take."""

import math
from collections.abc import Sequence

from learning_loop.records import Outcome
from learning_loop.scoring.history import JITTER_S, History
from learning_loop.stats.robust import median, quantile

LEAST_GAIN, LEAST_LOSS = 0.9, 1.25  # a usual level is not known more sharply than this


def efficiency(outcome: Outcome, history: History) -> tuple[float | None, str]:
    """Return 0-100 or None, and what it rests on: the mean over duration and cost, as far as both are known.

    Each is placed among the earlier successful runs, on a logarithmic scale: 100 at their best decile (or 10 % below the
    median, if that is less), 75 at the median, 50 at the worst decile (or 25 % above the median, if that is more), and
    halving with every doubling beyond. Of a duration, five milliseconds either way count as nothing. A failed run has
    achieved nothing to be efficient about: unknown.
    """
    if outcome.success is False:
        return None, "unknown: the run failed"
    parts: list[tuple[float | None, str]] = []
    for name, value, known, jitter in (
        ("duration", outcome.duration_s, history.durations, JITTER_S),
        ("cost", outcome.cost_usd, history.costs, 0.0),
    ):
        if value is None:
            continue
        if len(known) < history.minimum:
            parts.append((None, f"{name}: {len(known)} earlier runs, {history.minimum} needed"))
            continue
        usual = quantile(known.ordered, 0.5)
        parts.append(
            (
                _place(value, known.ordered, jitter),
                f"{name} {_ratio(value, usual)} the usual of {len(known)} runs of {history.level}",
            )
        )
    if outcome.duration_s is not None and len(history.baseline) >= history.minimum:
        parts.append(
            (None, f"{_ratio(outcome.duration_s, median(history.baseline))} the first {len(history.baseline)} good runs")
        )
    scores = [score for score, _ in parts if score is not None]
    return (sum(scores) / len(scores) if scores else None), "; ".join(
        text for _, text in parts
    ) or "unknown: nothing was measured"


def _ratio(value: float, usual: float) -> str:
    return f"{value / usual:.2f} x" if usual > 0 else "as against 0:"


def _place(value: float, ordered: Sequence[float], jitter: float) -> float:
    middle = quantile(ordered, 0.5)
    if middle <= 0:
        return 75.0 if value <= 0 else 0.0
    if abs(value - middle) <= jitter:
        return 75.0
    best = min(quantile(ordered, 0.1), middle * LEAST_GAIN)
    worst = max(quantile(ordered, 0.9), middle * LEAST_LOSS)
    if value <= best:
        return 100.0
    if value <= middle:
        return 75 + 25 * math.log(middle / value) / math.log(middle / best) if best > 0 else 75 + 25 * (middle - value) / middle
    if value <= worst:
        return 75 - 25 * math.log(value / middle) / math.log(worst / middle)
    return 50 * worst / value
