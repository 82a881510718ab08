import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from learning_loop.errors import TaskError
from learning_loop.records import Task, new_id, slug


@dataclass
class DataTask:
    id: str
    type: str
    component: str
    customer: int = 5
    parameters: dict[str, Any] = field(default_factory=lambda: {"depth": 2})


class ModelTask(BaseModel):
    id: str
    type: str
    component: str
    customer: int = 5
    parameters: dict[str, Any] = {"depth": 2}


@pytest.mark.parametrize(
    "task",
    [
        {"id": "t", "type": "build", "component": "wheel", "customer": 5, "parameters": {"depth": 2}},
        DataTask("t", "build", "wheel"),
        ModelTask(id="t", type="build", component="wheel"),
    ],
)
def test_a_task_is_read_from_anything_and_its_own_fields_are_parameters(task: Any) -> None:
    read = Task.of(task)
    assert (read.id, read.type, read.component) == ("t", "build", "wheel")
    assert read.parameters == {"customer": 5, "depth": 2}


def test_any_object_with_the_attributes_will_do() -> None:
    read = Task.of(SimpleNamespace(id=42, task_type="etl", tags=["b", "a"], secret="not read"))
    assert (read.id, read.type, read.tags, read.parameters) == ("42", "etl", ("b", "a"), {})


@pytest.mark.parametrize(
    ("task", "word"),
    [
        ({"type": "build"}, "no id"),
        ({"id": "t", "parameters": [1]}, "parameters must be a mapping"),
        ({"id": "t", "tags": 3}, "tags must be a list"),
        ({"id": {"a": 1}}, "id must be text"),
        ({"id": "t", "critical": "yes"}, "critical must be true or false"),
        (object(), "no id"),
    ],
)
def test_a_task_that_cannot_be_used_says_why(task: Any, word: str) -> None:
    with pytest.raises(TaskError, match=word):
        Task.of(task)


def test_ids_sort_by_time_and_do_not_clash() -> None:
    rng = random.Random(1)
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    ids = [new_id(early, rng) for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert max(ids) < new_id(late, rng)


@given(st.text())
def test_a_slug_is_a_file_name(text: str) -> None:
    name = slug(text)
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert slug(name) == name
