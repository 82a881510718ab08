"""What is known of earlier runs of a kind before a run starts, and what it predicts."""

import math
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from learning_loop.records import PastRun
from learning_loop.stats.robust import Spread, Window, spread

LEAST_SCALE = 0.1  # of a logarithm: durations that vary less than 10 % are not known to vary less
JITTER_S = 0.005  # what a scheduler adds or saves by chance: shorter differences in duration say nothing
SHORTEST_S = 1e-6
LEAST_USD = 1e-9
PREDICTION_RUNS = 5
LEAST_COMPONENTS = 3
Z90 = 1.6448536269514722
MOST_LOG = math.log(sys.float_info.max)
RECENT = 50  # runs kept with what a briefing says of them


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is expected of the next run: the probability of success, the logarithms of its duration in seconds and its cost."""

    success: float | None
    runs: int
    log_duration: Spread | None
    log_cost: Spread | None = None


def between(known: Spread | None) -> tuple[float, float, float] | None:
    """Return what is expected, and between what nine of ten runs are expected to lie; None where that is unknown.

    The logarithms are taken to be normal: a prediction interval, wider than one for the mean.
    """
    if known is None:
        return None
    half = Z90 * known.scale * math.sqrt(1 + 1 / known.n)
    return math.exp(known.centre), math.exp(known.centre - half), math.exp(min(known.centre + half, MOST_LOG))


@dataclass(slots=True)
class History:
    """The newest runs of one kind, and the durations of its first good ones, which stay what later ones are measured by.

    `level` names the kind; `minimum` is how many runs it takes to judge a duration or a cost.
    """

    level: str
    window: int
    minimum: int
    baseline_runs: int
    baseline: list[float] = field(default_factory=list)
    last_seq: int = 0
    components: set[str | None] = field(default_factory=set)
    recent: deque[PastRun] = field(default_factory=lambda: deque(maxlen=RECENT))
    outcomes: deque[bool] = field(init=False)
    durations: Window = field(init=False)
    costs: Window = field(init=False)
    _logs: Window = field(init=False)
    _shapes: deque[frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = deque(maxlen=self.window)
        self.durations, self._logs, self.costs = Window(self.window), Window(self.window), Window(self.window)
        self._shapes = deque(maxlen=self.window)

    def add(self, runs: Iterable[PastRun]) -> None:
        """Take in newer runs, oldest first: the successful ones say how long, how dear and how shaped such work is."""
        for run in runs:
            self.last_seq = max(self.last_seq, run.seq)
            self.recent.append(run)
            if run.success is None:
                continue
            self.outcomes.append(run.success)
            if not run.success:
                continue
            self.components.add(run.component)
            if run.duration_s is not None:
                self.durations.append(run.duration_s)
                self._logs.append(math.log(max(run.duration_s, SHORTEST_S)))
                if len(self.baseline) < self.baseline_runs:
                    self.baseline.append(run.duration_s)
            if run.cost_usd is not None:
                self.costs.append(run.cost_usd)
            if run.shape and run.shape not in self._shapes:
                self._shapes.append(run.shape)

    def add_template(self, parts: Iterable[str]) -> None:
        """Take in the shape of a template, which may outlive the runs it was made of."""
        if shape := frozenset(parts):
            self._shapes.append(shape)

    @property
    def shapes(self) -> tuple[frozenset[str], ...]:
        return tuple(self._shapes)

    @property
    def thin(self) -> bool:
        """Say whether there are too few runs to judge one more by."""
        return len(self.durations) < self.minimum

    @property
    def broad(self) -> bool:
        """Say whether these runs stand for their type: components differ, so that one or two say nothing of a third."""
        return not self.thin and len(self.components) >= LEAST_COMPONENTS

    @property
    def successes(self) -> int:
        return sum(self.outcomes)

    def predict(self) -> Prediction:
        """Predict the next run: Jeffreys' estimate of its success, robust centre and scale of its log duration.

        Fewer than five runs predict nothing, of a cost as of a duration.
        """
        runs = len(self.outcomes)
        success = (self.successes + 0.5) / (runs + 1) if runs >= PREDICTION_RUNS else None
        duration = cost = None
        if len(self.durations) >= PREDICTION_RUNS:
            duration = spread(self._logs.ordered, floor=lambda centre: LEAST_SCALE + math.log1p(JITTER_S / math.exp(centre)))
        if len(self.costs) >= PREDICTION_RUNS:
            cost = spread([math.log(max(value, LEAST_USD)) for value in self.costs.ordered], floor=LEAST_SCALE)
        return Prediction(success, runs, duration, cost)
