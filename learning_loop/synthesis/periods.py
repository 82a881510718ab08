"""Periods that are synthesised and reviewed: ISO weeks and months in a time zone, and sprints."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import blake2b

from learning_loop.errors import UsageError
from learning_loop.records import slug

_WEEK = re.compile(r"(\d{4})-?W(\d{1,2})", re.IGNORECASE)
_MONTH = re.compile(r"(\d{4})-(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Period:
    """A week, a month or a sprint: from `start` to before `end`, both in UTC. A sprint is its name; its times may be open."""

    label: str
    kind: str
    start: datetime | None
    end: datetime | None
    sprint: str | None = None

    @classmethod
    def of_sprint(cls, name: str) -> "Period":
        plain = slug(name)
        mark = "" if plain == name else f"-{blake2b(name.encode(), digest_size=2).hexdigest()}"  # two names may read alike
        return cls(f"sprint-{plain}{mark}", "sprint", None, None, name)

    @property
    def title(self) -> str:
        return {"week": "Week", "month": "Month", "sprint": "Sprint"}[self.kind] + f" {self.sprint or self.label}"


def week_of(moment: datetime, zone: tzinfo = UTC) -> Period:
    """Return the ISO week that a moment lies in."""
    year, number, _ = moment.astimezone(zone).isocalendar()
    return _week(year, number, zone)


def _week(year: int, number: int, zone: tzinfo) -> Period:
    try:
        first = datetime.fromisocalendar(year, number, 1)
        monday, after = first.replace(tzinfo=zone), (first + timedelta(days=7)).replace(tzinfo=zone)
        return Period(f"{year:04}-W{number:02}", "week", monday.astimezone(UTC), after.astimezone(UTC))
    except (ValueError, OverflowError):
        raise UsageError(f"there is no week {year:04}-W{number:02} to be looked at") from None


def parse_week(text: str, zone: tzinfo = UTC) -> Period:
    """Read 2026-W47; raise UsageError."""
    found = _WEEK.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no week: write it as 2026-W47")
    return _week(int(found[1]), int(found[2]), zone)


def parse_month(text: str, zone: tzinfo = UTC) -> Period:
    """Read 2026-11; raise UsageError."""
    found = _MONTH.fullmatch(text.strip())
    if found is None or not 1 <= int(found[2]) <= 12:
        raise UsageError(f"{text!r} is no month: write it as 2026-11")
    year, month = int(found[1]), int(found[2])
    try:
        start = datetime(year, month, 1, tzinfo=zone)
        end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
        return Period(f"{year:04}-{month:02}", "month", start.astimezone(UTC), end.astimezone(UTC))
    except (ValueError, OverflowError):
        raise UsageError(f"there is no month {text} to be looked at") from None


def month_of(moment: datetime, zone: tzinfo = UTC) -> Period:
    """Return the month that a moment lies in."""
    return parse_month(f"{moment.astimezone(zone):%Y-%m}", zone)


def weeks_before(period: Period, count: int, zone: tzinfo = UTC) -> list[Period]:
    """Return the `count` weeks before one, the oldest first."""
    found: list[Period] = []
    start = period.start
    while start is not None and len(found) < count:
        found.append(week_of(start - timedelta(days=3), zone))
        start = found[-1].start
    return found[::-1]


def weeks_between(first: datetime, last: datetime, zone: tzinfo = UTC) -> Iterator[Period]:
    """Yield the weeks from the one `first` lies in to the one `last` lies in."""
    period, until = week_of(first, zone), week_of(last, zone)
    while period.start is not None and until.start is not None and period.start <= until.start:
        yield period
        period = week_of(period.start + timedelta(days=10), zone)
