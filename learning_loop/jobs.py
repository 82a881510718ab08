"""Slots: when synthesis is due, which slots were missed while the machine was off, and a ticker that carries all of it out."""

import calendar
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from learning_loop.app import App
from learning_loop.errors import LearningLoopError
from learning_loop.flows.synthesis import Synthesis, synthesize
from learning_loop.records import Event
from learning_loop.settings import WEEKDAYS
from learning_loop.synthesis import Period, week_of
from learning_loop.synthesis.periods import month_of

MOST_MISSED = 12  # slots of a job that are caught up with, the newest
TICK_S = 20
RETRY_S = 600.0  # after a slot failed
MONTHLY_HOUR = 23
EVOLVE_S = 3_600.0  # how often it is looked whether a strategy may evolve


@dataclass(frozen=True, slots=True)
class Slot:
    """One time a job is due, and the period it is to look at."""

    job: str
    at: datetime
    period: Period

    @property
    def name(self) -> str:
        return f"{self.job}:{self.period.label}"


def slots(app: App, since: datetime, until: datetime) -> list[Slot]:
    """Return the slots after `since` up to `until`, the oldest first, by the schedule and the time zone of the workspace."""
    schedule = app.settings.reflection_triggers.synthesis_schedule
    zone = ZoneInfo(app.settings.synthesis.timezone)
    found = []
    for day in _days(since.astimezone(zone).date(), until.astimezone(zone).date()):
        if schedule.weekly is not None:
            weekday, _, moment = schedule.weekly.partition("_")
            hour, _, minute = moment.partition(":")
            if day.weekday() == WEEKDAYS.index(weekday):
                at = datetime(day.year, day.month, day.day, int(hour), int(minute), tzinfo=zone)
                found.append(Slot("weekly", at, week_of(_worked(at), zone)))
        if schedule.monthly is not None and _is_last(day, schedule.monthly.removeprefix("last_")):
            at = datetime(day.year, day.month, day.day, MONTHLY_HOUR, tzinfo=zone)
            found.append(Slot("monthly", at, month_of(at, zone)))
    return sorted((slot for slot in found if since < slot.at <= until), key=lambda slot: (slot.at, slot.job))


def _worked(at: datetime) -> datetime:
    """Return a moment in the week that a slot is to look at: one early in a week looks at the week before."""
    return at - timedelta(days=3)


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def _is_last(day: date, weekday: str) -> bool:
    days = calendar.monthrange(day.year, day.month)[1]
    return day.weekday() == WEEKDAYS.index(weekday) and day.day + 7 > days


def due(app: App) -> list[Slot]:
    """Return the slots that are due: of each job all since the one that was done last, at most a dozen.

    Of a job that was never done, the last one alone: a history that was imported is no reason to look back.
    """
    first, now = app.ledger.first_start(), app.clock()
    if first is None:
        return []
    done = app.ledger.events("job")
    found = []
    for job in ("weekly", "monthly"):
        before = [datetime.fromisoformat(event.data["at"]) for event in done if event.subject.startswith(f"{job}:")]
        waiting = [slot for slot in slots(app, max(before, default=first), now) if slot.job == job]
        found += waiting[-MOST_MISSED:] if before else waiting[-1:]
    return sorted(found, key=lambda slot: (slot.at, slot.job))


def upcoming(app: App) -> list[Slot]:
    """Return the next slot of each job."""
    found: dict[str, Slot] = {}
    now = app.clock()
    for slot in slots(app, now, now + timedelta(days=40)):
        found.setdefault(slot.job, slot)
    return list(found.values())


def carry_out(app: App, slot: Slot) -> Synthesis:
    """Do what a slot is for, and note that it is done; done twice, it changes nothing.

    A month is reviewed before its last days are over: with the next one it is reviewed again, whole.
    """
    if slot.job == "monthly" and slot.period.start is not None:
        before = month_of(slot.period.start - timedelta(days=3), ZoneInfo(app.settings.synthesis.timezone))
        if app.ledger.events("synthesis", before.label, last=1):
            synthesize(app, before)
    result = synthesize(app, slot.period)
    data = {"at": slot.at.isoformat(), "report": result.report}
    app.ledger.append(Event(kind="job", subject=slot.name, at=app.clock(), data=data))
    return result


def evolve(app: App) -> list[str]:
    """Let strategies evolve that may, and return what came of it in a line each."""
    from learning_loop.flows.evolution import evolve_due, proposers_of

    found = evolve_due(app, proposers_of(app))
    return [f"strategy {one.slug}: {one.status}: {one.says}" + (f"; test {one.test}" if one.test else "") for one in found]


def run(opened: Callable[[], App], say: Callable[[str], None], complain: Callable[[str], None], *, once: bool = False) -> bool:
    """Carry out what is due, now and whenever a slot comes; `once` ends after what is due now and says whether all was done.

    Once an hour it is looked whether a strategy may evolve.

    `opened` opens the workspace anew at every look, so that changed settings count. A job that fails is tried again later,
    from the slot that failed on; it does not hold up the others.
    """
    import schedule

    retry_at: dict[str, float] = {}
    evolves_at = [0.0]

    def tick() -> None:
        with opened() as app:
            for slot in due(app):
                if time.monotonic() < retry_at.get(slot.job, 0.0):
                    continue
                try:
                    say(f"{slot.name}: {carry_out(app, slot).report}")
                except LearningLoopError as error:
                    complain(f"{slot.name}: {error}")
                    retry_at[slot.job] = time.monotonic() + RETRY_S
            if time.monotonic() >= evolves_at[0]:
                evolves_at[0] = time.monotonic() + EVOLVE_S
                try:
                    for line in evolve(app):
                        say(line)
                except LearningLoopError as error:
                    complain(f"evolution of strategies: {error}")

    tick()
    if once:
        return not retry_at
    ticker = schedule.Scheduler()
    ticker.every(TICK_S).seconds.do(tick)
    while True:
        ticker.run_pending()
        time.sleep(1)


def recipes(command: str, workspace: str) -> dict[str, str]:
    """Return how to have this run by cron or by systemd: they look every hour, and do only what is due."""
    call = f"{command} -C {workspace} schedule run --once"
    return {
        "cron": f"# crontab -e\n7 * * * * {call} >/dev/null\n",
        "systemd": (
            "# ~/.config/systemd/user/learning-loop.service\n"
            f"[Unit]\nDescription=learning-loop: what is due\n\n[Service]\nType=oneshot\nExecStart={call}\n\n"
            "# ~/.config/systemd/user/learning-loop.timer\n"
            "[Unit]\nDescription=learning-loop: look every hour\n\n[Timer]\nOnCalendar=hourly\nPersistent=true\n\n"
            "[Install]\nWantedBy=timers.target\n\n"
            "# systemctl --user enable --now learning-loop.timer\n"
        ),
    }
