"""A/B tests at work: which are under way, which arm a unit is given, and what the units that ended say of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from learning_loop.app import App
from learning_loop.errors import NotFoundError, UsageError
from learning_loop.experiments.moves import Move, Phase, Told
from learning_loop.features.conditions import Facts
from learning_loop.features.encoding import RESERVED
from learning_loop.flows.strategies import STRATEGY, standing_of
from learning_loop.records import Decision, Event
from learning_loop.settings import STRATEGY as POINT
from learning_loop.strategies import Strategy, Version

EXPERIMENT, EVIDENCE = "experiment", "experiment_evidence"  # kinds of events: what was done to a test, and what it knows
DRAWN = f"{RESERVED}test:"  # the decision point at which a unit takes part in a test, or not
POLICY = "test/"  # how the policy of a choice that a test made begins
IN, OUT = "in", "out"
WAIT_S = 30.0  # for another process that is at the tests
AGAIN, THAW = "again", "thaw"  # what is done to a test beside the moves: its evidence begins anew, its units are complete again


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A test as it stands: what it tests, since when, and how it went so far.

    Its evidence began `begun` times, the last time when `tried` arms had been tried in all tests, of which `found` had won; a
    winner was `doubted` so often, and tried once more each time.
    """

    id: str
    slug: str
    control: str
    candidates: tuple[str, ...]
    by: str
    reason: str
    started_at: datetime
    outcome: int
    begun: int
    doubted: int
    tried: int
    found: int
    phase: Phase
    winner: str | None
    dropped: tuple[str, ...]
    frozen: bool
    moves: tuple[Event, ...]
    outranked: str | None = None

    @property
    def stands(self) -> bool:
        """Whether units are still given to it."""
        return self.phase is not Phase.OVER

    @property
    def alive(self) -> tuple[str, ...]:
        """The candidates that units are still drawn for."""
        wanted = self.candidates if self.phase is Phase.RUNNING else (self.winner,) if self.phase is Phase.WATCHING else ()
        return tuple(arm for arm in wanted if arm is not None and arm not in self.dropped)


def experiments(app: App) -> dict[str, Experiment]:
    """Return every test there ever was by its id, the oldest first."""
    grouped: dict[str, list[Event]] = {}
    for event in app.ledger.events(EXPERIMENT):
        grouped.setdefault(event.subject, []).append(event)
    told = [event for event in app.ledger.events(STRATEGY) if event.data["by"] != "loop"]
    tests = [_experiment(name, events) for name, events in grouped.items() if events[0].data["action"] == "start"]
    return {test.id: _outranked(test, told) for test in tests}


def _outranked(test: Experiment, told: Sequence[Event]) -> Experiment:
    """Return a test as over where a person has said since what is to become of one of its strategies: that stays so."""
    slugs = {arm.partition("@")[0] for arm in (test.control, *test.candidates)}
    since = [event for event in told if event.subject in slugs and event.at > test.started_at]
    if not since or not (test.stands or test.winner):  # one that ended by itself, without a winner, did so
        return test
    word = since[-1]
    said = f"a person said otherwise on {word.at:%Y-%m-%d} ({word.data['action']} of {word.subject}): that stays so"
    return replace(test, phase=Phase.OVER, outranked=said)


def _experiment(name: str, events: Sequence[Event]) -> Experiment:
    first, phase, winner, frozen, dropped = events[0].data, Phase.RUNNING, None, False, list[Any]()
    begun = [event.data for event in events if event.data["action"] in ("start", AGAIN)]
    for event in events[1:]:
        if phase is Phase.OVER:
            break  # whatever somebody else was about to do
        action, arm = event.data["action"], event.data.get("arm")
        if action == Move.DROPPED:
            dropped.append(arm)
        elif action == Move.PROMOTED:
            phase, winner = Phase.WATCHING, arm
        elif action in (Move.TAKEN_BACK, Move.ENDED):
            phase, winner = Phase.OVER, None if action == Move.TAKEN_BACK else winner
        frozen = action == Move.FROZEN if action in (Move.FROZEN, THAW, AGAIN) else frozen
    return Experiment(
        id=name,
        slug=first["slug"],
        control=first["control"],
        candidates=tuple(first["candidates"]),
        by=first["by"],
        reason=first["reason"],
        started_at=events[0].at,
        outcome=first["outcome"],
        begun=len(begun),
        doubted=sum(event.data["action"] == Move.DOUBTED for event in events),
        tried=begun[-1]["tried"],
        found=begun[-1]["found"],
        phase=phase,
        winner=winner,
        dropped=tuple(dropped),
        frozen=frozen,
        moves=tuple(events),
    )


