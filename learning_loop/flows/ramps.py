"""Ramps at work: units since the last look are taken as evidence about a learned policy, and its share follows."""

import logging
from hashlib import blake2b

from learning_loop.app import App
from learning_loop.errors import LearningLoopError, UsageError
from learning_loop.experiments.ramp import OVER, Climb, Told
from learning_loop.experiments.ramp import Step as Moved
from learning_loop.flows.experience import LEARNED, Episode, Log, Place, drawn_by
from learning_loop.flows.points import CLIMB, POLICY, began_at, climb_of, climbed, live_at, standing
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Event, Exposed, Kind
from learning_loop.settings import STRATEGY

log = logging.getLogger("learning_loop")

ALL = "all"  # the unit of an exposure that is always shown: all there is
KEEP_EVERY = 200  # units, at most, that are read again by the next process
SAYS = {
    Moved.ADVANCED: "it goes on to its next stage",
    Moved.COMPLETE: "it has its full share",
    Moved.FROZEN: "its units and those of the rules are not in the ratio they were drawn with: its share stays as it is",
    Moved.ROLLED_BACK: "it harms: the rules choose again",
    Moved.FUTILE: "it is not known to help after as many units as a ramp has: the rules choose again",
    Moved.DOUBTED: "it looks as if it helped no more: it has to show anew that it does",
}


def judge(app: App, point: str, *, wait_s: float = 1.0) -> list[Told]:
    """Take the units of a point that ended since the last look, and return what that moved.

    One process at a time; raise WorkspaceError where another one is at it for longer than `wait_s`. What moved is an event, a
    line in the log, and in force in every process within a second.
    """
    now = standing(app, point)
    lets_in = now.mode == "ab_test" or (now.mode == "production" and now.waiting != live_at(app, point))
    if lets_in and now.waiting is not None:
        _try_to_enter(app, point, now.waiting)
    now = standing(app, point)
    if now.version is None or now.share == 0.0:
        return []
    with app.journal.alone(wait_s=wait_s):
        return _Look(app, point, now.version).carry_out()


