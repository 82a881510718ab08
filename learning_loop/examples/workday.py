"""A day's work, for real: some forty commands in their own processes, some of which fail or slow down for a reason.

A small task runner byte-compiles, runs test suites, builds a wheel, computes digests and prints a report, round after round,
in a fresh folder. On the way a wrong option is used, a dependency is lost, a source file is broken, and a load is doubled;
all but the last is mended later. The loop is told none of this: what it prints at the end it found by itself.

    python -m learning_loop.examples.workday [FOLDER]
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learning_loop import LearningOrchestrator, Report, Run
from learning_loop.capture import read_junit

PACKAGE = Path(__file__).parents[1]
ROUNDS = 6

TABLE = '''
"""Rows of text as lines of equal width."""


def lines(rows):
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) for row in rows]
'''
TABLE_TEST = """
import unittest

from tinytable import lines


class LinesTest(unittest.TestCase):
    def test_columns_are_as_wide_as_their_widest_cell(self):
        self.assertEqual(lines([("a", 1), ("bbb", 22)]), ["a    1 ", "bbb  22"])

    def test_one_row(self):
        self.assertEqual(lines([("x",)]), ["x"])


if __name__ == "__main__":
    unittest.main()
"""
PROJECT = """
[project]
name = "tinytable"
version = "1.0"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
REPORT = """
import pathlib
import sys

sys.path.insert(0, "libs")
import tinytable

print(*tinytable.lines([(path.name, path.stat().st_size) for path in sorted(pathlib.Path(".").iterdir())]), sep="\\n")
"""
DIGEST = """
import hashlib
import sys

for number in range(40 * int(sys.argv[1])):
    hashlib.pbkdf2_hmac("sha256", b"data", bytes([number % 256]), 60_000)
"""


@dataclass
class Task:
    """A task of this runner: a command in the work folder."""

    id: str
    type: str
    component: str
    command: list[str]
    parameters: dict[str, Any] = field(default_factory=dict)
    dependencies: list[str] = field(default_factory=list)


class Runner:
    """The task runner that was there before the loop: it runs a command and says how it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, task: Task, run: Run) -> dict[str, Any]:
        junit = self.folder / "junit.xml"
        junit.unlink(missing_ok=True)
        done = subprocess.run(task.command, cwd=self.folder, capture_output=True, text=True, check=False)
        run.outcome(output_tail=(done.stdout + done.stderr)[-4000:])
        if not junit.exists():
            return {"exit_code": done.returncode}
        passed, total, _ = read_junit(junit)
        return {"exit_code": done.returncode, "tests_passed": passed, "tests_total": total}


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="learning-loop-demo-")).resolve()
    work = root / "work"
    work.mkdir(parents=True, exist_ok=True)
    print(f"A fresh workspace: {root}\n")
    started = time.perf_counter()
    with LearningOrchestrator(Runner(work), workspace=root) as loop:
        reports = []
        for change, task in workday(work):
            if change:
                print(f"        ({change})")
            report = loop.execute_with_learning(task)
            reports.append((task, report))
            tell(task, report)
        print(f"\n{len(reports)} commands in {time.perf_counter() - started:.0f} s.")
        conclude(loop, reports, root)


def workday(work: Path) -> Iterator[tuple[str | None, Task]]:
    """Yield the day's tasks; beside one, what was done to the folder just before it."""
    prepare(work)
    for number in range(1, ROUNDS + 1):
        for name, make in TASKS.items():
            change = CHANGES.get((number, name))
            said = change(work) if change else None
            yield said, make(number)


def prepare(work: Path) -> None:
    (work / "source").mkdir(exist_ok=True)
    (work / "source" / "tinytable.py").write_text(TABLE)
    (work / "source" / "test_tinytable.py").write_text(TABLE_TEST)
    (work / "source" / "pyproject.toml").write_text(PROJECT)
    shutil.copytree(PACKAGE / "scoring", work / "scoring", dirs_exist_ok=True)
    shutil.copytree(PACKAGE / "capture", work / "capture", dirs_exist_ok=True)
    install(work)


def install(work: Path) -> None:
    (work / "libs").mkdir(exist_ok=True)
    shutil.copy(work / "source" / "tinytable.py", work / "libs")


def compiled(component: str, round_number: int) -> Task:
    wrong = component == "scoring" and round_number == 3
    options = ["-q", "-f", *(["--fast"] if wrong else [])]
    return task(
        "compile", component, round_number, [sys.executable, "-m", "compileall", *options, component], options=" ".join(options)
    )


