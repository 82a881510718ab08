"""Packs: small projects whose actions do real work on files, driven action by action.

A pack is a folder: `brief.md` says what is needed, `sources/` where it may be found (a newer source outranks an older one),
`template.txt` how a solution is written, and `acceptance.txt` checks one. RESEARCH reads a source, EVALUATE compares what was
read with the brief, BUILD_CODE writes the solution, TEST runs the checks in a process of their own, DEPLOY puts the solution in
place with its digest; what was deployed is then checked once more, and that is what the episode is worth.

Porting this to a project of your own takes two adapters: `HarborAdapter` and `HarborExecutor` are all there is here.
"""

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.records import ActionResult, TaskState

PACKS = Path(__file__).parent / "packs"
POINT = "harbor"
REWARD = "harbor_crm"
ACTIONS = ("RESEARCH", "EVALUATE", "BUILD_CODE", "TEST", "DEPLOY", "STOP")
COSTS = {"RESEARCH": 0.03, "EVALUATE": 0.03, "BUILD_CODE": 0.08, "TEST": 0.05, "DEPLOY": 0.02, "STOP": 0.0}
RULES: tuple[dict[str, Any], ...] = (  # read, build, ship, and never look whether it is right: what people in a hurry do
    {"when": "context.built = old", "take": "DEPLOY"},
    {"when": "context.researched = none", "take": "RESEARCH"},
    {"when": "context.researched = some", "take": "RESEARCH"},
    {"when": "context.built = none", "take": "BUILD_CODE"},
    {"take": "DEPLOY"},
)
UNREACHABLE = 0.15  # of looks at a source, by chance of the day
LEFT_OVER, CURRENT = 0.5, 0.6  # how often a solution is there from before, and how often that still is right
_ROW = re.compile(r"^\|\s*([\w.-]+)\s*\|\s*([^|]+?)\s*\|", re.MULTILINE)
_NEED = re.compile(r"^- `([\w.-]+)`", re.MULTILINE)


@dataclass
class PackState:
    """Where one episode of a pack stands: its folder, what was read, and what came of it."""

    pack: str
    folder: Path
    rng: random.Random
    unread: list[Path]
    read: dict[str, tuple[int, str]] = field(default_factory=dict)  # by name: the year of its source, and the value
    conflicts: bool = False
    evaluated: str = "no"
    built: str = "none"
    tested: str = "no"
    deployed: bool = False
    stopped: bool = False
    success: bool | None = None

    @property
    def solution(self) -> Path:
        return self.folder / "build" / "solution.py"


def packs() -> list[str]:
    return sorted(path.name for path in PACKS.iterdir() if (path / "brief.md").is_file())


def begin(pack: str, folder: Path, rng: random.Random) -> PackState:
    """Copy a pack to a folder and return its first state; `rng` draws what this day is like. Raise UsageError."""
    if pack not in packs():
        raise UsageError(f"there is no pack {pack!r}: use one of {', '.join(packs())}")
    shutil.copytree(PACKS / pack, folder, dirs_exist_ok=True)
    sources = sorted((folder / "sources").glob("*.md"))
    state = PackState(pack=pack, folder=folder, rng=rng, unread=rng.sample(sources, len(sources)))
    if rng.random() < LEFT_OVER:
        values = _newest(sources)
        if rng.random() >= CURRENT:
            oldest = min(sources)
            values |= _values(oldest)
        _write_solution(state, values)
        state.built = "old"
    return state


class HarborAdapter:
    """A pack's state as a policy sees it."""

    def project_state_to_task_state(self, state: PackState) -> TaskState:
        known = len(state.read) / max(len(_needs(state.folder)), 1)
        facts = {
            "pack": state.pack,
            "researched": "none" if not state.read else "some" if state.unread else "all",
            "known": round(min(known, 1.0), 1),
            "evaluated": state.evaluated,
            "built": state.built,
            "tested": state.tested,
        }
        facts["where"] = " ".join(str(facts[name]) for name in ("researched", "evaluated", "built", "tested"))
        return TaskState(facts=facts, actions=ACTIONS, done=state.deployed or state.stopped, success=state.success)

    def update_states_from_action(self, state: PackState, action: str, result: ActionResult) -> PackState:
        if action == "RESEARCH" and result.ok:
            source: Path = result.output
            state.unread.remove(source)
            year = _year(source)
            for name, value in _values(source).items():
                before = state.read.get(name)
                state.conflicts |= before is not None and before[1] != value
                if before is None:  # what was read first stays, until somebody compares
                    state.read[name] = (year, value)
            state.evaluated = "no"
        elif action == "EVALUATE":
            if result.ok:
                state.read, state.conflicts = result.output, False
            state.evaluated = "passed" if result.ok else "failed"
        elif action == "BUILD_CODE" and result.ok:
            state.built, state.tested = "new", "no"
        elif action == "TEST":
            state.tested = "passed" if result.ok else "failed"
        elif action == "DEPLOY" and result.ok:
            state.deployed, state.success = True, bool(result.output)
        elif action == "STOP":
            state.stopped, state.success = True, False
        return state


