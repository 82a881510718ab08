"""The dashboard's figures, from the counts that are kept of weeks and from the runs since."""

from zoneinfo import ZoneInfo

from learning_loop.app import App
from learning_loop.flows.alerts import alerts
from learning_loop.flows.weeks import HISTORY, MOST_RUNS, kept_counts, lifetimes, of_period
from learning_loop.ledger import Filter
from learning_loop.synthesis import Metrics, WeekCounts, count_week, metrics_of, week_of
from learning_loop.synthesis.periods import weeks_before, weeks_between
from learning_loop.synthesis.thresholds import suggestions


def counted_weeks(app: App) -> list[WeekCounts]:
    """Return the counts of the newest weeks with runs, oldest first: as they are kept, and those since counted now."""
    zone = ZoneInfo(app.settings.synthesis.timezone)
    high = app.settings.reflection_triggers.thresholds.high_surprise
    found: list[WeekCounts] = []
    first, now = app.ledger.first_start(), app.clock()
    if first is None:
        return found
    newest = app.ledger.extent(Filter(before=now, ended=True))[3] or now
    oldest = weeks_before(week_of(newest, zone), HISTORY, zone)[0].start or first
    weeks = list(weeks_between(max(first, oldest), now, zone))
    kept = kept_counts(app, weeks)
    for week in weeks:
        if week.label in kept:
            found.append(kept[week.label])
            continue
        runs = app.ledger.observations(of_period(week), most=MOST_RUNS, features=False)
        if runs and week.start is not None:
            found.append(count_week(week.label, week.start, runs, found[-1] if found else None, high_surprise=high))
    return found


def measure(app: App) -> Metrics:
    """Return the figures as of now."""
    done = [event for event in app.ledger.events("synthesis") if event.data["kind"] == "week"]
    state = done[-1].data["patterns"] if done else {}
    return metrics_of(counted_weeks(app), lifetimes(app, state))


def recommendations(app: App, figures: Metrics) -> list[str]:
    """Return what the figures and the alerts suggest doing, the most pressing first; nothing where nothing is clear."""
    found = [f"{alert.title}: {alert.advice}" for alert in alerts(app) if alert.state == "open"]
    improvement = figures.overall_improvement
    if improvement.high is not None and improvement.high < 0:
        found.append(
            f"scores fall by {-(improvement.value or 0):.1f} points a week within the same kinds of task: see the newest report"
        )
    reuse = figures.component_reuse_rate
    if reuse.high is not None and reuse.high < 0.3:
        found.append(
            f"only {100 * (reuse.value or 0):.0f} % of {reuse.n} runs are built like an earlier success: use templates"
        )
    recent = app.ledger.observations(Filter(ended=True), most=1_000, features=False)
    found += [f"threshold {item.text}" for item in suggestions(recent, app.settings.reflection_triggers.thresholds)]
    return found
