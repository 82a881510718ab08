"""Times as people say them: "yesterday", "since March", "in week 46", "between 1 June and 30 June"."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, date, datetime, timedelta

MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NUMBERS = {
    name: number
    for number, name in enumerate(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
        ],
        1,
    )
} | {"a": 1, "an": 1, "couple of": 2, "few": 3, "twenty": 20, "thirty": 30, "sixty": 60, "ninety": 90}
_HOURS = {"this morning": (0, 12), "this afternoon": (12, 18), "this evening": (18, 24)}
_UNITS = {
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
    "w": "week",
    "wk": "week",
    "mo": "month",
    "y": "year",
    "yr": "year",
}


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` up to, not including, `before`; None is open. `said` is how it was put."""

    since: datetime | None
    before: datetime | None
    said: str


def _any(names: tuple[str, ...]) -> str:
    return "|".join(f"{name[:3]}(?:{name[3:]}|\\.)?" if len(name) > 4 else name for name in names)


_MONTH = rf"(?:{_any(MONTHS)}|sept\.?)"
_DAY = rf"(?:{_any(DAYS)})"
_NTH = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINAL = rf"(?:\d{{1,2}}(?:st|nd|rd|th)?|{'|'.join(_NTH)})"
_YEAR = r"(?:,? (?:of )?(?:(?:the )?(?:last|previous|this|current) year|the year|\d{4}))"
_PART = (  # of a year; "the last quarter" is the one before this
    rf"(?:(?:q[1-4]|h[12]|(?:first|second|third|fourth|1st|2nd|3rd|4th) (?:quarter|half)){_YEAR}?|last (?:quarter|half){_YEAR})"
)
_WHICH_THIRD = r"(?:(?:early|mid|late)[ -]|(?:the )?(?:beginning|begin|start|middle|end) of (?:the )?)"
_THIRD = rf"{_WHICH_THIRD}{_MONTH}{_YEAR}?"
_WEEK_OF = rf"(?:the )?(?:first|second|third|fourth|last) week (?:of|in) (?:the )?{_MONTH}{_YEAR}?"
_DATE = (
    "(?:"
    + "|".join(
        [
            _PART,
            _WEEK_OF,
            r"\d{4}-w\d{1,2}",
            r"\d{4}-\d{2}-\d{2}",
            r"\d{4}-\d{2}",
            rf"{_ORDINAL}(?: of)? {_MONTH}{_YEAR}?",
            rf"{_MONTH} {_ORDINAL}(?!\w)(?:,? \d{{4}})?",
            rf"{_MONTH}{_YEAR}?",
            rf"(?:last |this )?{_DAY}",
            r"(?:the )?day before yesterday",
            r"yesterday|today|this morning|this afternoon|this evening",
            r"new year(?:'s)?(?: day)?",
            r"week \d{1,2}",
            r"(?:this|last) (?:week|month|year|quarter)",
            r"\d{4}(?! (?!and|or|to|on)[a-z]+)",  # in 2025, but not the 2000 runs
        ]
    )
    + ")"
)
_EDGE = r"(?:(?:the )?(?:beginning|begin|start|end|middle) of )?(?:the )?"
_COUNT = r"(?:\d{1,4}|" + "|".join(NUMBERS) + ")"
_UNIT = r"(?:hours?|hrs?|h|days?|d|weeks?|wks?|w|months?|mo|years?|yrs?|y|minutes?|mins?)"
_UPTO = r"(?: and| to| till| until| through| -| up to(?: and including)?)"
_FORMS = [
    (
        "days",
        rf"\b(?:between|from) (?:the )?(?P<first>{_ORDINAL}){_UPTO} (?:the )?(?P<b>{_ORDINAL}(?: of)? {_MONTH}{_YEAR}?)\b",
    ),
    ("between", rf"\b(?:between|from) {_EDGE}(?P<a>{_DATE}){_UPTO} {_EDGE}(?P<b>{_DATE})\b"),
    (
        "recent",
        rf"\b(?:in|during|over|within|for)? ?(?:the )?(?:last|past|previous|recent) (?P<n>{_COUNT}) ?(?P<unit>{_UNIT})\b",
    ),
    ("recent", r"\b(?:in|during|over|within|for)? ?(?:the )?(?:last|past) (?P<n>half an |half |)(?P<unit>hour|day|minute)\b"),
    ("ago", rf"\b(?P<since>since )?(?P<n>{_COUNT}) (?P<unit>{_UNIT}) ago\b"),
    (
        "since",
        r"\b(?P<word>since|start(?:ing)?(?: with| from| on| in| at)?|beginning (?:with|in|on)|as of|(?:counting )?from|after|later than)"
        rf" (?P<edge>{_EDGE})(?P<a>{_DATE})(?: onwards?| on(?=[,.?!]|$))?\b",
    ),
    (
        "until",
        rf"\b(?P<word>(?<!day )before|prior to|until|till|through|up to(?: and including)?|no later than|earlier than) (?P<edge>{_EDGE})(?P<a>{_DATE})\b",
    ),
    ("on", rf"\b(?:(?:in|on|during|of|for|within|throughout|at) )?(?:the )?(?P<a>{_THIRD}|{_DATE})\b"),
    (
        "span",
        r"\b(?:in |during |over |for )?(?:the )?(?P<which>this|last|past|previous|current) (?P<span>week|month|quarter|year)\b",
    ),
    ("night", r"\b(?:last night|tonight|overnight)\b"),
]
_HINT = re.compile(  # without one of these no form fits, and none has to be compiled
    r"\d|ago|last|past|recent|today|yesterday|day|week|month|quarter|year|half|hour|hr|min|night|morning|afternoon|evening|"
    + "|".join(name[:3] for name in (*MONTHS, *DAYS))
)
_WORDS_THAT_ARE_NOT_DATES = {"may", "march", "second", "sun", "mon", "sat", "wed", "mar", "dec", "jan", "oct", "fri"}


