"""All families together: one control of error over everything that was tested at a look, and over all looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from learning_loop.features.conditions import names_of, parse
from learning_loop.patterns.candidates import Candidate, Limits
from learning_loop.patterns.contrast import contrasts, estimate, irredundant, superseded
from learning_loop.patterns.dependency import chains, versions
from learning_loop.patterns.performance import shifts
from learning_loop.records import Observation, Pattern
from learning_loop.stats.multiple import can_be_found, share_of_level, weighted_holm

SHARES = {"contrast": 0.7, "pair": 0.1, "performance": 0.1, "dependency": 0.1}  # of the level, by tier
KNOWN_LEVEL = 0.05  # below this a pattern that is known already still stands; it was found, so nothing else is counted


@dataclass(frozen=True, slots=True)
class Found:
    """What a look gave: patterns that are new, known ones that still stand, and the keys of those that no longer do.

    Of those, the ones `superseded` only say what another says better. `tested` is how many hypotheses could have become
    significant; `level` what this look may spend.
    """

    new: tuple[Pattern, ...]
    standing: tuple[Pattern, ...]
    fallen: tuple[str, ...]
    tested: int = 0
    level: float = 0.0
    superseded: tuple[str, ...] = ()

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """All that stands, the strongest first."""
        return tuple(sorted((*self.new, *self.standing), key=lambda found: (found.p_value, found.key)))


def find_patterns(
    runs: Sequence[Observation], limits: Limits, *, known: Mapping[str, str] | None = None, look: int = 1
) -> Found:
    """Return the patterns in these runs.

    `known` are the patterns of earlier looks: their conditions by key. `look` counts the looks at this history from 1: each
    spends its share of the level, so that over all of them, however many, noise gives any pattern with a probability of at
    most `limits.level`. Within a look the chance of any false pattern, and with it the share of false ones, is held over all
    four families together (weighted Holm), each tier having its part of the level.
    """
    known = known or {}
    level = limits.level * share_of_level(look)
    tested = [*contrasts(runs, limits), *shifts(runs, limits), *chains(runs, limits), *versions(runs, limits)]
    significant, counted = _significant(tested, level)
    before = [candidate for candidate in tested if candidate.key in known and candidate.contrast is not None]
    kept, outdone = _worth(significant, limits, before, pairs=sum(candidate.tier == "pair" for candidate in tested))
    new = [pattern for pattern in kept if pattern.key not in known]
    standing, fallen = _known(tested, runs, limits, known)
    standing = [pattern for pattern in standing if pattern.key not in outdone]
    return Found(tuple(new), tuple(standing), (*fallen, *sorted(outdone)), counted, level, tuple(sorted(outdone)))


def review_patterns(runs: Sequence[Observation], limits: Limits, *, known: Mapping[str, str]) -> Found:
    """Return which of the known patterns stand in these runs; nothing new is looked for."""
    tested = [*shifts(runs, limits), *chains(runs, limits), *versions(runs, limits)]
    standing, fallen = _known(tested, runs, limits, known)
    return Found((), tuple(standing), tuple(fallen))


Name = bytes | str


def _name(candidate: Candidate) -> Name:
    """Return what candidates of one hypothesis have in common."""
    return candidate.hypothesis or candidate.key


def _significant(tested: Sequence[Candidate], level: float) -> tuple[list[tuple[Candidate, float]], int]:
    """Return the candidates whose adjusted p-value is within the level, and how many hypotheses were counted."""
    by_tier: dict[str, list[Candidate]] = {}
    for candidate in tested:
        by_tier.setdefault(candidate.tier, []).append(candidate)
    counted: dict[str, dict[Name, Candidate]] = {}
    for tier, group in by_tier.items():
        able = can_be_found(np.array([candidate.least for candidate in group]), level * SHARES[tier])
        for candidate, can in zip(group, able, strict=True):
            if can:  # of one hypothesis seen from two sides, one counts
                counted.setdefault(tier, {}).setdefault(_name(candidate), candidate)
    size = sum(len(named) for named in counted.values())
    total = sum(SHARES[tier] for tier in counted)
    p_values, weights, names = [], [], []
    for tier, named in counted.items():
        for name, candidate in named.items():
            names.append((tier, name))
            p_values.append(candidate.p_value)
            weights.append(SHARES[tier] / total / len(named))
    adjusted = dict(zip(names, weighted_holm(np.array(p_values), np.array(weights)), strict=True))
    found = []
    for candidate in tested:
        value = adjusted.get((candidate.tier, _name(candidate)), 1.0)
        if value <= level:
            found.append((candidate, float(value)))
    return found, size


def _worth(
    significant: Sequence[tuple[Candidate, float]], limits: Limits, known: Sequence[Candidate], *, pairs: int
) -> tuple[list[Pattern], set[str]]:
    """Return the patterns that are large enough and say something the others do not, and the known that no longer do."""
    adjusted = {id(candidate): value for candidate, value in significant}
    stated = [(candidate, candidate.state(value)) for candidate, value in significant]
    large = [(candidate, pattern) for candidate, pattern in stated if _large(pattern, limits)]
    others = [(candidate, pattern) for candidate, pattern in large if candidate.contrast is None]
    began_with = {name for _, pattern in others if pattern.since for name in names_of(parse(pattern.antecedent)) if "." in name}
    keys = {candidate.key for candidate in known}
    contrasting = [
        candidate
        for candidate, _ in large
        if candidate.contrast and candidate.key not in keys and not began_with & set(names_of(candidate.contrast.condition))
    ]
    chosen = irredundant(contrasting, pairs, known)
    found = [candidate.state(adjusted[id(candidate)]) for candidate in chosen]
    outdone = {candidate.key for candidate in superseded(known, chosen)}
    return sorted([*found, *_apart(others)], key=lambda pattern: (pattern.p_value, pattern.key)), outdone


def _large(pattern: Pattern, limits: Limits) -> bool:
    if pattern.unit == "points":
        return pattern.effect >= limits.least_effect
    return max(pattern.effect, 1 / pattern.effect) >= limits.least_ratio


def _apart(found: Sequence[tuple[Candidate, Pattern]]) -> list[Pattern]:
    """Return chains, changes and versions without what says the same of the same runs: the strongest stays."""
    kept: list[Pattern] = []
    for _, pattern in sorted(found, key=lambda item: (item[1].p_value, item[1].key)):
        if not any(_same(other, pattern) for other in kept):
            kept.append(pattern)
    return kept


def _same(one: Pattern, other: Pattern) -> bool:
    """Say whether two patterns are one seen twice: both directions of a pair, or versions that changed at the same time."""
    if one.family != "dependency" or other.family != "dependency":
        return False
    if one.since is not None and other.since is not None:
        return bool(set(one.executions) & set(other.executions))
    return {one.antecedent, one.consequent} == {other.antecedent, other.consequent} or (
        one.consequent.endswith(f" {other.antecedent}") and other.consequent.endswith(f" {one.antecedent}")
    )


def _known(
    tested: Sequence[Candidate], runs: Sequence[Observation], limits: Limits, known: Mapping[str, str]
) -> tuple[list[Pattern], list[str]]:
    """Return the known patterns that still stand in these runs, and the keys of the others."""
    by_key = {candidate.key: candidate for candidate in tested}
    standing, fallen = [], []
    for key, condition in known.items():
        family = key.partition(":")[0]
        pattern: Pattern | None = None
        if family in ("success", "failure"):
            pattern = estimate(family, parse(condition), runs, limits)
        elif key in by_key:
            pattern = by_key[key].state(None)
        if pattern is not None and pattern.p_value <= KNOWN_LEVEL:
            standing.append(pattern)
        else:
            fallen.append(key)
    return standing, fallen
