"""Anomalies: a kind of task fails more, costs more, takes longer or surprises more than it did, beyond a known chance."""

from collections.abc import Callable, Sequence

from learning_loop.patterns.anti import Alarm
from learning_loop.records import Kind, Observation
from learning_loop.settings import Anomaly
from learning_loop.stats.conformal import Change, worsened
from learning_loop.stats.robust import median

SEGMENT = 500  # runs after which what is looked at begins anew, so that twice as many are looked at, at most
NEEDED = 2 * SEGMENT
FEW = 30  # values before which nothing is said
LATELY = 20  # of the newest: as long as they are as they came to be, it holds
Measure = Callable[[Observation], float | None]
MEASURES: dict[str, Measure] = {
    "failure_rate": lambda run: None if run.success is None else float(not run.success),
    "cost": lambda run: run.cost_usd,
    "latency": lambda run: run.duration_s,
    "surprise": lambda run: run.surprise,
}
NAMES = {
    "failure_rate": "fails more than it did",
    "cost": "costs more than it did",
    "latency": "takes longer than it did",
    "surprise": "surprises more than it did",
}
UNITS = {"failure_rate": "of the runs", "cost": "USD", "latency": "s", "surprise": "of 100"}


def anomalies(kind: Kind, runs: Sequence[Observation], limits: Anomaly | None, draws: Callable[[str], float]) -> list[Alarm]:
    """Return what has become worse in a kind and has not become better since; `runs` are those of its segment, oldest first.

    `draws` gives a number between 0 and 1 for a run, as good as random. In a kind in which nothing changes, one of the four
    measures is reported once in `false_alarm_runs` runs at most, in the mean.
    """
    if limits is None:
        return []
    found = []
    for sort, measure in MEASURES.items():
        known = [(run.id, value) for run in runs if (value := measure(run)) is not None]
        if len(known) < FEW:
            continue
        # each run is looked at in two segments, for each of the measures
        change = worsened(
            [value for _, value in known],
            lambda place, known=known, sort=sort: draws(f"{sort} {known[place][0]}"),  # type: ignore[misc]
            alarm=2 * len(MEASURES) * limits.false_alarm_runs,
        )
        if change is not None and (alarm := _alarm(kind, sort, known, change)) is not None:
            found.append(alarm)
    return found


def _alarm(kind: Kind, sort: str, known: Sequence[tuple[str, float]], change: Change) -> Alarm | None:
    """Return a change as an alarm; None where the newest runs are as they were before it."""
    middle = _mean if sort in ("failure_rate", "surprise") else median
    before = [value for _, value in known[: change.began]] or [known[0][1]]
    after = [value for _, value in known[change.began : change.noticed + 1]]
    lately = [value for _, value in known[change.noticed + 1 :]][-LATELY:]
    was, became = middle(before), middle(after)
    if len(lately) == LATELY and middle(lately) < (was + became) / 2:
        return None
    unit, since = UNITS[sort], known[change.began][0]
    now = f"{_told(became, sort)} {unit} in the {len(after)} runs since {since}"
    return Alarm(
        sort,
        f"{sort}:{kind.key}",
        f"{kind}: {NAMES[sort]}",
        f"{now}, {_told(was, sort)} in the {len(before)} before",
        tuple(name for name, _ in known[change.began : change.noticed + 1])[::-1][:20],
        baseline=was,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _told(value: float, sort: str) -> str:
    return f"{100 * value:.0f} %" if sort == "failure_rate" else f"{value:.3g}"
