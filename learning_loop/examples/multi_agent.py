"""Four agents and one loop: design, build, test, learn.

    python -m learning_loop.examples.multi_agent [TASKS]

The architect writes a plan, the executor a module, the auditor runs its tests in a process, the consultant reads what failed
and mends the plan. Which agent comes next is chosen step by step; the executor chooses a model, which costs. The agents are
plain functions on real files, so that the example needs no key and no network: in place of a model, the executor makes the
mistakes that one without a plan makes more often.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from learning_loop import LearningOrchestrator, Run
from learning_loop.flows.episodes import play
from learning_loop.policies import policy
from learning_loop.protocols import Policy
from learning_loop.records import ActionResult, TaskState
from learning_loop.workspace import Workspace

AGENTS = ("architect", "executor", "auditor", "consultant", "STOP")
COSTS = {"architect": 0.03, "executor": 0.05, "auditor": 0.02, "consultant": 0.04, "STOP": 0.0}
MODELS = {"small": (0.001, 0.5), "large": (0.02, 0.1)}  # USD a call, and how often it slips without a plan
CONFIG = """
policies:
  points:
    next_agent: {mode: production, learner: lints, low: -1, high: 1, reward: harbor_crm}
    model: {mode: production, learner: lints}
"""
TASKS = {  # what is asked for: the line that is right, the line that is easily written instead, and what must hold
    "leap": ("year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)", "year % 4 == 0", "not work(1900) and work(2000)"),
    "clamp": ("max(0, min(year, 9999))", "min(year, 9999)", "work(-5) == 0 and work(10000) == 9999"),
    "century": ("(year + 99) // 100", "year // 100 + 1", "work(2000) == 20 and work(2001) == 21"),
}


@dataclass
class Job:
    """One module to be written, and how far it is."""

    name: str
    folder: Path
    rng: random.Random
    plan: str = "none"
    module: str = "none"
    tests: str = "no"
    stopped: bool = False


class JobAdapter:
    def project_state_to_task_state(self, state: Job) -> TaskState:
        facts = {"plan": state.plan, "module": state.module, "tests": state.tests}
        facts["where"] = f"{state.plan} {state.module} {state.tests}"
        return TaskState(facts=facts, actions=AGENTS, done=state.stopped, success=state.stopped and _passes(state)[0])

    def update_states_from_action(self, state: Job, action: str, result: ActionResult) -> Job:
        if action == "architect":
            state.plan = "made"
        elif action == "consultant":
            state.plan = "mended" if state.tests == "failed" else state.plan
        elif action == "executor":
            state.module, state.tests = "written", "no"
        elif action == "auditor" and state.module != "none":
            state.tests = "passed" if result.ok else "failed"
        state.stopped = action == "STOP"
        return state


class Agents:
    """Carries out what an agent does, for one run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def execute(self, action: str, state: Job) -> ActionResult:
        ok, note = {"executor": self._build, "auditor": _passes}.get(action, self._talk)(state)
        if action in ("architect", "consultant"):
            (state.folder / "plan.json").write_text(json.dumps({"task": state.name, "by": action}), encoding="utf-8")
        return ActionResult(ok=ok, note=note, reward=-COSTS[action])

    def _talk(self, state: Job) -> tuple[bool, str]:
        return True, f"plan: {state.plan}"

    def _build(self, state: Job) -> tuple[bool, str]:
        model = self._run.decide("model", list(MODELS), plan=state.plan, task=state.name)
        cost, slips = MODELS[model]
        self._run.usage(model, tokens=500, cost_usd=cost)
        right, easy, _ = TASKS[state.name]
        often = slips * {"none": 1.0, "made": 0.4, "mended": 0.1}[state.plan]
        line = easy if state.rng.random() < often else right
        (state.folder / "module.py").write_text(f"def work(year):\n    return {line}\n", encoding="utf-8")
        return True, f"written by {model}"


def _passes(state: Job) -> tuple[bool, str]:
    if not (state.folder / "module.py").is_file():
        return False, "there is no module"
    check = f"from module import work; assert {TASKS[state.name][2]}"
    done = subprocess.run([sys.executable, "-S", "-E", "-c", check], cwd=state.folder, capture_output=True, check=False)
    return done.returncode == 0, "tests passed" if done.returncode == 0 else "tests failed"


def work(loop: LearningOrchestrator, home: Path, count: int, by: Policy | None, rng: random.Random) -> None:
    """Do so many tasks, and print how they went."""
    done, steps, actions = 0, 0, Counter[str]()
    for number in range(count):
        name = rng.choice(sorted(TASKS))
        with tempfile.TemporaryDirectory(dir=home) as folder, loop.run({"id": f"{name}-{number}", "type": "module"}) as run:
            job = Job(name, Path(folder), rng)
            played = play(run, job, JobAdapter(), Agents(run), point="next_agent", max_steps=10, policy=by)
        done, steps = done + bool(played.success), steps + len(played.steps)
        actions.update(played.actions)
    called = "by rules that try things" if by is not None else "by what was learned"
    print(f"{count} modules {called}: {done} right, {steps / count:.1f} steps each; {dict(actions.most_common())}")


def main(tasks: int) -> None:
    rng = random.Random(2)  # noqa: S311  (the tasks, and what slips)
    with tempfile.TemporaryDirectory(prefix="multi-agent-") as home:
        workspace, _ = Workspace.init(Path(home) / "workspace")
        (workspace.config / "policies.yaml").write_text(CONFIG, encoding="utf-8")
        with LearningOrchestrator(workspace=workspace.root) as loop:
            trying = policy("static", shares={"architect": 1, "executor": 2, "auditor": 1, "consultant": 1, "STOP": 1})
            work(loop, Path(home), tasks // 2, trying, rng)
            for _ in range(2):
                loop.learn()
                work(loop, Path(home), tasks // 4, None, rng)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
