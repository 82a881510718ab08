"""Runs of packs round a loop: by a fixed order, by rules, or by what was learned."""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_loop.app import App
from learning_loop.examples.harbor import POINT, REWARD, RULES, HarborAdapter, HarborExecutor, PackState, begin
from learning_loop.flows.episodes import MAX_STEPS, Played, play
from learning_loop.flows.experience import Episode, Log, Place
from learning_loop.flows.points import POLICY as SAID
from learning_loop.flows.points import Version, choosing
from learning_loop.orchestrator import LearningOrchestrator
from learning_loop.policies import policy
from learning_loop.protocols import Policy
from learning_loop.settings import Point
from learning_loop.workspace.versions import folder_of, load_version

MODES = ("static", "rule", "rl")
ORDER = ("RESEARCH", "RESEARCH", "RESEARCH", "EVALUATE", "BUILD_CODE", "TEST")  # whatever the state; then DEPLOY
STATIC: tuple[dict[str, Any], ...] = tuple(
    {"when": f"context.step = {number}", "take": action} for number, action in enumerate(ORDER)
)
SETTINGS = Point(learner="a2c", settings={"rate": 1e-3}, reward=REWARD, low=-2.0, high=4.0, rules=RULES)
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRun:
    """One run of a pack: its execution, how it went, and its choices with what they earned."""

    execution_id: str
    pack: str
    mode: str
    played: Played[PackState]
    episode: Episode | None = None

    @property
    def reward(self) -> float | None:
        """What it was worth, None where that is not known yet."""
        return None if self.episode is None else self.episode.reward


def settings_of(app: App) -> Point:
    """Return the settings of the packs' decision point: the workspace's, or ours."""
    return app.settings.policies.points.get(POINT, SETTINGS)


def policy_of(app: App, mode: str, version: str | None = None) -> tuple[Policy, str]:
    """Return the policy of a mode, and what it is called; where nothing was learned yet, the rules stand in and say so."""
    if mode == "static":
        return policy("rules", rules=(*STATIC, {"take": "DEPLOY"})), "static"
    if mode == "rl":
        wanted = version or choosing(app.ledger.events(SAID, POINT), None, "shadow")[0]
        if wanted is not None:
            return Version(wanted, *load_version(folder_of(app.workspace, POINT) / wanted)), wanted
    rules = settings_of(app).rules or RULES
    return policy("rules", rules=rules), "rules" if mode == "rule" else "rules, for nothing was trained yet"


def run_packs(  # noqa: PLR0913  (what there is to say of runs)
    loop: LearningOrchestrator,
    names: list[str],
    by: Policy,
    *,
    mode: str,
    runs: int,
    floor: float,
    seed: int,
    max_steps: int = MAX_STEPS,
    told: Told = lambda _done, _total: None,
) -> list[PackRun]:
    """Run packs in turn, each in a fresh folder, every action at least as likely as `floor`; `seed` draws their days."""
    before, found = Place(loop.app.ledger.last_place()), []
    for number in range(runs):
        name = names[number % len(names)]
        task = {
            "id": f"{name}-{seed}-{number}",
            "type": "pack",
            "component": name,
            "parameters": {"packSlug": name, "mode": mode},
        }
        with tempfile.TemporaryDirectory(prefix="harbor-") as folder:
            state = begin(name, Path(folder) / name, random.Random(f"{name} {seed} {number}"))  # noqa: S311
            with loop.run(task) as run:
                played = play(
                    run, state, HarborAdapter(), HarborExecutor(), point=POINT, max_steps=max_steps, policy=by, floor=floor
                )
            loop.finish(run)
        found.append((run.id, name, played))
        told(number + 1, runs)
    app = loop.app
    log = Log(app, POINT, settings_of(app))
    of_run = {one.record.execution.id: one for one, _ in log.episodes(before) if one.record is not None}
    return [
        PackRun(execution_id=run, pack=name, mode=mode, played=played, episode=of_run.get(run)) for run, name, played in found
    ]
