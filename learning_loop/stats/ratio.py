"""Whether what was drawn came out as often as it should: where it did not, outcomes went missing depending on the draw."""

import math
from collections.abc import Mapping, Sequence

SKEWED = math.log(1_000)  # reached once in a thousand, over all looks, where nothing is wrong
STRENGTH = 100.0  # of the prior round each probability, in draws


def log_ratio_evidence(draws: Mapping[str, Sequence[int]], *, strength: float = STRENGTH) -> float:
    """Return the logarithm of an e-value against "each was drawn with the probability that it says".

    `draws` are the counts (without, with) by that probability, as `repr` writes it. They are bet on with a Beta prior round
    it, the narrower the more its `strength`, and may be looked at after every draw. Lindon and Malek, "Anytime-valid inference
    for multinomial count data", NeurIPS 2022.
    """
    total = 0.0
    for text, (without, having) in draws.items():
        odds = float(text)
        one, other = strength * odds, strength * (1 - odds)
        total += _log_beta(one + having, other + without) - _log_beta(one, other)
        total -= having * math.log(odds) + without * math.log(1 - odds)
    return total


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
