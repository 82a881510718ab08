"""A/B tests: known answers, mixtures that fool a comparison of means, units that go missing."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from learning_loop.experiments.ab import AbTest
from learning_loop.experiments.moves import ALL, Move, Phase, Told
from learning_loop.records import Exposed, Kind
from learning_loop.settings import AbTesting

NOW = datetime(2026, 3, 2, tzinfo=UTC)
Likely = Callable[[str, str], float]  # how likely an arm succeeds in a context
MANY = pytest.param(20, marks=pytest.mark.slow)  # lives that are lived at leisure


def unit(number: int, context: str, *, good: bool) -> Exposed:
    return Exposed(
        place=number,
        id=str(number),
        kind=Kind(type=context),
        ended_at=NOW,
        units=(ALL,),
        odds=(1.0,),
        shown=frozenset((ALL,)),
        score=100.0 * good,
        success=good,
        duration_s=None,
        cost_usd=None,
        safety=None,
    )


def even(test: AbTest) -> dict[str, float]:
    arms = [test.control, *test.alive]
    return dict.fromkeys(arms, 1 / len(arms))


class History:
    """Units through one test, and what a plain comparison of means would say of them."""

    def __init__(self, test: AbTest, seed: int) -> None:
        self.test, self.rng = test, random.Random(seed)
        self.moves: list[Told] = []
        self.sums: dict[str, list[float]] = {}
        self.number = 0

    def run(
        self,
        units: int,
        likely: Likely,
        *,
        contexts: Mapping[str, float] = {"": 1.0},
        shares: Callable[[str], Mapping[str, float]] | None = None,
        lost: float = 0.0,
    ) -> "History":
        """Send units until the test has a winner or is over; `lost` is the share of failures of candidates nobody hears of."""
        for _ in range(units):
            if self.test.phase is not Phase.RUNNING:
                break
            self.number += 1
            context = self.rng.choices(list(contexts), list(contexts.values()))[0]
            drawn = shares(context) if shares is not None else even(self.test)
            arm = self.rng.choices(list(drawn), list(drawn.values()))[0]
            good = self.rng.random() < likely(arm, context)
            if arm != self.test.control and not good and self.rng.random() < lost:
                self.test.miss(arm, drawn)
                continue
            counts = self.sums.setdefault(arm, [0.0, 0.0])
            counts[0], counts[1] = counts[0] + 1, counts[1] + good
            self.moves += self.test.take(unit(self.number, context, good=good), arm, drawn, NOW)
        return self

    def plainly_better(self, arm: str) -> bool:
        (old, worked), (new, worked_too) = self.sums[self.test.control], self.sums[arm]
        return worked_too / new > worked / old


def make(*candidates: str, seed: int = 0, **settings: float) -> History:
    return History(AbTest("old", candidates or ("new",), AbTesting(**{"least_effect": 0.0, **settings}), NOW), seed)


def test_what_is_better_wins_and_is_watched() -> None:
    found = make(seed=1).run(2_000, lambda arm, _: 0.9 if arm == "new" else 0.6)
    assert [told.move for told in found.moves] == [Move.PROMOTED]
    assert found.test.phase is Phase.WATCHING
    assert found.test.winner == "new"
    assert found.number < 300


def test_what_harms_is_dropped_and_the_test_goes_on_with_the_other_arm() -> None:
    found = make("bad", "new", seed=2).run(3_000, lambda arm, _: {"bad": 0.2, "new": 0.75}.get(arm, 0.6))
    assert [told.move for told in found.moves] == [Move.DROPPED, Move.PROMOTED]
    assert [told.arm for told in found.moves] == ["bad", "new"]


def test_what_is_hardly_better_any_more_is_given_up_before_all_units_are_used() -> None:
    ends = [make(seed=seed, least_effect=0.08).run(2_000, lambda _arm, _: 0.6) for seed in range(20)]
    over = [found for found in ends if found.test.phase is Phase.OVER]
    assert len(over) >= 18
    assert sum(found.number for found in over) / len(over) < 1_000


def test_kept_between_processes_it_is_the_same() -> None:
    one, other = make("a", "b", seed=3), make("a", "b", seed=3)
    for _ in range(6):
        one.run(50, lambda arm, _: 0.5 + 0.2 * (arm == "b"))
        other.run(50, lambda arm, _: 0.5 + 0.2 * (arm == "b"))
        kept = json.loads(json.dumps(other.test.plain()))
        other.test = AbTest("old", ("a", "b"), AbTesting(least_effect=0.0), NOW, kept=kept)
    assert one.test.plain() == other.test.plain()


def test_arms_that_are_never_offered_to_a_unit_say_nothing_of_each_other() -> None:
    found = make("a", "b", seed=4)
    found.run(400, lambda arm, _: 0.9 if arm == "a" else 0.2, shares=lambda _: {"old": 0.5, "b": 0.5})
    assert found.test.known("a")["units"] == 0


def mixture(history: History, likely: Likely) -> History:
    """Run mornings and afternoons: few units get the new arm and work is easy, then many do and work is hard."""
    few, many = {"old": 0.9, "new": 0.1}, {"old": 0.1, "new": 0.9}
    for easy in (0.95, 0.05) * 40:
        share = few if easy > 0.5 else many
        history.run(40, likely, contexts={"easy": easy, "hard": 1 - easy}, shares=lambda _, share=share: share)  # type: ignore[misc]
    return history


@pytest.mark.parametrize("seed", range(8))
def test_better_in_each_context_and_worse_in_the_mixture_it_wins(seed: int) -> None:
    gain = {"easy": 0.85, "hard": 0.25}
    found = mixture(make(seed=seed), lambda arm, context: gain[context] + 0.14 * (arm == "new"))
    assert not found.plainly_better("new")
    assert found.test.winner == "new"


@pytest.mark.parametrize("seed", range(8))
def test_worse_in_each_context_and_better_in_the_mixture_it_never_wins(seed: int) -> None:
    gain = {"easy": 0.25, "hard": 0.85}  # what comes when many get the new arm is what goes well anyway
    found = mixture(make(seed=seed), lambda arm, context: gain[context] - 0.14 * (arm == "new"))
    assert found.plainly_better("new")
    assert found.test.winner is None
    assert [told.move for told in found.moves][:1] in ([], [Move.DROPPED])


def test_what_helps_most_and_harms_a_large_part_does_not_win() -> None:
    found = make(seed=5).run(
        1_500,
        lambda arm, context: 0.5 + (0.35 if context == "many" else -0.4) * (arm == "new"),
        contexts={"many": 0.7, "few": 0.3},
    )
    assert found.test.winner is None


@pytest.mark.parametrize("lives", [8, MANY])
def test_where_one_arm_loses_its_failures_nothing_is_concluded(lives: int) -> None:
    """Of the units of the new arm 12 % vanish, all of them failures, so that it looks better than it is."""
    caught = []
    for seed in range(lives):
        found = make(seed=seed).run(1_500, lambda _arm, _: 0.6, lost=0.3)
        caught.append(found.test.frozen and found.test.winner is None)
    assert sum(caught) >= 0.95 * lives


@pytest.mark.parametrize("lives", [5, MANY])
def test_units_that_are_missing_without_a_trace_are_noticed_by_their_number(lives: int) -> None:
    frozen = 0
    for seed in range(lives):
        history, rng = make(seed=seed, most_units=1_000_000, least_runs=100_000), random.Random(seed)
        for number in range(6_000):
            arm = rng.choice(("old", "new"))
            if arm == "new" and rng.random() < 0.12:
                continue
            history.test.take(unit(number, "", good=rng.random() < 0.6), arm, even(history.test), NOW)
            if history.test.frozen:
                break
        frozen += history.test.frozen
    assert frozen >= 0.9 * lives


def watched(seed: int, new: float, old: float = 0.5) -> tuple[AbTest, list[Told]]:
    """Return a test whose winner was much better when it won, and how good it is from then on."""
    test, rng = make(seed=seed).run(1_000, lambda arm, _: 0.9 if arm == "new" else 0.5).test, random.Random(seed)
    told: list[Told] = []
    for number in range(4_000):
        if test.phase is not Phase.WATCHING:
            break
        arm = rng.choice(("old", "new"))
        told += test.take(unit(number, "", good=rng.random() < (new if arm == "new" else old)), arm, even(test), NOW)
    return test, told


@pytest.mark.parametrize("now", [0.3, 0.5])
def test_a_winner_whose_effect_goes_is_doubted_and_taken_back(now: float) -> None:
    test, told = watched(6, now)
    assert [one.move for one in told] == [Move.DOUBTED, Move.TAKEN_BACK]
    assert test.phase is Phase.OVER
    assert test.winner is None


@pytest.mark.parametrize("lives", [8, MANY])
def test_a_winner_that_helps_less_than_it_seemed_is_doubted_and_stays(lives: int) -> None:
    lived = [watched(seed, 0.65) for seed in range(lives)]
    assert sum(any(one.move is Move.DOUBTED for one in told) for _, told in lived) >= 0.25 * lives
    assert sum(test.winner == "new" for test, _ in lived) >= 0.95 * lives
    assert all(test.phase is Phase.WATCHING for test, _ in lived if test.winner == "new")


def test_time_alone_ends_a_test_and_the_watching_of_a_winner() -> None:
    test = make().test
    assert [told.move for told in test.passes(NOW + timedelta(days=61))] == [Move.ENDED]
    won = make(seed=1).run(2_000, lambda arm, _: 0.9 if arm == "new" else 0.6).test
    assert won.passes(NOW + timedelta(days=13)) == []
    assert [told.move for told in won.passes(NOW + timedelta(days=15))] == [Move.ENDED]
    assert won.winner == "new"


@pytest.mark.slow
def test_equal_arms_have_no_winner_and_fifteen_points_are_found() -> None:
    null = [make(seed=seed).run(2_000, lambda _arm, _: 0.6).test.winner for seed in range(400)]
    assert sum(winner is not None for winner in null) <= 0.05 * 400
    better = [make(seed=seed).run(600, lambda arm, _: 0.5 + 0.15 * (arm == "new")).test.winner for seed in range(300)]
    assert sum(winner == "new" for winner in better) >= 0.88 * 300  # .916 of 3,000: two standard errors below