class HarborExecutor:
    """Carries a pack's actions out: on its files, and in processes."""

    def execute(self, action: str, state: PackState) -> ActionResult:
        work = {
            "RESEARCH": self._research,
            "EVALUATE": self._evaluate,
            "BUILD_CODE": self._build,
            "TEST": self._test,
            "DEPLOY": self._deploy,
        }.get(action)
        ok, note, output = work(state) if work is not None else (True, "gave up", None)
        return ActionResult(ok=ok, note=note, reward=-COSTS[action], output=output)

    def _research(self, state: PackState) -> tuple[bool, str, Any]:
        if not state.unread:
            return False, "every source was read", None
        if state.rng.random() < UNREACHABLE:
            return False, f"{state.unread[0].name} could not be reached", None
        return True, f"read {state.unread[0].name}", state.unread[0]

    def _evaluate(self, state: PackState) -> tuple[bool, str, Any]:
        missing = sorted(_needs(state.folder) - set(state.read))
        if missing:
            return False, f"nothing is known of {', '.join(missing)}", None
        seen = [path for path in sorted((state.folder / "sources").glob("*.md")) if path not in state.unread]
        newest: dict[str, tuple[int, str]] = {}
        for path in seen:
            newest |= {name: (_year(path), value) for name, value in _values(path).items()}
        lines = [f"- `{name}`: {value} ({year})" for name, (year, value) in sorted(newest.items())]
        (state.folder / "evaluation.md").write_text("# What holds\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return True, f"{len(newest)} needs are known", newest

    def _build(self, state: PackState) -> tuple[bool, str, Any]:
        values = {name: value for name, (_, value) in state.read.items()}
        missing = sorted(_needs(state.folder) - set(values))
        if missing:
            return False, f"cannot be written without {', '.join(missing)}", None
        _write_solution(state, values)
        return True, "written", state.solution.name

    def _test(self, state: PackState) -> tuple[bool, str, Any]:
        passed, said = _accepted(state.folder, state.solution)
        return passed, said, None

    def _deploy(self, state: PackState) -> tuple[bool, str, Any]:
        if not state.solution.is_file():
            return False, "there is nothing to deploy", None
        target = state.folder / "deploy"
        target.mkdir(exist_ok=True)
        content = state.solution.read_bytes()
        (target / "solution.py").write_bytes(content)
        manifest = {"file": "solution.py", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (target / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        accepted, said = _accepted(state.folder, target / "solution.py")
        return True, f"deployed; {said}", accepted


def _needs(folder: Path) -> set[str]:
    return set(_NEED.findall((folder / "brief.md").read_text(encoding="utf-8")))


def _values(source: Path) -> dict[str, str]:
    found = _ROW.findall(source.read_text(encoding="utf-8"))
    return {name: value for name, value in found if name not in ("need", "---")}


def _year(source: Path) -> int:
    return int(source.name[:4])


def _newest(sources: list[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sources:  # their names begin with their year
        found |= _values(path)
    return found


def _write_solution(state: PackState, values: dict[str, str]) -> None:
    template = Template((state.folder / "template.txt").read_text(encoding="utf-8"))
    state.solution.parent.mkdir(exist_ok=True)
    state.solution.write_text(template.substitute(values=json.dumps(values, indent=4, sort_keys=True)), encoding="utf-8")


def _accepted(folder: Path, solution: Path) -> tuple[bool, str]:
    """Run the checks of a pack on a solution in a process of its own."""
    if not solution.is_file():
        return False, "there is nothing to test"
    command = [sys.executable, "-S", "-E", str(folder / "acceptance.txt"), str(solution)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else "no word"