class _Look:
    """One look at the ramp of one version."""

    def __init__(self, app: App, point: str, version: str) -> None:
        self.app, self.point, self.version, self.now = app, point, version, app.clock()
        self.log = Log(app, point)
        ramp = app.settings.policies.ramp
        events = app.ledger.events(POLICY, point)
        begun = {event.data["version"] for event in events if event.data["action"] == "enter"} - {version}
        found = {event.data["version"] for event in events if event.data["action"] == "complete"} - {version}
        tried = len(begun)
        entered = [event.data["outcome"] for event in events if self._entered(event)]
        self.place, self.seen = Place(max([began_at(app, point), *entered])), set[str]()
        self.kept, self.again = climbed(app, point, version), 0
        if self.kept:  # what was seen is not seen again, whatever was changed since
            self.place, self.seen = Place(self.kept["outcome"], self.kept["credit"]), set(self.kept["seen"])
            self.again = self.kept["again"]
        same = bool(self.kept) and self.kept["made"] == self._made()
        if self.kept and not same:
            self.again += 1  # an e-process is bound to one reward: with another it is one more that is tried, on new units
            self.place = Place(app.ledger.last_place(), app.ledger.last_credit())
        self.fresh = not same
        self.climb = Climb(
            version, ramp, self.now, tried=tried + self.again, found=len(found), kept=self.kept if same else None
        )

    def _entered(self, event: Event) -> bool:
        return bool(event.data["action"] == "enter" and event.data["version"] == self.version)

    def _made(self) -> str:
        ramp, own = self.app.settings.policies.ramp, self.app.settings.point(self.point)
        bounds = (own.low, own.high) if own is not None else None
        return f"{self.log.version} {bounds} {ramp.level} {ramp.harm_level}"

    def carry_out(self) -> list[Told]:
        told, read = [], 0
        excluded = {event.subject for event in self.app.ledger.events(EXCLUDED)}
        for episode, place in self.log.episodes(self.place, unknown=True):
            self.place, read = place, read + 1
            unit = self._unit(episode)
            if unit is None or (episode.record is not None and episode.record.execution.id in excluded):
                continue
            if (moved := self.climb.take(unit, self.now)) is not None:
                told.append(moved)
                if self.climb.over in OVER:
                    break
        if told or self.fresh or read >= max(KEEP_EVERY, len(self.seen) // 4):
            self.app.ledger.append(*(self._event(moved) for moved in told), self._kept())
        for moved in told:
            level = logging.WARNING if moved.step in (*OVER, Moved.FROZEN, Moved.DOUBTED) else logging.INFO
            log.log(level, "policy of %s, %s: %s (%s)", self.point, self.version, SAYS[moved.step], _figures(moved))
        return told

    def _unit(self, episode: Episode) -> Exposed | None:
        """Return the first episode of a unit as an exposure; None where nothing was drawn for it, or it counted already."""
        by = drawn_by(self.app, self.point, episode)
        if by is None or by.probabilities is None or by.context.get("version") != self.version:
            return None
        record, odds = episode.record, by.probabilities[by.alternatives.index(LEARNED)]
        name = str(by.context.get("unit"))
        if not by.context.get("alone") and (record is None or name != record.execution.id):
            mark = blake2b(name.encode(), digest_size=5).hexdigest()
            if mark in self.seen:
                return None
            self.seen.add(mark)
        if not episode.steps:
            self.climb.miss(odds, taken=by.chosen == LEARNED)
            return None
        outcome = record.outcome if record is not None else None
        guards = self.app.settings.policies.ramp.guards
        said = {measure.metric: measure.value for measure in record.feedback} if record is not None else {}
        return Exposed(
            place=self.place.outcome,
            id=episode.decisions[0].id,
            kind=record.execution.kind if record is not None else Kind(type=self.point),
            ended_at=outcome.ended_at if outcome is not None else by.at,
            units=(ALL, self.version),
            odds=(1.0, odds),
            shown=frozenset((ALL, self.version) if by.chosen == LEARNED else (ALL,)),
            score=100 * min(max(self.log.scaled(episode)[0].reward, 0.0), 1.0),
            success=record.success if record is not None and "success" in guards else None,
            duration_s=outcome.duration_s if outcome is not None and "duration" in guards else None,
            cost_usd=outcome.cost_usd if outcome is not None and "cost" in guards else None,
            safety=said.get("safety") if "safety" in guards else None,
        )

    def _event(self, moved: Told) -> Event:
        action = {Moved.COMPLETE: "complete", Moved.ADVANCED: "advance", Moved.FROZEN: "freeze", Moved.DOUBTED: "doubt"}
        data = {
            "action": action.get(moved.step, "rollback"),
            "version": self.version,
            "by": "loop",
            "reason": f"{SAYS[moved.step]}: {_figures(moved)}",
            "share": moved.share,
        }
        return Event(kind=POLICY, subject=self.point, at=self.now, data=data)

    def _kept(self) -> Event:
        place = {"outcome": self.place.outcome, "credit": self.place.credit}
        kept = {
            "candidate": self.version,
            "made": self._made(),
            "again": self.again,
            **place,
            "seen": sorted(self.seen),
            **self.climb.plain(),
        }
        return Event(kind=CLIMB, subject=climb_of(self.point, self.version), at=self.now, data=kept)


def _figures(moved: Told) -> str:
    return f"{moved.taken} units of its own, {moved.withheld} of the rules, effect {moved.effect:+.2f} of the reward's range"


def _try_to_enter(app: App, point: str, version: str) -> None:
    """Let a version enter if it may; what the log could not say it may say later, once there is a fifth more of it."""
    counted = app.ledger.points().get(point, 0)
    refused = [event for event in app.ledger.events(POLICY, point) if event.data["action"] == "refuse"]
    if refused and refused[-1].data["version"] == version and counted < 1.2 * refused[-1].data["choices"]:
        return
    try:
        enter(app, point, version)
    except LearningLoopError as error:
        data = {"action": "refuse", "version": version, "by": "loop", "reason": str(error), "choices": counted}
        app.ledger.append(Event(kind=POLICY, subject=point, at=app.clock(), data=data))


def enter(app: App, point: str, version: str) -> str:
    """Let a version begin its ramp, where the log says that it does no worse than the rules; else raise UsageError."""
    from learning_loop.flows.training import judged

    found = judged(app, point, version)
    if not found.passes:
        raise UsageError(f"{version} may not choose yet: {found.says}. Train it on more, or keep it in shadow")
    place = app.ledger.last_place()
    data = {"action": "enter", "version": version, "by": "loop", "reason": found.says, "outcome": place}
    app.ledger.append(Event(kind=POLICY, subject=point, at=app.clock(), data=data))
    return found.says


def roll_back(app: App, point: str, version: str | None, *, reason: str) -> str:
    """Take a version back for good, by default the one that chooses, and return which; raise UsageError."""
    wanted = version or standing(app, point).version
    if wanted is None:
        raise UsageError(f"no learned policy chooses at {point!r}: there is nothing to roll back")
    known = {event.data["version"] for event in app.ledger.events(POLICY, point) if event.data["action"] == "train"}
    if (live := live_at(app, point)) is not None:
        known.add(live)
    if wanted not in known:
        raise UsageError(f"there is no version {wanted!r} of {point!r}: it has {', '.join(sorted(known))}")
    data = {"action": "rollback", "version": wanted, "by": "person", "reason": reason or "a person said so", "share": 0.0}
    app.ledger.append(Event(kind=POLICY, subject=point, at=app.clock(), data=data))
    return wanted


def set_mode(app: App, point: str, mode: str, *, reason: str = "") -> str | None:
    """Set the mode of a point, and return why it may begin where it begins to choose; raise UsageError where it may not.

    Only what has passed the look at the log may enter ab_test, only what has passed its ramp production.
    """
    if app.settings.point(point) is None and point not in app.ledger.points():
        raise UsageError(f"there is no decision point {point!r}: see `learning-loop policy status`")
    found, says = standing(app, point), None
    if mode in ("ab_test", "production"):
        if found.version is None:
            raise UsageError(f"there is no learned policy for {point!r}: `learning-loop policy train {point}` makes one")
        events = app.ledger.events(POLICY, point)
        complete = any(event.data["action"] == "complete" and event.data["version"] == found.version for event in events)
        if mode == "production" and not complete:
            raise UsageError(
                f"{found.version} has not shown in its ramp that it helps: set ab_test first, or, if you know better, "
                f"{'strategies' if point == STRATEGY else f'policies.points.{point}'}.mode in config/policies.yaml"
            )
        if mode == "ab_test" and found.waiting is not None and point != STRATEGY:  # there the rules choose until it enters
            says = enter(app, point, found.waiting)
    data = {"action": "mode", "mode": mode, "version": found.version, "by": "person", "reason": reason}
    app.ledger.append(Event(kind=POLICY, subject=point, at=app.clock(), data=data))
    return says