def read_period(text: str, now: datetime) -> tuple[Period | None, str]:
    """Return the period that a question in lower case speaks of, and the question without it.

    `now` carries the asker's time zone, in which days begin. Weeks are ISO weeks, from Monday; a month, a day or a week
    without its year is the latest that has begun.
    """
    period, rest = _first(text, now)
    if period is not None and period.since and period.before:
        more, less = _first(rest, now)
        if more is not None and more.since and more.before and (more.before == period.since or more.since == period.before):
            said = f"{period.said} and {more.said}"  # "this month and last month"
            return Period(min(period.since, more.since), max(period.before, more.before), said), less
    return period, rest


def _first(text: str, now: datetime) -> tuple[Period | None, str]:
    if not _HINT.search(text):
        return None, text
    for name, pattern in _FORMS:
        for match in re.finditer(pattern, text):
            try:
                period = _READERS[name](match, now)
            except (OverflowError, ValueError):  # before the first year, or after the last; the 31st of February
                period = None
            if period is not None:
                return period, f"{text[: match.start()]} {text[match.end() :]}"
    return None, text


def _night(match: re.Match[str], now: datetime) -> Period:
    evening = _start(now.date() - timedelta(days="tonight" not in match[0]), now) + timedelta(hours=18)
    return Period(evening, evening + timedelta(hours=14), match[0].strip())


def _recent(match: re.Match[str], now: datetime) -> Period:
    return Period(_back(match["n"], match["unit"], now), None, match[0].strip())


def _ago(match: re.Match[str], now: datetime) -> Period | None:
    since = _back(match["n"], match["unit"], now)
    return Period(since, None, match[0].strip()) if match["since"] else _whole(_around(since.date(), match["unit"]), match, now)


def _this_or_last(match: re.Match[str], now: datetime) -> Period | None:
    return _whole(_span(match["span"], match["which"], now.date()), match, now)


def _days_of_a_month(match: re.Match[str], now: datetime) -> Period | None:
    """Read "between 1 and 15 June"."""
    last = _days(match["b"], now.date())
    return _whole((last[0].replace(day=_nth(match["first"])), last[1]), match, now) if last is not None else None


def _between(match: re.Match[str], now: datetime) -> Period | None:
    first, last = _days(match["a"], now.date()), _days(match["b"], now.date())
    if first is None or last is None:
        return None
    if last[1] <= first[0] and not re.search(r"\d{4}", match["b"]):  # "between October and December", asked in November
        last = (_months_on(last[0], 12), _months_on(last[1], 12))
    return _whole((first[0], last[1]), match, now)


def _since(match: re.Match[str], now: datetime) -> Period | None:
    if (days := _days(match["a"], now.date())) is None:
        return None
    whole = days[1] if match["word"] in ("after", "later than") else days[0]
    return Period(_start(_edge(days, match["edge"], whole), now), None, match[0].strip())


def _until(match: re.Match[str], now: datetime) -> Period | None:
    if (days := _days(match["a"], now.date())) is None:
        return None
    whole = days[0] if match["word"] in ("before", "prior to", "earlier than") else days[1]
    return Period(None, _start(_edge(days, match["edge"], whole), now), match[0].strip())


