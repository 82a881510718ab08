"""The counts of weeks: kept when a synthesis counts them, and counted again only where runs have come to them since."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from learning_loop.app import App
from learning_loop.ledger import Filter
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Event, Observation
from learning_loop.synthesis import Period, WeekCounts, count_week, week_of
from learning_loop.synthesis.periods import parse_week, weeks_before, weeks_between

HISTORY = 26  # weeks of counts that trends and the outlook look at
MOST_RUNS = 100_000  # of one period that are looked at one by one, the newest


def of_period(period: Period) -> Filter:
    """Return which runs are a period's: those that started in it and have ended."""
    return Filter(since=period.start, before=period.end, sprint=period.sprint, ended=True)


def kept_counts(app: App, weeks: Sequence[Period]) -> dict[str, WeekCounts]:
    """Return the counts that are kept of weeks, by label; not of those that runs have come to since, or were excluded from.

    What was written after a week was counted, or after a later synthesis looked at it, is all that is read for that.
    """
    found = {}
    excluded = [(event.at, datetime.fromisoformat(event.data["started_at"])) for event in app.ledger.events(EXCLUDED)]
    for week in weeks:
        event = app.ledger.events("week", week.label, last=1)
        if not event or event[0].data.get("place") is None or week.start is None or week.end is None:
            continue
        if not any(at >= event[0].at and week.start <= started < week.end for at, started in excluded):
            found[week.label] = dict(event[0].data)
    newest = app.ledger.events("synthesis", last=1)
    checked = newest[0].data.get("checked", {}) if newest else {}
    places = [max(data.pop("place"), checked.get(label, 0)) for label, data in found.items()]
    earliest = app.ledger.earliest_start(after=min(places)) if places else None
    ends = {week.label: week.end for week in weeks}
    return {
        label: WeekCounts.read(data)
        for label, data in found.items()
        if earliest is None or ((end := ends[label]) is not None and end <= earliest)
    }


class CountedWeeks:
    """The counts of the weeks up to a period, the oldest first; what was not kept yet is in `rows`, to be kept.

    Once: of a history that was imported, every week is read by its first synthesis. `checked` says up to which execution the
    kept weeks are known to be whole.
    """

    def __init__(self, app: App, period: Period, zone: tzinfo, runs: Sequence[Observation]) -> None:
        self._app, self._now, self._place = app, app.clock(), app.ledger.last_execution()
        self.rows: list[Event] = []
        last = week_of(period.end - timedelta(seconds=1) if period.end else self._now, zone)
        if period.kind == "sprint" and runs:
            last = week_of(datetime.fromtimestamp(runs[-1].started, UTC), zone)
        looked_at = weeks_before(last, HISTORY, zone)
        kept = kept_counts(app, looked_at)
        self.checked = dict.fromkeys(kept, self._place)
        first, begin = app.ledger.first_start(), last.start or self._now
        start = looked_at[0].start if kept and looked_at else min(first or begin, begin)
        found: list[WeekCounts] = []
        for week in weeks_between(start or begin, begin, zone):
            own = week.label == last.label and period.kind == "week"
            if week.label in kept and not own:
                found.append(kept[week.label])
                continue
            of_week = runs if own else app.ledger.observations(of_period(week), most=MOST_RUNS, features=False)
            if of_week or own:
                found.append(self._count(week, of_week, found[-1] if found else None))
        self.weeks = found[-HISTORY:]

    def _count(self, week: Period, runs: Sequence[Observation], before: WeekCounts | None) -> WeekCounts:
        high = self._app.settings.reflection_triggers.thresholds.high_surprise
        counts = count_week(week.label, week.start or self._now, runs, before, high_surprise=high)
        active = week.start is None or week.end is None or self._app.ledger.runs_between(week.start, week.end)
        data = counts.plain() | {"place": None if active else self._place}
        self.rows.append(Event(kind="week", subject=week.label, at=self._now, data=data))
        return counts


def lifetimes(app: App, state: Mapping[str, Any]) -> list[tuple[float, bool]]:
    """Return how many weeks each success pattern stood, from the first to the last week it did, and whether that is over."""
    spells: dict[tuple[str, str], str] = {}
    for event in app.ledger.events("synthesis"):
        if event.data["kind"] == "week":
            for key, entry in event.data["patterns"].items():
                if entry["family"] == "success":
                    spells[key, entry["since"]] = entry["last"]
    spells |= {(key, entry["since"]): entry["last"] for key, entry in state.items() if entry["family"] == "success"}
    alive = {(key, entry["since"]) for key, entry in state.items()}
    return [(_weeks_apart(since, last) + 1, (key, since) not in alive) for (key, since), last in spells.items()]


def _weeks_apart(first: str, last: str) -> float:
    one, other = parse_week(first).start, parse_week(last).start
    return (other - one).days / 7 if one is not None and other is not None else 0.0
