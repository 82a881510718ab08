"""Conditions: parsing and printing are an identity, and what they say holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.errors import ConditionError
from learning_loop.features.conditions import (
    OPERATORS,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Not,
    all_of,
    any_of,
    facts_of,
    holds,
    parse,
    show,
)

texts = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable() or "\n" in text)
names = st.one_of(
    st.sampled_from(["type", "component", "project", "agent", "tag"]),
    st.builds("{}.{}".format, st.sampled_from(["parameter", "dependency", "decision", "state"]), texts),
)
comparisons = st.one_of(
    st.builds(lambda name, sign, value: Comparison(name, sign, (value,)), names, st.sampled_from(OPERATORS), texts),
    st.builds(lambda name, values: Comparison(name, "in", tuple(values)), names, st.lists(texts, min_size=1, max_size=3)),
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(all_of, st.lists(inner, min_size=2, max_size=3)),
        st.builds(any_of, st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


@given(conditions)
def test_parsing_what_was_printed_is_an_identity(condition: Condition) -> None:
    assert parse(show(condition)) == condition


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_one_clear_error(text: str) -> None:
    try:
        condition = parse(text)
    except ConditionError as error:
        assert "\n" not in str(error).replace(repr(text), "")
    else:
        assert parse(show(condition)) == condition


FACTS = facts_of(
    {
        "type": "build",
        "component": "wheel",
        "parameter:size": "12",
        "tag:nightly": "yes",
        "tag:slow": "yes",
        "state:python.version": "3.11",
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type = build", True),
        ("type != build", False),
        ("parameter.size > 11.5 and parameter.size <= 12", True),
        ("parameter.size = 12.0", False),
        ("tag = nightly and tag = slow", True),
        ("tag != nightly", False),
        ("component in (api, wheel)", True),
        ("not component in (api, wheel)", False),
        ("agent = ann or state.python.version = 3.11", True),
        ("agent = ann", False),
        ("agent != ann", True),
        ("parameter.missing > 1", False),
        ("type = build and (component = api or not agent = ann)", True),
        ("component > 3", False),
    ],
)
def test_conditions_hold(text: str, expected: bool) -> None:
    assert holds(parse(text), FACTS) is expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at its end"),
        ("componnt = api", "not known of a task"),
        ("component api", "one of ="),
        ("component = api agent = x", "`and` or `or` is missing"),
        ("component in (a", "')' is expected"),
        ("component = two words", "missing before"),
        ("(" * 100 + "type = a", "nested too deeply"),
        ("not " * 100 + "type = a", "nested too deeply"),
        ("type = " + "a" * 5_000, "longer than"),
    ],
)
def test_errors_say_where_and_what(text: str, says: str) -> None:
    with pytest.raises(ConditionError, match=re.escape(says)):
        parse(text)


def test_flattening_keeps_what_is_said() -> None:
    assert parse("type = a and (component = b and agent = c)") == AllOf(
        (Comparison("type", "=", ("a",)), Comparison("component", "=", ("b",)), Comparison("agent", "=", ("c",)))
    )
    assert isinstance(parse("type = a or (component = b or agent = c)"), AnyOf)
