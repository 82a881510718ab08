"""Choosing a strategy for a run, and keeping what follows from that choice on record with how likely it was."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from learning_loop.app import App
from learning_loop.errors import WorkspaceError
from learning_loop.features.conditions import Facts, facts_of_context
from learning_loop.flows.ab_tests import EXPERIMENT, Running, assigned, running
from learning_loop.flows.guard import Guard
from learning_loop.flows.points import Points
from learning_loop.flows.strategies import FOLDER, STRATEGY, load
from learning_loop.records import Decision, Task
from learning_loop.settings import STRATEGY as POINT
from learning_loop.strategies import Catalogue, Version, context_of

LOOK_S = 1.0  # how long it is believed what is in force, before files and ledger are asked again
JUDGE_S = 20.0  # how far tests may lag behind the runs
Does = Callable[[Version], str]


@dataclass(kw_only=True)
class Followed:
    """The strategy a run follows, and what it could have followed instead: `weights` are how likely each version still is.

    What a version does is no choice of its own, it follows from which version was drawn. How likely it was to follow is the
    share of all versions that, having done the same so far, would do it too: that is what is logged with it.
    """

    version: Version
    context: Mapping[str, Any]
    facts: Facts
    weights: dict[str, float]
    versions: Mapping[str, Version]
    decisions: list[Decision] = field(default_factory=list)
    explore: float = 0.0

    def part(
        self,
        app: App,
        point: str,
        does: Does,
        *,
        execution_id: str,
        options: Sequence[str] = (),
        explores: bool = False,
        **more: Any,
    ) -> Decision:
        """Return what is done at a point, as a decision: what the version does, or where it `explores` now and then any option.

        `options` are what could have been done, beside what versions do.
        """
        chance = self.explore if explores else 0.0
        wanted, known = does(self.version), tuple(dict.fromkeys([*options, *map(does, self.versions.values())]))
        drawn = app.decider.decide(
            point, known, context=self.context, policy=Wanted(self.version.id, wanted), floor=chance / len(known)
        ).chosen
        likely = {
            name: {one: chance / len(known) + (1 - chance) * (does(self.versions[name]) == one) for one in known}
            for name in self.weights
        }
        total = sum(self.weights.values())
        shares = {one: sum(weight * likely[name][one] for name, weight in self.weights.items()) / total for one in known}
        self.weights = {name: weight * likely[name][drawn] for name, weight in self.weights.items() if likely[name][drawn] > 0}
        return app.decider.implied(
            point,
            shares,
            drawn,
            policy=self.version.id,
            context={**self.context, **more},
            execution_id=execution_id,
        )

    def branch(self) -> "Followed":
        """Return the same for one of several parts, which from here on go their own ways."""
        return replace(self, weights=dict(self.weights), decisions=[])

    def narrow(self, alike: Callable[[Version], bool]) -> None:
        """Go on with the versions that are alike so far."""
        self.weights = {name: weight for name, weight in self.weights.items() if alike(self.versions[name])}


class Wanted:
    """Takes what is wanted."""

    def __init__(self, version: str, wanted: str) -> None:
        self.version, self._wanted = version, wanted

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:  # noqa: ARG002
        return [float(option == self._wanted) for option in options]


class Chooser:
    """The strategies of an open workspace. Safe from many threads."""

    def __init__(self, app: App, points: Points) -> None:
        self._app, self._points = app, points
        self._catalogue = Catalogue()
        self._tests: list[Running] = []
        self._lock = threading.Lock()
        self._stamp: Any = None
        self._looked_at, self._judged_at = -LOOK_S, -JUDGE_S
        self._touched = False

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    @property
    def unit(self) -> str:
        """What is given the same version for as long as it may be: run, task, or a name of the context."""
        return self._points[POINT].settings.unit

    def choose(
        self,
        task: Task,
        success_rate: float | None,
        *,
        execution_id: str,
        guard: Guard,
        warnings: list[str],
        unit: str,
        prefer: Callable[[list[str]], list[str]] = list,
    ) -> Followed | None:
        """Return the strategy that a run is to follow; None where there is none for it, or strategies are switched off.

        A running test gives its units their version; for all others the learned policy or the rules choose, as at any
        decision point.
        """
        self.look(guard, warnings)
        service = self._points[POINT]
        service.look(guard, warnings)
        mode = service.standing.mode
        if mode == "disabled" or not self._catalogue.versions:
            return None
        known = self._app.settings.strategies.projects.get(task.project or "")
        context = context_of(task, success_rate=success_rate, project=None if known is None else known.model_dump())
        facts = facts_of_context(context)
        options = self._catalogue.for_(facts)
        tests = () if mode == "shadow" or task.critical else self._tests
        given = assigned(self._app, tests, facts, context, unit=unit, execution_id=execution_id)
        self._touched = True
        if given.version is not None:
            return self._followed(given.version, given.arms, context, facts, [*given.draws])
        if not options:
            return None
        names = prefer([version.id for version in options])
        made = service.decide(names, context, guard, warnings, unit=unit, execution_id=execution_id)
        version = next(version for version in options if version.id == made[-1].chosen)
        followed = self._followed(version, options, context, facts, [*given.draws, *made])
        return replace(followed, explore=0.0 if mode == "shadow" or task.critical else self._app.settings.strategies.explore)

    def _followed(
        self,
        version: Version,
        versions: Sequence[Version],
        context: Mapping[str, Any],
        facts: Facts,
        decisions: list[Decision],
    ) -> Followed:
        choice = decisions[-1]
        weights = dict(zip(choice.alternatives, choice.probabilities or (), strict=True))
        return Followed(
            version=version,
            context=context,
            facts=facts,
            weights={name: weight for name, weight in weights.items() if weight > 0},
            versions={one.id: one for one in versions},
            decisions=decisions,
        )

    def look(self, guard: Guard, warnings: list[str], *, fresh: bool = False) -> None:
        """Find out what is in force, once a second and only where something has changed."""
        if not fresh and time.monotonic() - self._looked_at < LOOK_S:
            return
        if not self._lock.acquire(blocking=fresh or self._looked_at < 0):
            return  # another thread looks just now: what was found last still holds
        try:
            if fresh or time.monotonic() - self._looked_at >= LOOK_S:
                stamp = self._stamped()
                if stamp != self._stamp:
                    loaded = guard.attempt("strategies", warnings, lambda: self._load(guard, warnings), default=False)
                    self._stamp = stamp if loaded else None
        finally:
            self._looked_at = time.monotonic()
            self._lock.release()

    def _load(self, guard: Guard, warnings: list[str]) -> bool:
        self._catalogue = load(self._app)
        self._tests = running(self._app)
        for problem in self._catalogue.problems:
            guard.warn(f"strategies: {problem}", warnings)
        return True

    def _stamped(self) -> Any:
        """Return what changes whenever another version may be in force."""
        try:
            files = [(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(self._app.workspace.config / FOLDER)]
        except OSError:
            files = []
        return sorted(files), self._app.ledger.last_event(STRATEGY, EXPERIMENT)

    def watch(self) -> None:
        """Look at the tests in the background, now and then while runs are given to them."""
        if self._touched and time.monotonic() - self._judged_at >= JUDGE_S:
            self._judged_at = time.monotonic()
            self._app.later("tests", self.judge)

    def finish(self) -> None:
        if self._touched:
            self._app.later("tests", self.judge)

    def judge(self) -> None:
        from learning_loop.flows.ab_judging import judge
        from learning_loop.flows.drift import notice

        with contextlib.suppress(WorkspaceError):  # another process is at it
            judge(self._app)
            notice(self._app)
