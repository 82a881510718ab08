"""Drift: noticing that what strategies earn has become less, so that what was learned before does not count any more."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from learning_loop.app import App
from learning_loop.experiments.moves import Move, Phase, Told
from learning_loop.features.conditions import Facts, facts_of_context
from learning_loop.flows.ab_tests import POLICY as TEST
from learning_loop.flows.ab_tests import event_of, experiments
from learning_loop.flows.experience import Log
from learning_loop.flows.points import DRIFT
from learning_loop.records import Event
from learning_loop.settings import STRATEGY as POINT
from learning_loop.stats.conformal import chance, worsened
from learning_loop.strategies import Strategy

SEGMENT = 500  # runs after which what is looked at begins anew; each is looked at with those of the segment before or after
LOOKED = "drift_looked"  # the kind of events that say how many segments need no look any more
FEW = 60  # runs before which nothing is said


class _Ran(NamedTuple):
    """A run that ended: its place, id, context, the test that gave it a version, its reward (0 to 1), and when that was."""

    place: int
    id: str
    facts: Facts
    test: str | None
    reward: float
    ended_at: datetime


def last_drift(app: App, point: str = POINT) -> Event | None:
    """Return the newest drift that was noticed at a point."""
    found = app.ledger.events(DRIFT, point, last=1)
    return found[0] if found else None


def since_drift(app: App, since: datetime) -> datetime:
    """Return the later of a moment and the last drift."""
    found = last_drift(app)
    return since if found is None else max(since, datetime.fromisoformat(found.data["began"]))


def notice(app: App, *, wait_s: float = 1.0) -> Event | None:
    """Look whether strategies have come to earn less, and put it on record where they have.

    One process at a time; raise WorkspaceError where another one is at it for longer than `wait_s`.

    Runs are held against those of their kind: neither another mix of work nor what a test tries is a drift. Of a series in
    which nothing changes, it is said once in `strategies.drift_runs` runs at most, in the mean. What was learned live before
    that begins anew; what evolves looks at what came after, and no test that the loop began stands in its way.
    """
    with app.journal.alone(wait_s=wait_s):
        return _noticed(app)


def _noticed(app: App) -> Event | None:
    before = last_drift(app)
    after = before.data["outcome"] if before is not None else 0
    ids, looked = app.ledger.places_deciding(POINT, after=after), app.ledger.events(LOOKED, POINT, last=1)
    newest = max(len(ids) // SEGMENT - 1, 0)
    first = looked[0].data["segments"] if looked and looked[0].data["after"] == after else newest if before is None else 0
    for segment in range(min(first, newest), newest + 1):  # however many runs there were since the last look
        found = _found(app, _rewards(app, ids[segment * SEGMENT : (segment + 2) * SEGMENT]))
        if found is not None:
            return found
    if newest > first or not looked:
        data = {"after": after, "segments": newest}
        app.ledger.append(Event(kind=LOOKED, subject=POINT, at=app.clock(), data=data))
    return None


def _found(app: App, ran: Sequence[_Ran]) -> Event | None:
    if len(ran) < FEW:
        return None
    found = worsened(
        [-one.reward for one in ran],
        lambda place: chance(ran[place].id),
        alarm=2 * app.settings.strategies.drift_runs,  # each run is looked at in two segments
        kinds=_kinds(app, ran),
    )
    if found is None:
        return None
    place, began = ran[max(found.began - 1, 0)].place, ran[found.began].ended_at
    old = [one.reward for one in ran[: found.began]]
    new = [one.reward for one in ran[found.began : found.noticed + 1]]
    data = {
        "outcome": place,
        "began": began.isoformat(),
        "runs": len(new),
        "before": sum(old) / len(old) if old else None,
        "after": sum(new) / len(new),
    }
    event = Event(kind=DRIFT, subject=POINT, at=app.clock(), data=data)
    over = Told(Move.ENDED, None, "the world changed: what it compares was proposed for the one before")
    running = [test for test in experiments(app).values() if test.phase is Phase.RUNNING and test.by == "loop"]
    app.ledger.append(event, *(event_of(test.id, over, app.clock(), by="loop") for test in running))
    return event


def _kinds(app: App, ran: Sequence[_Ran]) -> list[str]:
    """Return what each run is held against: those of its type and strata, and of the test that gave it, if any.

    What tested strategies are for tells kinds apart as well: so a test takes the same share of every kind that it takes runs
    of, and where it begins or ends, what is left has the mix of work that it had.
    """
    known = experiments(app)
    tests = [known[name] for name in sorted({one.test for one in ran if one.test is not None}) if name in known]
    versions = app.ledger.strategy_versions([arm for test in tests for arm in (test.control, *test.candidates)])
    asked = {name for version in versions.values() for name in Strategy.model_validate(version.document).limits}
    names = ("type", *app.settings.strategies.tests.strata, *sorted(asked))
    return [str((one.test, *(one.facts.get(name) for name in names))) for one in ran]


def _rewards(app: App, wanted: Sequence[tuple[int, str]]) -> list[_Ran]:
    """Return those of these runs whose reward is known."""
    log, found = Log(app, POINT), list[_Ran]()
    for start in range(0, len(wanted), SEGMENT):
        part = wanted[start : start + SEGMENT]
        for (place, _), record in zip(part, log.records([name for _, name in part]), strict=True):
            episode = log.of_run(record)
            if episode is not None and episode.steps and record.outcome is not None:
                first = episode.decisions[0]
                facts = {**facts_of_context(first.context), "type": record.execution.task_type}
                test = first.policy.removeprefix(TEST) if first.policy.startswith(TEST) else None
                reward, ended_at = log.scaled(episode)[0].reward, record.outcome.ended_at
                found.append(_Ran(place, record.execution.id, facts, test, reward, ended_at))
    return found
