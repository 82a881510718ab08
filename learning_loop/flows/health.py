"""The health of learning itself: what it earns drifting, units going missing, and learning that does not go on."""

from collections.abc import Iterator
from datetime import timedelta

from learning_loop.app import App
from learning_loop.experiments.moves import Phase
from learning_loop.flows.ab_tests import DRAWN, EVIDENCE, experiments
from learning_loop.flows.drift import last_drift
from learning_loop.flows.points import ledger_points, standing
from learning_loop.flows.rewards import reward_named, rewards_of
from learning_loop.ledger import Filter
from learning_loop.patterns.anti import Alarm
from learning_loop.rewards.reward import Reward
from learning_loop.settings import STRATEGY as POINT
from learning_loop.stats.conformal import chance, worsened

NAME = "learning"  # the type of what its alerts are about
SORTS = ("drift", "reward_drift", "sample_ratio", "stalled")
SEGMENT = 500  # runs after which what is looked at begins anew
FEW = 60
STANDS = timedelta(days=7)  # how long a drift is told


def troubles(app: App) -> list[Alarm]:
    """Return what is wrong with learning now."""
    return [*_drift(app), *_reward_terms(app), *_ratios(app), *_stalled(app)]


def _drift(app: App) -> Iterator[Alarm]:
    event = last_drift(app, POINT)
    if event is not None and app.clock() - event.at < STANDS:
        before = "unknown" if event.data["before"] is None else f"{event.data['before']:.2f}"
        yield Alarm(
            "drift",
            f"drift:{event.at.isoformat()}",
            "strategies earn less than before",
            f"{event.data['after']:.2f} of the reward's range in {event.data['runs']} runs, {before} before",
            (),
        )


def _reward_terms(app: App) -> Iterator[Alarm]:
    """Yield the terms of rewards in use whose points have become other ones, higher or lower."""
    limits = app.settings.anti_patterns.anomaly
    names = {app.settings.policies.reward, app.settings.strategies.reward}
    for name in sorted(names) if limits is not None else ():
        reward = reward_named(app, name)
        for term, values in _points(app, reward).items():
            for sign, way in ((1.0, "higher"), (-1.0, "lower")):
                found = worsened(
                    [sign * value for _, value in values],
                    lambda place, values=values, term=term, way=way: chance(f"{term} {way} {values[place][0]}"),  # type: ignore[misc]
                    alarm=4 * len(reward.terms) * (limits.false_alarm_runs if limits is not None else 1.0),
                )
                if found is not None and len(values) >= FEW:
                    before = [value for _, value in values[: found.began]] or [0.0]
                    after = [value for _, value in values[found.began :]]
                    yield Alarm(
                        "reward_drift",
                        f"reward_drift:{name}:{term}:{way}",
                        f"{term} of the reward {name} is {way} than it was",
                        f"{_mean(after):.2f} points in the last {len(after)} runs, {_mean(before):.2f} before",
                        tuple(run for run, _ in values[found.began :])[:20],
                    )


def _points(app: App, reward: Reward) -> dict[str, list[tuple[str, float]]]:
    """Return the points of each term over the newest runs, beginning at a multiple of `SEGMENT` of them, oldest first."""
    total = sum(tally.runs for tally in app.ledger.tally(Filter(ended=True)))
    wanted = total - max(total // SEGMENT - 1, 0) * SEGMENT
    worths, _ = rewards_of(app, reward, Filter(ended=True), limit=wanted)
    found: dict[str, list[tuple[str, float]]] = {}
    for run, worth in reversed(worths):
        for term, points in worth.terms.items():
            if points is not None and term not in worth.unknown:
                found.setdefault(term, []).append((run, points))
    return found


def _ratios(app: App) -> Iterator[Alarm]:
    for test in experiments(app).values():
        if test.stands and test.frozen:
            yield Alarm(
                "sample_ratio",
                f"sample_ratio:{test.id}",
                f"units are missing in the test of {test.slug}",
                f"in the test {test.id} the arms have other numbers of units, or lose more outcomes, than they were drawn with",
                (),
            )
    for point in ledger_points(app.ledger):
        now = standing(app, point)
        if now.over == "frozen":
            yield Alarm(
                "sample_ratio",
                f"sample_ratio:{point}",
                f"units are missing in the ramp of {point}",
                f"{now.version} and the rules have other numbers of units than they were drawn with",
                (),
            )


def _stalled(app: App) -> Iterator[Alarm]:
    limits = app.settings.anti_patterns.stalled
    if limits is None:
        return
    for test in experiments(app).values():
        newest = app.ledger.events(EVIDENCE, test.id, last=1)
        heard = app.ledger.last_decided(f"{DRAWN}{test.id}") or test.started_at
        if test.phase is Phase.RUNNING and app.clock() - heard >= timedelta(days=limits.days):
            units = newest[0].data["test"]["units"] if newest else 0
            yield Alarm(
                "stalled",
                f"stalled:test:{test.id}",
                f"no unit comes to the test of {test.slug}",
                f"the test {test.id} has had none since {heard:%Y-%m-%d}, and {units} before",
                (),
            )
    for point, count in ledger_points(app.ledger).items():
        if count >= limits.choices and standing(app, point).mode != "disabled" and not _rewarded(app, point, limits.choices):
            yield Alarm(
                "stalled",
                f"stalled:{point}",
                f"nothing is learned at {point}",
                f"of the last {limits.choices} choices there no reward is known",
                (),
            )


def _rewarded(app: App, point: str, newest: int) -> bool:
    """Say whether any of the newest choices at a point has a known reward."""
    from learning_loop.flows.experience import Log, Place

    log = Log(app, point)
    places = app.ledger.places_deciding(point, after=0)[-newest:]
    if not places:
        return bool(app.ledger.credited(point, after=0, limit=1))
    return any(episode.steps for episode, _ in log.episodes(Place(places[0][0] - 1, app.ledger.last_credit())))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
