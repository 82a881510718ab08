from pathlib import Path

import pytest

from learning_loop.errors import ConfigurationError
from learning_loop.settings import Settings
from learning_loop.workspace import Workspace, load_configuration
from learning_loop.workspace.files import DEFAULTS, default_files

ROOT = Path(__file__).parents[1]


def test_the_root_is_a_workspace_with_the_packaged_files() -> None:
    for name, content in default_files().items():
        assert (ROOT / name).read_bytes() == content, f"{name} differs from learning_loop/defaults/{name}"


def test_the_packaged_files_say_what_the_code_takes_for_granted(workspace: Workspace) -> None:
    loaded = load_configuration(workspace.config, environ={})
    ours = Settings().model_dump()
    theirs = loaded.settings.model_dump()
    assert {**theirs, "scoring": None} == {**ours, "scoring": None}
    assert loaded.settings.scoring.weights == Settings().scoring.weights


def test_flags_outrank_the_environment_that_the_file_and_each_value_has_its_origin(workspace: Workspace) -> None:
    (workspace.config / "learning_loop.yaml").write_text("# mine\nrecall:\n  notes: 2\n  executions: 2\n")
    environ = {
        "LEARNING_LOOP_RECALL_EXECUTIONS": "4",
        "LEARNING_LOOP_RECALL_TOKEN_BUDGET": "10",
        "LEARNING_LOOP_MODE": "disabled",
    }
    loaded = load_configuration(workspace.config, environ=environ, flags={"recall.token_budget": "20"})
    recall = loaded.settings.recall
    assert (recall.notes, recall.executions, recall.token_budget, loaded.settings.mode) == (2, 4, 20, "disabled")
    origins = {key: origin for key, _, origin in loaded.rows()}
    assert origins["recall.notes"] == "config/learning_loop.yaml:3"
    assert origins["recall.executions"] == "environment LEARNING_LOOP_RECALL_EXECUTIONS"
    assert origins["recall.token_budget"] == "flag --set"
    assert origins["capture.git"] == "default"
    assert origins["reflection_triggers.thresholds.low_performance"].startswith("config/triggers.yaml:")


def test_checkpoints_are_written_as_a_list_of_switches(workspace: Workspace) -> None:
    (workspace.config / "triggers.yaml").write_text("reflection_triggers:\n  checkpoints:\n    - mid_task: false\n")
    checkpoints = load_configuration(workspace.config, environ={}).settings.reflection_triggers.checkpoints
    assert (checkpoints.pre_task, checkpoints.mid_task) == (True, False)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "learning_loop.yaml",
            "recal:\n  notes: 3\n",
            ["config/learning_loop.yaml:1", "unknown setting 'recal'", "did you mean 'recall'"],
        ),
        (
            "learning_loop.yaml",
            "mode: production\nrecall:\n  notes: many\n",
            ["config/learning_loop.yaml:3", "recall.notes", "'many'"],
        ),
        ("learning_loop.yaml", "mode: [unclosed\n", ["config/learning_loop.yaml:"]),
        ("learning_loop.yaml", "- a\n- b\n", ["config/learning_loop.yaml:1", "key: value"]),
        ("learning_loop.yaml", "recall: &a {notes: 1}\ncapture: *a\n", ["aliases", "config/learning_loop.yaml:2"]),
        ("scoring.yaml", "scoring:\n  preset: nonesuch\n", ["nonesuch", "balanced"]),
        (
            "triggers.yaml",
            "reflection_triggers:\n  thresholds:\n    low_performance: 95\n",
            ["low_performance must not be above"],
        ),
        (
            "triggers.yaml",
            "reflection_triggers:\n  synthesis_schedule:\n    weekly: someday\n",
            ["'someday' is no weekly time", "sunday_23:00"],
        ),
        ("triggers.yaml", "reflection_triggers:\n  synthesis_schedule:\n    monthly: last_freitag\n", ["last_friday"]),
        ("learning_loop.yaml", "capture:\n  redact: ['(']\n", ["no regular expression"]),
    ],
)
def test_a_wrong_configuration_says_where_what_and_what_instead(
    workspace: Workspace, file: str, text: str, words: list[str]
) -> None:
    (workspace.config / file).write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(workspace.config, environ={})
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_file_that_is_not_utf8_is_named(workspace: Workspace) -> None:
    (workspace.config / "scoring.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"config/scoring.yaml: is not UTF-8"):
        load_configuration(workspace.config, environ={})


def test_a_wrong_flag_is_named_with_the_nearest_right_one(workspace: Workspace) -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'recall\.notes'"):
        load_configuration(workspace.config, environ={}, flags={"recall.note": "3"})


def test_init_never_writes_over_a_file_and_completes_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "scoring.yaml").write_text("scoring:\n  window: 50\n")
    workspace, written = Workspace.init(tmp_path)
    assert "config/scoring.yaml" not in written
    assert (tmp_path / "config" / "scoring.yaml").read_text() == "scoring:\n  window: 50\n"
    assert load_configuration(workspace.config, environ={}).settings.scoring.window == 50
    assert Workspace.init(tmp_path)[1] == []
    assert Workspace.find(tmp_path / "memory" / "short-term") == workspace


def test_defaults_hold_no_code() -> None:
    assert [path.name for path in DEFAULTS.rglob("*.py")] == ["__init__.py"]
