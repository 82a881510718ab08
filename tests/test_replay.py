"""Replays on a log in which every arm was tried, and the arithmetic of their rewards."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.cli.group import cli
from learning_loop.errors import LearningLoopError, MappingError, UsageError
from learning_loop.flows.replay import read_matrix, replay
from learning_loop.policies import learner
from learning_loop.rewards.expression import Expression


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of three models on 300 tasks of two languages: the best one for each language is another."""
    rng = random.Random(1)
    lines = ["task,language,model,solved,cost_usd"]
    for number in range(300):
        language = ("python", "rust")[number % 2]
        for model, chances in {"large": (0.9, 0.5), "small": (0.4, 0.9), "tiny": (0.1, 0.1)}.items():
            solved = rng.random() < chances[language == "rust"]
            lines.append(f"t{number},{language},{model},{str(solved).lower()},0.1")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([*lines, "t0,python,large,perhaps,0.1"]) + "\n", encoding="utf-8")
    return path


def test_a_policy_that_looks_at_the_context_earns_more_than_any_one_arm(log: Path) -> None:
    matrix = read_matrix(log, arm="model", reward="solved - cost_usd", context=["language"])
    assert len(matrix.tasks) == 300
    assert len(matrix.unused) == 1
    assert "line 902" in matrix.unused[0]
    found = replay(matrix, lambda: learner("horizon", horizon=300, by=["language"]), name="h", shuffles=10)
    assert found.share is not None
    assert found.share > 1.2
    assert matrix.best is not None
    assert found.low > matrix.arms[matrix.best]
    assert found.shuffled is not None
    assert found.shuffled < matrix.arms[matrix.best]
    again = replay(matrix, lambda: learner("horizon", horizon=300, by=["language"]), name="h", shuffles=10)
    assert again == found, "the same seed gives the same"


def test_without_context_the_best_arm_is_approached(log: Path) -> None:
    matrix = read_matrix(log, arm="model", reward="solved", unit="task")
    found = replay(matrix, lambda: learner("horizon", horizon=300), name="h", shuffles=10)
    assert found.share is not None
    assert 0.6 < found.share <= 1.1
    assert found.shuffled is None


def test_replay_as_a_command(log: Path) -> None:
    given = ["replay", str(log), "--arm", "model", "--reward", "solved - 0.5 * cost_usd", "--context", "language"]
    told = CliRunner().invoke(cli, [*given, "--shuffles", "3", "--policy", "horizon:jitter=0.2", "--policy", "epsilon"])
    assert told.exit_code == 0, told.output
    assert "always large" in told.output or "always small" in told.output
    assert "300 tasks, 3 options on all of them, 3 orders" in told.output
    assert "1 rows could not be used" in told.stderr
    plain = CliRunner().invoke(cli, [*given, "--shuffles", "3", "--json"])
    found = json.loads(plain.stdout)
    assert [item["policy"] for item in found["policies"]] == ["horizon", "probit", "epsilon"]
    for wrong, says in (
        (["--policy", "best"], "use one of epsilon"),
        (["--policy", "horizon:alpha=1"], "it has horizon, by, low"),
        (["--policy", "horizon:alpha"], "NAME=VALUE"),
        (["--unit", "issue"], "there is no column 'issue'"),
        (["--unit", "model"], "no task has two arms"),
    ):
        refused = CliRunner().invoke(cli, [*given, *wrong])
        assert refused.exit_code != 0
        assert says in (refused.output + str(refused.exception))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 2.0),
        ("a - 0.25 * b", 1.0),
        ("-(a + b) / 2", -3.0),
        ("min(a, b, 1) + max(a, b) + abs(-a)", 7.0),
        ("1e3", 1000.0),
    ],
)
def test_arithmetic(text: str, value: float) -> None:
    assert Expression(text).value({"a": 2, "b": 4}) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "a if b else 1",
        "a ** b",
        "__import__('os')",
        *("a.b", "a[0]", "'a'", "True", "a < b", "lambda: a", "f'{a}'"),
        *("min(a)", "min()", "min(*a)", "abs(a, b)", "a" * 600, "(" * 300 + "a" + ")" * 300),
    ],
)
def test_nothing_else_is_arithmetic(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        Expression(text)


@given(st.text(max_size=60))
def test_any_text_is_arithmetic_or_told(text: str) -> None:
    try:
        Expression(text)
    except LearningLoopError as error:
        assert isinstance(error, UsageError)


def test_a_file_without_the_columns_is_told(log: Path) -> None:
    with pytest.raises(MappingError, match="there is no column 'agent': it has task, language"):
        read_matrix(log, arm="agent", reward="solved")
    with pytest.raises(MappingError, match="there is no column 'won'"):
        read_matrix(log, arm="model", reward="won")


def test_odd_rows_are_set_aside_and_only_what_was_tried_everywhere_is_best(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    rows = [{"t": n, "m": m, "r": r} for n in range(30) for m, r in (("a", 0.5), ("b", 0.4))]
    rows += [
        {"m": "c", "t": 1, "r": 1.0},
        {"t": 2, "m": "b"},
        {},
        {"t": 3, "m": "a", "r": 10**400},
        {"t": 3, "m": "a", "r": [1]},
    ]
    rows += [{"t": None, "m": "a", "r": 1}, {"t": 99, "m": "a", "r": 1}, {"t": 4, "m": "a", "r": "1e999"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    matrix = read_matrix(path, arm="m", reward="r")
    assert len(matrix.tasks) == 30
    assert matrix.best == "a"
    assert dict(matrix.arms) == pytest.approx({"a": 0.5, "b": 0.4})
    assert len(matrix.unused) == 7
    assert any("one option alone" in problem for problem in matrix.unused)
    assert replay(matrix, lambda: learner("epsilon"), name="e", shuffles=3).share is not None
