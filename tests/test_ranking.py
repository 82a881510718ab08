"""Ranking: bounded parts that add up, and when anything answers at all."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.flows.evaluation import ndcg, recall_at, reciprocal_rank
from learning_loop.retrieval.insights import interval, trend_of
from learning_loop.retrieval.ranking import Candidate, Standing, answers, covered, rank, shortlist

NOW = datetime(2026, 3, 2, tzinfo=UTC)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        chunk=st.integers(0, 10_000),
        note=st.integers(0, 5),
        words=st.floats(0, 60),
        meaning=st.floats(-1, 1) | st.none(),
        beside=st.floats(-1, 1) | st.none(),
    ),
    max_size=12,
    unique_by=lambda candidate: candidate.chunk,
)
STANDINGS = st.builds(
    Standing,
    source=st.text("abc", max_size=3),
    names=st.just((frozenset({"api"}),)),
    status=st.sampled_from(["active", "superseded", "archived"]),
    asked=st.booleans(),
    seen=st.integers(0, 50),
    changed=st.just(NOW - timedelta(days=9)) | st.none(),
    effect=st.floats(-30, 30) | st.none(),
)


@given(CANDIDATES, STANDINGS, st.booleans())
def test_scores_are_bounded_and_their_parts_add_up(candidates: list[Candidate], standing: Standing, notes: bool) -> None:
    listed = shortlist(candidates, 10)
    ranked = rank(listed, {candidate.chunk: standing for candidate, _ in listed}, {"api"}, now=NOW, notes=notes)
    assert len(ranked) <= 10
    for item in ranked:
        assert 0 <= item.score <= 1
        assert item.score == pytest.approx(min(1.0, max(0.0, sum(item.parts.values()))))
    assert [item.score for item in ranked] == sorted((item.score for item in ranked), reverse=True)
    if notes:
        assert len({item.note for item in ranked}) == len(ranked)


def test_what_stands_comes_before_what_is_past_and_what_is_gone_is_left_out() -> None:
    listed = shortlist([Candidate(1, 1, 9.0, 0.9), Candidate(2, 2, 1.0, 0.1), Candidate(3, 3, 5.0, 0.5)], 10)
    ranked = rank(listed, {1: Standing(status="superseded"), 2: Standing()}, frozenset(), now=NOW, notes=True)
    assert [item.chunk for item in ranked] == [2, 1]


def test_a_shortlist_takes_so_many_of_each_note() -> None:
    listed = shortlist([Candidate(number, 1, 9.0, None) for number in range(5)] + [Candidate(9, 2, 1.0, None)], 10, each=2)
    assert [candidate.chunk for candidate, _ in listed] == [0, 1, 9]


def test_what_merely_lies_nearest_does_not_answer() -> None:
    assert answers(0.5, 0.0, 0)
    assert answers(0.2, 0.8, 4)
    assert not answers(0.3, 0.2, 1)
    assert answers(None, 0.6, 2)
    assert not answers(None, 0.2, 1)
    assert covered(["deploys", "flumox"], ["deploy", "of"]) == (0.5, 1)


def test_measures_have_their_textbook_values() -> None:
    found = ["x", "a", "y", "b"]
    assert recall_at(frozenset("ab"), found, 2) == 0.5
    assert reciprocal_rank(frozenset("ab"), found) == 0.5
    assert ndcg(frozenset("a"), ["a"]) == 1.0
    assert ndcg(frozenset("ab"), found) == pytest.approx((1 / 1.58496 + 1 / 2.32193) / (1 + 1 / 1.58496), abs=1e-4)


def test_an_interval_of_a_share_is_wilsons() -> None:
    low, high = interval(8, 10)
    assert [low, high] == pytest.approx([0.490, 0.943], abs=0.001)


def test_a_trend_needs_runs_and_a_difference() -> None:
    assert trend_of([(True, 1.0, None)] * 3, "success") is None
    assert trend_of([(True, 1.0, None)] * 20, "cost") is None
    steady = trend_of([(place % 2 == 0, 1.0, None) for place in range(40)], "success")
    rising = trend_of([(place >= 20, 1.0, None) for place in range(40)], "success")
    slower = trend_of([(True, 1.0 + place, None) for place in range(40)], "duration")
    assert steady is not None
    assert rising is not None
    assert slower is not None
    assert (steady[0], rising[0], slower[0]) == ("steady", "rising", "rising")
