"""What sets runs apart: one run against another, one group against another."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from learning_loop.stats.robust import fisher_greater

Features = Mapping[str, str]


def differences(run: Features, reference: Features) -> list[tuple[str, str | None, str | None]]:
    """Return (feature, value in the reference, value in the run) for all that differs; None where one lacks it."""
    names = sorted({*run, *reference})
    return [(name, reference.get(name), run.get(name)) for name in names if run.get(name) != reference.get(name)]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A feature with one value, found in `with_count` of `with_total` runs of a group and so many of the others."""

    feature: str
    value: str
    with_count: int
    with_total: int
    without_count: int
    without_total: int
    p_value: float


def contrasts(group: Sequence[Features], others: Sequence[Features], *, level: float = 0.05) -> list[Contrast]:
    """Return the features that are commoner in `group` than in `others`, the least likely by chance first.

    Fisher's exact test on each feature-value, Holm's correction over all that were tested (S. Holm, A simple sequentially
    rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979).
    """
    inside = Counter(item for features in group for item in features.items())
    outside = Counter(item for features in others for item in features.items())
    tested = []
    for (feature, value), count in inside.items():
        other = outside[feature, value]
        if count * len(others) > other * len(group):  # commoner in the group; the rest is not what is asked
            p_value = fisher_greater(count, len(group) - count, other, len(others) - other)
            tested.append(Contrast(feature, value, count, len(group), other, len(others), p_value))
    tested.sort(key=lambda found: (found.p_value, found.feature, found.value))
    hypotheses = len({*inside, *outside})
    kept = []
    for rank, found in enumerate(tested):
        if found.p_value * (hypotheses - rank) > level:
            break
        kept.append(found)
    return kept
