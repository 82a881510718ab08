"""Dependency: what fails together, what fails after what, and which change of version a failure began with."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise, permutations

import numpy as np
import numpy.typing as npt

from learning_loop.features.conditions import quoted
from learning_loop.patterns.candidates import DOUBTED, PASSING, Candidate, Limits, lags_of
from learning_loop.patterns.performance import by_kind, condition_of
from learning_loop.records import Kind, Observation, Pattern
from learning_loop.stats.contingency import fisher_greater_many, least_p_value, mantel_haenszel, newcombe, serial_p_value

MOST_KINDS = 30  # of each project, those that fail most: every ordered pair of them is tested
HORIZON_S = 86_400.0  # what started later than this after a run is not held against it
LEAST_SEGMENT = 5  # runs with the old version and with the new one
MOST_SEGMENTS = 12  # a feature that changes more often than this is no version
BLOCK = 25  # pairs of runs that follow each other and are compared with one another

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Course:
    """The judged runs of a kind in the order they started."""

    kind: Kind
    runs: list[Observation]
    started: Floats
    ended: Floats
    failed: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, kind: Kind, runs: Sequence[Observation]) -> "_Course":
        judged = [run for run in runs if run.success is not None]
        return cls(
            kind,
            judged,
            np.array([run.started for run in judged]),
            np.array([run.ended for run in judged]),
            np.array([not run.success for run in judged], dtype=np.bool_),
        )

    def varies(self, least: int) -> bool:
        return len(self.runs) >= 2 * least and least <= int(self.failed.sum()) <= len(self.runs) - least


@dataclass(frozen=True, slots=True)
class _Table:
    """A two-by-two table as it is tested: (cell, row, column, total), with the executions of its first cell."""

    cell: int
    row: int
    column: int
    total: int
    executions: tuple[str, ...]
    blocks: tuple[tuple[float, float, float, float], ...] = ()


def chains(runs: Sequence[Observation], limits: Limits) -> list[Candidate]:
    """Return the tests of every two kinds of one project, whether one fails after, or while, the other does.

    A run is paired with the first run of the other kind that starts after it ended, before its own kind runs again; or with
    one that overlaps it. No run counts twice in a test. Two kinds that both fail more from some day on do not depend on each
    other for that: pairs are held against others of their time as well, and the weaker of both tests counts.
    """
    projects: dict[str | None, list[_Course]] = defaultdict(list)
    for kind, group in by_kind(runs).items():
        course = _Course.of(kind, group)
        if course.varies(limits.least_support):
            projects[kind.project].append(course)
    tables: dict[tuple[str, Kind, Kind], _Table] = {}
    for courses in projects.values():
        worst = sorted(courses, key=lambda course: (-int(course.failed.sum()), str(course.kind)))[:MOST_KINDS]
        for first, second in permutations(worst, 2):
            pairings = {"after": _following(first, second)}
            if str(first.kind) < str(second.kind):
                pairings["with"] = _overlapping(first, second)
            for how, (before, place) in pairings.items():
                if place.size >= 2 * limits.least_support:
                    tables[how, first.kind, second.kind] = _table(before, second, place, limits)
    tested = _tested(list(tables.values()))
    p_values = {
        pair: max(p_value, mantel_haenszel(table.blocks))
        for (pair, table), (p_value, _) in zip(tables.items(), tested, strict=True)
    }
    found = []
    for ((how, first_kind, second_kind), table), (_, least) in zip(tables.items(), tested, strict=True):
        p_value, reverse = p_values[how, first_kind, second_kind], p_values.get((how, second_kind, first_kind), 1.0)
        both = how == "with" or reverse <= math.sqrt(p_value)  # half the evidence, counted by its logarithm
        found.append(
            Candidate(
                family="dependency",
                tier="dependency",
                key=_chain_key(how, first_kind, second_kind),
                p_value=p_value,
                least=least,
                state=partial(_chain, how, first_kind, second_kind, table, p_value, both=both),
            )
        )
    return found


Pairing = tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]  # did the first fail, and the place of the second's run


def _following(first: _Course, second: _Course) -> Pairing:
    place = np.searchsorted(second.started, first.ended, side="left")
    until = np.minimum(np.append(first.started[1:], np.inf), first.ended + HORIZON_S)
    there = place < second.started.size
    there[there] = second.started[place[there]] <= until[there]
    return _once(first.failed[there], place[there])


def _overlapping(first: _Course, second: _Course) -> Pairing:
    later = np.searchsorted(second.started, first.started, side="left")
    earlier, place = np.maximum(later - 1, 0), np.full(later.size, -1)
    goes_on = (later > 0) & (second.ended[earlier] > first.started)
    place[goes_on] = earlier[goes_on]
    begins = later < second.started.size
    begins[begins] = second.started[later[begins]] < first.ended[begins]
    place[begins] = later[begins]
    return _once(first.failed[place >= 0], place[place >= 0])


def _once(failed: npt.NDArray[np.bool_], place: npt.NDArray[np.intp]) -> Pairing:
    """Keep one pair for each run of the second kind."""
    place, kept = np.unique(place, return_index=True)
    return failed[kept], place


def _table(before: npt.NDArray[np.bool_], second: _Course, place: npt.NDArray[np.intp], limits: Limits) -> _Table:
    after = second.failed[place]
    both = np.flatnonzero(before & after)
    executions = tuple(second.runs[item].id for item in place[both][::-1][: limits.most_executions])
    blocks = []
    for start in range(0, place.size, BLOCK):
        first, then = before[start : start + BLOCK], after[start : start + BLOCK]
        blocks.append((float((first & then).sum()), float(first.sum()), float(then.sum()), float(first.size)))
    return _Table(int(both.size), int(before.sum()), int(after.sum()), int(place.size), executions, tuple(blocks))


def _chain_key(how: str, first: Kind, second: Kind) -> str:
    return f"dependency: {condition_of(second)} {how} {condition_of(first)}"


def _chain(
    how: str, first: Kind, second: Kind, table: _Table, p_value: float, adjusted: float | None, *, both: bool
) -> Pattern:
    followed = "followed" if how == "after" else "overlapped"
    return _pattern(
        key=_chain_key(how, first, second),
        antecedent=condition_of(first),
        consequent=f"failure where {condition_of(second)}",
        title=f"{first} and {second} fail together" if both else f"{second} fails after {first} failed",
        said=(f"runs of {second} that {followed} a failure of {first} failed", f"that {followed} a success"),
        table=table,
        p_value=p_value,
        adjusted=adjusted,
    )


@dataclass(frozen=True, slots=True)
class _Switch:
    """A change of a dependency or of the state among the runs of a kind, or of a whole project (`kind` None)."""

    kind: Kind | None
    project: str | None
    feature: str
    old: str
    new: str
    before: list[Observation]
    after: list[Observation]

    @property
    def where(self) -> str:
        named = self.kind or (Kind(type="", project=self.project) if self.project else None)
        return "" if named is None else condition_of(named)

    @property
    def key(self) -> str:
        changed = f"dependency: {quoted(self.feature)} {quoted(self.old)} -> {quoted(self.new)}"
        return f"{changed} where {self.where}" if self.where else changed

    def serial(self) -> float:
        """Return the p-value where failures come in runs (see `contrast`)."""
        runs = [*self.before, *self.after]
        changed = np.arange(len(runs)) >= len(self.before)
        failed = np.array([not run.success for run in runs], dtype=np.bool_)
        return serial_p_value(changed, failed, lags_of(runs))

    def table(self, limits: Limits) -> _Table:
        failed = [run for run in self.after if not run.success]
        return _Table(
            cell=len(failed),
            row=len(self.after),
            column=len(failed) + sum(not run.success for run in self.before),
            total=len(self.before) + len(self.after),
            executions=tuple(run.id for run in failed[::-1][: limits.most_executions]),
        )


def versions(runs: Sequence[Observation], limits: Limits) -> list[Candidate]:
    """Return the test of every change of a dependency or of the state, whether failures began with it.

    The runs with the new value, up to the next change, are held against those with the old one before them: of each kind,
    and of each project of several kinds.
    """
    switches = []
    projects: dict[str | None, list[list[Observation]]] = defaultdict(list)
    for kind, group in by_kind(runs).items():
        judged = [run for run in group if run.success is not None]
        projects[kind.project].append(judged)
        switches += list(_switches(judged, kind, kind.project))
    for project, groups in projects.items():
        if len(groups) > 1:
            together = sorted((run for group in groups for run in group), key=lambda run: (run.started, run.id))
            switches += list(_switches(together, None, project))
    tables = [switch.table(limits) for switch in switches]
    tested = [
        (max(p_value, switch.serial()) if p_value <= DOUBTED else p_value, least)
        for switch, (p_value, least) in zip(switches, _tested(tables), strict=True)
    ]
    return [
        Candidate(
            family="dependency",
            tier="dependency",
            key=switch.key,
            p_value=p_value,
            least=least,
            state=partial(_version, switch, table, p_value),
        )
        for switch, table, (p_value, least) in zip(switches, tables, tested, strict=True)
    ]


def _switches(runs: Sequence[Observation], kind: Kind | None, project: str | None) -> Iterator[_Switch]:
    """Yield every change of a feature that keeps its value for a while."""
    segments: dict[str, list[tuple[str, list[Observation]]]] = defaultdict(list)
    for run in runs:
        for name, value in run.features.items():
            if name.startswith(("dependency:", "state:")) and name not in PASSING:
                known = segments[name]
                if not known or known[-1][0] != value:
                    known.append((value, []))
                known[-1][1].append(run)
    for name, known in segments.items():
        if len(known) > MOST_SEGMENTS:
            continue
        for (old, before), (new, after) in pairwise(known):
            if min(len(before), len(after)) >= LEAST_SEGMENT:
                yield _Switch(kind, project, name, old, new, before, after)


def _version(switch: _Switch, table: _Table, p_value: float, adjusted: float | None) -> Pattern:
    sort, _, name = switch.feature.partition(":")
    what = name if sort == "dependency" else f"{sort} {name}"
    who = f"{switch.kind} fails" if switch.kind is not None else f"runs{f' of {switch.project}' if switch.project else ''} fail"
    since = datetime.fromtimestamp(switch.after[0].started, UTC)
    return _pattern(
        key=switch.key,
        antecedent=f"{sort}.{name} = {quoted(switch.new)}" + (f" and {switch.where}" if switch.where else ""),
        consequent="failure",
        title=f"{who} since {what} changed from {switch.old} to {switch.new}",
        said=(f"runs failed since {what} changed from {switch.old} to {switch.new} on {since:%Y-%m-%d}", "before"),
        table=table,
        p_value=p_value,
        adjusted=adjusted,
        since=since,
    )


def _tested(tables: Sequence[_Table]) -> list[tuple[float, float]]:
    """Return each table's one-sided p-value and the least that its margins allow."""
    if not tables:
        return []
    cell, row, column, total = (
        np.array([getattr(table, name) for table in tables]) for name in ("cell", "row", "column", "total")
    )
    p_values, least = fisher_greater_many(cell, row, column, total), least_p_value(row, column, total)
    return [(float(p), float(q)) for p, q in zip(p_values, least, strict=True)]


