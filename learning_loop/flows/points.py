"""Decision points at work: who chooses, the rules or what was learned, and how it goes on learning."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from learning_loop.app import App
from learning_loop.errors import LearningLoopError, NotFoundError, UsageError
from learning_loop.features.encoding import RAMP, RESERVED, SHADOW
from learning_loop.flows.experience import Log, Place
from learning_loop.flows.guard import Guard
from learning_loop.ledger import Ledger
from learning_loop.protocols import Learner, Policy
from learning_loop.records import Credit, Decision, Event
from learning_loop.settings import Mode, Point
from learning_loop.workspace.versions import folder_of, load_version, save_version

LOOK_S = 1.0  # how long it is believed who chooses, before the ledger is asked again
KEEP_EVERY = 200  # choices learned from before what is learned is written down
LEARNED, RULES = "learned", "rules"
LIVE = "live"  # the version that goes on learning
POLICY, CLIMB = "policy", "ramp"  # kinds of events: what was said of a point, and how far its ramp has come
FALLBACK = "fallback"
BY = "+by"  # the ending of the id of what says by whom a choice outside of runs was made


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a point stands: its mode, and why; the version that would choose, and the share of units it does choose for."""

    mode: Mode
    why: str
    version: str | None = None
    entered: bool = False
    share: float = 0.0
    stage: int | None = None
    over: str | None = None


def standing(app: App, point: str) -> Standing:
    """Return how a decision point stands, from what people and the loop said of it.

    A flag or the environment outranks what was said with `policy mode`, that the configuration.
    """
    settings, own = app.settings.policies, app.settings.policies.points.get(point)
    events = app.ledger.events(POLICY, point)
    mode, why = settings.mode, "policies.mode"
    if own is not None and own.mode is not None:
        mode, why = own.mode, f"policies.points.{point}.mode"
    said = [event for event in events if event.data["action"] == "mode"]
    if said:
        mode, why = said[-1].data["mode"], f"set on {said[-1].at:%Y-%m-%d}"
    origin = app.configuration.origins.get("mode", "")
    if app.settings.mode == "disabled" or origin.startswith(("environment", "flag")):
        mode, why = app.settings.mode, origin or "mode"
    version = candidate(events, own)
    entered = any(event.data["action"] == "enter" and event.data["version"] == version for event in events)
    climbs = [event for event in app.ledger.events(CLIMB, point) if event.data["candidate"] == version]
    newest: Mapping[str, Any] = climbs[-1].data if climbs else {}
    holdout = settings.ramp.holdout
    share = 0.0
    if version is not None and mode == "production":
        share = 1 - holdout
    elif version is not None and mode == "ab_test" and entered:
        share = min(settings.ramp.stages[0] / 100, 1 - holdout)
    if newest and mode in ("ab_test", "production"):
        rolled = newest["over"] in ("rolled back", "futile")
        share = (
            0.0 if rolled else share if mode == "production" else min(settings.ramp.stages[newest["stage"]] / 100, 1 - holdout)
        )
    return Standing(
        mode=mode, why=why, version=version, entered=entered, share=share, stage=newest.get("stage"), over=newest.get("over")
    )


def candidate(events: Sequence[Event], own: Point | None) -> str | None:
    """Return the version that is to choose: the newest that was trained, else the one that learns live.

    Once one was taken back, it is the newest before it that had its full share, if any.
    """
    said = {
        what: {event.data["version"] for event in events if event.data["action"] == what} for what in ("rollback", "complete")
    }
    versions = [LIVE] if own is not None and learns_live(own) else []
    versions += [event.data["version"] for event in events if event.data["action"] == "train"]
    fallen = False
    for version in reversed(versions):
        if version in said["rollback"]:
            fallen = True
        elif not fallen or version in said["complete"]:
            return str(version)
    return None


def learns_live(settings: Point) -> bool:
    """Say whether the learner of a point takes its choices one by one; others are trained."""
    from learning_loop.policies import BANDITS

    return settings.learner in BANDITS


class Shares:
    """The learned policy's share of the units, and the rules'."""

    version = "ramp/1"

    def __init__(self, share: float) -> None:
        self._share = share

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        return (self._share, 1 - self._share)


