"""Off-policy evaluation: what it says is true where the truth is known, and a log that cannot say is refused."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from learning_loop.errors import UsageError
from learning_loop.flows.off_policy import evaluate
from learning_loop.policies import learner, policy
from learning_loop.records import Experience
from learning_loop.stats.off_policy import doubly_robust, ips, overlap, per_decision, snips

ARMS = ("one", "two")
MEANS = {"a": (0.8, 0.3), "b": (0.2, 0.6)}


class Fair:
    version = "fair"

    def __init__(self, first: float = 0.5) -> None:
        self.first = first

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        return [self.first, 1 - self.first]


def log_of(runs: int, seed: int, logging: Fair) -> list[Experience]:
    rng, found = random.Random(seed), []
    for _ in range(runs):
        kind = rng.choice("ab")
        place = int(rng.random() >= logging.first)
        propensity = (logging.first, 1 - logging.first)[place]
        reward = float(rng.random() < MEANS[kind][place])
        found.append(Experience(context={"kind": kind}, options=ARMS, chosen=ARMS[place], propensity=propensity, reward=reward))
    return found


BEST = [{"when": "context.kind = a", "take": "one"}, {"take": "two"}]


def test_what_a_policy_would_have_earned_is_told() -> None:
    found = evaluate(log_of(2_000, 1, Fair(0.3)), policy("rules", rules=BEST), rng=random.Random(1))
    for estimate in (found.ips, found.snips, found.doubly_robust):
        assert estimate.low < 0.7 < estimate.high  # (.8 + .6) / 2
    assert found.doubly_robust.high - found.doubly_robust.low < found.ips.high - found.ips.low
    assert found.logged == pytest.approx(0.3 * 0.5 + 0.7 * 0.45, abs=0.04)
    assert found.control.low < found.logged < found.control.high, "with rewards dealt out anew nothing is gained"
    assert found.overlap.mean_weight == pytest.approx(1, abs=0.1)
    assert 500 < found.overlap.effective < 2_000


def test_a_policy_that_learned_from_the_log_may_be_asked_about_a_later_one() -> None:
    made = learner("horizon", by=["kind"], horizon=400)
    made.update(log_of(400, 2, Fair()))
    assert evaluate(log_of(600, 3, Fair()), made, rng=random.Random(1)).doubly_robust.low > 0.6


def test_intervals_hold() -> None:
    held = []
    for seed in range(150):
        found = evaluate(log_of(150, seed, Fair(0.3)), policy("rules", rules=BEST), rng=random.Random(seed))
        held.append([low <= 0.7 <= high for _, low, high in (found.ips, found.snips, found.doubly_robust)])
    assert (np.mean(held, axis=0) > 0.88).all()


def test_the_doubly_robust_is_right_where_the_predictions_are_wrong() -> None:
    rng = np.random.default_rng(1)
    weight = rng.choice([0.0, 2.0], 20_000)
    reward = np.where(weight > 0, 0.7, 0.1)
    wrong = np.full(20_000, 0.9)
    found = doubly_robust(reward, weight, wrong, wrong)
    assert found.low < 0.7 < found.high
    assert snips(reward, weight).value == pytest.approx(0.7)
    assert ips(reward, weight).value == pytest.approx(0.7, abs=0.02)


def test_each_reward_of_an_episode_owes_to_the_choices_before_it() -> None:
    """Two fair choices; the first earns 1 where it is taken, the second 1 where both are: the target takes both."""
    rng = np.random.default_rng(2)
    taken = rng.random((20_000, 2)) < 0.5
    reward = np.stack([taken[:, 0], taken.all(axis=1)], axis=1).astype(float)
    found = per_decision(reward, np.where(taken, 2.0, 0.0))
    assert found.low < 2 < found.high
    assert per_decision(reward, np.where(taken, 2.0, 0.0), discount=0.5).value == pytest.approx(1.5, abs=0.05)


def test_what_the_overlap_says() -> None:
    even = overlap(np.ones(100))
    assert (even.effective, even.mean_weight, even.error, even.largest) == (100, 1, 0, 0.01)
    one = overlap(np.array([50.0] + [0.0] * 49))
    assert (one.effective, one.largest) == (1, 1)


def test_an_option_that_was_never_tried_is_refused_however_seldom_it_is_taken() -> None:
    rng = random.Random(5)
    log = []
    for _ in range(100):
        chosen = rng.choice(["a", "b"])
        log.append(Experience(context={}, options=("a", "b", "c"), chosen=chosen, propensity=0.5, reward=float(chosen == "a")))
    with pytest.raises(UsageError, match="never tried: 'c' in 10 % of its choices"):
        evaluate(log, policy("static", shares={"a": 0.9, "c": 0.1}), rng=rng)


@pytest.mark.parametrize("propensity", [0.0, -0.5, 1.5])
def test_a_probability_that_cannot_be_is_told(propensity: float) -> None:
    odd = Experience(context={}, options=ARMS, chosen="one", propensity=propensity, reward=1.0)
    with pytest.raises(UsageError, match="choice 401 of the log cannot have been made"):
        evaluate([*log_of(400, 1, Fair()), odd], Fair(), rng=random.Random(1))
    stray = Experience(context={}, options=ARMS, chosen="three", propensity=0.5, reward=1.0)
    with pytest.raises(UsageError, match="choice 1 of a log cannot be"):
        evaluate([stray, *log_of(400, 1, Fair())], Fair(), rng=random.Random(1))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [float("nan"), 1.0], [1.0], [-1.0, 2.0]])
def test_a_policy_that_gives_no_probabilities_is_told(weights: list[float]) -> None:
    class Odd(Fair):
        def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
            return weights

    made = Odd()
    if weights == [0.0, 0.0]:  # nothing that it wants: all alike, as the Decider has it
        assert evaluate(log_of(400, 1, Fair()), made, rng=random.Random(1)).overlap.effective == pytest.approx(400)
        return
    with pytest.raises(UsageError, match="its policy gave"):
        evaluate(log_of(400, 1, Fair()), made, rng=random.Random(1))


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (log_of(40, 1, Fair()), "40 choices are too few"),
        (log_of(400, 1, Fair(1.0)), "the log is deterministic"),
        (log_of(400, 1, Fair(0.995)), "hardly ever tried"),
        (
            [Experience(context={}, options=ARMS, chosen="one", propensity=None, reward=1.0), *log_of(400, 1, Fair())],
            "of 1 choices nobody knows",
        ),
        (
            [
                Experience(context={}, options=("one", "two", "three"), chosen=one.chosen, propensity=0.5, reward=1.0)
                for one in log_of(400, 1, Fair())
            ],
            "never tried",
        ),
    ],
)
def test_a_log_that_cannot_say_is_refused(log: list[Experience], says: str) -> None:
    target = policy("static", shares={"two": 0.5, "three": 0.5})
    with pytest.raises(UsageError, match=says):
        evaluate(log, target, rng=random.Random(1))
