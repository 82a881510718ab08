"""The ramp: a share that grows with evidence alone, and falls with harm."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from learning_loop.experiments.ramp import Climb, Step
from learning_loop.records import Exposed, Kind
from learning_loop.settings import Ramp

NOW = datetime(2026, 3, 2, tzinfo=UTC)
QUICK = Ramp(hours=0)


def climb(
    effect: float, seed: int, units: int, *, ramp: Ramp = QUICK, lost: float = 0.0
) -> tuple[Climb, list[Step], list[float]]:
    """Send units through a ramp; `lost` is the share of the candidate's failures whose outcome nobody learns of."""
    rng, made, steps, shares = random.Random(seed), Climb("v1", ramp, NOW), [], []
    for number in range(units):
        share = made.share
        taken = rng.random() < share
        good = rng.random() < 0.6 + effect * taken
        if taken and not good and rng.random() < lost:
            made.miss(share, taken=True)
            continue
        told = made.take(unit(number, share, taken, good), NOW + timedelta(minutes=number))
        if told is not None:
            steps.append(told.step)
            shares.append(told.share)
            if told.step in (Step.ROLLED_BACK, Step.FUTILE, Step.COMPLETE, Step.FROZEN):
                break
    return made, steps, shares


def unit(number: int, share: float, taken: bool, good: bool) -> Exposed:
    return Exposed(
        place=number,
        id=str(number),
        kind=Kind(),
        ended_at=NOW,
        units=("all", "v1"),
        odds=(1.0, share),
        shown=frozenset(("all", "v1") if taken else ("all",)),
        score=100.0 * good,
        success=good,
        duration_s=None,
        cost_usd=None,
        safety=None,
    )


def test_what_is_better_gets_all_but_the_holdout_stage_by_stage() -> None:
    made, steps, shares = climb(0.3, 1, 2_000)
    assert steps == [Step.ADVANCED, Step.ADVANCED, Step.COMPLETE]
    assert shares == [0.25, 0.5, 0.95]
    assert made.last


def test_what_is_worse_is_taken_back_before_it_has_half() -> None:
    for seed in range(5):
        made, steps, shares = climb(-0.25, seed, 2_000)
        assert steps[-1] == Step.ROLLED_BACK
        assert max(shares) < 0.5
        assert made.share == 0.0
        assert made.take(unit(1, 0.5, taken=True, good=True), NOW) is None, "for good"


def test_what_does_nothing_gets_little() -> None:
    assert sum(Step.COMPLETE in climb(0.0, seed, 800)[1] for seed in range(12)) <= 1


def test_a_stage_lasts_its_time_and_its_units() -> None:
    slow = Ramp(hours=24, least_units=300)
    _, steps, _ = climb(0.35, 3, 1_400, ramp=slow)
    assert Step.COMPLETE not in steps, "1,400 minutes are less than a day"
    _, steps, _ = climb(0.35, 3, 890, ramp=Ramp(hours=0, least_units=300))
    assert steps == [Step.ADVANCED, Step.ADVANCED]


def test_a_candidate_whose_failures_get_lost_is_frozen() -> None:
    frozen = sum(Step.COMPLETE not in climb(0.0, seed, 1_500, lost=0.7)[1] for seed in range(8))
    assert frozen == 8


def test_what_is_kept_goes_on_as_if_it_had_never_stopped() -> None:
    rng, one = random.Random(5), Climb("v1", QUICK, NOW)
    other = Climb("v1", QUICK, NOW)
    for number in range(300):
        other = Climb("v1", QUICK, NOW, kept=json.loads(json.dumps(other.plain())))
        share = one.share
        taken, good = rng.random() < share, rng.random() < 0.7
        told = [each.take(unit(number, share, taken, good), NOW) for each in (one, other)]
        assert told[0] == told[1]
    assert one.benefit == pytest.approx(other.benefit)
    assert one.plain() == other.plain()


@pytest.mark.parametrize("stages", [(), (50, 25, 100), (10, 50), (0, 100)])
def test_stages_rise_to_all(stages: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="stages"):
        Ramp(stages=stages)


def test_what_is_known_to_help_is_never_futile_however_long_its_stages_last() -> None:
    slow = Ramp(hours=1_000, most_units=400)
    made, steps, _ = climb(0.35, 2, 600, ramp=slow)
    assert made.benefit > made.bar
    assert steps == []
    nothing, ended, _ = climb(0.0, 2, 600, ramp=slow)
    assert ended == [Step.FUTILE]
    assert nothing.share == 0.0


def test_outcomes_that_are_lost_of_one_arm_stop_it_at_the_last_stage_too() -> None:
    made, steps, _ = climb(0.3, 1, 2_000)
    assert steps[-1] is Step.COMPLETE
    for number in range(60):
        made.miss(0.95, taken=number % 20 != 0)
    assert made.over is None, "as they were drawn"
    for _ in range(40):
        made.miss(0.5, taken=True)
    told = made.take(unit(1, 0.95, taken=True, good=True), NOW)
    assert told is not None
    assert told.step is Step.FROZEN
    assert made.take(unit(2, 0.95, taken=True, good=True), NOW) is None, "it is said once"


def test_fewer_stages_than_a_ramp_has_come_through_give_it_nothing_it_has_not_earned() -> None:
    made, steps, _ = climb(0.3, 1, 200)
    kept = json.loads(json.dumps(made.plain() | {"stage": 2}))  # of four
    assert Step.COMPLETE not in steps
    short = Climb("v1", Ramp(hours=0, stages=(10, 100)), NOW, kept=kept)
    assert short.share == 0.1
    whole, _, _ = climb(0.3, 1, 2_000)
    assert Climb("v1", Ramp(hours=0, stages=(10, 100)), NOW, kept=whole.plain()).share == 0.95