def _on(match: re.Match[str], now: datetime) -> Period | None:
    if match[0].strip() == match["a"] and (match["a"] in _WORDS_THAT_ARE_NOT_DATES or re.fullmatch(r"\d{4}", match["a"])):
        return None
    if (days := _days(match["a"], now.date())) is None:
        return None
    if hours := _HOURS.get(match["a"]):
        first, last = (_start(days[0], now) + timedelta(hours=hour) for hour in hours)
        return Period(first, last, match[0].strip())
    return _whole(days, match, now)


def _whole(days: tuple[date, date], match: re.Match[str], now: datetime) -> Period | None:
    return Period(_start(days[0], now), _start(days[1], now), match[0].strip()) if days[0] < days[1] else None


_READERS: dict[str, Callable[[re.Match[str], datetime], Period | None]] = {
    "days": _days_of_a_month,
    "between": _between,
    "recent": _recent,
    "ago": _ago,
    "since": _since,
    "until": _until,
    "on": _on,
    "span": _this_or_last,
    "night": _night,
}


def _edge(days: tuple[date, date], edge: str, whole: date) -> date:
    """Return where "the end of" or "the middle of" some days is; `whole` where neither was said."""
    if "end" in edge:
        return days[1]
    if "middle" in edge:
        return days[0] + (days[1] - days[0]) / 2
    return days[0] if "beginning" in edge or "start" in edge else whole


def _around(day: date, unit: str) -> tuple[date, date]:
    """Return the days that are meant by so many units ago: the week of that day, its month or its year, or the day itself."""
    if unit.startswith("w"):
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    if unit.startswith("mo"):
        return day.replace(day=1), _next_month(day.replace(day=1))
    if unit.startswith("y"):
        return date(day.year, 1, 1), date(day.year + 1, 1, 1)
    return _one_day(day)


def _days(text: str, today: date) -> tuple[date, date] | None:
    """Return the first day of what is meant, and the day after its last; None where no day is meant. Raise ValueError."""
    for pattern, read in _DAYS_SAID:
        if found := re.fullmatch(pattern, text):
            return read(found, today)
    return _month_or_day(text, today)


