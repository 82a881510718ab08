"""The dashboard's figures, from the counts that are kept of weeks and from the runs since."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from learning_loop.app import App
from learning_loop.flows.alerts import alerts
from learning_loop.flows.synthesis import HISTORY, MOST_RUNS, lifetimes
from learning_loop.ledger import Filter
from learning_loop.synthesis import Metrics, WeekCounts, count_week, metrics_of, week_of
from learning_loop.synthesis.periods import parse_week, weeks_between
from learning_loop.synthesis.thresholds import suggestions

TRUSTED = 10  # judged runs from which one agent is compared with another


def counted_weeks(app: App) -> list[WeekCounts]:
    """Return the counts of the newest weeks with runs, oldest first: as they are kept, and those since counted now."""
    zone = ZoneInfo(app.settings.synthesis.timezone)
    high = app.settings.reflection_triggers.thresholds.high_surprise
    events = {event.subject: event for event in app.ledger.events("week")}
    over = [event for label, event in events.items() if event.at >= (parse_week(label, zone).end or event.at)]
    found = sorted((WeekCounts.read(event.data) for event in over), key=lambda week: week.start)
    first, now = app.ledger.first_start(), app.clock()
    begin = datetime.fromtimestamp(found[-1].start + 10 * 86_400, UTC) if found else first
    for week in weeks_between(begin, now, zone) if begin is not None else ():
        runs = app.ledger.observations(Filter(since=week.start, before=week.end, ended=True), most=MOST_RUNS, features=False)
        if runs and week.start is not None:
            found.append(count_week(week.label, week.start, runs, found[-1] if found else None, high_surprise=high))
    return found[-HISTORY:]


def measure(app: App) -> Metrics:
    """Return the figures as of now."""
    zone = ZoneInfo(app.settings.synthesis.timezone)
    done = [event for event in app.ledger.events("synthesis") if event.data["kind"] == "week"]
    state = done[-1].data["patterns"] if done else {}
    return metrics_of(counted_weeks(app), lifetimes(app, state, week_of(app.clock(), zone)))


def recommendations(app: App, figures: Metrics) -> list[str]:
    """Return what the figures and the alerts suggest doing, the most pressing first; nothing where nothing is clear."""
    found = [f"{alert.title}: {alert.advice}" for alert in alerts(app) if alert.state == "open"]
    improvement = figures.overall_improvement
    if improvement.high is not None and improvement.high < 0:
        found.append(
            f"scores fall by {-(improvement.value or 0):.1f} points a week within the same kinds of task: see the newest report"
        )
    found += _agents(figures)
    reuse = figures.component_reuse_rate
    if reuse.high is not None and reuse.high < 0.3:
        found.append(
            f"only {100 * (reuse.value or 0):.0f} % of {reuse.n} runs are built like an earlier success: use templates"
        )
    recent = app.ledger.observations(Filter(ended=True), most=1_000, features=False)
    found += [f"threshold {item.text}" for item in suggestions(recent, app.settings.reflection_triggers.thresholds)]
    return found


def _agents(figures: Metrics) -> Sequence[str]:
    known = [agent for agent in figures.agent_effectiveness if agent.success.n >= TRUSTED]
    if len(known) < 2:
        return []
    best, worst = known[0], min(known, key=lambda agent: agent.success.high or 0.0)
    if (best.success.low or 0.0) <= (worst.success.high or 1.0):
        return []  # their intervals overlap: nothing tells them apart
    shares = [f"{100 * (agent.success.value or 0):.0f} % of {agent.success.n}" for agent in (best, worst)]
    return [f"prefer {best.name} ({shares[0]} succeeded) to {worst.name} ({shares[1]}), where both can do the work"]
