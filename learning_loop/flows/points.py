"""Decision points at work: who chooses, the rules or what was learned, and how it goes on learning."""

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar, cast

from learning_loop.app import App
from learning_loop.errors import LearningLoopError, NotFoundError, PolicyError, UsageError, WorkspaceError
from learning_loop.features.encoding import RAMP, RESERVED, SHADOW
from learning_loop.flows.experience import BY, LEARNED, RULES, Log, Place
from learning_loop.flows.guard import Guard
from learning_loop.ledger import Ledger
from learning_loop.protocols import Learner, Policy
from learning_loop.records import Credit, Decision, Event
from learning_loop.settings import STRATEGY, Mode, Point
from learning_loop.workspace.versions import folder_of, load_version, save_version

LOOK_S = 1.0  # how long it is believed who chooses, before the ledger is asked again
KEEP_EVERY = 200  # choices learned from before what is learned is written down
LIVE = "live"  # where what goes on learning is kept, and how its names begin
DRIFT = "drift"  # the kind of events that say from where on choices count, see `flows/drift.py`
POLICY, CLIMB = "policy", "ramp"  # kinds of events: what was said of a point, and how far its ramp has come
FALLBACK = "fallback"
PAUSE_S = 30.0  # that a policy does not choose after it took too long
LEARN_S, JUDGE_S = 1.0, 20.0  # how far learning and the ramps may lag behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a point stands: its mode, and why; the version that would choose, and the share of units it does choose for.

    For the others the `incumbent` chooses, the version before it that had its full share, and the rules where there is none.
    The newest version is `waiting` where it has not entered yet.
    """

    mode: Mode
    why: str
    version: str | None = None
    incumbent: str | None = None
    waiting: str | None = None
    share: float = 0.0
    stage: int | None = None
    over: str | None = None


def standing(app: App, point: str) -> Standing:
    """Return how a decision point stands, from what people and the loop said of it.

    A flag or the environment outranks what was said with `policy mode`, that the configuration.
    """
    settings, own = app.settings.policies, app.settings.point(point)
    events = app.ledger.events(POLICY, point)
    mode, why = settings.mode, "policies.mode"
    if own is not None and own.mode is not None:
        mode, why = own.mode, f"policies.points.{point}.mode" if point in settings.points else "strategies.mode"
    said = [event for event in events if event.data["action"] == "mode"]
    if said:
        mode, why = said[-1].data["mode"], f"set on {said[-1].at:%Y-%m-%d}"
    origin = app.configuration.origins.get("mode", "")
    if app.settings.mode == "disabled" or origin.startswith(("environment", "flag")):
        mode, why = app.settings.mode, origin or "mode"
    live = live_at(app, point)
    events = [event for event in events if not _of_another_life(event.data.get("version"), live_version(own), live)]
    version, incumbent, newest_made = choosing(events, live, mode)
    done = {what: {event.data["version"] for event in events if event.data["action"] == what} for what in SAID}
    newest = climbed(app, point, version)
    ramp, share = settings.ramp, 0.0
    chose = done["enter"] | done["complete"]
    of_stage = min(ramp.stages[ramp.reached(newest)] / 100, 1 - ramp.holdout)
    lives = version == live and not done["rollback"] & chose  # once one was taken back, it has to enter like any other
    if version is not None and mode == "production" and (version in chose or lives):
        share = of_stage if newest.get("anew") else 1 - ramp.holdout
    if version is not None and mode == "ab_test" and version in done["enter"]:
        share = of_stage
    if newest.get("over") in ("rolled back", "futile"):
        share = 0.0
    return Standing(
        mode=mode,
        why=why,
        version=version,
        incumbent=incumbent if mode in ("ab_test", "production") else None,
        waiting=newest_made if newest_made not in chose else None,
        share=share,
        stage=newest.get("stage"),
        over=newest.get("over"),
    )


def climbed(app: App, point: str, version: str | None) -> Mapping[str, Any]:
    """Return what is known of the ramp of a version; nothing where it has none."""
    found = app.ledger.events(CLIMB, climb_of(point, version), last=1) if version is not None else []
    return found[0].data if found else {}


def climb_of(point: str, version: str) -> str:
    return f"{version} at {point}"


def choosing(events: Sequence[Event], live: str | None, mode: Mode) -> tuple[str | None, str | None, str | None]:
    """Return the version that is to choose, the one that chooses where it does not, None being the rules, and the newest.

    `live` is the one that learns live, if any does.

    In shadow it is the newest. Else it is the newest that may: what was trained since waits until it has entered, and while one
    makes its way, the one before it that has its full share goes on choosing for the others. Once one was taken back, those
    made before it count only where they had their full share.
    """
    said = {what: {event.data["version"] for event in events if event.data["action"] == what} for what in SAID}
    chose = said["enter"] | said["complete"]
    made = {event.data["version"]: place for place, event in enumerate(events) if event.data["action"] == "train"}
    if live is not None:
        made = {live: -1, **made}
    gone = said["rollback"] & chose  # what never chose says nothing of the others when it is taken back
    fallen = max((made.get(one, -1) for one in gone), default=-1)
    still = [
        one
        for one, place in made.items()
        if one not in said["rollback"] and (place > fallen or one == live or one in said["complete"])
    ]
    newest = still[-1] if still else None
    if mode not in ("ab_test", "production"):
        return newest, None, newest
    entered = [one for one in still if one in chose]
    version = entered[-1] if entered else live if live in still and mode == "production" and not gone else newest
    incumbent = next((one for one in reversed(still) if one in said["complete"] and one != version), None)
    return version, incumbent, newest


SAID = ("enter", "complete", "rollback")
Result = TypeVar("Result")


def live_at(app: App, point: str) -> str | None:
    """Return what is called that which learns a point's choices now; after a drift it is another one, for it begins anew."""
    return live_version(app.settings.point(point), began_at(app, point))