def _part(found: re.Match[str], today: date) -> tuple[date, date] | None:
    """Return a quarter or a half of a year, without its year the latest that has begun."""
    text = found[0]
    months = 6 if "half" in text or text.startswith("h") else 3
    number = re.search(r"\b[qh]?([1-4])(?!\d)", text)
    place = int(number[1]) if number else next((nth for nth, word in enumerate(_NTH, 1) if word in text), 12 // months)
    year = re.search(r"\b\d{4}\b", text)
    first = date(int(year[0]) if year else today.year, 1, 1)
    if place * months > 12 or not MINYEAR < first.year < MAXYEAR:
        return None
    first = _months_on(first, (place - 1) * months)
    if "last year" in text or "previous year" in text or (not year and "year" not in text and first > today):
        first = _months_on(first, -12)
    return first, _months_on(first, months)


def _one_day(day: date) -> tuple[date, date]:
    return day, day + timedelta(days=1)


def _iso(found: re.Match[str], _: date) -> tuple[date, date]:
    first = date(int(found[1]), int(found[2]), int(found[3] or 1))
    return _one_day(first) if found[3] else (first, _next_month(first))


def _iso_week(found: re.Match[str], _: date) -> tuple[date, date]:
    monday = date.fromisocalendar(int(found[1]), int(found[2]), 1)
    return monday, monday + timedelta(days=7)


def _year(found: re.Match[str], today: date) -> tuple[date, date] | None:
    year = int(found[0])
    return (date(year, 1, 1), date(year + 1, 1, 1)) if 1990 <= year <= today.year else None


def _weekday(found: re.Match[str], today: date) -> tuple[date, date]:
    back = (today.weekday() - _place(found[1], DAYS)) % 7 or (7 if found[0].startswith("last") else 0)
    return _one_day(today - timedelta(days=back))


def _month_or_day(text: str, today: date) -> tuple[date, date]:
    month = next(_place(word, MONTHS) + 1 for word in re.findall(r"[a-z]+", text) if _is_month(word))
    year = re.search(r"\b\d{4}\b", text)
    day = re.search(rf"\b{_ORDINAL}(?!\d)\b", text)
    first = date(int(year[0]) if year else today.year, month, _nth(day[0]) if day else 1)
    if "last year" in text or "previous year" in text:
        first = first.replace(year=today.year - 1)
    elif not year and "year" not in text and first > today:
        first = first.replace(year=first.year - 1)
    return _one_day(first) if day else (first, _next_month(first))


def _nth(text: str) -> int:
    return _NTH.index(text) + 1 if text in _NTH else int(re.sub(r"\D", "", text))


def _week_of(found: re.Match[str], today: date) -> tuple[date, date]:
    """Return the first seven days of a month, the second, and so on; the last week is its last seven."""
    days = _month_or_day(found["month"], today)
    first = days[1] - timedelta(days=7) if found["nth"] == "last" else days[0] + timedelta(days=7 * _NTH.index(found["nth"]))
    return first, first + timedelta(days=7)


def _third(found: re.Match[str], today: date) -> tuple[date, date]:
    """Return the first ten days of a month, the next ten, or the rest."""
    first, after = _month_or_day(found["month"], today)
    edges = (first, first + timedelta(days=10), first + timedelta(days=20), after)
    place = 2 if re.search(r"late|end", found["which"]) else 1 if "mid" in found["which"] else 0
    return edges[place], edges[place + 1]


def _is_month(word: str) -> bool:
    return re.fullmatch(_MONTH, word) is not None


def _place(word: str, names: tuple[str, ...]) -> int:
    return next(place for place, name in enumerate(names) if name.startswith(word.rstrip(".")[:3]))


def _week(number: int, today: date) -> tuple[date, date] | None:
    for year in (today.isocalendar().year, today.isocalendar().year - 1):
        try:
            monday = date.fromisocalendar(year, number, 1)
        except ValueError:
            continue
        if monday <= today:
            return monday, monday + timedelta(days=7)
    return None


def _span(span: str, which: str, today: date) -> tuple[date, date]:
    if span == "week":
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
        before = first - timedelta(days=7)
    elif span == "year":
        first, after, before = date(today.year, 1, 1), date(today.year + 1, 1, 1), date(today.year - 1, 1, 1)
    else:
        length = 3 if span == "quarter" else 1
        first = date(today.year, (today.month - 1) // length * length + 1, 1)
        after, before = _months_on(first, length), _months_on(first, -length)
    return (first, after) if which in ("this", "current") else (before, first)


def _months_on(day: date, months: int) -> date:
    place = day.year * 12 + day.month - 1 + months
    return date(place // 12, place % 12 + 1, 1)


def _next_month(first: date) -> date:
    return _months_on(first, 1)


def _back(count: str, unit: str, now: datetime) -> datetime:
    if count.startswith("half"):
        return now - timedelta(minutes=30) if unit == "hour" else now - timedelta(hours=12)
    number = int(count) if count.isdigit() else NUMBERS.get(count, 1)
    name = _UNITS.get(unit, unit).rstrip("s")
    name = _UNITS.get(name, name)
    number = min(number, 10_000)
    if name == "hour":
        return now - timedelta(hours=number)
    if name == "minute":
        return now - timedelta(minutes=number)
    if name == "day" and not count:  # the past day, not since midnight
        return now - timedelta(days=1)
    days = {"day": 1, "week": 7, "month": 30, "year": 365}[name] * number
    return _start(max(date.min + timedelta(days=1), now.date() - timedelta(days=min(days, 700_000))), now)


def _start(day: date, now: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=now.tzinfo)


_DAYS_SAID: list[tuple[str, Callable[[re.Match[str], date], tuple[date, date] | None]]] = [
    (r"today|this (?:morning|afternoon|evening)", lambda _, today: _one_day(today)),
    (r"yesterday", lambda _, today: _one_day(today - timedelta(days=1))),
    (r"(?:the )?day before yesterday", lambda _, today: _one_day(today - timedelta(days=2))),
    (r"new year(?:'s)?(?: day)?", lambda _, today: _one_day(date(today.year, 1, 1))),
    (r"(this|last) (week|month|year|quarter)", lambda found, today: _span(found[2], found[1], today)),
    (r"week (\d{1,2})", lambda found, today: _week(int(found[1]), today)),
    (r"(\d{4})-w(\d{1,2})", _iso_week),
    (r"(\d{4})-(\d{2})(?:-(\d{2}))?", _iso),
    (r"\d{4}", _year),
    (rf"(?:last |this )?({_DAY})", _weekday),
    (_PART, _part),
    (rf"(?:the )?(?P<nth>\w+) week (?:of|in) (?:the )?(?P<month>{_MONTH}{_YEAR}?)", _week_of),
    (rf"(?P<which>{_WHICH_THIRD})(?P<month>{_MONTH}{_YEAR}?)", _third),
]
