"""Whether what was drawn came out as often as it should: where it did not, outcomes went missing depending on the draw."""

import math
from collections.abc import Iterable

STRENGTH = 100.0  # of the prior round each probability, in draws


def log_ratio_evidence(draws: Iterable[tuple[float, bool]]) -> float:
    """Return the logarithm of an e-value against "each of these (probability, result) was drawn as it says".

    For each probability the draws are bet on with a Beta prior round it; it may be looked at after every draw. Lindon and
    Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.
    """
    counts: dict[float, list[int]] = {}
    for odds, result in draws:
        counts.setdefault(odds, [0, 0])[result] += 1
    total = 0.0
    for odds, (without, having) in counts.items():
        one, other = STRENGTH * odds, STRENGTH * (1 - odds)
        total += _log_beta(one + having, other + without) - _log_beta(one, other)
        total -= having * math.log(odds) + without * math.log(1 - odds)
    return total


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
