"""What the decisions of a strategy contributed: by how much what was decided was better than what could have been instead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_loop.app import App
from learning_loop.flows.experience import Episode, Log, experience_of
from learning_loop.flows.off_policy import FOLDS, RIDGE
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.policies.linear import LinearArms
from learning_loop.records import Decision, ExecutionRecord, Experience
from learning_loop.settings import STRATEGY as POINT
from learning_loop.stats.advantage import Advantage, advantage, pseudo_outcomes
from learning_loop.strategies import PARTS

Floats = NDArray[np.float64]

MOST = 40_000  # runs, the newest, that are looked at
MOST_FOR_ONE = 2_000  # the same, to say what the decisions of one run contributed
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Made:
    """A decision, with what its run was worth (0 to 1) from then on, the run, and the unit that draws alike."""

    decision: Decision
    experience: Experience
    record: ExecutionRecord
    unit: str


@dataclass(frozen=True, slots=True)
class Past:
    """What was decided at each decision point of strategies, the oldest first; and how many decisions there were in all."""

    by_point: Mapping[str, Sequence[Made]]
    decisions: int

    def of(self, point: str, fits: Callable[[Made], bool] = lambda _made: True) -> list[Made]:
        return [made for made in self.by_point.get(point, ()) if fits(made)]


def past(app: App, since: datetime, *, most: int = MOST) -> Past:
    """Return the decisions of strategies since then whose reward is known; of more than `most` runs the newest.

    A part of the work is worth what became of it itself: whom it was given to is judged by its own run.
    """
    points = (POINT, *PARTS)
    settings = app.settings.point(POINT)
    logs = {point: Log(app, point, settings) for point in points}
    excluded = {event.subject for event in app.ledger.events(EXCLUDED)}
    ids = [name for name in app.ledger.runs_at(points, since=since, most=most) if name not in excluded]
    found: dict[str, list[Made]] = {point: [] for point in points}
    for start in range(0, len(ids), AT_ONCE):
        for record in logs[POINT].records(ids[start : start + AT_ONCE]):
            for point, log in logs.items():
                episode = log.of_run(record)
                if episode is not None and episode.steps:
                    found[point] += _made(log, episode, record)
    return Past(found, sum(map(len, found.values())))


def _made(log: Log, episode: Episode, record: ExecutionRecord) -> list[Made]:
    steps = log.scaled(episode)
    return [
        Made(decision, step, record, record.execution.task_id) for decision, step in zip(episode.decisions, steps, strict=True)
    ]


class Contributions:
    """What options were worth at one decision point, by a doubly robust estimate, over decisions left to chance.

    The advantage of an option is the mean of how much better it would have been than what else could have been drawn. What one
    decision contributed is the same for its own context, by a model of it; None where nothing else could have been drawn.
    """

    def __init__(self, made: Sequence[Made]) -> None:
        self.made = [one for one in made if one.experience.probabilities is not None]
        names = dict.fromkeys(option for one in self.made for option in one.experience.options)
        self.options = list(names)
        place = {option: column for column, option in enumerate(self.options)}
        shape = (len(self.made), len(self.options))
        self.probability, self.taken = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
        for row, one in enumerate(self.made):
            for option, share in zip(one.experience.options, one.experience.probabilities or (), strict=True):
                self.probability[row, place[option]] = share
            self.taken[row, place[one.experience.chosen]] = True
        units: dict[str, int] = {}
        self._units = np.array([units.setdefault(one.unit, len(units)) for one in self.made], dtype=np.int64)
        self.reward = np.array([one.experience.reward for one in self.made])
        self.outcomes = pseudo_outcomes(self.reward, self.taken, self.probability, self._predicted())

    def advantages(self) -> dict[str, Advantage]:
        """Return the advantage of each option that was left to chance."""
        found = {
            option: advantage(self.outcomes, self.probability, self.taken, place, self._units)
            for place, option in enumerate(self.options)
        }
        return {option: value for option, value in found.items() if value is not None}

    def single(self) -> list[float | None]:
        """Return what each decision contributed."""
        return [self.of(one.experience) for one in self.made]

    def of(self, one: Experience) -> float | None:
        """Return what a decision contributed: how much better its option is in such a context than the others that could be."""
        shares = dict(zip(one.options, one.probabilities or (), strict=False))
        others = {option: share for option, share in shares.items() if share > 0 and option != one.chosen}
        if not self.made or not others:
            return None
        gain, *rest = self._gains.predict(one.context, [one.chosen, *others])[0]
        return float(gain - np.average(rest, weights=list(others.values())))

    @cached_property
    def _gains(self) -> LinearArms:
        """By how much each option is better than what is drawn, by what is known of the context."""
        model = LinearArms(variance=1 / RIDGE)
        value = np.nansum(np.nan_to_num(self.outcomes) * self.probability, axis=1)
        for row, one in enumerate(self.made):
            for place in np.flatnonzero(self.probability[row] > 0):
                model.regress(one.experience.context, self.options[place], float(self.outcomes[row, place] - value[row]))
        return model

    def _predicted(self) -> Floats:
        """Return what was to be expected of each option, by a model of the other folds."""
        found = np.zeros((len(self.made), len(self.options)))
        folds = np.arange(len(self.made)) % FOLDS
        for fold in range(min(FOLDS, len(self.made))):
            middle = float(self.reward[folds != fold].mean()) if (folds != fold).any() else 0.0
            model = LinearArms(variance=1 / RIDGE)
            for row in np.flatnonzero(folds != fold):
                one = self.made[row].experience
                model.regress(one.context, one.chosen, float(self.reward[row]) - middle)
            for row in np.flatnonzero(folds == fold):
                found[row] = middle + model.predict(self.made[row].experience.context, self.options)[0]
        return found


def contributed(app: App, record: ExecutionRecord) -> dict[str, float]:
    """Return what the decisions of a run's strategy contributed, by id, as parts of the reward's range; none that is unknown.

    It is judged by the newest runs of the days that evolution looks at.
    """
    decisions = [decision for decision in record.decisions if decision.point in (POINT, *PARTS)]
    if not decisions:
        return {}
    days = app.settings.strategies.evolution.within_days
    found = past(app, record.execution.started_at - timedelta(days=days), most=MOST_FOR_ONE)
    told = {point: Contributions(found.of(point)) for point in {decision.point for decision in decisions}}
    known = {decision.id: told[decision.point].of(experience_of(decision, 0.0, None)) for decision in decisions}
    return {name: value for name, value in known.items() if value is not None}


def plain_of(advantages: Mapping[str, Advantage]) -> dict[str, Any]:
    return {option: one._asdict() for option, one in advantages.items()}
