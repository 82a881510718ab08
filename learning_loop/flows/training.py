"""Training: a version of a policy from logged choices, held against the rules on those it has not seen."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from learning_loop import __version__
from learning_loop.app import App
from learning_loop.errors import LearningLoopError, UsageError, WorkspaceError
from learning_loop.flows.experience import Episode, Log, experience_of
from learning_loop.flows.off_policy import CERTAIN, LEAST_RUNS, EpisodeEvaluation, Evaluation, evaluate, evaluate_episodes
from learning_loop.flows.points import POLICY, Version, beginner, ledger_points, live_at
from learning_loop.policies import STEPWISE, learner, policy
from learning_loop.protocols import Learner, Policy, Replaying
from learning_loop.records import Decision, Event
from learning_loop.settings import Point
from learning_loop.stats.off_policy import Estimate, Overlap
from learning_loop.workspace.versions import folder_of, load_version, save_version

LEAST, FEW = 50, 100  # episodes: below the first nothing is trained, below the second it is warned
HELD_OUT, JUDGEABLE = 0.2, 60  # of the episodes, the newest that are not learned from; and how many it takes to judge by
BATCH = 40  # episodes that a step-wise learner is given at a time
TOLERANCE = 0.05  # of the reward's range, that a policy's lower bound may lie below the rules
ONE_SIDED = 0.9  # of the episodes with the same value, from which on a log is one-sided
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the log says of a policy beside the rules, on choices it has not learned from; rewards in their own units.

    `learned` and `rules` are None where the log cannot say, and then `says` why. Of what was learned `estimates` are all that
    there are, by name, with the control, and `overlap` is how far the log can speak for it.
    """

    learned: Estimate | None
    rules: Estimate | None
    passes: bool
    says: str
    episodes: int
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    overlap: Overlap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A version that was trained: where it is, what it learned from, and what the log says of it."""

    point: str
    version: str
    path: str
    learner: str
    episodes: int
    held_out: int
    judgement: Judgement
    warnings: tuple[str, ...] = ()


def train(  # noqa: PLR0913  (what there is to say of a training)
    app: App,
    point: str,
    *,
    settings: Point | None = None,
    algo: str | None = None,
    epochs: int = 20,
    episodes: Sequence[Episode] | None = None,
    only: tuple[str, str] | None = None,
    start: str | None = None,
    output: Path | None = None,
    seed: int = 0,
    told: Told = lambda _done, _total: None,
) -> Trained:
    """Train a policy on what is on record of a point, or on `episodes`, and write it as a new version.

    The newest fifth, or what it takes to judge by, is held out, and what was learned is judged on it beside the rules. A
    training that was broken off goes on where it was. With `only` it learns from choices whose context says so, with `start`
    it goes on from a version: so a policy for all is tuned to some. With an `output` folder the version is written there, and
    is no candidate. Raise UsageError where there is too little to learn from, or nothing was left to chance.
    """
    settings = settings or app.settings.point(point) or Point()
    name = algo or settings.learner
    log = Log(app, point, settings)
    whole = in_time([episode for episode, _ in log.episodes()] if episodes is None else episodes)
    if only is not None:
        name_, value = only
        whole = [one for one in whole if one.steps and str(one.steps[0].context.get(name_)) == value]
    warnings = _looked_through(point, whole)
    judgeable = min(JUDGEABLE, len(whole) // 2) if len(whole) >= 2 * LEAST_RUNS else 0
    cut = len(whole) - max(int(HELD_OUT * len(whole)), judgeable)
    older, newer = whole[:cut], whole[cut:]
    own = dict(settings.settings) if name == settings.learner else {}
    recipe = _Recipe(name=name, settings=own, epochs=epochs, seed=seed, start=start, told=told)
    made = recipe.made(app, log, older)
    judgement = _judge(log, made, settings, newer, seed)
    version = f"{app.clock():%Y%m%d}-{name}-{_digest([point, made.state(), len(whole), seed])}"
    about = {
        "point": point,
        "version": version,
        "learner": name,
        "settings": own,
        "reward": log.version,
        "epochs": epochs if name in STEPWISE else 1,
        "seed": seed,
        "episodes": len(older),
        "held_out": len(newer),
        "mean_reward": sum(one.reward for one in older) / len(older),
        "contexts": len({json.dumps(dict(step.context), sort_keys=True) for one in older for step in one.steps}),
        "first": whole[0].decisions[0].at.isoformat(),
        "last": whole[-1].decisions[0].at.isoformat(),
        "learned_until": older[-1].decisions[0].at.isoformat(),
        "of_point": settings.model_dump(mode="json"),
        "trained_at": app.clock().isoformat(),
        "by": f"learning-loop {__version__}",
        "judgement": asdict(judgement),
        "warnings": list(warnings),
    }
    folder = folder_of(app.workspace, point) / version if output is None else output
    save_version(folder, made.state(), about)
    if output is None:
        data = {"action": "train", "version": version, "by": "person", "reason": judgement.says}
        app.ledger.append(Event(kind=POLICY, subject=point, at=app.clock(), data=data))
    path = app.workspace.relative(folder) if output is None else str(folder)
    return Trained(
        point=point,
        version=version,
        path=path,
        learner=name,
        episodes=len(older),
        held_out=len(newer),
        judgement=judgement,
        warnings=tuple(warnings),
    )


def in_time(episodes: Iterable[Episode]) -> list[Episode]:
    """Return episodes by when they began: the log has them by when they ended, and choices outside of runs after all runs."""
    return sorted(episodes, key=lambda one: one.decisions[0].at)


def one_point(app: App, point: str | None, given: Mapping[str, Sequence[Episode]] | None) -> str:
    """Return the decision point that is meant: where none is named, the only one there is; raise UsageError."""
    names = sorted(given if given is not None else ledger_points(app.ledger))
    if point is not None:
        if given is not None and point not in given:
            raise UsageError(f"there are no choices of {point!r} in the file: it has {', '.join(names) or 'none'}")
        return point
    if len(names) != 1:
        raise UsageError(f"say which decision point is meant: {', '.join(names) or 'there is none yet'}")
    return names[0]


def read_experiences(path: Path, point: str | None) -> dict[str, list[Episode]]:
    """Return the choices that `policy export` wrote, by decision point; raise UsageError with what cannot be read."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, dict[str, list[Any]]] = {}
        for row in rows:
            if point in (None, row["point"]):
                of = found.setdefault(row["point"], {})
                of.setdefault(row["execution_id"] or row["decision_id"], []).append(row)
        return {name: [_episode(rows) for rows in of.values()] for name, of in found.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no file of experiences ({error}): `learning-loop policy export` writes one") from None


def _episode(rows: Sequence[Mapping[str, Any]]) -> Episode:
    steps, decisions = [], []
    for row in rows:
        shares = row["probabilities"]
        known = None if shares is None else tuple(map(float, shares))
        options = tuple(map(str, row["options"]))
        decisions.append(
            Decision(
                id=str(row["decision_id"]),
                execution_id=row["execution_id"],
                point=str(row["point"]),
                alternatives=options,
                probabilities=known,
                chosen=str(row["chosen"]),
                propensity=row["propensity"],
                policy=str(row["policy"]),
                context=dict(row["context"]),
                at=datetime.fromisoformat(row["at"]),
                latency_us=None,
            )
        )
        steps.append(experience_of(decisions[-1], float(row["reward"]), row["execution_id"] if len(rows) > 1 else None))
    return Episode(steps=tuple(steps), decisions=tuple(decisions))


def judged(app: App, point: str, version: str) -> Judgement:
    """Return what the log says of a version by now, on what it has not learned from, with rewards as they are now.

    One that learns live is judged by another that learns from the older half, on the newer one.
    """
    own = app.settings.point(point)
    if version != live_at(app, point):
        state, about = load_version(folder_of(app.workspace, point) / version)
        if "learned_until" not in about:
            raise UsageError(f"{version} does not say what it has learned from: train it anew")
        settings = own or Point.model_validate(about["of_point"])
        log, until = Log(app, point, settings), datetime.fromisoformat(about["learned_until"])
        newer = [episode for episode, _ in log.episodes() if episode.decisions[0].at > until]
        return _judge(log, Version(version, state, about), settings, newer, about["seed"])
    settings = own or Point()
    log = Log(app, point, settings)
    whole = in_time(episode for episode, _ in log.episodes())
    _looked_through(point, whole)
    cut = len(whole) // 2
    made = beginner(settings, policy("rules", rules=settings.rules))
    for episode in whole[:cut]:
        made.update(log.scaled(episode))
    return _judge(log, made, settings, whole[cut:], 0)


def _looked_through(point: str, whole: Sequence[Episode]) -> list[str]:
    """Return what is to be said of the data; raise UsageError where nothing can be learned from it."""
    if len(whole) < LEAST:
        raise UsageError(f"{len(whole)} episodes of {point!r} are too few to learn from: {LEAST} are needed, {FEW} are better")
    steps = [step for episode in whole for step in episode.steps]
    known = [step.propensity for step in steps if step.propensity is not None]
    if not known or all(propensity >= CERTAIN for propensity in known):
        raise UsageError(
            f"nothing was left to chance at {point!r}: what was never tried cannot be learned. "
            f"Set policies.points.{point}.explore to 0.1, and run on"
        )
    warnings = [] if len(whole) >= FEW else [f"{len(whole)} episodes are few to learn from and be judged by: {FEW} are better"]
    return [*warnings, *one_sided(whole)]


def one_sided(whole: Sequence[Episode]) -> list[str]:
    """Return what a log has only one sort of: task types, levels of complexity, endings."""
    found = []
    for name, what in (("type", "task type"), ("task_type", "task type"), ("complexity", "complexity")):
        values = Counter(str(one.steps[0].context[name]) for one in whole if one.steps and one.steps[0].context.get(name))
        if values and values.most_common(1)[0][1] >= ONE_SIDED * len(whole) and len(whole) >= LEAST:
            found.append(f"nearly all are of one {what}, {values.most_common(1)[0][0]}: it learns nothing of others")
    ended = [one.record.outcome.success for one in whole if one.record is not None and one.record.outcome is not None]
    if ended and all(success is not False for success in ended):
        found.append("none failed: failures teach most")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """How a policy is to be made of episodes."""

    name: str
    settings: Mapping[str, Any]
    epochs: int = 1
    seed: int = 0
    start: str | None = None
    told: Told = lambda _done, _total: None

    def made(self, app: App, log: Log, whole: Sequence[Episode]) -> Learner:
        """Return a policy that learned from all of them."""
        made = learner(self.name, **self.settings)
        if self.start is not None:
            if not any(event.data.get("version") == self.start for event in app.ledger.events(POLICY, log.point)):
                raise UsageError(f"{log.point!r} has no version {self.start!r}: see `learning-loop policy status {log.point}`")
            state, about = load_version(folder_of(app.workspace, log.point) / self.start)
            if about["learner"] != self.name:
                raise UsageError(
                    f"{self.start} is a policy of the kind {about['learner']}: go on with --algo {about['learner']}"
                )
            made.load(state)
        if self.name in STEPWISE:
            return self._replayed(app, log, made, whole)
        for number, episode in enumerate(whole, 1):
            made.update(list(episode.steps) if self.name == "imitation" else log.scaled(episode))
            self.told(number, len(whole))
        return made

    def _replayed(self, app: App, log: Log, made: Any, whole: Sequence[Episode]) -> Learner:
        """Go over episodes again and again, each time in another order; what was done is kept after every time."""
        replaying: Replaying = made
        first = [episode.decisions[0].id for episode in whole]
        key = _digest([self.name, dict(self.settings), log.point, log.version, self.seed, self.start, first])
        kept, done = folder_of(app.workspace, log.point) / f".training-{key}", 0
        try:
            state, about = load_version(kept)
            if about["epochs"] <= self.epochs:
                replaying.load(state)
                done = about["epochs"]
        except WorkspaceError:
            pass
        if not done and self.start is None:
            replaying.imitate([step for episode in whole for step in episode.steps])
        for epoch in range(done, self.epochs):
            rng = random.Random(f"{self.seed} {epoch}")  # noqa: S311  (repeatable, not secret)
            order = rng.sample(range(len(whole)), len(whole))
            for place in range(0, len(order), BATCH):
                replaying.update([step for number in order[place : place + BATCH] for step in whole[number].steps])
            save_version(kept, replaying.state(), {"epochs": epoch + 1})
            self.told(epoch + 1, self.epochs)
        for left in kept.parent.glob(".training-*"):  # this one, and those that were broken off and are out of date
            shutil.rmtree(left, ignore_errors=True)
        return replaying


def _judge(log: Log, made: Policy, settings: Point, newer: Sequence[Episode], seed: int) -> Judgement:
    """Hold a policy against the rules, on episodes that it has not seen."""
    newer = log.left_to_chance(newer)
    found: list[Evaluation | EpisodeEvaluation] = []
    for who, each in (("it", made), ("the rules", policy("rules", rules=settings.rules))):
        rng = random.Random(f"judge {seed}")  # noqa: S311  (repeatable, not secret)
        try:
            found.append(_evaluated(newer, each, rng))
        except UsageError as error:
            says = f"the log cannot say what {who} would have earned: {error}"
            return Judgement(learned=None, rules=None, passes=False, says=says, episodes=len(newer))
    (learned, others), (ruled, _) = ((one.best, one) for one in found)
    low, high = _range(log, newer)
    passes = learned[0] >= ruled[0] and learned[1] >= ruled[0] - TOLERANCE * (high - low)
    says = (
        f"on {len(newer)} episodes it had not seen it would have earned {learned[0]:.3g} "
        f"({learned[1]:.3g} to {learned[2]:.3g}), the rules {ruled[0]:.3g} ({ruled[1]:.3g} to {ruled[2]:.3g})"
    )
    return Judgement(
        learned=learned,
        rules=ruled,
        passes=passes,
        says=says,
        episodes=len(newer),
        estimates=others.estimates,
        overlap=others.overlap,
    )


def _range(log: Log, whole: Sequence[Episode]) -> tuple[float, float]:
    try:
        return log.bounds(whole[0])
    except LearningLoopError:
        rewards = [episode.reward for episode in whole]
        return min(rewards), max(rewards)


def _evaluated(whole: Sequence[Episode], each: Policy, rng: random.Random) -> Evaluation | EpisodeEvaluation:
    """Return what a policy would have earned an episode; raise UsageError where the log cannot say."""
    if all(len(episode.steps) == 1 for episode in whole):
        return evaluate([episode.steps[0] for episode in whole], each, rng=rng)
    return evaluate_episodes([episode.steps for episode in whole], each, rng=rng)


def _digest(value: Any) -> str:
    def plain(item: Any) -> Any:
        return item.tolist() if isinstance(item, np.ndarray) else str(item)

    return blake2b(json.dumps(value, default=plain, sort_keys=True).encode(), digest_size=4).hexdigest()
