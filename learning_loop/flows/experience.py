"""Experience: the choices at a decision point with what came of them, from the ledger, as a policy learns from them."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from learning_loop.app import App
from learning_loop.errors import ConfigurationError
from learning_loop.features.encoding import RAMP
from learning_loop.flows.rewards import facts_of, reward_named
from learning_loop.importers.crm import Crm, read_crm
from learning_loop.ledger import Filter
from learning_loop.records import Credit, Decision, ExecutionRecord, Experience, Feedback, Step, Usage
from learning_loop.rewards.reward import Reward
from learning_loop.settings import Point

AT_ONCE = 500
LEARNED, RULES = "learned", "rules"  # by whom a ramp lets a unit be chosen for
BY = "+by"  # the ending of the id of the draw that says so for a choice outside of runs
_WARNED: set[str] = set()  # the points whose rewards were beyond their bounds: it is said once
log = logging.getLogger("learning_loop")


@dataclass(frozen=True, slots=True)
class Place:
    """How far the ledger was read: the places of the last outcome and of the last credit."""

    outcome: int = 0
    credit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """The choices of one run at a decision point, or one choice outside of runs, with the run where there is one."""

    steps: tuple[Experience, ...]
    record: ExecutionRecord | None = None
    decisions: tuple[Decision, ...] = ()

    @property
    def reward(self) -> float:
        return sum(step.reward for step in self.steps)

    @property
    def alone(self) -> bool:
        """Say whether it is a choice outside of runs, which earns what `loop.reward` says and nothing else."""
        return self.decisions[0].execution_id is None


def _alone(decision: Decision, credit: Credit) -> Episode:
    return Episode(steps=(experience_of(decision, credit.value, None),), decisions=(decision,))


class Log:
    """What is on record of one decision point; rewards are worked out when they are asked for."""

    def __init__(self, app: App, point: str, settings: Point | None = None) -> None:
        self._app, self.point = app, point
        self._settings = settings or app.settings.point(point) or Point()
        self.reward: Reward = reward_named(app, self._settings.reward or app.settings.policies.reward)
        asks_crm = any(term.of.startswith("crm.") for term in self.reward.terms.values())
        self._crm = read_crm(app.workspace.root) if asks_crm else Crm()

    @property
    def version(self) -> str:
        """What rewards read from it are bound to."""
        return self.reward.version

    def bounds(self, episode: Episode) -> tuple[float, float]:
        """Return the least and the largest reward of such an episode; raise ConfigurationError where nobody said them."""
        own = self._settings
        if own.low is not None and own.high is not None:
            return own.low, own.high
        if episode.alone:
            return 0.0, 1.0
        if self.reward.clip is None:
            raise ConfigurationError(
                f"the reward {self.reward.name} has no bounds: give it `clip`, or policies.points.{self.point} `low` and `high`"
            )
        return self.reward.clip

    def episodes(self, after: Place = Place(), *, unknown: bool = False) -> Iterator[tuple[Episode, Place]]:
        """Yield what ended or was rewarded after a place, and the place it brings one to; up to what is still waited for.

        With `unknown` runs are yielded as well whose reward is not known, without steps.
        """
        place, waits = after, False
        while not waits and (runs := self._app.ledger.runs_deciding(self.point, after=place.outcome, limit=AT_ONCE)):
            records = {one.execution.id: one for one in self.records([run for _, run in runs])}
            for outcome, run in runs:
                found = self.of_run(records[run])
                if waits := found is None:
                    break
                place = replace(place, outcome=outcome)
                if found.steps or unknown:
                    yield found, place
        while credits_ := self._app.ledger.credited(self.point, after=place.credit, limit=AT_ONCE):
            for number, decision, credit in credits_:
                place = replace(place, credit=number)
                if math.isfinite(credit.value):
                    yield _alone(decision, credit), place

    def newest(self, most: int) -> list[Episode]:
        """Return the newest, runs whose reward is not known among them, in the order of their first choices."""
        ids = [name for _, name in self._app.ledger.places_deciding(self.point, after=0)][-most:]
        parts = [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]
        found = [episode for part in parts for record in self.records(part) if (episode := self.of_run(record)) is not None]
        alone = self._app.ledger.credited(self.point, limit=most, newest=True)
        found += [_alone(decision, credit) for _, decision, credit in alone if math.isfinite(credit.value)]
        return sorted((one for one in found if one.decisions), key=lambda one: one.decisions[0].at)[-most:]

    def records(self, ids: Sequence[str]) -> list[ExecutionRecord]:
        """Return runs, at most `AT_ONCE`, with all that rewards ask of them."""
        parts = (Decision, Credit, Usage, Step, Feedback)
        found = self._app.ledger.executions(Filter(ids=tuple(ids)), limit=AT_ONCE, parts=parts)
        place = {name: number for number, name in enumerate(ids)}
        return sorted(found, key=lambda record: place[record.execution.id])

    def of_run(self, record: ExecutionRecord) -> Episode | None:
        """Return the choices of a run with their rewards, none where they are unknown; None where they are still waited for."""
        decisions = [decision for decision in record.decisions if decision.point == self.point]
        credits_ = {credit.decision_id: credit.value for credit in record.credits if math.isfinite(credit.value)}
        worth = self.reward.worth(facts_of(record, self._crm), now=self._app.clock())
        if not worth.mature:
            return None
        if worth.clipped is None or not decisions:
            return Episode(steps=(), record=record, decisions=tuple(decisions))
        earned = [credits_.get(decision.id, 0.0) for decision in decisions]
        earned[-1] += worth.clipped
        name = record.execution.id if len(decisions) > 1 else None
        steps = tuple(experience_of(decision, value, name) for decision, value in zip(decisions, earned, strict=True))
        return Episode(steps=steps, record=record, decisions=tuple(decisions))

    def left_to_chance(self, whole: Sequence[Episode]) -> list[Episode]:
        """Leave out what a ramp gave to rules that explore nothing.

        The draw took no notice of what was to be chosen, so that the others stand for all of them.
        """
        ruled = {id(one) for one in whole if (by := drawn_by(self._app, self.point, one)) is not None and by.chosen == RULES}
        certain = any(
            step.propensity == 1.0 and len(step.options) > 1 for one in whole if id(one) in ruled for step in one.steps
        )
        return [one for one in whole if id(one) not in ruled] if certain else list(whole)

    def scaled(self, episode: Episode) -> list[Experience]:
        """Return each choice with what it is owed of all that came after it, from 0 to 1: beyond the bounds it is clipped."""
        low, high = self.bounds(episode)
        found: list[Experience] = []
        after = 0.0
        for step in reversed(episode.steps):
            after += step.reward
            if not low <= after <= high and self.point not in _WARNED:
                _WARNED.add(self.point)
                log.warning(
                    "%s earns %g, beyond %g to %g: set policies.points.%s.low and high",
                    self.point,
                    after,
                    low,
                    high,
                    self.point,
                )
            found.append(replace(step, reward=(min(max(after, low), high) - low) / (high - low), episode=None))
        return found[::-1]


def drawn_by(app: App, point: str, episode: Episode) -> Decision | None:
    """Return the draw of a ramp that said by whom the first choice of an episode was made, if there was one."""
    if episode.alone:
        return app.ledger.decision(f"{episode.decisions[0].id}{BY}")
    drawn = episode.record.decisions if episode.record is not None else ()
    return next((decision for decision in drawn if decision.point == f"{RAMP}{point}"), None)


def experience_of(decision: Decision, reward: float, episode: str | None) -> Experience:
    """Return a choice with its reward, as a step of an episode where there is one."""
    return Experience(
        context=decision.context,
        options=decision.alternatives,
        chosen=decision.chosen,
        propensity=decision.propensity,
        reward=reward,
        probabilities=decision.probabilities,
        episode=episode,
    )


def steps_of(episodes: Sequence[Episode]) -> list[Experience]:
    return [step for episode in episodes for step in episode.steps]


def exported(app: App, points: Mapping[str, Point | None]) -> tuple[list[dict[str, Any]], list[float]]:
    """Return the choices of decision points, as files keep them, and the rewards of the episodes they were made in."""
    steps, rewards = list[dict[str, Any]](), list[float]()
    for name, settings in points.items():
        for episode, _ in Log(app, name, settings).episodes():
            steps += ({"point": name, **step} for step in plain_of(episode))
            rewards.append(episode.reward)
    return steps, rewards


def plain_of(episode: Episode) -> list[dict[str, Any]]:
    """Return the choices of an episode as JSON keeps them."""
    run = episode.record.execution.id if episode.record is not None else None
    return [
        {
            "decision_id": decision.id,
            "execution_id": run,
            "at": decision.at.isoformat(),
            "context": dict(step.context),
            "options": list(step.options),
            "chosen": step.chosen,
            "propensity": step.propensity,
            "probabilities": None if step.probabilities is None else list(step.probabilities),
            "reward": step.reward,
            "policy": decision.policy,
        }
        for step, decision in zip(episode.steps, episode.decisions, strict=True)
    ]
