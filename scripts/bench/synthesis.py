#!/usr/bin/env -S .venv/bin/python
"""Synthesis: what is planted is found, noise is not, a week costs the same however long the history.

planted   histories of a hundred conditions (fifty features of two values), four components, durations, an order in time: pure
          noise, also with bad days; effects of 20 points over 800 executions and of 40 over 200; and pairs, chains, drifts,
          versions beside them
outlook   with --data: Node.js CI, week by week: which of the twenty reasons named for the next week come, beside "the same as
          last week"; each week is predicted from the weeks before it alone
week      one week of 20,000 executions in ledgers of 20,000, 200,000 and 1,000,000, beside a plain group-by of the same rows
history   the first synthesis of every week of a history, by its size; each in a process of its own, with its peak memory
"""

import csv
import gzip
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import _harness
import numpy as np

from learning_loop.app import App
from learning_loop.features import fingerprint
from learning_loop.ledger import tables
from learning_loop.patterns.candidates import Limits
from learning_loop.patterns.find import find_patterns
from learning_loop.records import Execution, Outcome, Phase, Score
from learning_loop.stats.contingency import wilson
from learning_loop.synthesis import WeekCounts, outlook
from learning_loop.synthesis.statistics import ErrorCounts
from learning_loop.workspace import Workspace
from tests.histories import Rng, chain, history, on_shift, planted, versioned

WEEK = 20_000
TIMES = 3  # that a week is timed; the least counts, as the rest is the machine's
LAST = datetime(2026, 3, 2, tzinfo=UTC)  # the Monday of the week that is timed
TOP, WARM_UP = 20, 6


# ------------------------------------------------------------------------------------------------------------- planted


def noise(rng: Rng) -> bool:
    return bool(find_patterns(history(rng, int(rng.integers(100, 800))), Limits()).patterns)


def effect(size: float, runs: int) -> Callable[[Rng], bool]:
    def found(rng: Rng) -> bool:
        patterns = find_patterns(history(rng, runs, planted(size)), Limits()).patterns
        return {item.antecedent for item in patterns if item.family == "failure"} == {"parameter.p07 = v1"}

    return found


def pair(rng: Rng) -> bool:
    runs = history(rng, 500, lambda drawn, *_: 0.8 if drawn[3] and drawn[9] else 0.2)
    return [item.antecedent for item in find_patterns(runs, Limits()).patterns] == ["parameter.p03 = v1 and parameter.p09 = v1"]


def drift(rng: Rng) -> bool:
    runs = history(rng, 600, lambda *_: 0.3, slows=lambda when: 1 + when)
    found = [item for item in find_patterns(runs, Limits()).patterns if item.family == "performance"]
    return len(found) == 4 and {item.consequent for item in found} == {"slower"}


def version(rng: Rng) -> bool:
    found = find_patterns(versioned(rng, 300, 0.5), Limits()).patterns
    return [item.family for item in found] == ["dependency"] and "2.31 to 2.32" in found[0].title


def sequence(rng: Rng) -> bool:
    found = find_patterns(chain(rng, 400), Limits()).patterns
    return [item.title for item in found] == ["deploy / site fails after build / site failed"]


def bad_days(rng: Rng) -> bool:
    return any(item.family in ("success", "failure") for item in find_patterns(on_shift(rng), Limits()).patterns)


