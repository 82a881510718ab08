"""The one place where anything is chosen, and logged with the distribution it was drawn from."""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.records import Clock, Decision


class Decider:
    """Draws one of several options. Its policy is to take the first, with certainty: the caller's order is the rule."""

    policy = "first/1"
    exposing = "odds/1"

    def __init__(self, *, clock: Clock, ids: Callable[[], str]) -> None:
        self._clock = clock
        self._ids = ids

    def decide(
        self, point: str, options: Sequence[str], *, context: Mapping[str, Any], execution_id: str | None = None
    ) -> Decision:
        """Return a decision among `options`; raise UsageError where there are none or two are the same.

        The draw is repeatable: its randomness is seeded by the decision's id.
        """
        started = time.perf_counter_ns()
        if not options or len(set(options)) != len(options):
            raise UsageError(f"decision {point!r} needs one or more different options, not {list(options)}")
        decision_id = self._ids()
        probabilities = self.distribution(context, options)
        place = _rng(decision_id).choices(range(len(options)), weights=probabilities)[0]
        return Decision(
            id=decision_id,
            execution_id=execution_id,
            point=point,
            alternatives=tuple(options),
            probabilities=probabilities,
            chosen=options[place],
            propensity=probabilities[place],
            policy=self.policy,
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

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> tuple[float, ...]:  # noqa: ARG002
        """Return the probability of each option; they sum to one."""
        return (1.0, *(0.0 for _ in options[1:]))

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


def _rng(decision_id: str) -> random.Random:
    return random.Random(int.from_bytes(blake2b(decision_id.encode(), digest_size=8).digest()))  # noqa: S311  (repeatable, not secret)
