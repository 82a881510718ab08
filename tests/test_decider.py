"""The one place where anything is chosen: distributions, masks, floors, and draws that can be repeated."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.decider import Decider
from learning_loop.errors import UsageError
from learning_loop.records import new_id

NOW = datetime(2026, 3, 2, tzinfo=UTC)


class Weighted:
    version = "weighted/1"

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = weights

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        del context, options
        return self._weights


def decider(seed: int = 0) -> Decider:
    rng = random.Random(seed)
    return Decider(clock=lambda: NOW, ids=lambda: new_id(NOW, rng))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8), st.sets(st.integers(0, 7)), st.floats(0, 0.5))
def test_what_is_masked_is_never_taken_and_the_rest_has_its_floor(weights: list[float], masked: set[int], floor: float) -> None:
    options = [f"o{place}" for place in range(len(weights))]
    mask = {f"o{place}" for place in masked}
    if set(options) <= mask:
        with pytest.raises(UsageError, match="every option is masked"):
            decider().decide("point", options, context={}, policy=Weighted(weights), mask=mask)
        return
    decision = decider().decide("point", options, context={}, policy=Weighted(weights), mask=mask, floor=floor)
    assert decision.probabilities is not None
    assert sum(decision.probabilities) == pytest.approx(1)
    free = [chance for option, chance in zip(options, decision.probabilities, strict=True) if option not in mask]
    assert min(free) >= min(floor, 1 / len(free)) - 1e-9
    assert decision.chosen not in mask
    assert decision.propensity == decision.probabilities[options.index(decision.chosen)] > 0
    assert decision.policy == "weighted/1"


def test_draws_are_repeatable_and_as_likely_as_they_say() -> None:
    def draws(seed: int) -> list[str]:
        one = decider(seed)
        return [one.decide("p", ["a", "b", "c"], context={}, policy=Weighted([1, 2, 1])).chosen for _ in range(2_000)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert draws(1).count("b") / 2_000 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [float("nan"), 1.0]])
def test_a_policy_without_a_distribution_is_told(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="its policy gave"):
        decider().decide("p", ["a", "b"], context={}, policy=Weighted(weights))


def test_several_things_are_drawn_each_by_itself_and_none_without_the_whole() -> None:
    one, odds = decider(3), {"memory": 0.8, "a": 0.5, "b": 1.0, "c": 0.0}
    drawn = [one.expose("expose", odds, whole="memory", context={}, execution_id="e") for _ in range(2_000)]
    shown = [set(decision.chosen.split()) for decision in drawn]
    assert {frozenset(found) for found in shown} == {frozenset(), frozenset({"memory", "b"}), frozenset({"memory", "a", "b"})}
    assert sum("memory" in found for found in shown) / 2_000 == pytest.approx(0.8, abs=0.03)
    assert {round(decision.propensity or 0, 6) for decision in drawn} == {0.2, 0.4}