def experiment_named(app: App, name: str) -> Experiment:
    """Return a test by its id; raise NotFoundError."""
    found = experiments(app)
    if name not in found:
        raise NotFoundError(f"there is no test {name!r}: see `learning-loop experiment list`")
    return found[name]


@dataclass(frozen=True, slots=True)
class Running:
    """A test that units are given to, with the versions it gives them."""

    test: Experiment
    versions: Mapping[str, Version]
    traffic: float

    def arms(self, facts: Facts) -> list[Version]:
        """Return the versions a unit of such a context may be given, the one in force first; none where it is not for it."""
        control = self.versions[self.test.control]
        if not control.strategy.is_for(facts):
            return []
        rivals = [self.versions[arm] for arm in self.test.alive if self.versions[arm].strategy.is_for(facts)]
        return [control, *rivals] if rivals else []


def running(app: App) -> list[Running]:
    """Return the tests that units are given to, the oldest first; winners that are watched share the traffic for that."""
    settings, found = app.settings.strategies.tests, []
    standing = [test for test in experiments(app).values() if test.stands]
    watched = sum(test.phase is Phase.WATCHING for test in standing)
    kept = app.ledger.strategy_versions([arm for test in standing for arm in (test.control, *test.candidates)])
    for test in standing:
        traffic = settings.traffic if test.phase is Phase.RUNNING else settings.watch_traffic / watched
        arms = {
            arm: Version(id=arm, strategy=Strategy.model_validate(kept[arm].document))
            for arm in (test.control, *test.candidates)
            if arm in kept
        }
        if len(arms) == 1 + len(test.candidates) and traffic:
            found.append(Running(test, arms, traffic))
    return found


class Split:
    """Even shares for all options, or given ones."""

    def __init__(self, version: str, shares: Sequence[float] | None = None) -> None:
        self.version, self._shares = version, shares

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        return self._shares or [1.0] * len(options)


@dataclass(frozen=True, slots=True)
class Assigned:
    """What tests say of a unit: the version it is given, None where no test takes it, what it could be given, and all draws."""

    version: Version | None
    arms: Sequence[Version]
    draws: Sequence[Decision]


def assigned(
    app: App, tests: Sequence[Running], facts: Facts, context: Mapping[str, Any], *, unit: str, execution_id: str
) -> Assigned:
    """Let the tests draw for a unit, the oldest first.

    The same unit is drawn alike for as long as a test lasts: what it is given changes only where that was dropped.
    """
    draws: list[Decision] = []
    for each in tests:
        arms = each.arms(facts)
        if not arms:
            continue
        name = each.test.id
        takes_part = app.decider.decide(
            f"{DRAWN}{name}",
            (IN, OUT),
            context={"unit": unit},
            execution_id=execution_id,
            policy=Split(f"{POLICY}{name}", (each.traffic, 1 - each.traffic)),
            unit=unit,
        )
        draws.append(takes_part)
        if takes_part.chosen == IN:
            chosen = app.decider.decide(
                POINT,
                [arm.id for arm in arms],
                context=context,
                execution_id=execution_id,
                policy=Split(f"{POLICY}{name}"),
                unit=f"{name} {unit}",
            )
            version = next(arm for arm in arms if arm.id == chosen.chosen)
            return Assigned(version, arms, [*draws, chosen])
    return Assigned(None, (), draws)