def began_at(app: App, point: str) -> int:
    """Return the place in the ledger from which on choices count: after a drift, what came before does not any more."""
    found = app.ledger.events(DRIFT, point, last=1)
    return int(found[0].data["outcome"]) if found else 0


def _of_another_life(version: str | None, base: str | None, live: str | None) -> bool:
    """Say whether a version is what learned live before a drift: what was said of that says nothing of what learns now."""
    return base is not None and version != live and version is not None and (version == base or version.startswith(f"{base}-"))


def live_version(own: Point | None, began: int = 0) -> str | None:
    """Return what is called that which learns a point's choices one by one, None where its learner is trained.

    Another learner, the same one set up in another way, and one that `began` elsewhere in the ledger is another version: what
    was said of one does not hold for it.
    """
    from learning_loop.policies import BANDITS

    if own is None or own.learner not in BANDITS:
        return None
    made = own.model_dump(mode="json", include={"learner", "settings", "rules", "pseudo", "reward", "low", "high"})
    return f"{LIVE}-{blake2b(json.dumps(made, sort_keys=True).encode(), digest_size=4).hexdigest()}" + (
        f"-{began}" if began else ""
    )


def beginner(settings: Point, rules: Policy | None) -> Learner:
    """Return what begins to learn live at a point: from what the rules say, where there are any."""
    from learning_loop.policies import learner
    from learning_loop.policies.warm import WarmStart

    made = learner(settings.learner, **settings.settings)
    if rules is None or not settings.rules or not settings.pseudo:
        return made
    return WarmStart(rules, made, pseudo=settings.pseudo)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be chosen from, and what is known."""

    options: Sequence[str]
    context: Mapping[str, Any]
    execution_id: str | None
    mask: tuple[str, ...]

    def decided(self, app: App, point: str, policy: Policy | None, floor: float) -> Decision:
        return app.decider.decide(
            point,
            self.options,
            context=self.context,
            execution_id=self.execution_id,
            policy=policy,
            floor=floor,
            mask=self.mask,
        )


class Shares:
    """The learned policy's share of the units, and the rules'."""

    version = "ramp/1"

    def __init__(self, share: float) -> None:
        self._share = share

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        return (self._share, 1 - self._share)


class Version:
    """A version as it was trained: it learns no more, and choices of it say so."""

    def __init__(self, version: str, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        from learning_loop.policies import learner

        self.version = version
        self._learner = learner(about["learner"], **about["settings"])
        self._learner.load(state)

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        return self._learner.distribution(context, options)


class DecisionPoint:
    """One decision point of an open workspace. Safe from many threads."""

    def __init__(self, app: App, point: str) -> None:
        self.app, self.point = app, point
        self.settings = app.settings.point(point) or Point()
        self.live: str | None = None
        self.rules: Policy | None = None
        self._read_rules = not self.settings.rules
        self.lock = threading.RLock()
        self.standing = Standing(mode="shadow", why="")
        self.learner: Policy | None = None
        self.incumbent: Policy | None = None
        self._learning = threading.Lock()
        self._loaded: tuple[str | None, str | None] = (None, None)
        self._place, self._since = Place(), 0
        self._looked_at = -LOOK_S
        self._paused: dict[Policy, float] = {}  # until when what took too long does not choose
        self._log: Log | None = None

    def look(self, guard: Guard | None = None, warnings: list[str] | None = None, *, fresh: bool = False) -> None:
        """Find out who chooses now, once a second; what cannot be loaded does not choose."""
        if not fresh and time.monotonic() - self._looked_at < LOOK_S:
            return
        if not self.lock.acquire(blocking=fresh or self._looked_at < 0):
            return  # another thread looks or learns just now: what was found last still holds
        try:
            if fresh or time.monotonic() - self._looked_at >= LOOK_S:
                self._find_out(guard or Guard(strict=True), warnings if warnings is not None else [])
        finally:
            self._looked_at = time.monotonic()
            self.lock.release()

    def _find_out(self, guard: Guard, warnings: list[str]) -> None:
        now = standing(self.app, self.point)
        self.live = live_version(self.settings, began_at(self.app, self.point))
        self._log = None  # rewards are read again with it
        if not self._read_rules:
            self._read_rules = True
            self.rules = guard.attempt(f"rules of {self.point}", warnings, self._ruled)
        wanted = (None, None) if now.mode == "disabled" else (now.version, now.incumbent)
        if wanted != self._loaded:
            self._loaded = wanted
            self.learner, self.incumbent = [
                guard.attempt(f"policy of {self.point}", warnings, partial(self._load, version)) for version in wanted
            ]
        self.standing = now  # last, and what it names beside it: a draw for one is never a choice of another

    def _ruled(self) -> Policy:
        from learning_loop.policies import policy

        return policy("rules", rules=self.settings.rules)

    def decide(
        self, options: Sequence[str], context: Mapping[str, Any], guard: Guard, warnings: list[str], **where: Any
    ) -> list[Decision]:
        """Return the choice, the last of what is returned, and what belongs to it: by whom it was made, or would have been."""
        self.look(guard, warnings)
        asked = _Asked(options, context, where.get("execution_id"), tuple(where.get("mask") or ()))
        unit, now, learner = where.get("unit"), self.standing, self.learner
        if learner is None or now.mode == "disabled" or (now.share == 0.0 and now.mode != "shadow"):
            return [self._otherwise(asked, guard, warnings)]
        if now.mode == "shadow":
            would = self._learned(SHADOW, asked, learner, guard, warnings)
            chosen = self._otherwise(asked, guard, warnings)
            return [chosen] if would is None else [would, chosen]
        by = self.app.decider.decide(
            f"{RAMP}{self.point}",
            (LEARNED, RULES),
            context={"version": now.version, "unit": unit, "alone": bool(where.get("alone"))},
            execution_id=asked.execution_id,
            policy=Shares(now.share),
            unit=None if unit is None else f"{now.version} {unit}",
        )
        if by.chosen == RULES:
            return [by, self._otherwise(asked, guard, warnings)]
        made = self._learned("", asked, learner, guard, warnings)
        if made is None:
            rules = self._otherwise(asked, guard, warnings)
            return [by, replace(rules, policy=f"{FALLBACK} {rules.policy}")]
        return [by, made]

    def _otherwise(self, asked: "_Asked", guard: Guard, warnings: list[str]) -> Decision:
        """Return the choice of the version that has its full share, while another makes its way; else that of the rules."""
        incumbent = self.incumbent if self.standing.incumbent is not None else None
        if incumbent is not None:
            made = self._learned("", asked, incumbent, guard, warnings)
            if made is not None:
                return made
        return asked.decided(self.app, self.point, self.rules, self.settings.explore)

    def _learned(self, before: str, asked: "_Asked", learner: Policy, guard: Guard, warnings: list[str]) -> Decision | None:
        """Return the choice of what was learned; None where it fails or takes too long, and for a while after that."""
        if time.monotonic() < self._paused.get(learner, 0.0):
            return None
        budget = self.app.settings.policies.time_budget_ms
        made: Decision | None = guard.attempt("policy", warnings, lambda: self._within(budget, before, asked, learner))
        if made is None or (made.latency_us or 0.0) <= 1000 * budget:
            return made
        self._paused[learner] = time.monotonic() + PAUSE_S
        took = f"{(made.latency_us or 0.0) / 1000:.0f} ms, more than {budget:g}"
        guard.warn(f"policy: a choice at {self.point} took {took}: it chooses no more for {PAUSE_S:.0f} s", warnings)
        return None

    def _within(self, budget_ms: float, before: str, asked: "_Asked", learner: Policy) -> Decision:
        """Return the choice of what was learned; raise PolicyError where it learns just now, for longer than there is time."""
        if not self.lock.acquire(timeout=budget_ms / 1000):
            raise PolicyError(f"{self.point} learns just now: the rules choose")
        try:
            return asked.decided(self.app, f"{before}{self.point}", learner, self.settings.floor)
        finally:
            self.lock.release()

    # ------------------------------------------------------------------------------------------------------- learning

    def catch_up(self, *, wait: bool = True) -> int:
        """Learn from what ended or was rewarded since the last time, where the learner learns live; return from how much.

        One thread at a time; without `wait`, nothing where another one is at it.
        """
        if not self._learning.acquire(blocking=wait):
            return 0
        try:
            self.look()
            learner = self._live()
            if learner is None:
                return 0
            learned, log = 0, self._log or Log(self.app, self.point, self.settings)
            self._log = log
            for episode, place in log.episodes(self._place):
                with self.lock:
                    if self._live() is not learner:
                        break  # it was loaded anew, and goes on from a place of its own
                    self._place = place  # before it is learned from: what cannot be learned from is not tried for ever
                    learner.update(log.scaled(episode))
                learned += len(episode.steps)
            self._since += learned
            if self._since >= KEEP_EVERY:
                self._keep()
            return learned
        finally:
            self._learning.release()

    def _live(self) -> Learner | None:
        """Return what learns live at this point, if anything does."""
        if self.standing.mode == "disabled":
            return None
        of = dict(zip(self._loaded, (self.learner, self.incumbent), strict=True))
        return cast("Learner | None", of.get(self.live))

    def keep(self) -> None:
        """Write down what was learned live, so that it need not be learned again; it is derived from the ledger."""
        with self._learning:
            self._keep()

    def _keep(self) -> None:
        learner = self._live()
        if self._since and learner is not None:
            about = {**self._made(), "outcome": self._place.outcome, "credit": self._place.credit}
            with self.lock:
                state = learner.state()
            save_version(folder_of(self.app.workspace, self.point) / LIVE, state, about)
            self._since = 0

    def _made(self) -> dict[str, Any]:
        """Return what a kept state must have in common with what would be learned now."""
        reward = Log(self.app, self.point, self.settings).version
        bounds = [self.settings.low, self.settings.high]
        return {
            "point": self.point,
            "learner": self.settings.learner,
            "settings": dict(self.settings.settings),
            "start": None if self.rules is None else f"{self.settings.pseudo:g} of {self.rules.version}",
            "reward": reward,
            "bounds": bounds,
            "since": began_at(self.app, self.point),
        }

    def _load(self, version: str | None) -> Policy | None:
        folder = folder_of(self.app.workspace, self.point)
        if version is None:
            return None
        if version == self.live:
            made = beginner(self.settings, self.rules)
            self._place, self._since = Place(began_at(self.app, self.point)), 0
            try:
                state, about = load_version(folder / LIVE)
                if self._made().items() <= about.items():
                    made.load(state)
                    self._place = Place(about["outcome"], about["credit"])
            except (LearningLoopError, LookupError, TypeError, ValueError, AttributeError):  # it is derived: begin anew
                return beginner(self.settings, self.rules)
            return made
        return Version(version, *load_version(folder / version))


class Points:
    """The decision points of an open workspace."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._known: dict[str, DecisionPoint] = {}
        self._guard = Guard(strict=False)
        self._lock = threading.Lock()
        self._touched, self._watched_at, self._judged_at = False, -LEARN_S, -JUDGE_S

    def after_fork(self) -> None:
        self._lock, self._known = threading.Lock(), {}

    def __getitem__(self, point: str) -> DecisionPoint:
        found = self._known.get(point)
        if found is None:
            with self._lock:
                found = self._known.setdefault(point, DecisionPoint(self._app, point))
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
        alone = unit is None
        made = self[point].decide(names, context, guard, warnings, unit=self._app.ids() if alone else unit, alone=alone)
        chosen = made[-1]
        self._app.ledger.append(*(replace(other, id=f"{chosen.id}{BY}") for other in made[:-1]), chosen)
        self.watch()
        return chosen

    def reward(self, decision_id: str, value: float, source: str, guard: Guard) -> None:
        """Record what a choice earned, and learn from it; raise NotFoundError or UsageError."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"a reward must be a finite number, not {value!r}: leave out what is unknown")
        found = self._app.ledger.decision(decision_id)
        if found is None:
            raise NotFoundError(f"there is no choice {decision_id!r} to be rewarded: give the id that `decide` returned")
        if found.execution_id is not None:
            own = "say `run.credit` during it, or give feedback on the run"
            raise UsageError(f"the choice {decision_id!r} was made in a run and earns what that is worth: {own}")
        credit = Credit(decision_id=decision_id, execution_id=None, value=float(value), source=source, at=self._app.clock())
        if not self._app.ledger.credit(credit):
            raise UsageError(f"the choice {decision_id!r} has a reward already: each is given once")
        guard.attempt("learning", [], lambda: self[found.point].catch_up(wait=False))
        self.watch()

    def watch(self) -> None:
        """Learn, and look at the ramps, in the background: now and then, while choices are made."""
        self._touched = True
        now = time.monotonic()
        if now - self._watched_at >= LEARN_S:
            self._watched_at = now
            self._app.later("policies", self.catch_up)
        if now - self._judged_at >= JUDGE_S:
            self._judged_at = now
            self._app.later("ramps", self.judge)

    def finish(self) -> None:
        """Do in the background what is left to be done before a loop is closed."""
        if self._touched:
            self._app.later("policies kept", self.keep)  # by a name of its own: what waits already only learns
            self._app.later("ramps", self.judge)

    def judge(self) -> None:
        """Take what ended since as evidence about the learned policies."""
        if any(each.standing.version is not None for each in list(self._known.values())):
            from learning_loop.flows.ramps import judge

            def judged(each: DecisionPoint) -> None:
                with contextlib.suppress(WorkspaceError):  # another process is at it
                    judge(self._app, each.point)

            self._each(judged)

    def catch_up(self) -> int:
        """Let every point learn from what came since; return from how many choices."""
        for point in self._app.settings.policies.points:
            self[point]
        return sum(found or 0 for found in self._each(DecisionPoint.catch_up))

    def keep(self) -> None:
        def kept(each: DecisionPoint) -> None:
            each.catch_up()
            each.keep()

        self._each(kept)

    def _each(self, do: Callable[[DecisionPoint], Result]) -> list[Result | None]:
        """Do something at every point: what is wrong with one, which is logged once, keeps none of the others from it."""
        return [self._guard.attempt(f"learning at {each.point}", [], partial(do, each)) for each in list(self._known.values())]


def check_point(point: Any) -> None:
    """Raise UsageError where a decision point has a name of the loop's own."""
    if str(point).startswith(RESERVED) or str(point) == STRATEGY:
        raise UsageError(
            f"decision point {str(point)!r} is the loop's own: give it another name, that does not begin with {RESERVED}"
        )


def ledger_points(ledger: Ledger) -> dict[str, int]:
    """Return how many choices were made at each decision point of the work's own."""
    return {point: count for point, count in ledger.points().items() if not point.startswith(RESERVED)}