class Service:
    """One decision point of an open workspace. Safe from many threads."""

    def __init__(self, app: App, point: str) -> None:
        self.app, self.point = app, point
        self.settings = app.settings.policies.points.get(point) or Point()
        self.rules: Policy | None = self._ruled()
        self.lock = threading.RLock()
        self.standing = Standing(mode="shadow", why="")
        self.learner: Learner | None = None
        self._loaded: str | None = None
        self._place, self._since = Place(), 0
        self._looked_at = -LOOK_S

    def _ruled(self) -> Policy | None:
        if not self.settings.rules:
            return None  # then the first option is taken
        from learning_loop.policies import policy

        return policy("rules", rules=self.settings.rules)

    def look(self, *, fresh: bool = False) -> None:
        """Find out who chooses now, once a second."""
        if not fresh and time.monotonic() - self._looked_at < LOOK_S:
            return
        with self.lock:
            self._looked_at = time.monotonic()
            self.standing = standing(self.app, self.point)
            if self.standing.version != self._loaded:
                self.learner = self._load(self.standing.version)
                self._loaded = self.standing.version

    def decide(
        self, options: Sequence[str], context: Mapping[str, Any], guard: Guard, warnings: list[str], **where: Any
    ) -> list[Decision]:
        """Return the choice, the last of what is returned, and what belongs to it: by whom it was made, or would have been."""
        self.look()
        unit, execution_id = where.get("unit"), where.get("execution_id")
        mask = tuple(where.get("mask") or ())
        now, learner = self.standing, self.learner
        if learner is None or now.mode == "disabled" or (now.share == 0.0 and now.mode != "shadow"):
            return [self._by_rules(options, context, execution_id, mask)]
        if now.mode == "shadow":
            would = guard.attempt(
                "policy", warnings, lambda: self._learned(SHADOW, options, context, execution_id, mask, learner)
            )
            chosen = self._by_rules(options, context, execution_id, mask)
            return [chosen] if would is None else [would, chosen]
        by = self.app.decider.decide(
            f"{RAMP}{self.point}",
            (LEARNED, RULES),
            context={"version": now.version, "unit": unit},
            execution_id=execution_id,
            policy=Shares(now.share),
            unit=None if unit is None else f"{now.version} {unit}",
        )
        if by.chosen == RULES:
            return [by, self._by_rules(options, context, execution_id, mask)]
        made = guard.attempt("policy", warnings, lambda: self._learned("", options, context, execution_id, mask, learner))
        if made is None or made.latency_us > 1000 * self.app.settings.policies.time_budget_ms:
            if made is not None:
                guard.warn(f"policy: {self.point} took {made.latency_us / 1000:.0f} ms to choose: the rules chose", warnings)
            rules = self._by_rules(options, context, execution_id, mask)
            return [by, replace(rules, policy=f"{FALLBACK} {rules.policy}")]
        return [by, made]

    def _by_rules(
        self, options: Sequence[str], context: Mapping[str, Any], execution_id: str | None, mask: Sequence[str]
    ) -> Decision:
        return self.app.decider.decide(
            self.point,
            options,
            context=context,
            execution_id=execution_id,
            policy=self.rules,
            floor=self.settings.explore,
            mask=mask,
        )

    def _learned(
        self,
        before: str,
        options: Sequence[str],
        context: Mapping[str, Any],
        execution_id: str | None,
        mask: Sequence[str],
        learner: Learner,
    ) -> Decision:
        with self.lock:
            return self.app.decider.decide(
                f"{before}{self.point}",
                options,
                context=context,
                execution_id=execution_id,
                policy=learner,
                floor=self.settings.floor,
                mask=mask,
            )

    # ------------------------------------------------------------------------------------------------------- learning

    def catch_up(self) -> int:
        """Learn from what ended or was rewarded since the last time, where the learner learns live; return from how much."""
        self.look(fresh=True)
        if self._loaded != LIVE or self.learner is None or self.standing.mode == "disabled":
            return 0
        learned = 0
        log = Log(self.app, self.point, self.settings)
        for episode, place in log.episodes(self._place):
            batch = log.scaled(episode)
            with self.lock:
                self.learner.update(batch)
                self._place = place
            learned += len(batch)
        self._since += learned
        if self._since >= KEEP_EVERY:
            self.keep()
        return learned

    def keep(self) -> None:
        """Write down what was learned live, so that it need not be learned again; it is derived from the ledger."""
        with self.lock:
            if self._since and self.learner is not None and self._loaded == LIVE:
                about = {**self._made(), "outcome": self._place.outcome, "credit": self._place.credit}
                save_version(folder_of(self.app.workspace, self.point) / LIVE, self.learner.state(), about)
                self._since = 0

    def _made(self) -> dict[str, Any]:
        """Return what a kept state must have in common with what would be learned now."""
        reward = Log(self.app, self.point, self.settings).version
        bounds = [self.settings.low, self.settings.high]
        return {"learner": self.settings.learner, "settings": dict(self.settings.settings), "reward": reward, "bounds": bounds}

    def _load(self, version: str | None) -> Learner | None:
        from learning_loop.policies import learner

        folder = folder_of(self.app.workspace, self.point)
        if version is None:
            return None
        if version == LIVE:
            made = learner(self.settings.learner, **self.settings.settings)
            self._place, self._since = Place(), 0
            try:
                state, about = load_version(folder / LIVE)
            except LearningLoopError:
                return made
            if self._made().items() <= about.items():
                made.load(state)
                self._place = Place(about["outcome"], about["credit"])
            return made
        state, about = load_version(folder / version)
        made = learner(about["learner"], **about["settings"])
        made.load(state)
        return made


