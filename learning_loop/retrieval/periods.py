"""Times as people say them: "yesterday", "since March", "in week 46", "between 1 June and 30 June"."""

import re
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
_UNITS = {"h": "hour", "hr": "hour", "d": "day", "w": "week", "wk": "week", "mo": "month", "y": "year", "yr": "year"}


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
_PART = (  # of a year
    r"(?:(?:q[1-4]|h[12])|(?:first|second|third|fourth|last|1st|2nd|3rd|4th) (?:quarter|half))"
    r"(?:,? (?:of )?(?:(?:the )?(?:last|previous|this|current) year|the year|\d{4}))?"
)
_DATE = (
    rf"(?:{_PART}|\d{{4}}-\d{{2}}-\d{{2}}|\d{{4}}-\d{{2}}|{_ORDINAL}(?: of)? {_MONTH}(?:,? \d{{4}})?|{_MONTH} {_ORDINAL}(?:,? \d{{4}})?"
    rf"|{_MONTH}(?:,? (?:of )?\d{{4}})?|(?:last |this )?{_DAY}|yesterday|today|new year(?:'s)?(?: day)?|week \d{{1,2}}|(?:this|last) (?:week|month|year)|\d{{4}})"
)
_EDGE = r"(?:(?:the )?(?:beginning|begin|start|end|middle) of )?(?:the )?"
_COUNT = r"(?:\d{1,4}|" + "|".join(NUMBERS) + ")"
_UNIT = r"(?:hours?|hrs?|h|days?|d|weeks?|wks?|w|months?|mo|years?|yrs?|y)"
_FORMS = [
    (
        "between",
        rf"\b(?:between|from) {_EDGE}(?P<a>{_DATE})(?: and| to| till| until| through| -| up to(?: and including)?) {_EDGE}(?P<b>{_DATE})\b",
    ),
    (
        "recent",
        rf"\b(?:in|during|over|within|for)? ?(?:the )?(?:last|past|previous|recent) (?P<n>{_COUNT}) ?(?P<unit>{_UNIT})\b",
    ),
    ("ago", rf"\b(?P<since>since )?(?P<n>{_COUNT}) (?P<unit>{_UNIT}) ago\b"),
    (
        "since",
        rf"\b(?:since|start(?:ing)?(?: with| from| on| in| at)?|beginning (?:with|in|on)|as of|(?:counting )?from) (?P<edge>{_EDGE})(?P<a>{_DATE})(?: onwards?| on(?=[,.?!]|$))?\b",
    ),
    (
        "until",
        rf"\b(?P<word>before|prior to|until|till|through|up to(?: and including)?|no later than) (?P<edge>{_EDGE})(?P<a>{_DATE})\b",
    ),
    ("on", rf"\b(?:(?:in|on|during|of|for|within|throughout|at) )?(?:the )?(?P<a>{_DATE})\b"),
    (
        "span",
        r"\b(?:in |during |over |for )?(?:the )?(?P<which>this|last|past|previous|current) (?P<span>week|month|quarter|year)\b",
    ),
    ("night", r"\b(?:last night|tonight|overnight)\b"),
]
_PATTERNS = [(name, re.compile(pattern)) for name, pattern in _FORMS]
_WORDS_THAT_ARE_NOT_DATES = {"may", "march", "second", "sun", "mon", "sat", "wed", "mar", "dec", "jan", "oct", "fri"}


def read_period(text: str, now: datetime) -> tuple[Period | None, str]:
    """Return the period that a question in lower case speaks of, and the question without it.

    `now` carries the asker's time zone, in which days begin. Weeks are ISO weeks, from Monday; a month, a day or a week
    without its year is the latest that has begun.
    """
    for name, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            try:
                period = _read(name, match, now)
            except OverflowError:  # before the first year, or after the last
                period = None
            if period is not None:
                return period, f"{text[: match.start()]} {text[match.end() :]}"
    return None, text


