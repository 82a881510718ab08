"""What the right answer to each question is, worked out from what the generator knows, not from what the memory finds.

A question's `want` says what it means, in one of these forms (`where` narrows by any of: outcome, component, type, agent,
tag, error, project, since, before; `notes` by any of: kind, outcome, component, tag, project):

    last: WHERE                 the newest execution of those
    slowest: WHERE              the one that took longest
    count: WHERE                how many there are
    top: BY, where: WHERE       which component, agent, type or error is met most often
    best: BY, where: WHERE      which has the highest share of successes, of those with five runs or more
    worst: BY, where: WHERE     which has the lowest
    trend: OF, where: WHERE     rising, falling or steady: `success` (its share) or `duration`, second half against first
    runs: WHERE                 executions like these, every one cited is one of them
    all: NOTES                  exactly these notes
    note: KEY or [KEY, ...]     one of these notes is among the first three
    nothing: true               the memory knows nothing of it
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tests.questions.world import Happened, World, WrittenNote


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: its words, what it means, and the file of the person who asked."""

    ask: str
    want: dict[str, Any]
    by: str


def asked() -> list[Asked]:
    """Return every question there is."""
    found = []
    for path in sorted(Path(__file__).parent.glob("asked_*.yaml")):
        for item in yaml.safe_load(path.read_text(encoding="utf-8")):
            found.append(Asked(item["ask"], item["want"], path.stem.removeprefix("asked_")))
    return found


def runs(world: World, where: dict[str, Any] | None) -> list[Happened]:
    """Return the executions that fit, oldest first. Those of a project are seen only where it is named."""
    given = dict(where or {})
    project = given.pop("project", None)
    found = [run for run in world.executions if run.project == project]
    for name, value in given.items():
        if name == "outcome":
            found = [run for run in found if run.success == (value == "succeeded")]
        elif name == "tag":
            found = [run for run in found if value in run.tags]
        elif name == "since":
            found = [run for run in found if run.started_at >= _moment(value)]
        elif name == "before":
            found = [run for run in found if run.started_at < _moment(value)]
        else:
            found = [run for run in found if getattr(run, name) == value]
    return found


def notes(world: World, where: dict[str, Any]) -> list[WrittenNote]:
    given = {"project": None, **where}
    found = list(world.notes)
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        if name == "tag":
            found = [note for note in found if set(values) & set(note.tags)]
        else:
            found = [note for note in found if getattr(note, name) in values]
    return found


def _moment(value: date | str) -> datetime:
    day = date.fromisoformat(str(value))
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def top(world: World, by: str, where: dict[str, Any] | None) -> list[tuple[str, int]]:
    """Return values with their counts, the commonest first."""
    return Counter(value for run in runs(world, where) if (value := getattr(run, by)) is not None).most_common()


def shares(world: World, by: str, where: dict[str, Any] | None) -> list[tuple[str, float]]:
    """Return values with their shares of successes, the highest first."""
    groups: dict[str, list[bool]] = {}
    for run in runs(world, where):
        groups.setdefault(getattr(run, by), []).append(run.success)
    found = [(name, sum(given) / len(given)) for name, given in groups.items() if len(given) >= 5]
    return sorted(found, key=lambda item: -item[1])


def trend(world: World, of: str, where: dict[str, Any] | None) -> str:
    """Return rising, falling or steady: the later half of the runs against the earlier, beyond a tenth."""
    found = runs(world, where)
    halves: Sequence[list[Happened]] = (found[: len(found) // 2], found[len(found) // 2 :])
    if of == "duration":
        before, after = (median(run.duration_s for run in half) for half in halves)
        change = after / before - 1
    else:
        before, after = (sum(run.success for run in half) / len(half) for half in halves)
        change = after - before
    return "steady" if abs(change) < 0.1 else "rising" if change > 0 else "falling"


def check(world: World, want: dict[str, Any]) -> str:
    """Return the right answer in words; raise ValueError where the question has none or more than one."""
    where = want.get("where", {})
    form = next(iter(want))
    if form in ("last", "slowest", "count", "runs"):
        found = runs(world, want[form])
        if not found and form != "count":
            raise ValueError(f"no execution fits {want[form]}")
        if form == "count":
            return str(len(found))
        chosen = found[-1] if form == "last" else max(found, key=lambda run: run.duration_s)
        return f"{len(found)} executions" if form == "runs" else chosen.id
    if form == "top":
        counted = top(world, want[form], where)
        if len(counted) > 1 and counted[0][1] == counted[1][1]:
            raise ValueError(f"{counted[:2]} are as common as each other")
        return f"{counted[0][0]} ({counted[0][1]})"
    if form in ("best", "worst"):
        ranked = shares(world, want[form], where)
        ranked = ranked if form == "best" else ranked[::-1]
        if len(ranked) < 2 or abs(ranked[0][1] - ranked[1][1]) < 0.03:
            raise ValueError(f"no clear {form}: {ranked}")
        return f"{ranked[0][0]} ({ranked[0][1]:.0%})"
    if form == "trend":
        return trend(world, want[form], where)
    if form == "all":
        found_notes = notes(world, want[form])
        if not found_notes:
            raise ValueError(f"no note fits {want[form]}")
        return ", ".join(note.key for note in found_notes)
    if form == "note":
        keys = want[form] if isinstance(want[form], list) else [want[form]]
        if unknown := set(keys) - {note.key for note in world.notes}:
            raise ValueError(f"there is no note {unknown}")
        return ", ".join(keys)
    if form != "nothing":
        raise ValueError(f"{form} is no form")
    return "nothing"