class Points:
    """The decision points of an open workspace."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._services: dict[str, Service] = {}
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        self._lock, self._services = threading.Lock(), {}

    def __getitem__(self, point: str) -> Service:
        found = self._services.get(point)
        if found is None:
            with self._lock:
                found = self._services.setdefault(point, Service(self._app, point))
        return found

    def choose(
        self,
        point: str,
        names: Sequence[str],
        context: Mapping[str, Any],
        guard: Guard,
        warnings: list[str],
        unit: str | None,
    ) -> Decision:
        """Make and record a choice outside of runs. What says by whom it was made has its id, with an ending."""
        check_point(point)
        made = self[point].decide(names, context, guard, warnings, unit=unit or self._app.ids())
        chosen = made[-1]
        self._app.ledger.append(*(replace(other, id=f"{chosen.id}{BY}") for other in made[:-1]), chosen)
        return chosen

    def reward(self, decision_id: str, value: float, source: str) -> None:
        """Record what a choice earned, and learn from it; raise NotFoundError or UsageError."""
        if not math.isfinite(value):
            raise UsageError(f"a reward must be a finite number, not {value}: leave out what is unknown")
        found = self._app.ledger.decision(decision_id)
        if found is None:
            raise NotFoundError(f"there is no choice {decision_id!r} to be rewarded: give the id that `decide` returned")
        credit = Credit(
            decision_id=decision_id, execution_id=found.execution_id, value=float(value), source=source, at=self._app.clock()
        )
        if not self._app.ledger.credit(credit):
            raise UsageError(f"the choice {decision_id!r} has a reward already: each is given once")
        if found.execution_id is None:
            self[found.point].catch_up()

    def judge(self) -> None:
        """Take what ended since as evidence about the learned policies."""
        waiting = [service for service in list(self._services.values()) if service.standing.version is not None]
        if waiting:
            from learning_loop.flows.ramps import judge

            for service in waiting:
                judge(self._app, service.point)

    def catch_up(self) -> int:
        """Let every point learn from what came since; return from how many choices."""
        for point in self._app.settings.policies.points:
            self[point]
        return sum(service.catch_up() for service in list(self._services.values()))

    def keep(self) -> None:
        for service in list(self._services.values()):
            service.catch_up()
            service.keep()


def check_point(point: Any) -> None:
    """Raise UsageError where a decision point has a name of the loop's own."""
    if str(point).startswith(RESERVED):
        raise UsageError(f"decision point {str(point)!r} is the loop's own: give it a name that does not begin with {RESERVED}")


def ledger_points(ledger: Ledger) -> dict[str, int]:
    """Return how many choices were made at each decision point of the work's own."""
    return {point: count for point, count in ledger.points().items() if not point.startswith("loop:")}
