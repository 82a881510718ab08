"""The one place where anything is chosen, and logged with the distribution it was drawn from."""

import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.protocols import Policy
from learning_loop.records import Clock, Decision


class First:
    """Takes the first option, with certainty: the caller's order is the rule."""

    version = "first/1"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        return (1.0, *(0.0 for _ in options[1:]))


class Decider:
    """Draws one of several options from the distribution of a policy, or which of several things are shown."""

    exposing = "odds/1"

    def __init__(self, *, clock: Clock, ids: Callable[[], str]) -> None:
        self._clock = clock
        self._ids = ids

    def decide(
        self,
        point: str,
        options: Sequence[str],
        *,
        context: Mapping[str, Any],
        execution_id: str | None = None,
        policy: Policy | None = None,
        mask: Collection[str] = (),
        floor: float = 0.0,
        unit: str | None = None,
    ) -> Decision:
        """Return a decision among `options`, drawn from the distribution of a policy, by default that of the first one.

        What is in the `mask` is never chosen; all else has at least the probability `floor`, as far as that is possible. The
        draw is repeatable: its randomness is seeded by the decision's id, or by the point and the `unit` where one is given: a
        unit then draws the same again, and another option only where that has become likelier beside the one it drew. Raise
        UsageError where there is nothing to choose from, two options are the same, or the policy's weights are none.
        """
        started = time.perf_counter_ns()
        chosen_by = policy or First()
        if not options or len(set(options)) != len(options):
            raise UsageError(f"decision {point!r} needs one or more different options, not {list(options)}")
        weights = chosen_by.distribution(context, options)
        try:
            drawn_from = probabilities(options, weights, mask, floor)
        except UsageError as error:
            raise UsageError(f"decision {point!r}: {error}") from None
        decision_id = self._ids()
        if unit is None:
            place = _rng(decision_id).choices(range(len(options)), weights=drawn_from)[0]
        else:
            place = _raced(f"{point} {unit}", options, drawn_from)
        return Decision(
            id=decision_id,
            execution_id=execution_id,
            point=point,
            alternatives=tuple(options),
            probabilities=drawn_from,
            chosen=options[place],
            propensity=drawn_from[place],
            policy=chosen_by.version,
            context=context,
            at=self._clock(),
            latency_us=(time.perf_counter_ns() - started) / 1000,
        )

    def expose(
        self, point: str, odds: Mapping[str, float], *, whole: str, context: Mapping[str, Any], execution_id: str
    ) -> Decision:
        """Return which of several things are shown, each drawn by itself; nothing is where `whole` is not drawn.

        `odds` are their probabilities, that of `whole` among them. `chosen` are the names of what is shown, with spaces
        between, `probabilities` those of each, and `propensity` that of all that was drawn together.
        """
        started = time.perf_counter_ns()
        decision_id = self._ids()
        rng = _rng(decision_id)
        drawn = {name: rng.random() < probability for name, probability in odds.items()}
        counted = odds if drawn[whole] else {whole: odds[whole]}
        return Decision(
            id=decision_id,
            execution_id=execution_id,
            point=point,
            alternatives=tuple(odds),
            probabilities=tuple(odds.values()),
            chosen=" ".join(name for name in counted if drawn[name]),
            propensity=math.prod(odds[name] if drawn[name] else 1 - odds[name] for name in counted),
            policy=self.exposing,
            context=context,
            at=self._clock(),
            latency_us=(time.perf_counter_ns() - started) / 1000,
        )

    def implied(
        self,
        point: str,
        options: Mapping[str, float],
        chosen: str,
        *,
        policy: str,
        context: Mapping[str, Any],
        execution_id: str | None = None,
    ) -> Decision:
        """Return what follows from a choice that was drawn before; `options` are how likely each was to follow from it."""
        return Decision(
            id=self._ids(),
            execution_id=execution_id,
            point=point,
            alternatives=tuple(options),
            probabilities=tuple(options.values()),
            chosen=chosen,
            propensity=options[chosen],
            policy=policy,
            context=context,
            at=self._clock(),
            latency_us=None,
        )

    def observed(
        self, point: str, chosen: str, options: Sequence[str], *, context: Mapping[str, Any], execution_id: str | None = None
    ) -> Decision:
        """Return a choice that the wrapped work made by itself: how likely it was is unknown."""
        return Decision(
            id=self._ids(),
            execution_id=execution_id,
            point=point,
            alternatives=tuple(dict.fromkeys([*options, chosen])),
            probabilities=None,
            chosen=chosen,
            propensity=None,
            policy="observed",
            context=context,
            at=self._clock(),
            latency_us=None,
        )


def probabilities(
    options: Sequence[str], weights: Sequence[float], mask: Collection[str] = (), floor: float = 0.0
) -> tuple[float, ...]:
    """Return the weights without what is masked, as probabilities none of which is below the floor; raise UsageError."""
    if len(weights) != len(options) or not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise UsageError(f"its policy gave {list(weights)} for {len(options)} options")
    allowed = [option not in mask for option in options]
    if not any(allowed):
        raise UsageError("every option is masked, so that none may be taken")
    kept = [weight if free else 0.0 for weight, free in zip(weights, allowed, strict=True)]
    if not sum(kept):  # all that the policy wants is masked
        kept = [float(free) for free in allowed]
    largest = max(kept)
    kept = [weight / largest for weight in kept]  # the least of numbers would have no reciprocal
    least = min(floor, 1 / sum(allowed))
    left = (1 - least * sum(allowed)) / sum(kept)
    return tuple(least + left * weight if free else 0.0 for weight, free in zip(kept, allowed, strict=True))


def _raced(seed: str, options: Sequence[str], weights: Sequence[float]) -> int:
    """Return the place of the option that wins a race, each being as quick as it is likely.

    Where weights change, who wins changes only to what has become likelier beside it: weighted rendezvous hashing, after D. G.
    Thaler & C. V. Ravishankar, Using name-based mappings to increase hit rates, IEEE/ACM Transactions on Networking 6, 1998.
    """
    times = {
        place: -math.log(1 - _rng(f"{seed} {option}").random()) / weight
        for place, (option, weight) in enumerate(zip(options, weights, strict=True))
        if weight > 0
    }
    return min(times, key=lambda place: times[place])


def _rng(seed: str) -> random.Random:
    return random.Random(int.from_bytes(blake2b(seed.encode(), digest_size=8).digest()))  # noqa: S311  (repeatable, not secret)