def _read(name: str, match: re.Match[str], now: datetime) -> Period | None:
    said, today = match[0].strip(), now.date()
    if name == "night":
        evening = _start(today - timedelta(days=said != "tonight"), now) + timedelta(hours=18)
        return Period(evening, evening + timedelta(hours=14), said)
    if name in ("recent", "ago"):
        since = _back(match["n"], match["unit"], now)
        if name == "recent" or match["since"]:
            return Period(since, None, said)
        first, after = _around(since.date(), match["unit"])
        return Period(_start(first, now), _start(after, now), said)
    if name == "span":
        first, after = _span(match["span"], match["which"], today)
        return Period(_start(first, now), _start(after, now), said)
    days = _days(match["a"], today, bare=name == "on" and said == match["a"])
    last = _days(match["b"], today, bare=False) if name == "between" else days
    if days is not None and last is not None and last[1] <= days[0] and not re.search(r"\d{4}", match["b"]):
        last = (_months_on(last[0], 12), _months_on(last[1], 12))  # "between October and December", asked in November
    if days is None or last is None or last[1] <= days[0]:
        return None
    if name == "since":
        return Period(_start(_edge(days, match["edge"], days[0]), now), None, said)
    if name == "until":
        whole = days[0] if match["word"] in ("before", "prior to") else days[1]
        return Period(None, _start(_edge(days, match["edge"], whole), now), said)
    return Period(_start(days[0], now), _start(last[1], now), said)


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


def _days(text: str, today: date, *, bare: bool) -> tuple[date, date] | None:
    """Return the first day of what is meant, and the day after its last; None where no day is meant."""
    if text in ("today", "yesterday"):
        return _one_day(today - timedelta(days=text == "yesterday"))
    if text.startswith("new year"):
        return _one_day(date(today.year, 1, 1))
    if found := re.fullmatch(r"(this|last) (week|month|year)", text):
        return _span(found[2], found[1], today)
    if found := re.fullmatch(_PART, text):
        return _part(text, today)
    if found := re.fullmatch(r"week (\d{1,2})", text):
        return _week(int(found[1]), today)
    if found := re.fullmatch(rf"(?:last |this )?({_DAY})", text):
        back = (today.weekday() - _place(found[1], DAYS)) % 7 or (7 if text.startswith("last") else 0)
        return _one_day(today - timedelta(days=back))
    try:
        return _dated(text, today, bare=bare)
    except ValueError:  # the 31st of February
        return None


def _part(text: str, today: date) -> tuple[date, date] | None:
    """Return a quarter or a half of a year, without its year the latest that has begun."""
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


def _dated(text: str, today: date, *, bare: bool) -> tuple[date, date] | None:
    if found := re.fullmatch(r"(\d{4})-(\d{2})(?:-(\d{2}))?", text):
        first = date(int(found[1]), int(found[2]), int(found[3] or 1))
        return _one_day(first) if found[3] else (first, _next_month(first))
    if re.fullmatch(r"\d{4}", text):
        year = int(text)
        return (date(year, 1, 1), date(year + 1, 1, 1)) if 1990 <= year <= today.year and not bare else None
    return _month_or_day(text, today, bare=bare)


def _month_or_day(text: str, today: date, *, bare: bool) -> tuple[date, date] | None:
    if bare and text in _WORDS_THAT_ARE_NOT_DATES:
        return None
    month = next(_place(word, MONTHS) + 1 for word in re.findall(r"[a-z]+", text) if _is_month(word))
    year = re.search(r"\b\d{4}\b", text)
    for number, word in enumerate(_NTH, 1):
        text = text.replace(word, str(number))
    day = re.search(r"\b(\d{1,2})(?:st|nd|rd|th)?\b", text)
    first = date(int(year[0]) if year else today.year, month, int(day[1]) if day else 1)
    if not year and first > today:
        first = first.replace(year=first.year - 1)
    return _one_day(first) if day else (first, _next_month(first))


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
    number = int(count) if count.isdigit() else NUMBERS[count]
    name = _UNITS.get(unit, unit).rstrip("s")
    name = _UNITS.get(name, name)
    number = min(number, 10_000)
    if name == "hour":
        return now - timedelta(hours=number)
    days = {"day": 1, "week": 7, "month": 30, "year": 365}[name] * number
    return _start(max(date.min + timedelta(days=1), now.date() - timedelta(days=min(days, 700_000))), now)


def _start(day: date, now: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=now.tzinfo)
