"""Slots: when synthesis is due, also after the machine was off, and exactly once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from learning_loop.app import App
from learning_loop.jobs import carry_out, due, recipes, run, slots, upcoming
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY
from tests.test_synthesis import rows, take_in

START = datetime(2026, 3, 2, tzinfo=UTC)


def opened(workspace: Workspace, now: datetime, **environ: str) -> App:
    return App.open(workspace, environ={**WORDS_ONLY, **environ}, clock=lambda: now)


def test_slots_are_weekly_and_on_the_last_friday(app: App) -> None:
    found = slots(app, START, START + timedelta(days=30))
    assert [(slot.job, slot.period.label, slot.at.isoformat()) for slot in found] == [
        ("weekly", "2026-W10", "2026-03-08T23:00:00+00:00"),
        ("weekly", "2026-W11", "2026-03-15T23:00:00+00:00"),
        ("weekly", "2026-W12", "2026-03-22T23:00:00+00:00"),
        ("monthly", "2026-03", "2026-03-27T23:00:00+00:00"),
        ("weekly", "2026-W13", "2026-03-29T23:00:00+00:00"),
    ]


def test_slots_keep_the_wall_clock_of_their_time_zone(workspace: Workspace) -> None:
    with opened(workspace, START, LEARNING_LOOP_SYNTHESIS_TIMEZONE="Europe/Berlin") as app:
        weekly = [slot for slot in slots(app, START, START + timedelta(days=35)) if slot.job == "weekly"]
        assert {slot.at.astimezone(ZoneInfo("Europe/Berlin")).hour for slot in weekly} == {23}
        assert {slot.at.astimezone(UTC).hour for slot in weekly} == {21, 22}  # summer time begins on 29 March


def test_a_slot_early_in_a_week_looks_at_the_week_before(workspace: Workspace) -> None:
    name = "LEARNING_LOOP_REFLECTION_TRIGGERS_SYNTHESIS_SCHEDULE_WEEKLY"
    with opened(workspace, START, **{name: "monday_06:00"}) as app:
        (slot, *_) = slots(app, START + timedelta(days=1), START + timedelta(days=8))
        assert (slot.at.isoformat(), slot.period.label) == ("2026-03-09T06:00:00+00:00", "2026-W10")


def test_what_was_missed_is_caught_up_with_once(workspace: Workspace, tmp_path: Path) -> None:
    with opened(workspace, START) as app:
        assert due(app) == []
        take_in(app, rows(0, 60, START), tmp_path)
    with opened(workspace, START + timedelta(days=7)) as app:
        (slot,) = due(app)
        carry_out(app, slot)
        assert due(app) == []
    with opened(workspace, START + timedelta(days=30)) as app:  # off for three weeks
        take_in(app, rows(1_000, 60, START + timedelta(days=8)), tmp_path)
        assert [slot.name for slot in due(app)] == ["weekly:2026-W11", "weekly:2026-W12", "monthly:2026-03", "weekly:2026-W13"]
        said: list[str] = []
    assert run(lambda: opened(workspace, START + timedelta(days=30)), said.append, pytest.fail, once=True)
    assert len(said) == 4
    assert run(lambda: opened(workspace, START + timedelta(days=30)), said.append, pytest.fail, once=True)
    assert len(said) == 4
    with opened(workspace, START + timedelta(days=30)) as app:
        assert {slot.job for slot in upcoming(app)} == {"weekly", "monthly"}
        assert len(app.ledger.events("job")) == 5


def test_switched_off_is_off(workspace: Workspace) -> None:
    prefix = "LEARNING_LOOP_REFLECTION_TRIGGERS_SYNTHESIS_SCHEDULE_"
    with opened(workspace, START, **{f"{prefix}WEEKLY": "null", f"{prefix}MONTHLY": "null"}) as app:
        assert slots(app, START, START + timedelta(days=60)) == []


def test_recipes_name_the_workspace() -> None:
    found = recipes("learning-loop", "/srv/work")
    assert all("learning-loop -C /srv/work schedule run --once" in text for text in found.values())