def _pattern(  # noqa: PLR0913  (what there is to say of a dependency)
    *,
    key: str,
    antecedent: str,
    consequent: str,
    title: str,
    said: tuple[str, str],
    table: _Table,
    p_value: float,
    adjusted: float | None,
    since: datetime | None = None,
) -> Pattern:
    others, other_hits = table.total - table.row, table.column - table.cell
    low, high = newcombe(table.cell, table.row, other_hits, others)
    confidence, base = (table.cell / table.row if table.row else None), (other_hits / others if others else None)
    effect = 100 * ((confidence or 0.0) - (base or 0.0))
    return Pattern(
        family="dependency",
        key=key,
        antecedent=antecedent,
        consequent=consequent,
        title=title,
        text=(
            f"{table.cell} of {table.row} {said[0]}, {other_hits} of {others} {said[1]} "
            f"({effect:+.0f} points, 95 % interval {100 * low:+.0f} to {100 * high:+.0f})"
        ),
        support=table.row,
        hits=table.cell,
        confidence=confidence,
        base=base,
        lift=confidence * table.total / table.column if confidence is not None and table.column else None,
        effect=effect,
        low=100 * low,
        high=100 * high,
        unit="points",
        p_value=p_value,
        adjusted=adjusted,
        executions=table.executions,
        since=since,
    )
