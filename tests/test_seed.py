"""The deployment steps and validation commands this package was specified by, as they stand but for quoting and paths."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from learning_loop.workspace import Workspace, load_configuration


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_validation_the_system_is_operational_and_its_folders_are_there(project: Path) -> None:
    said = python(
        "from learning_loop.orchestrator import LearningOrchestrator; "
        "o = LearningOrchestrator(); print('✓ Learning system ready')",
        project,
    )
    assert said == "✓ Learning system ready\n"
    found = subprocess.run(
        ["find", "memory", "-type", "d"], cwd=project, capture_output=True, text=True, check=True
    ).stdout.split()
    for folder in (
        "short-term",
        "working-memory",
        "long-term/architectural-decisions",
        "long-term/component-patterns",
        "long-term/integration-gotchas",
    ):
        assert f"memory/{folder}" in found
    assert (project / "metrics").is_dir()
    assert (project / "templates" / "successful-patterns").is_dir()


def test_validation_a_test_execution_with_learning(project: Path) -> None:
    said = python(
        """
from learning_loop.orchestrator import LearningOrchestrator
o = LearningOrchestrator()
test_task = {'id': 'test-001', 'type': 'component', 'component': 'booking-form'}
result = o.execute_with_learning(test_task)
print(f'Test execution score: {result["score"]}')
""",
        project,
    )
    assert said == "Test execution score: None\n"  # there is no runner: nothing ran, so nothing is known


def test_step_2_an_existing_system_is_wrapped(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from learning_loop.orchestrator import LearningOrchestrator

    current_tasks = [SimpleNamespace(id=f"task-{n}", type="component", component="booking-form") for n in range(3)]

    class Existing(LearningOrchestrator):
        def execute_task(self, task: SimpleNamespace) -> dict[str, bool]:
            return {"success": task.id != "task-2"}

    orchestrator = Existing()
    for task in current_tasks:
        result = orchestrator.execute_with_learning(task)
        print(f"Task {task.id} completed with score: {result['score']}")
        print(f"Key learnings: {result['learnings']}")
        print(f"Suggested improvements: {result['improvements']}")
    said = capsys.readouterr().out
    assert "Task task-0 completed with score: 100.0" in said
    assert "Task task-2 completed with score: 0.0" in said
    assert said.count("Key learnings: (") == 3
    orchestrator.close()


def test_step_2_as_it_stands_with_nothing_to_run_says_that_nothing_is_known(project: Path) -> None:
    said = python(
        """
from types import SimpleNamespace
current_tasks = [SimpleNamespace(id=f"task-{n}", type="component", component="booking-form") for n in range(2)]

from learning_loop.orchestrator import LearningOrchestrator

# Initialize enhanced orchestrator
orchestrator = LearningOrchestrator()

# Execute tasks with learning
for task in current_tasks:
    result = orchestrator.execute_with_learning(task)
    print(f"Task {task.id} completed with score: {result['score']}")
    print(f"Key learnings: {result['learnings']}")
    print(f"Suggested improvements: {result['improvements']}")
""",
        project,
    )
    assert said.splitlines()[:3] == [
        "Task task-0 completed with score: None",
        "Key learnings: ()",
        "Suggested improvements: ()",
    ]


def test_step_3_triggers_are_configured(project: Path) -> None:
    workspace, _ = Workspace.init(project)
    (workspace.config / "triggers.yaml").write_text(
        """
reflection_triggers:
  checkpoints:
    - pre_task: true
    - mid_task: true
    - post_task: true
    - sprint_review: true

  thresholds:
    low_performance: 60
    high_performance: 90
    high_surprise: 70

  synthesis_schedule:
    weekly: "sunday_23:00"
    monthly: "last_friday"
"""
    )
    triggers = load_configuration(workspace.config, environ={}).settings.reflection_triggers
    assert triggers.thresholds.low_performance == 60
    assert triggers.synthesis_schedule.weekly == "sunday_23:00"
    assert triggers.synthesis_schedule.monthly == "last_friday"


def test_step_4_memory_is_seeded(project: Path) -> None:
    code = """
from learning_loop.orchestrator import LearningOrchestrator

orchestrator = LearningOrchestrator()

initial_patterns = {
    'reiki_patterns': [
        'Use soft color palette for healing context',
        'Booking flow must be maximum 3 steps',
        'Include practitioner bio prominently'
    ],
    'square_api': [
        'Always validate webhook signatures',
        'Cache payment methods for returning clients',
        'Handle timezone conversions for appointments'
    ]
}

orchestrator.memory.update(initial_patterns)
orchestrator.save_memory()
print("Learning system initialized with seed patterns")
"""
    for _ in range(2):
        assert python(code, project) == "Learning system initialized with seed patterns\n"
    assert len(list((project / "memory" / "long-term" / "reiki-patterns").glob("*.md"))) == 3
    assert len(list((project / "memory" / "long-term" / "square-api").glob("*.md"))) == 3


def test_troubleshooting_root_cause_and_queries(project: Path) -> None:
    from learning_loop.orchestrator import LearningOrchestrator

    def runner(task: dict[str, str]) -> None:
        raise ModuleNotFoundError("No module named 'square'")

    with LearningOrchestrator(runner) as orchestrator:
        with pytest.raises(ModuleNotFoundError):
            orchestrator.execute_with_learning({"id": "pay-1", "type": "integration", "component": "square-api"})
        assert "square is not installed" in orchestrator.root_cause_analysis("pay-1").summary
        found = orchestrator.query_interface.query("show all failure patterns")
        assert "square is not installed" in str(found)
        assert (project / "memory" / "working-memory").is_dir()


def test_the_public_names_are_the_parts() -> None:
    from learning_loop import ExecutionScoreCard, LearningOrchestrator, LearningQueryInterface, PatternExtractor
    from learning_loop.capture.extractor import PatternExtractor as Extractor
    from learning_loop.flows.query import LearningQueryInterface as Query
    from learning_loop.scoring.card import ExecutionScoreCard as Card

    assert (ExecutionScoreCard, LearningQueryInterface, PatternExtractor) == (Card, Query, Extractor)
    card = ExecutionScoreCard("task-1")
    assert set(card.scores) == {"accuracy", "efficiency", "reusability", "surprise"}
    assert set(card.metadata) == {"timestamp", "agent", "task_type", "execution_time"}
    action, reason = card.trigger_reflection()
    assert (action, reason) == (None, None)
    metadata = PatternExtractor("memory").capture_execution_metadata("task-1", "pre")
    assert set(metadata) == {"task_id", "phase", "timestamp", "data"}
    assert {"initial_state", "assumptions", "dependencies"} <= set(metadata["data"])
    assert LearningOrchestrator.execute_with_learning.__doc__
