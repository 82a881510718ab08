"""A cold start: what the rules say counts for some runs, and what was learned for as many as there were."""

from collections.abc import Mapping, Sequence
from typing import Any

from learning_loop.protocols import Learner, Policy
from learning_loop.records import Experience


class WarmStart:
    """Follows the rules at first and what was learned more and more: the rules weigh as much as `pseudo` runs.

    The probabilities of both are mixed, `pseudo`, above zero, to the number of runs learned from, so that nothing changes at a
    stroke.
    """

    def __init__(self, rules: Policy, learner: Learner, *, pseudo: float) -> None:
        self._rules, self._learner, self._pseudo = rules, learner, pseudo
        self._seen = 0

    @property
    def version(self) -> str:
        return f"{self._learner.version} from {self._rules.version}"

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        rules, learned = (_shares(each.distribution(context, options)) for each in (self._rules, self._learner))
        part = self._pseudo / (self._pseudo + self._seen)
        return [part * one + (1 - part) * other for one, other in zip(rules, learned, strict=True)]

    def update(self, batch: Sequence[Experience]) -> None:
        self._learner.update(batch)
        self._seen += len(batch)

    def state(self) -> dict[str, Any]:
        return {**self._learner.state(), "warm_seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        self._learner.load(state)
        self._seen = int(state["warm_seen"])


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]
