"""What the runs so far say of the effect of each of many things, each shown or withheld at random: one row each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_loop.stats.betting import Bets, EProcess
from learning_loop.stats.change import bar_of, next_sum
from learning_loop.stats.effects import effect_scores

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

PRIOR_RUNS, PRIOR_MEAN, PRIOR_VARIANCE = 4.0, 0.5, 0.25  # of what is predicted before there are runs
SHRINKAGE = 400.0  # runs at even odds without an effect, that what is expected starts from
LEAST_SPREAD = 0.01  # that a variance is never predicted below


class Evidence:
    """E-processes for benefit on the first metric, and for harm on each, of `rows` things; values of metrics lie in [0, 1].

    Higher is better for every metric. A run is taken once, when its outcome is mature; all that a bet rests on was known
    before that run. `weights`, one for each metric, part the harm between them and sum to one: what harms one metric alone
    has its e-value times that weight, so that its bets aim that much higher.
    """

    def __init__(self, rows: int, weights: Sequence[float], *, benefit_at: float, harm_at: float, bets: Bets) -> None:
        metrics = len(weights)
        self.weights = np.asarray(weights, float)
        self.benefit = EProcess(rows, bets, benefit_at)
        self.harm = [EProcess(rows, bets, harm_at / weight) for weight in weights]
        self.runs = np.zeros((rows, 2))  # withheld, shown
        self.change = np.zeros(rows)
        self._precision = np.zeros(rows)
        self._weighted = np.zeros(rows)
        self._outcomes = np.full((rows, metrics), PRIOR_RUNS * PRIOR_MEAN)
        self._squares = np.full((rows, metrics), PRIOR_RUNS * PRIOR_VARIANCE)
        self._seen = np.full((rows, metrics), PRIOR_RUNS)
        self._missed = np.zeros((rows, metrics, 2))  # squared errors of the mean so far, and of the given predictions

    @property
    def effect(self) -> Floats:
        """The estimated effect on the first metric; zero where there is no run. For decisions see the e-processes."""
        return self._weighted / np.maximum(self._precision, 1e-12)

    @property
    def expected(self) -> Floats:
        """The effect that is expected of more runs: the estimate, drawn towards none where there are few."""
        return self._weighted / (self._precision + SHRINKAGE / 4)

    @property
    def variance(self) -> Floats:
        """How much the first metric varies round its prediction."""
        return np.maximum(self._squares[:, 0] / self._seen[:, 0], LEAST_SPREAD)  # type: ignore[no-any-return]

    @property
    def log_benefit(self) -> Floats:
        """The logarithm of the e-value against "it does not help"."""
        return self.benefit.log_value

    @property
    def log_harm(self) -> Floats:
        """The logarithm of the e-value against "it harms nothing": the weighted mean over the metrics."""
        values = np.stack([process.log_value for process in self.harm], axis=1)
        return np.logaddexp.reduce(values + np.log(self.weights), axis=1)  # type: ignore[no-any-return]

    def change_bar(self, runs: float, propensity: ArrayLike) -> Floats:
        """Return the bar of `change` that an effect that goes on would reach once in so many runs."""
        odds = np.clip(np.asarray(propensity, float), 0.01, 0.99)
        effect = np.maximum(self.expected, LEAST_SPREAD)
        return bar_of(runs, effect=effect, variance=self.variance / (odds * (1 - odds)))

    def learn(
        self,
        rows: ArrayLike,
        runs: ArrayLike,
        shown: ArrayLike,
        propensity: ArrayLike,
        outcomes: Floats,
        predicted: Floats | None = None,
    ) -> None:
        """Take exposures, at most one of each row: the row, which run it belongs to, whether it was shown, how likely that was.

        `outcomes` and what was `predicted` of them before the run are (exposures, metrics), NaN where unknown. Things that
        belong to one run are adjusted for each other.
        """
        chosen, run = np.asarray(rows, np.intp), np.asarray(runs, np.intp)
        assigned, odds = np.asarray(shown, bool), np.asarray(propensity, float)
        adjustment = self._others(chosen, run, assigned, odds)
        for metric in range(outcomes.shape[1]):
            known = np.isfinite(outcomes[:, metric])
            if known.any():
                given = None if predicted is None else predicted[known, metric]
                self._take(
                    metric, chosen[known], assigned[known], odds[known], outcomes[known, metric], given, adjustment[known]
                )
        self.runs[chosen, assigned.astype(int)] += 1

    def restart(self, rows: Sequence[int] | Rows, benefit_at: ArrayLike, harm_at: float, *, carry: bool = False) -> None:
        """Begin the e-processes of these rows anew, as `EProcess.restart` does; how outcomes vary is kept."""
        chosen = np.asarray(rows, np.intp)
        self.benefit.restart(chosen, benefit_at, carry=carry)
        for process, weight in zip(self.harm, self.weights, strict=True):
            process.restart(chosen, harm_at / weight, carry=carry)
        for counts in (self.runs, self.change, self._precision, self._weighted):
            counts[chosen] = 0.0

    def pack(self, row: int) -> dict[str, Any]:
        """Return one row as JSON keeps it; `unpack` takes it."""
        return {name: array[row].tolist() for name, array in self._arrays().items()}

    def unpack(self, row: int, packed: Mapping[str, Any]) -> None:
        for name, array in self._arrays().items():
            array[row] = packed[name]

    def _arrays(self) -> dict[str, Floats]:
        own = {
            "runs": self.runs,
            "change": self.change,
            "precision": self._precision,
            "weighted": self._weighted,
            "outcomes": self._outcomes,
            "squares": self._squares,
            "seen": self._seen,
            "missed": self._missed,
        }
        for name, process in {
            "benefit": self.benefit,
            **{f"harm{place}": item for place, item in enumerate(self.harm)},
        }.items():
            own |= {f"{name}.wealth": process.log_wealth, f"{name}.seen": process.seen, f"{name}.target": process.target}
        return own

    def _others(self, rows: Rows, runs: Rows, shown: NDArray[np.bool_], odds: Floats) -> Floats:
        """Return what the other things in the same run are expected to have added to its outcome."""
        expected = (shown - odds) * self.expected[rows]
        return np.bincount(runs, weights=expected)[runs] - expected

    def _lean(self, rows: Rows, odds: Floats) -> Floats:
        """Return how far the prediction under which a score varies least is expected to lie from the mean so far.

        It is the mean had each arm been drawn with the odds of the other: nothing at even odds, much where one is rare.
        """
        so_far = self.runs[rows, 1] / np.maximum(self.runs[rows].sum(axis=1), 1.0)
        return self.expected[rows] * (1 - odds - so_far)  # type: ignore[no-any-return]

    def _take(
        self,
        metric: int,
        rows: Rows,
        shown: NDArray[np.bool_],
        odds: Floats,
        outcome: Floats,
        given: Floats | None,
        adjustment: Floats,
    ) -> None:
        seen = self._seen[rows, metric]
        mean = self._outcomes[rows, metric] / seen
        base = mean
        if given is not None:
            usable = np.isfinite(given)
            better = usable & (self._missed[rows, metric, 1] < self._missed[rows, metric, 0])
            base = np.where(better, given, mean)
            self._missed[rows, metric, 0] += np.where(usable, (outcome - mean) ** 2, 0.0)
            self._missed[rows, metric, 1] += np.where(usable, (outcome - np.nan_to_num(given)) ** 2, 0.0)
        own = self._lean(rows, odds) if metric == 0 else 0.0
        predicted = np.clip(base + own + adjustment, 0.0, 1.0)
        scores = effect_scores(shown, odds, outcome, predicted)
        spread = np.maximum(self._squares[rows, metric] / seen, LEAST_SPREAD)
        variance = spread * scores.spread
        if metric == 0:
            effect = np.maximum(self.expected[rows], LEAST_SPREAD)
            self.change[rows] = next_sum(self.change[rows], scores.value, effect=effect, variance=variance)
            self.benefit.add(rows, scores.value, variance=variance, worst=-scores.lowest)
            self._precision[rows] += 1 / scores.spread
            self._weighted[rows] += scores.value / scores.spread
        self.harm[metric].add(rows, -scores.value, variance=variance, worst=scores.highest)
        self._outcomes[rows, metric] += outcome
        self._squares[rows, metric] += (outcome - predicted) ** 2
        self._seen[rows, metric] += 1