def start(app: App, control: str, candidates: Sequence[str], *, by: str, reason: str, rows: Sequence[Any] = ()) -> str:
    """Begin a test of versions against the one in force, together with `rows`, and return its id.

    All of it is committed at once. Raise UsageError where there is nothing to be tested.
    """
    slug = control.partition("@")[0]
    known = app.ledger.strategy_versions([control, *candidates]).keys() | {
        row.id for row in rows if hasattr(row, "slug") and hasattr(row, "id")
    }
    if missing := [name for name in (control, *candidates) if name not in known]:
        raise UsageError(f"there is no version {missing[0]!r}: see `learning-loop strategy show {slug}`")
    if not candidates or control in candidates or len(set(candidates)) < len(candidates):
        raise UsageError(
            "a test needs one or more versions, each another one, beside the one in force: name that with --control"
        )
    origins = {
        entry.slug: entry.parent for entry in [*app.ledger.strategies(), *(row for row in rows if hasattr(row, "parent"))]
    }
    strange = [arm for arm in candidates if (of := arm.partition("@")[0]) != slug and origins.get(of) != slug]
    if strange:
        raise UsageError(
            f"{strange[0]} is no version of {slug}, and was not made of it: compare strategies by how they do, not so"
        )
    with app.journal.alone(wait_s=WAIT_S):
        return _begin(app, control, candidates, by=by, reason=reason, rows=rows)


def _begin(app: App, control: str, candidates: Sequence[str], *, by: str, reason: str, rows: Sequence[Any]) -> str:
    slug, heard, before = control.partition("@")[0], app.ledger.last_event(STRATEGY), experiments(app)
    stands = standing_of(app, slug)
    if stands.retired:
        raise UsageError(f"{slug} is retired: `learning-loop strategy revive {slug}`, then begin the test")
    if by == "loop" and stands.current != control:
        raise UsageError(f"{control} is not in force any more: what was found for it says nothing of {stands.current}")
    if busy := [test.id for test in before.values() if test.slug == slug and test.phase is Phase.RUNNING]:
        raise UsageError(
            f"{slug} is in the test {busy[0]} already: wait for its end, or `learning-loop experiment stop {busy[0]}`"
        )
    name, now = app.ids(), app.clock()
    data = {
        "action": "start",
        "slug": slug,
        "control": control,
        "candidates": list(candidates),
        "by": by,
        "reason": reason,
        "outcome": app.ledger.last_place(),
        **levels(before.values()),
    }
    ended = [  # its winner was watched until now
        event_of(test.id, Told(Move.ENDED, test.winner, "another test of it began"), now, by="loop")
        for test in before.values()
        if test.slug == slug and test.phase is Phase.WATCHING
    ]
    begun = Event(kind=EXPERIMENT, subject=name, at=now, data=data)
    if not app.ledger.append_unless(STRATEGY, [slug], heard, *rows, *ended, begun):
        raise UsageError(f"somebody changed {slug} just now: look at it, then begin the test")
    return name


def levels(tests: Collection[Experiment]) -> dict[str, int]:
    """Return what the level of the next arm depends on: how many arms were tried in all tests, and how many won."""
    return {
        "tried": sum(test.begun * len(test.candidates) + test.doubted for test in tests),
        "found": sum(any(move.data["action"] == Move.PROMOTED for move in test.moves) for test in tests),
    }


def stop(app: App, name: str, *, reason: str) -> None:
    """End a test without a winner, or the watching of one; raise NotFoundError or UsageError."""
    with app.journal.alone(wait_s=WAIT_S):
        test = experiment_named(app, name)
        if not test.stands:
            raise UsageError(f"the test {name} is over already")
        told = Told(Move.ENDED, test.winner, reason or "a person said so")
        app.ledger.append(event_of(name, told, app.clock(), by="person"))


def figures(told: Told) -> str:
    effect = "unknown" if told.effect is None else f"{told.effect:+.2f} of the reward's range"
    return f"{told.units} units of its own, {told.control} of the one in force, effect {effect}"


def event_of(name: str, told: Told, now: datetime, *, by: str) -> Event:
    known = {"arm": told.arm, "units": told.units, "control": told.control, "effect": told.effect}
    return done(name, told.move.value, now, told.reason, by=by, **known)


def done(name: str, action: str, now: datetime, reason: str, *, by: str, **more: Any) -> Event:
    return Event(kind=EXPERIMENT, subject=name, at=now, data={"action": action, "by": by, "reason": reason, **more})
