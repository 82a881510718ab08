"""Whether another policy would have done better, from logged choices alone; a log that cannot say is refused."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning_loop.decider import probabilities
from learning_loop.errors import UsageError
from learning_loop.policies.linear import LinearArms
from learning_loop.protocols import Policy
from learning_loop.records import Experience
from learning_loop.stats.off_policy import Estimate, Overlap, doubly_robust, ips, overlap, per_decision, snips

Floats = NDArray[np.float64]

LEAST_RUNS, LEAST_EFFECTIVE = 50, 25.0  # below these an interval promises what it cannot hold
CERTAIN = 0.999  # a choice as likely as this was none
FOLDS = 5
RIDGE = 1.0
UNTRIED = 0.01  # of a policy's choices that may be of options the log never took
BEYOND = 3.0  # standard errors by which the weights may miss their mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a policy would have earned a run by three estimates, beside what the log did earn.

    `control` is the doubly robust estimate with the rewards dealt out anew: what it gives where there is nothing to learn.
    """

    logged: float
    ips: Estimate
    snips: Estimate
    doubly_robust: Estimate
    control: Estimate
    overlap: Overlap

    @property
    def best(self) -> Estimate:
        return self.doubly_robust

    @property
    def estimates(self) -> dict[str, Estimate]:
        """All estimates by name."""
        return {
            "doubly robust": self.doubly_robust,
            "inverse propensity": self.ips,
            "self-normalised": self.snips,
            "rewards dealt anew": self.control,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEvaluation:
    """What a policy would have earned an episode, per decision; `control` with the rewards of other episodes."""

    logged: float
    per_decision: Estimate
    control: Estimate
    overlap: Overlap

    @property
    def best(self) -> Estimate:
        return self.per_decision

    @property
    def estimates(self) -> dict[str, Estimate]:
        """All estimates by name."""
        return {"per decision": self.per_decision, "rewards dealt anew": self.control}


def evaluate(log: Sequence[Experience], policy: Policy, *, rng: random.Random) -> Evaluation:
    """Return what a policy would have earned on the choices of a log.

    Rewards are foretold by ridge regression for each arm, fitted on the other folds. Raise UsageError where the log cannot say:
    too few runs, choices whose probability is unknown, none that was left to chance, or a policy that does what the log
    hardly ever tried.
    """
    _judgeable(log)
    reward = np.array([one.reward for one in log])
    shares = [_shares(policy, one) for one in log]
    likely = np.array([share[one.options.index(one.chosen)] for share, one in zip(shares, log, strict=True)])
    weight = likely / np.array([one.propensity for one in log], dtype=float)
    _tried(log, shares)
    found = _supported(overlap(weight, _effective(log, shares)))
    folds = np.array(rng.sample([place % FOLDS for place in range(len(log))], len(log)))
    dealt = np.array(rng.sample(list(reward), reward.size))
    return Evaluation(
        logged=float(reward.mean()),
        ips=ips(reward, weight, found.effective),
        snips=snips(reward, weight, found.effective),
        doubly_robust=doubly_robust(reward, weight, *_foretold(log, reward, shares, folds), found.effective),
        control=doubly_robust(dealt, weight, *_foretold(log, dealt, shares, folds), found.effective),
        overlap=found,
    )


def evaluate_episodes(log: Sequence[Sequence[Experience]], policy: Policy, *, rng: random.Random) -> EpisodeEvaluation:
    """Return what a policy would have earned on the episodes of a log; raise UsageError where it cannot say, as `evaluate`."""
    steps = [step for episode in log for step in episode]
    _judgeable(steps)
    shares = [_shares(policy, step) for step in steps]
    _tried(steps, shares)
    longest = max(len(episode) for episode in log)
    reward, weight = np.zeros((len(log), longest)), np.ones((len(log), longest))
    own = iter(shares)
    for row, episode in enumerate(log):
        for column, step in enumerate(episode):
            reward[row, column] = step.reward
            weight[row, column] = next(own)[step.options.index(step.chosen)] / (step.propensity or 1.0)
    found = _supported(overlap(weight.prod(axis=1)))
    return EpisodeEvaluation(
        logged=float(reward.sum(axis=1).mean()),
        per_decision=per_decision(reward, weight),
        control=per_decision(reward[rng.sample(range(len(log)), len(log))], weight),
        overlap=found,
    )


def _supported(found: Overlap) -> Overlap:
    """Return how far a log speaks for a policy; raise UsageError where that is not far enough."""
    if found.effective < LEAST_EFFECTIVE:
        raise UsageError(
            f"of {found.runs} runs the log is worth {found.effective:.0f} of this policy, {LEAST_EFFECTIVE:.0f} are needed: "
            "it does what was hardly ever tried. Log longer, or with a larger floor"
        )
    if found.mean_weight < 1 - BEYOND * found.error:
        raise UsageError(
            f"the policy does what the log never tried: its weights come to {found.mean_weight:.2f} and not to 1. "
            "Log with a floor for every option"
        )
    return found


def _judgeable(log: Sequence[Experience]) -> None:
    if len(log) < LEAST_RUNS:
        raise UsageError(f"{len(log)} choices are too few to judge a policy by: {LEAST_RUNS} are needed")
    for number, one in enumerate(log, 1):
        if one.chosen not in one.options or not math.isfinite(one.reward):
            raise UsageError(f"choice {number} of a log cannot be: {one.chosen!r} of {list(one.options)}, reward {one.reward}")
        if one.propensity is not None and not 0 < one.propensity <= 1:
            raise UsageError(f"choice {number} of the log cannot have been made with probability {one.propensity}")
    known = [one.propensity for one in log if one.propensity is not None]
    if len(known) < len(log):
        raise UsageError(
            f"of {len(log) - len(known)} choices nobody knows how likely they were: let the loop make them, with `run.decide`"
        )
    if all(propensity >= CERTAIN for propensity in known):
        raise UsageError("the log is deterministic: it says nothing of any other choice. Log with a floor for every option")


def _tried(log: Sequence[Experience], shares: Sequence[Floats]) -> None:
    """Raise UsageError for a policy that would take options the log could not: of those nothing is known.

    Where it is not known how likely each option was, those that it never took count as such.
    """
    taken = {one.chosen for one in log}
    never: dict[str, float] = {}
    for one, share in zip(log, shares, strict=True):
        for place, (option, part) in enumerate(zip(one.options, share, strict=True)):
            if option not in taken if one.probabilities is None else not one.probabilities[place]:
                never[option] = never.get(option, 0.0) + float(part) / len(log)
    if sum(never.values()) > UNTRIED:
        most = max(never, key=lambda option: never[option])
        raise UsageError(
            f"the policy takes what the log never tried: {most!r} in {100 * never[most]:.0f} % of its choices. "
            "Log with a floor for every option"
        )


def _effective(log: Sequence[Experience], shares: Sequence[Floats]) -> float | None:
    """Return how many runs the log is to be expected to be worth; None where it is not known how likely each option was.

    Not as it turned out: a log in which by chance a rare option was not drawn looks the better for it.
    """
    squares = 0.0
    for one, share in zip(log, shares, strict=True):
        if one.probabilities is None:
            return None
        logged = np.array(one.probabilities)
        squares += float((share[logged > 0] ** 2 / logged[logged > 0]).sum())
    return len(log) ** 2 / squares if squares else None


def _shares(policy: Policy, one: Experience) -> Floats:
    return np.array(probabilities(one.options, policy.distribution(one.context, one.options)))


def _foretold(
    log: Sequence[Experience], reward: Floats, shares: Sequence[Floats], folds: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return what was to be expected of what was chosen, and of the policy, by a model of the other folds."""
    predicted, expected = np.zeros(len(log)), np.zeros(len(log))
    for fold in range(FOLDS):
        middle = float(reward[folds != fold].mean())
        model = LinearArms(variance=1 / RIDGE)
        for place, one in enumerate(log):
            if folds[place] != fold:
                model.regress(one.context, one.chosen, reward[place] - middle)
        for place, one in enumerate(log):
            if folds[place] != fold:
                continue
            values = middle + model.predict(one.context, one.options)[0]
            predicted[place] = values[one.options.index(one.chosen)]
            expected[place] = float(shares[place] @ values)
    return predicted, expected
