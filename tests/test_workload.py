"""What a task asks for: read from its text, held against what somebody else thought of 220 tasks."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.features.workload import COMPLEXITIES, DOMAINS, RISKS, TYPES, Workload, workload_of

LABELLED = Path(__file__).parent / "labelled_tasks.csv"


@pytest.mark.parametrize(
    ("text", "task_type", "domain"),
    [
        ("Add user authentication API", "feature", "backend"),
        ("Fix database query bug", "bug", "database"),
        ("Refactor user service", "refactor", "backend"),
        ("Cover the parser with unit tests", "test", "testing"),
        ("fix(auth): login fails after the token expired", "bug", "security"),
        ("docs: how to run the examples", "docs", "documentation"),
        ("Migrate the orders table to the new schema", "migration", "database"),
        ("hello", None, None),
    ],
)
def test_what_is_said_plainly_is_read_so(text: str, task_type: str | None, domain: str | None) -> None:
    found = workload_of(text, {})
    assert (found.task_type, found.domain) == (task_type, domain)


def test_what_is_given_outranks_the_text() -> None:
    said = {
        "task_type": "Hotfix",
        "domain": "data",
        "complexity": "complex",
        "risk_level": "low",
        "skills": ["sql"],
        "estimated_s": 60,
    }
    found = workload_of("Write the docs of the API", said)
    assert (found.task_type, found.domain, found.complexity, found.risk) == ("bug", "data", "complex", "low")
    assert found.inferred == ()
    assert found.skill_count == pytest.approx(0.1)
    assert found.estimated_time == pytest.approx(0.3618, abs=1e-3)
    assert workload_of("Write the docs of the API", {"type": "whatever"}).inferred == (
        "task_type",
        "domain",
        "complexity",
        "risk",
    )


@given(st.text(max_size=200))
def test_any_text_is_read_the_same_for_ever(text: str) -> None:
    found = workload_of(text, {})
    assert found == workload_of(text, {})
    assert found.task_type in (*TYPES, None)
    assert found.domain in (*DOMAINS, None)
    assert found.complexity in COMPLEXITIES
    assert found.risk in RISKS
    assert all(0 <= value <= 1 for value in (found.domain_diversity, found.skill_count))


def test_tasks_that_somebody_else_labelled_are_read_better_than_by_chance() -> None:
    """Every second task was never looked at when the cues were written: those count."""
    with LABELLED.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[1::2]
    right: Counter[str] = Counter()
    for row in rows:
        found: Workload = workload_of(row["text"], {})
        right.update(name for name in ("task_type", "domain", "complexity", "risk") if getattr(found, name) == row[name])
    shares = {name: count / len(rows) for name, count in right.items()}
    commonest = {name: Counter(row[name] for row in rows).most_common(1)[0][1] / len(rows) for name in shares}
    assert shares["task_type"] > 0.33 > 3 * commonest["task_type"], shares
    assert shares["domain"] > 1.5 * commonest["domain"], shares
    assert shares["risk"] >= 0.5, shares
