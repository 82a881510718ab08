"""What calls of models come to."""

from collections.abc import Sequence
from itertools import pairwise

from learning_loop.records import Usage, UsageTotals


def totals(usages: Sequence[Usage]) -> UsageTotals:
    """Sum up the usage of an execution. A fallback rotation is a failed attempt followed by one with another model."""
    if not usages:
        return _NO_USAGE
    costs, tokens = [use.cost_usd for use in usages], [use.tokens for use in usages]
    latencies = [use.latency_ms for use in usages if use.latency_ms is not None]
    rotations = 0
    for step in dict.fromkeys(use.step_id for use in usages):
        of_step = [use for use in usages if use.step_id == step]
        rotations += sum(not a.success and a.model != b.model for a, b in pairwise(of_step))
    return UsageTotals(
        cost_usd=sum(costs) if costs and None not in costs else None,  # type: ignore[arg-type]
        tokens=sum(tokens) if tokens and None not in tokens else None,  # type: ignore[arg-type]
        attempts=len(usages),
        successful_attempts=sum(use.success for use in usages),
        failed_attempts=sum(not use.success for use in usages),
        fallback_rotations=rotations,
        mean_latency_ms=sum(latencies) / len(latencies) if latencies else None,
    )


_NO_USAGE = UsageTotals(
    cost_usd=None, tokens=None, attempts=0, successful_attempts=0, failed_attempts=0, fallback_rotations=0, mean_latency_ms=None
)