def plant(bench: _harness.Bench) -> None:
    times = 100 if bench.quick else 1_000
    cases: list[tuple[str, Callable[[Rng], bool], int]] = [
        ("noise", noise, times // 2 if bench.quick else times),
        ("noise with bad days, features by day", bad_days, times // 4),
        ("20 points over 800", effect(0.2, 800), times // 5),
        ("40 points over 200", effect(0.4, 200), times // 5),
        ("a pair, 60 points over 500", pair, times // 10),
        ("a drift to twice as long, 150 runs a kind", drift, times // 10),
        ("a version, 40 points over 300", version, times // 10),
        ("a chain, 55 points over 200 pairs", sequence, times // 10),
    ]
    for name, check, count in cases:
        seeds = bench.progress(range(count), name, count)
        share = float(np.mean([check(np.random.default_rng([bench.seed, seed])) for seed in seeds]))
        bench.row(part="planted", what=name, histories=count, share=share)
        if name == "noise" and bench.quick:  # few histories: what they show beyond doubt is held against the goal
            low, _ = wilson(share * count, count, 2.326)
            bench.goal("histories of noise that give any pattern, lower 99 % bound", low, 0.05)
        elif name == "noise":
            bench.goal("histories of noise that give any pattern", share, 0.05)
        elif check is not bad_days:
            bench.goal(f"found with the right features: {name}", share, at_least=0.9)


# ------------------------------------------------------------------------------------------------------------- outlook


def weekly_errors(file: Path, *, once: bool) -> list[WeekCounts]:
    """Return the reasons of each week; `once` counts what is reported on several days only on the first."""
    weeks: dict[date, dict[str, ErrorCounts]] = {}
    seen = set()
    with gzip.open(file, "rt", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            key = (row["type"], row["reason"], row["last_ci"])
            if once and key in seen:
                continue
            seen.add(key)
            day = date.fromisoformat(row["report_date"])
            errors = weeks.setdefault(day - timedelta(days=day.weekday()), {})
            errors.setdefault(row["reason"], ErrorCounts(row["reason"])).days[day.weekday()] += 1
    return [
        WeekCounts(
            week=str(monday), start=datetime(monday.year, monday.month, monday.day, tzinfo=UTC).timestamp(), errors=errors
        )
        for monday, errors in sorted(weeks.items())
    ]


def foresee(bench: _harness.Bench, folder: Path) -> None:
    file = folder / "nodejs_ci_failures_to_2025.csv.gz"
    for once in (False, True):
        weeks = weekly_errors(file, once=once)
        named, same = [], []
        for place in range(WARM_UP, len(weeks)):
            came = weeks[place].errors
            named.append(np.mean([item.error in came for item in outlook(weeks[:place], TOP)]))
            last = weeks[place - 1].errors
            top = sorted(last, key=lambda name: -last[name].count)[:TOP]
            same.append(np.mean([name in came for name in top]))
        gain = np.array(named) - np.array(same)
        what = "every new failure once" if once else "every daily report"
        bench.row(
            part="outlook", what=what, weeks=len(gain), named=float(np.mean(named)), same_as_last_week=float(np.mean(same))
        )
        if not once:
            bench.goal("precision of the twenty reasons named for the next week", float(np.mean(named)), at_least=0.678)
            lower = float(gain.mean() - 1.96 * gain.std(ddof=1) / np.sqrt(gain.size))
            bench.goal("gain over the same as last week, lower 95 % bound", lower, at_least=0.0)


# --------------------------------------------------------------------------------------------------------------- sizes


def fill(folder: Path, size: int, seed: int) -> Workspace:
    """Make a workspace with so many executions, a week's full at the end of them."""
    workspace, _ = Workspace.init(folder)
    with App.open(workspace):
        pass
    rng, weeks = random.Random(seed), max(size // WEEK, 1)
    connection = sqlite3.connect(workspace.ledger)
    connection.execute("PRAGMA synchronous = OFF")
    for week in range(weeks):
        start = LAST - timedelta(weeks=weeks - 1 - week)
        batch: dict[type, list[tuple[Any, ...]]] = {}
        for number in range(min(size, WEEK)):
            for record in one_run(f"{week:04}-{number:06}", start + timedelta(seconds=30 * number), rng):
                table = tables.TABLE_OF[type(record)]
                names = [column.name for column in table.columns if column.name != "seq"]
                batch.setdefault(type(record), []).append(tuple(stored(getattr(record, name)) for name in names))
        for kind, values in batch.items():
            table = tables.TABLE_OF[kind]
            names = [column.name for column in table.columns if column.name != "seq"]
            marks = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})", values)  # noqa: S608
        connection.commit()
    connection.close()
    return workspace


def one_run(name: str, at: datetime, rng: random.Random) -> tuple[Any, ...]:
    client, shard = rng.choice(["httpx", "urllib", "requests"]), rng.randrange(8)
    failed = rng.random() < (0.4 if client == "httpx" else 0.15)
    took, component = rng.lognormvariate(3, 0.3), f"c{rng.randrange(12)}"
    nothing = dict.fromkeys(("description", "project", "sprint", "parent_id", "inputs_digest", "inputs_preview"))
    execution = Execution(
        id=name, task_id=name, task_type="build", component=component, agent=rng.choice(["ann", "bob"]),
        parameters={"client": client, "shard": shard, "size": rng.randrange(500)}, dependencies=(), assumptions=(), tags=(),
        critical=False, idempotent=False, started_at=at, host="bench", pid=1, process_started_at=None, **nothing,
    )  # fmt: skip
    message = f"no answer from 10.0.{shard}.{rng.randrange(255)} after {rng.randrange(90)} s" if failed else None
    outcome = Outcome(
        execution_id=name, task_type="build", component=component, project=None, status="failed" if failed else "succeeded",
        success=not failed, ended_at=at + timedelta(seconds=took), duration_s=took, cost_usd=0.01,
        error_type="TimeoutError" if failed else None, error_message=message,
        error_fingerprint=fingerprint("TimeoutError", message) if failed else None,
    )  # fmt: skip
    state = {"initial_state": {"python": "3.11", "git": {"commit": f"{at:%Y%m%d}"}}, "dependencies": {}}
    phase = Phase(execution_id=name, phase="pre", at=at, data=state)
    overall = 20.0 if failed else rng.uniform(80, 100)
    score = Score(
        execution_id=name, scoring="bench", at=at, accuracy=0.0 if failed else 100.0, efficiency=50.0, reusability=90.0,
        surprise=5.0, overall=overall, basis={},
    )  # fmt: skip
    return execution, outcome, phase, score


def stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return json.dumps(value) if isinstance(value, dict | list | tuple) else value


TIMED = """
import json, resource, sys, time
from datetime import datetime
from pathlib import Path
from learning_loop.app import App
from learning_loop.flows.synthesis import open_weeks, synthesize, week_named
from learning_loop.workspace import Workspace
from tests.histories import Rng, chain, history, on_shift, planted, versioned
root, at, weeks = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), sys.argv[3:]
spent = []
with App.open(Workspace(root), clock=lambda: at) as app:
    for week in [week_named(app, name) for name in weeks] or open_weeks(app):
        started = time.perf_counter()
        synthesize(app, week)
        spent.append(time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"spent": spent, "peak": peak}))
"""


def timed(workspace: Workspace, *weeks: str) -> dict[str, Any]:
    at = (LAST + timedelta(days=7)).isoformat()
    command = [sys.executable, "-c", TIMED, str(workspace.root), at, *weeks]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def with_one_more(workspace: Workspace, number: int) -> dict[str, Any]:
    """Return what the synthesis of the last week takes, after one more run of it: all the week's runs are read again."""
    with App.open(workspace) as app:
        app.ledger.append(*one_run(f"one-more-{number}", LAST + timedelta(days=6, hours=23), random.Random(number)))
    return timed(workspace, f"{LAST:%G-W%V}")


def group_by(workspace: Workspace, since: datetime | None) -> float:
    """Return how long SQL takes to count and add up the same rows by kind, agent and error."""
    where = "" if since is None else f"WHERE e.started_at >= '{stored(since)}'"
    statement = f"""
        SELECT e.task_type, e.component, e.agent, o.error_fingerprint,
            count(*), sum(o.success), avg(s.overall), avg(o.duration_s)
        FROM executions e JOIN outcomes o ON o.execution_id = e.id JOIN scores s ON s.execution_id = e.id {where}
        GROUP BY 1, 2, 3, 4"""  # noqa: S608
    connection = sqlite3.connect(workspace.ledger)
    started = time.perf_counter()
    connection.execute(statement).fetchall()
    spent = time.perf_counter() - started
    connection.close()
    return spent


def sizes(bench: _harness.Bench) -> None:
    chosen = [WEEK, 3 * WEEK] if bench.quick else [WEEK, 10 * WEEK, 50 * WEEK]
    week_times, history_times = {}, {}
    for size in bench.progress(chosen, "sizes", len(chosen)):
        with tempfile.TemporaryDirectory() as name:
            workspace = fill(Path(name), size, bench.seed)
            history = timed(workspace)  # every week, the last one included: from here on their counts are kept
            history_times[size] = sum(history["spent"])
            weeks = [with_one_more(workspace, number) for number in range(TIMES)]
            week = min(weeks, key=lambda found: found["spent"])
            week_times[size] = week["spent"][0]
            plain = group_by(workspace, LAST)
            bench.row(part="week", executions=size, seconds=week_times[size], group_by_s=plain, peak_mb=week["peak"] / 1e6)
            whole = group_by(workspace, None)
            bench.row(
                part="history", executions=size, seconds=history_times[size], group_by_s=whole, peak_mb=history["peak"] / 1e6
            )
            bench.goal(f"peak memory at {size} executions, in GB", max(week["peak"], history["peak"]) / 1e9, 1.5)
    least, most = min(chosen), max(chosen)
    bench.goal(f"a week in {most} executions over a week in {least}", week_times[most] / week_times[least], 1.3)
    growth = (history_times[most] / history_times[least]) / (most / least)
    bench.goal(f"time of a whole history, {most} over {least}, per execution", growth, 1.15)


def work(bench: _harness.Bench) -> None:
    plant(bench)
    if bench.data is not None:
        foresee(bench, bench.data)
    sizes(bench)


if __name__ == "__main__":
    _harness.run("synthesis", __doc__.splitlines()[0], work)
