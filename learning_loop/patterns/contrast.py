"""Success and failure: which features, alone or in pairs, the good or the bad runs have in common and the others have not."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b

import numpy as np

from learning_loop.features.conditions import SORTS, Comparison, Condition, facts_of, holds, names_of, number, show, test_of
from learning_loop.patterns.candidates import DOUBTED, PASSING, Candidate, Contrasted, Extent, Limits, lags_of
from learning_loop.records import Observation, Pattern
from learning_loop.stats.contingency import (
    fisher_greater_many,
    least_p_value,
    mantel_haenszel,
    newcombe,
    serial_p_value,
    synergy_p_value,
)

FEW_VALUES = 8  # a number with more distinct values than this is cut at its quartiles
MOST_PAIRED = 150  # features that are paired with each other: those that split the runs most evenly
MOST_STRATA = 5  # patterns that a further one is compared within
STILL = 0.05  # what a further pattern must add, given those already found
COMMIT = "state:git.commit"  # what began with one is for `versions` to say
_ORDER = ("type", "component", "project", "agent", "tag", *SORTS)


@dataclass(slots=True)
class Item:
    """A condition and the runs it holds of; `alike` are other conditions that hold of the same."""

    feature: str
    condition: Comparison
    extent: Extent
    alike: list[Comparison] = field(default_factory=list)


def items_of(runs: Sequence[Observation], least: int) -> list[Item]:
    """Return the conditions on one feature that hold of at least `least` runs and of at least so many not."""
    columns: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, run in enumerate(runs):
        for name, value in run.features.items():
            columns[name][value].append(place)
    found: dict[bytes, Item] = {}
    for name in sorted(columns, key=_rank):
        if name in PASSING or name == COMMIT:
            continue
        for condition, extent in _splits(name, columns[name], len(runs), least):
            mark = extent.tobytes()
            if mark in found:
                found[mark].alike.append(condition)
            else:
                found[mark] = Item(name, condition, extent)
    return list(found.values())


def _rank(name: str) -> tuple[int, str]:
    sort = name.partition(":")[0]
    return (_ORDER.index(sort) if sort in _ORDER else len(_ORDER)), name


def _splits(name: str, values: Mapping[str, Sequence[int]], runs: int, least: int) -> Iterable[tuple[Comparison, Extent]]:
    """Yield the conditions on one feature: each value, or for a number with many the quartiles."""
    known = {value: number(value) for value in values} if len(values) > FEW_VALUES else {}
    if known and all(item is not None for item in known.values()):
        feature, column = test_of(name, "").name, np.full(runs, np.nan)
        for value, places in values.items():
            column[list(places)] = known[value]
        cuts = {f"{cut:.6g}" for cut in np.nanquantile(column, (0.25, 0.5, 0.75), method="inverted_cdf")}
        for cut in sorted(cuts, key=float):
            for operator, extent in ((">", column > float(cut)), ("<=", column <= float(cut))):
                if least <= int(extent.sum()) <= runs - least:
                    yield Comparison(feature, operator, (cut,)), extent
        return
    for value, places in values.items():
        if least <= len(places) <= runs - least:
            extent = np.zeros(runs, dtype=np.bool_)
            extent[list(places)] = True
            yield test_of(name, value), extent


def contrasts(runs: Sequence[Observation], limits: Limits) -> list[Candidate]:
    """Return every contrast that was tested: each condition alone, and pairs, against good and against bad scores.

    Bad days come in runs, and so do agents, branches and versions: two that have nothing to do with each other then go
    together more often than exact tests of independent runs expect. What looks significant is therefore tested a second time,
    with a variance that counts such runs; the weaker of both tests counts.
    """
    scored = sorted((run for run in runs if run.score is not None), key=lambda run: (run.started, run.id))
    scores = np.array([run.score for run in scored], dtype=np.float64)
    lags = lags_of(scored)
    labels = {"success": scores > limits.success_above, "failure": scores < limits.failure_below}
    items = items_of(scored, limits.least_support)
    if not items:
        return []
    matrix = np.stack([item.extent for item in items], axis=1)
    mirrored = bool(np.array_equal(labels["success"], ~labels["failure"]))
    found: list[Candidate] = []
    for family, label in labels.items():
        if not label.any() or label.all():
            continue
        tested = [*_single(label, items, matrix), *_paired(label, items, matrix, limits)]
        column = np.full(len(tested), int(label.sum()))
        total = np.full(len(tested), label.size)
        rows = np.array([row for _, _, row in tested])
        p_values = fisher_greater_many(np.array([cell for _, cell, _ in tested]), rows, column, total)
        least = least_p_value(rows, column, total)
        for doubted in np.flatnonzero(p_values <= DOUBTED):
            p_values[doubted] = max(p_values[doubted], serial_p_value(tested[doubted][0].runs, label, lags))
        for place, (contrast, _, _) in enumerate(tested):
            alone = len(contrast.conditions) == 1
            found.append(
                Candidate(
                    family=family,
                    tier="contrast" if alone else "pair",
                    key=key_of(family, contrast.condition),
                    p_value=float(p_values[place]),
                    least=float(least[place]),
                    hypothesis=_hypothesis(contrast.runs, family, mirrored=mirrored) if alone else None,
                    contrast=contrast,
                    state=partial(_state, family, contrast, scored, limits, float(p_values[place])),
                )
            )
    return found


Tested = tuple[Contrasted, int, int]  # with its first cell and its row's sum


def _single(label: Extent, items: list[Item], matrix: Extent) -> list[Tested]:
    rows, cells = matrix.sum(axis=0), matrix[label].sum(axis=0)
    return [
        (Contrasted((item.condition,), (item.extent,), label, tuple(item.alike)), int(cells[place]), int(rows[place]))
        for place, item in enumerate(items)
    ]


def _paired(label: Extent, items: list[Item], matrix: Extent, limits: Limits) -> list[Tested]:
    """Return the conjunctions of two conditions on different features, where they hold of fewer runs than either."""
    rows = matrix.sum(axis=0)
    chosen = np.argsort(np.abs(rows - label.size / 2), kind="stable")[:MOST_PAIRED]
    part = matrix[:, chosen].astype(np.float32)
    both, hits = part.T @ part, part[label].T @ part[label]
    found = []
    for first, second in zip(*np.triu_indices(chosen.size, 1), strict=True):
        one, other = items[chosen[first]], items[chosen[second]]
        count = int(both[first, second])
        if count < limits.least_support or count >= min(rows[chosen[first]], rows[chosen[second]]):
            continue
        if one.condition.name != other.condition.name or one.condition.name == "tag":
            pair = sorted((one, other), key=lambda item: (_rank(item.feature), show(item.condition)))
            conditions, extents = tuple(item.condition for item in pair), tuple(item.extent for item in pair)
            found.append((Contrasted(conditions, extents, label), int(hits[first, second]), count))
    return found


def _hypothesis(extent: Extent, family: str, *, mirrored: bool) -> bytes:
    """Return what is the same for two tests that are one: x is commoner in failures, not-x is commoner in all others."""
    side = extent if family == "failure" or not mirrored else ~extent
    return blake2b(side.tobytes() + (b"" if mirrored else family.encode()), digest_size=12).digest()


def irredundant(found: Sequence[Candidate], pairs: int, known: Sequence[Candidate] = ()) -> list[Candidate]:
    """Return the contrasts that say something the others, and those `known` before, do not; the strongest first.

    Conditions on one feature are taken in first; each must still be commoner in its group, at Bonferroni's level, once the
    runs are told apart by those taken in before. A pair is taken in where each part adds to the other, at Bonferroni's level
    over all `pairs` that were tested (the luckiest half of a condition is no pattern), where both together do more than the
    sum of what each does alone, at Bonferroni's level over those of which that holds, and where it leaves one of its parts
    nothing to say. In the end each must stand beside all others, so that a true pair outlives its parts. What is exactly the
    opposite of another, seen from the other side, stays.
    """
    before = set(map(id, known))
    kept: list[Candidate] = list(known)
    singles = _ordered(found, "contrast")
    for candidate in singles:
        if _beside(candidate, kept) <= STILL / len(singles):
            kept.append(candidate)
    together = [candidate for candidate in _ordered(found, "pair") if _adds(candidate, STILL / pairs)]
    for candidate in together:
        more = _synergy(candidate) <= STILL / len(together)
        if more and _replaces(candidate, kept) and _beside(candidate, kept) <= STILL / pairs:
            kept.append(candidate)
    for candidate in sorted((item for item in kept if id(item) not in before), key=lambda item: -item.p_value):
        others = [other for other in kept if other is not candidate]
        if _beside(candidate, others) > STILL / len(kept):
            kept = others
    return sorted((item for item in kept if id(item) not in before), key=lambda item: (item.p_value, item.key))


def superseded(known: Sequence[Candidate], new: Sequence[Candidate]) -> list[Candidate]:
    """Return the known contrasts that say nothing beside the others and new ones that they are a part of."""
    found: list[Candidate] = []
    for candidate in sorted(known, key=lambda item: -item.p_value):
        others = [other for other in (*known, *new) if other is not candidate and other not in found]
        narrower = any(_parts_of(candidate) < _parts_of(other) for other in others)
        if narrower and _beside(candidate, others) > STILL:
            found.append(candidate)
    return found


def _ordered(found: Sequence[Candidate], tier: str) -> list[Candidate]:
    return sorted((item for item in found if item.tier == tier), key=lambda item: (item.p_value, item.key))


def _adds(pair: Candidate, level: float) -> bool:
    """Say whether within the runs of either part the other part makes a difference."""
    contrast = _of(pair)
    strata = [_stratum(contrast.runs, contrast.label, part) for part in contrast.extents]
    return all(mantel_haenszel([stratum]) <= level for stratum in strata)


def _synergy(pair: Candidate) -> float:
    """Return the p-value that both parts together do more than the sum of what each does alone."""
    contrast = _of(pair)
    cell = 2 * contrast.extents[0].astype(np.int64) + contrast.extents[1]
    runs, hits = (np.bincount(cell[here], minlength=4).reshape(2, 2) for here in (slice(None), contrast.label))
    return synergy_p_value(hits, runs)


def _replaces(pair: Candidate, kept: Sequence[Candidate]) -> bool:
    """Say whether a condition that was taken in says nothing beside the pair that it is a part of, or none was."""
    singles = [other for other in kept if other.tier == "contrast" and other.family == pair.family]
    parts = [_of(other) for other in singles if _parts_of(pair) & _parts_of(other)]
    return not parts or any(_within(part, [_of(pair)]) > STILL for part in parts)


def _parts_of(candidate: Candidate) -> set[str]:
    return {condition.name for condition in _of(candidate).conditions}


def _of(candidate: Candidate) -> Contrasted:
    assert candidate.contrast is not None  # noqa: S101  (only contrasts are told apart here)
    return candidate.contrast


def _beside(candidate: Candidate, others: Sequence[Candidate]) -> float:
    """Return the p-value of a contrast within the strata that those of the others most like it make.

    Parts of a pair are passed over: both together would leave it nothing.
    """
    contrast, pair = _of(candidate), candidate.tier == "pair"
    runs = contrast.runs
    known = [
        _of(other)
        for other in others
        if not _opposite(candidate, other, runs)
        and not (pair and other.tier == "contrast" and _parts_of(candidate) & _parts_of(other))
    ]
    return _within(contrast, sorted(known, key=lambda other: -_likeness(runs, other.runs))[:MOST_STRATA])


def _opposite(candidate: Candidate, other: Candidate, runs: Extent) -> bool:
    return candidate.family != other.family and bool(np.array_equal(runs, ~_of(other).runs))


def _likeness(one: Extent, other: Extent) -> float:
    """Return how far one extent tells the other: the absolute correlation of the two."""
    a, b, both, size = int(one.sum()), int(other.sum()), int((one & other).sum()), one.size
    spread = a * (size - a) * b * (size - b)
    return abs(both * size - a * b) / math.sqrt(spread) if spread > 0 else 0.0


def _within(contrast: Contrasted, others: Sequence[Contrasted]) -> float:
    """Return the p-value of a contrast within the strata that others make."""
    runs, label = contrast.runs, contrast.label
    code = np.zeros(runs.size, dtype=np.int64)
    for place, other in enumerate(others):
        code |= other.runs.astype(np.int64) << place
    return mantel_haenszel([_stratum(runs, label, code == value) for value in np.unique(code)])


def _stratum(runs: Extent, label: Extent, here: Extent) -> tuple[float, float, float, float]:
    cells = (runs & label & here, runs & here, label & here, here)
    a, row, column, total = (float(cell.sum()) for cell in cells)
    return a, row, column, total


def key_of(family: str, condition: Condition) -> str:
    """Return what a contrast is called from week to week."""
    return f"{family}: {show(condition)}"


def _state(
    family: str,
    contrast: Contrasted,
    runs: Sequence[Observation],
    limits: Limits,
    p_value: float,
    adjusted: float | None,
) -> Pattern:
    found = _pattern(family, contrast, runs, limits, p_value)
    return replace(found, adjusted=adjusted, alike=tuple(show(item) for item in contrast.alike))


def estimate(family: str, condition: Condition, runs: Sequence[Observation], limits: Limits) -> Pattern | None:
    """Return how a known contrast stands in these runs; None where its condition holds of none, or of all."""
    scored = sorted((run for run in runs if run.score is not None), key=lambda run: (run.started, run.id))
    extent = np.array(_extent(condition, scored), dtype=np.bool_)
    if not extent.any() or extent.all():
        return None
    scores = np.array([run.score for run in scored], dtype=np.float64)
    label = scores > limits.success_above if family == "success" else scores < limits.failure_below
    cells = (int((extent & label).sum()), int(extent.sum()), int(label.sum()), label.size)
    p_value = float(fisher_greater_many(*(np.array([cell]) for cell in cells))[0])
    p_value = max(p_value, serial_p_value(extent, label, lags_of(scored)))
    return _pattern(family, _Known(condition, extent, label), scored, limits, p_value)


def _extent(condition: Condition, runs: Sequence[Observation]) -> list[bool]:
    """Return of which runs a condition holds; runs alike in what it asks about are asked once."""
    names = {name.replace(".", ":", 1) for name in names_of(condition)}
    known: dict[tuple[tuple[str, str], ...], bool] = {}
    found = []
    for run in runs:
        asked = [(name, value) for name in names if (value := run.features.get(name)) is not None]
        if "tag" in names:
            asked += [item for item in run.features.items() if item[0].startswith("tag:")]
        key = tuple(asked)
        if key not in known:
            known[key] = holds(condition, facts_of(dict(asked)))
        found.append(known[key])
    return found


@dataclass(frozen=True, slots=True)
class _Known:
    condition: Condition
    runs: Extent
    label: Extent


def _pattern(
    family: str, contrast: Contrasted | _Known, runs: Sequence[Observation], limits: Limits, p_value: float
) -> Pattern:
    extent, label, condition = contrast.runs, contrast.label, contrast.condition
    support, hits = int(extent.sum()), int((extent & label).sum())
    others, other_hits = extent.size - support, int((~extent & label).sum())
    low, high = newcombe(hits, support, other_hits, others)
    confidence, base = hits / support, other_hits / others
    share = (hits + other_hits) / extent.size
    good = family == "success"
    bound = limits.success_above if good else limits.failure_below
    text = show(condition)
    return Pattern(
        family=family,
        key=key_of(family, condition),
        antecedent=text,
        consequent=f"score {'>' if good else '<'} {bound:g}",
        title=f"{spoken(text)} {'goes well' if good else 'goes badly'}",
        text=(
            f"{hits} of {support} runs with {text} scored {'above' if good else 'below'} {bound:g}, {other_hits} of the "
            f"{others} others ({100 * (confidence - base):+.0f} points, 95 % interval {100 * low:+.0f} to {100 * high:+.0f})"
        ),
        support=support,
        hits=hits,
        confidence=confidence,
        base=base,
        lift=confidence / share if share else None,
        effect=100 * (confidence - base),
        low=100 * low,
        high=100 * high,
        unit="points",
        p_value=p_value,
        adjusted=None,
        executions=tuple(runs[place].id for place in np.flatnonzero(extent & label)[::-1][: limits.most_executions]),
    )


def spoken(text: str) -> str:
    """Return a condition as a title says it."""
    for sort in SORTS:
        text = text.replace(f"{sort}.", f"{sort} ")
    return text
