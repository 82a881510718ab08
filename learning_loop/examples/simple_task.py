"""The smallest project that can be driven in episodes: tidy a folder of text files until nothing is left to do.

    python -m learning_loop.examples.simple_task [EPISODES]

The actions work on real files in a fresh folder: LOOK counts what there is to do, TRIM takes white space off the ends of lines,
RENAME gives odd names plain ones, STOP ends it. The first episodes try things out; the loop learns when each action pays.
"""

import random
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from learning_loop import LearningOrchestrator
from learning_loop.flows.episodes import play
from learning_loop.policies import policy
from learning_loop.records import ActionResult, TaskState
from learning_loop.workspace import Workspace

ACTIONS = ("LOOK", "TRIM", "RENAME", "STOP")
CONFIG = """
policies:
  points:
    tidy: {mode: production, learner: lints, low: -1, high: 1, floor: 0.02, reward: harbor_crm}
"""


@dataclass
class Folder:
    """A folder with files, and what was last seen of it."""

    path: Path
    untrimmed: int | None = None
    odd: int | None = None
    stopped: bool = False


class FolderAdapter:
    def project_state_to_task_state(self, state: Folder) -> TaskState:
        facts = {"untrimmed": _some(state.untrimmed), "odd": _some(state.odd)}
        left = sum(_left(state.path))
        return TaskState(facts=facts, actions=ACTIONS, done=state.stopped, success=left == 0 if state.stopped else None)

    def update_states_from_action(self, state: Folder, action: str, result: ActionResult) -> Folder:
        if action == "LOOK":
            state.untrimmed, state.odd = result.output
        elif action == "TRIM":
            state.untrimmed = 0
        elif action == "RENAME":
            state.odd = 0
        state.stopped = action == "STOP"
        return state


class FolderExecutor:
    def execute(self, action: str, state: Folder) -> ActionResult:
        if action == "LOOK":
            return ActionResult(ok=True, reward=-0.05, output=_left(state.path))
        done = 0
        for path in sorted(state.path.iterdir()) if action in ("TRIM", "RENAME") else ():
            text = path.read_text(encoding="utf-8")
            if action == "TRIM" and (trimmed := _trimmed(text)) != text:
                path.write_text(trimmed, encoding="utf-8")
                done += 1
            elif action == "RENAME" and (plain := _plain(path.name)) != path.name:
                path.rename(path.with_name(plain))
                done += 1
        return ActionResult(ok=True, note=f"{done} files", reward=0.0 if action == "STOP" else -0.1)


def _left(path: Path) -> tuple[int, int]:
    files = sorted(path.iterdir())
    untrimmed = sum(_trimmed(text) != text for text in (file.read_text(encoding="utf-8") for file in files))
    return untrimmed, sum(_plain(file.name) != file.name for file in files)


def _some(count: int | None) -> str:
    return "unknown" if count is None else "some" if count else "none"


def _trimmed(text: str) -> str:
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())


def a_folder(path: Path, rng: random.Random) -> Folder:
    """Make a folder of three files, some of which want tidying."""
    path.mkdir()
    for number in range(3):
        name = f"Note {number}.txt" if rng.random() < 0.4 else f"note-{number}.txt"
        (path / name).write_text("one line  \n" if rng.random() < 0.4 else "one line\n", encoding="utf-8")
    return Folder(path)


def main(episodes: int) -> None:
    rng = random.Random(1)  # noqa: S311  (what the folders are like)
    with tempfile.TemporaryDirectory(prefix="simple-task-") as home:
        workspace, _ = Workspace.init(Path(home) / "workspace")
        (workspace.config / "policies.yaml").write_text(CONFIG, encoding="utf-8")
        with LearningOrchestrator(workspace=workspace.root) as loop:
            first = policy("static", shares=dict.fromkeys(ACTIONS, 1.0))
            for by, what, count in ((first, "at random", episodes // 2), (None, "by what was learned", episodes // 2)):
                tidy, steps = 0, 0
                for number in range(count):
                    folder = a_folder(Path(home) / f"{what} {number}", rng)
                    with loop.run({"id": f"tidy-{number}", "type": "tidy"}) as run:
                        played = play(run, folder, FolderAdapter(), FolderExecutor(), point="tidy", max_steps=8, policy=by)
                    tidy, steps = tidy + bool(played.success), steps + len(played.steps)
                print(f"{count} folders {what}: {tidy} tidy, {steps / count:.1f} steps each")
                if by is not None:
                    loop.learn()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