def task(
    kind: str, component: str, round_number: int, command: list[str], depends: tuple[str, ...] = (), **parameters: Any
) -> Task:
    return Task(f"{kind}-{component}-{round_number}", kind, component, command, parameters, list(depends))


def own_tests(component: str, round_number: int) -> Task:
    """Return the run of one of this package's own test suites; where it is installed without them, a look by the doctor."""
    suite = PACKAGE.parent / "tests" / f"test_{component}.py"
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=junit.xml", str(suite)]
    if not suite.exists():
        command = ["-m", "learning_loop", "-C", "..", "doctor"]
    return task("test", component, round_number, [sys.executable, *command], ("python:pytest",), runner=command[1])


TASKS: dict[str, Callable[[int], Task]] = {
    "compile scoring": lambda number: compiled("scoring", number),
    "compile capture": lambda number: compiled("capture", number),
    "test tinytable": lambda number: task(
        "test",
        "tinytable",
        number,
        [sys.executable, "-m", "unittest", "discover", "-s", "source", "-t", "source"],
        runner="unittest",
    ),
    "test features": lambda number: own_tests("features", number),
    "build tinytable": lambda number: task(
        "build",
        "tinytable",
        number,
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "./source"],
        ("python:hatchling",),
        backend="hatchling",
    ),
    "digest archive": lambda number: task(
        "digest",
        "archive",
        number,
        [sys.executable, "-c", DIGEST, "2" if number == ROUNDS else "1"],
        load=2 if number == ROUNDS else 1,
    ),
    "report files": lambda number: task(
        "report", "files", number, [sys.executable, "-c", REPORT], ("file:work/libs/tinytable.py",), layout="table"
    ),
}


def lose_the_library(work: Path) -> str:
    shutil.rmtree(work / "libs")
    return "libs/ was cleaned away"


def bring_it_back(work: Path) -> str:
    install(work)
    return "the library was installed again"


def break_a_source(work: Path) -> str:
    path = work / "capture" / "state.py"
    path.write_text(path.read_text(encoding="utf-8").replace("def git_state(", "def git_state((", 1), encoding="utf-8")
    return "somebody edited capture/state.py"


def mend_the_source(work: Path) -> str:
    shutil.copy(PACKAGE / "capture" / "state.py", work / "capture" / "state.py")
    return "capture/state.py was put right"


CHANGES: dict[tuple[int, str], Callable[[Path], str]] = {
    (3, "report files"): lose_the_library,
    (5, "report files"): bring_it_back,
    (4, "compile capture"): break_a_source,
    (5, "compile capture"): mend_the_source,
}


def tell(task: Task, report: Report) -> None:
    outcome = report.outcome
    score = "  ?" if report.score is None else f"{report.score:3.0f}"
    took = f"{outcome.duration_s:5.2f} s" if outcome and outcome.duration_s is not None else ""
    print(f"  {score}  {outcome.status if outcome else 'unrecorded':9}  {took}  {task.id}", flush=True)
    for learned in report.learnings:
        print(f"        learned: {learned[:150]}")


def conclude(loop: LearningOrchestrator, reports: list[tuple[Task, Report]], root: Path) -> None:
    notes = sorted({note for _, report in reports for note in report.notes})
    print(f"\nWhat it wrote, in {root}:\n" + "\n".join(f"  {note}" for note in notes))
    failed = [(task, report) for task, report in reports if report.outcome and report.outcome.success is False]
    print("\nWhy did they fail, or surprise?")
    for task, report in failed:
        cause = loop.root_cause_analysis(report.execution_id)
        print(f"  {task.id}: {cause.summary}")
    slow = [
        (task, report)
        for task, report in reports
        if (report.card.scores["surprise"] or 0) > 70 and (task, report) not in failed
    ]
    for task, report in slow:
        print(f"  {task.id}: {report.card.basis['surprise']}; {loop.root_cause_analysis(report.execution_id).summary}")
    for question in (
        "What failed last time we tried report files?",
        "show all failure patterns",
        "What worked for building the tinytable wheel?",
        "common problems with compile",
        "How do I configure the frobnicator?",
    ):
        print(f"\n$ learning-loop query {question!r}\n{loop.query(question, k=3)}")
    print(f"\nLook at it: .venv/bin/learning-loop -C {root} serve --open")


if __name__ == "__main__":
    main()
