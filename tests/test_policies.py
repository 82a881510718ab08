"""One contract over every policy, and what is special to some."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning_loop.decider import Decider
from learning_loop.errors import ConfigurationError, UsageError
from learning_loop.policies import BANDITS, FIXED, LEARNERS, STEPWISE, learner, policy
from learning_loop.policies.normal import cdf, largest
from learning_loop.policies.warm import WarmStart
from learning_loop.protocols import Policy
from learning_loop.records import Experience

NOW = datetime(2026, 3, 2, tzinfo=UTC)
TORCH = find_spec("torch") is not None  # an installation may go without it
MAKERS: dict[str, Callable[[], Any]] = {name: partial(policy, name) for name in (*FIXED, *LEARNERS) if TORCH or name != "a2c"}
MAKERS["horizon by kind"] = lambda: policy("horizon", by=["kind", "tags"], horizon=50)
MAKERS["warm"] = lambda: WarmStart(
    policy("rules", rules=[{"when": "context.kind = a", "take": "two"}]), learner("lints"), pseudo=20
)
if TORCH:
    MAKERS["a2c"] = lambda: policy("a2c", passes=1)
LEARN = [name for name in MAKERS if name not in FIXED]
FROM_REWARDS = [*BANDITS, "horizon by kind", "warm"]

contexts = st.dictionaries(
    st.sampled_from(["size", "kind", "tags", "hot", "odd"]),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-1_000_000, 1_000_000),
        st.floats(-1e6, 1e6),
        st.text(max_size=5),
        st.lists(st.sampled_from("abc"), max_size=3),
    ),
)
arms = st.lists(st.sampled_from(["one", "two", "three", "four@2", "fünf"]), min_size=1, max_size=5, unique=True)
choices = st.lists(st.tuples(contexts, arms, st.floats(-2, 3)), max_size=12)


Rewards = Callable[[dict[str, Any], str], float]


def experience(context: Mapping[str, Any], options: Sequence[str], reward: float, chosen: str | None = None) -> Experience:
    return Experience(
        context=context, options=tuple(options), chosen=chosen or options[0], propensity=1 / len(options), reward=reward
    )


def shares(of: Policy, context: Mapping[str, Any], options: Sequence[str]) -> list[float]:
    found = of.distribution(context, options)
    return [weight / sum(found) for weight in found]


@pytest.mark.parametrize("name", MAKERS)
@settings(deadline=None)  # the first to train a network loads torch
@given(before=choices, context=contexts, options=arms)
def test_what_any_policy_says_are_probabilities_whatever_it_met(
    name: str, before: list[Any], context: dict[str, Any], options: list[str]
) -> None:
    made = MAKERS[name]()
    if name in LEARN:
        made.update([experience(*one) for one in before])
    found = made.distribution(context, options)
    assert len(found) == len(options)
    assert all(math.isfinite(weight) and weight >= 0 and type(weight) is float for weight in found)
    assert sum(found) > 0
    version = made.version
    assert list(made.distribution(context, options)) == list(found), "pure"
    assert made.version == version


@pytest.mark.parametrize("name", LEARN)
@settings(deadline=None)
@given(before=choices, after=choices, context=contexts, options=arms)
def test_what_was_learned_is_kept_and_goes_on(
    name: str, before: list[Any], after: list[Any], context: dict[str, Any], options: list[str]
) -> None:
    first, second = MAKERS[name](), MAKERS[name]()
    first.update([experience(*one) for one in before])
    second.load(first.state())
    for each in (first, second):
        each.update([experience(*one) for one in after])
    assert first.version == second.version
    assert np.allclose(shares(first, context, options), shares(second, context, options))


@pytest.mark.parametrize("name", [name for name in LEARN if name not in STEPWISE])
def test_learning_from_one_by_one_or_from_a_batch_is_the_same(name: str) -> None:
    rng = random.Random(1)
    seen = [experience({"kind": rng.choice("ab")}, ["one", "two"], rng.random(), rng.choice(["one", "two"])) for _ in range(60)]
    whole, single = MAKERS[name](), MAKERS[name]()
    whole.update(seen)
    for one in seen:
        single.update([one])
    assert whole.version == single.version
    assert np.allclose(shares(whole, {"kind": "a"}, ["one", "two"]), shares(single, {"kind": "a"}, ["one", "two"]))


def earn(
    made: Any, rewards: Callable[[dict[str, Any], str], float], *, runs: int, options: Sequence[str], seed: int
) -> list[str]:
    """Let a policy choose by the Decider, and return what it chose."""
    ids = (f"{seed}-{number}" for number in count())
    decider, rng, chosen = Decider(clock=lambda: NOW, ids=lambda: next(ids)), random.Random(seed), []
    for _ in range(runs):
        context = {"kind": rng.choice("ab")}
        decision = decider.decide("arm", options, context=context, policy=made)
        reward = float(rng.random() < rewards(context, decision.chosen))
        made.update([experience(context, options, reward, decision.chosen)])
        chosen.append(decision.chosen)
    return chosen


@pytest.mark.parametrize("name", FROM_REWARDS)
def test_the_best_arm_is_found(name: str) -> None:
    means = {"one": 0.3, "two": 0.8, "three": 0.5}
    found = [
        earn(MAKERS[name](), lambda _context, arm: means[arm], runs=600, options=list(means), seed=seed)[-100:].count("two")
        for seed in range(8)
    ]
    assert sum(found) / 800 > 0.75


@pytest.mark.parametrize("name", ["linucb", "lints", "probit", "horizon by kind"])
def test_what_is_best_for_each_kind_of_context_is_found(name: str) -> None:
    def rewards(context: dict[str, Any], arm: str) -> float:
        return 0.8 if (context["kind"] == "a") == (arm == "one") else 0.3

    found = []
    for seed in range(6):
        made = MAKERS[name]()
        earn(made, rewards, runs=600, options=["one", "two"], seed=seed)
        found.append(shares(made, {"kind": "a"}, ["one", "two"])[0] + shares(made, {"kind": "b"}, ["one", "two"])[1])
    assert sum(found) / 12 > 0.85


@pytest.mark.parametrize("name", FROM_REWARDS)
def test_arms_appear_and_vanish(name: str) -> None:
    made = MAKERS[name]()
    earn(made, lambda _context, arm: 0.7 if arm == "one" else 0.2, runs=200, options=["one", "two"], seed=1)
    found = earn(made, lambda _context, arm: 0.95 if arm == "one@2" else 0.2, runs=400, options=["two", "one@2"], seed=2)
    assert found[-100:].count("one@2") > 60, "a new version is an arm of its own, and is tried"


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 3)), min_size=2, max_size=6),
)
def test_how_likely_each_is_the_largest(given_: list[tuple[float, float]]) -> None:
    mean, spread = (np.array(values) for values in zip(*given_, strict=True))
    found = largest(mean, spread)
    drawn = np.random.default_rng(1).normal(mean, spread, (4_000, mean.size)).argmax(axis=1)
    assert found.sum() == pytest.approx(1)
    assert np.abs(found - np.bincount(drawn, minlength=mean.size) / 4_000).max() < 0.05


def test_the_largest_where_nothing_spreads_and_where_one_is_certain() -> None:
    assert list(largest(np.array([1.0, 1.0, 0.0]), np.zeros(3))) == [0.5, 0.5, 0.0]
    assert largest(np.array([0.0, 0.0]), np.array([1.0, 0.0])) == pytest.approx([0.5, 0.5], abs=0.02)
    points = np.linspace(-6, 6, 99)
    assert np.abs(cdf(points) - [0.5 * math.erfc(-point / math.sqrt(2)) for point in points]).max() < 2e-7


def test_rules_take_what_the_first_that_holds_says() -> None:
    made = policy("rules", rules=[{"when": "context.size > 3 and type = build", "take": ["gone", "big"]}, {"take": "small"}])
    options = ["other", "small", "big"]
    assert made.distribution({"size": 5, "type": "build"}, options) == [0, 0, 1]
    assert made.distribution({"size": 5, "type": "test"}, options) == [0, 1, 0]
    assert made.distribution({}, ["other", "rest"]) == [1, 0]
    with pytest.raises(ConfigurationError, match="cannot say 'than'"):
        policy("rules", rules=[{"when": "type = build", "than": "x"}])
    with pytest.raises(ConfigurationError, match="add `take: OPTION`"):
        policy("rules", rules=[{"when": "type = build"}])
    with pytest.raises(UsageError, match="is not known of a task"):
        policy("rules", rules=[{"when": "size > 3", "take": "big"}])


def test_a_warm_start_follows_the_rules_at_first_and_what_was_learned_later() -> None:
    made = WarmStart(policy("static", shares={"two": 1}), learner("epsilon", epsilon=0.0), pseudo=10)
    options = ["one", "two"]
    assert shares(made, {}, options)[1] == 1
    made.update([experience({}, options, 1.0, "one"), experience({}, options, 0.0, "two")] * 5)
    assert shares(made, {}, options) == pytest.approx([0.5, 0.5])
    made.update([experience({}, options, 1.0, "one")] * 80)
    assert shares(made, {}, options) == pytest.approx([0.9, 0.1])


def test_imitation_chooses_as_the_log_did_whatever_came_of_it() -> None:
    rng, made = random.Random(1), learner("imitation")
    for _ in range(2_000):
        kind, options = rng.choice("ab"), rng.sample(["one", "two", "three"], 3)
        chosen = rng.choices(["one", "two", "three"], weights={"a": [7, 2, 1], "b": [1, 1, 8]}[kind])[0]
        made.update([experience({"kind": kind}, options, rng.random(), chosen)])
    assert shares(made, {"kind": "a"}, ["one", "two", "three"]) == pytest.approx([0.7, 0.2, 0.1], abs=0.07)
    assert shares(made, {"kind": "b"}, ["one", "two", "three"]) == pytest.approx([0.1, 0.1, 0.8], abs=0.07)
    assert shares(made, {"kind": "a"}, ["one", "two"])[0] == pytest.approx(7 / 9, abs=0.07), "of what is on offer"


def test_a_policy_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="use one of epsilon"):
        policy("best")
    with pytest.raises(UsageError, match="it has width, ridge"):
        policy("linucb", alpha=1)


@pytest.mark.parametrize("name", LEARN)
def test_what_is_no_number_teaches_nothing_wrong(name: str) -> None:
    made = MAKERS[name]()
    odd: dict[str, Any] = {"nan": math.nan, "inf": -math.inf, "huge": 10**400, "single": np.float32(3), "nested": {"a": [1]}}
    for number in range(20):
        made.update([experience(odd, ["one", "two"], 0.5, ("one", "two")[number % 2])])
    found = made.distribution({"other": 1, **odd}, ["one", "two"])
    assert all(math.isfinite(weight) for weight in found)
    with pytest.raises(UsageError, match="finite number"):
        experience({}, ["one"], math.nan)


def test_free_text_does_not_fill_the_memory() -> None:
    made = learner("imitation")
    for number in range(700):
        made.update([experience({"title": f"issue {number}"}, ["one", "two"], 1.0)])
    assert len(made.state()["columns"]) == 500


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("linucb", {"ridge": 0}),
        ("lints", {"width": "x"}),
        ("probit", {"noise": 0.7}),
        ("epsilon", {"epsilon": 2}),
        ("horizon", {"horizon": 0}),
        ("horizon", {"low": 1, "high": 0}),
        ("static", {"shares": {"a": 1, "b": -1}}),
        ("rules", {"rules": ["x"]}),
    ],
)
def test_settings_that_cannot_be_meant_are_told(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises((UsageError, ConfigurationError), match=r"needs|cannot be set up|must be a mapping"):
        policy(name, **settings)


def test_one_name_is_a_name() -> None:
    assert policy("horizon", by="lang")._by == ("lang",)  # type: ignore[attr-defined]


def plays(made: Any, episodes: int, *, seed: int, start: int = 0) -> list[Experience]:
    """Return episodes of a corridor: `on` twice and then `take` earns 1, `take` too early 0; each step costs a little."""
    rng, found = random.Random(seed), []
    for number in range(start, start + episodes):
        for place in range(6):
            context, options = {"place": str(min(place, 2))}, ("take", "on")
            chances = shares(made, context, options)
            chosen = rng.choices(options, weights=chances)[0]
            reward = float(place >= 2) if chosen == "take" else -0.01
            likely = chances[options.index(chosen)]
            found.append(
                Experience(
                    context=context, options=options, chosen=chosen, propensity=likely, reward=reward, episode=str(number)
                )
            )
            if chosen == "take":
                break
    return found


@pytest.mark.parametrize("name", [name for name in STEPWISE if name in MAKERS])
def test_what_pays_only_later_in_an_episode_is_found(name: str) -> None:
    made = policy(name, **({"rate": 2e-3} if name == "a2c" else {}))
    for first in range(0, 300, 20):
        made.update(plays(made, 20, seed=first, start=first))  # type: ignore[attr-defined]
    assert shares(made, {"place": "0"}, ("take", "on"))[1] > 0.8
    assert shares(made, {"place": "2"}, ("take", "on"))[0] > 0.8


@pytest.mark.parametrize("name", [name for name in STEPWISE if name in MAKERS])
def test_what_was_imitated_is_the_start_and_the_reward_leads_away_from_it(name: str) -> None:
    made: Any = policy(name, **({"rate": 2e-3} if name == "a2c" else {}))
    rule = policy("rules", rules=[{"when": "context.place = 0", "take": "take"}])
    made.imitate(plays(rule, 100, seed=3))
    assert shares(made, {"place": "0"}, ("take", "on"))[0] > 0.9
    explored = policy("static", shares={"take": 0.5, "on": 0.5})
    for first in range(0, 300, 20):
        made.update(plays(explored, 20, seed=first, start=first))
    assert shares(made, {"place": "0"}, ("take", "on"))[1] > 0.6, "from what another policy chose, by its propensities"


@pytest.mark.parametrize("name", [name for name in STEPWISE if name in MAKERS])
def test_choices_of_unknown_probability_are_learned_from(name: str) -> None:
    made: Any = policy(name, **({"rate": 2e-3} if name == "a2c" else {}))
    both = policy("static", shares={"take": 0.5, "on": 0.5})
    for first in range(0, 300, 20):
        made.update([replace(one, propensity=None) for one in plays(both, 20, seed=first, start=first)])
    assert shares(made, {"place": "0"}, ("take", "on"))[1] > 0.6
    assert all(map(math.isfinite, made.distribution({"place": "2"}, ("take", "on"))))
