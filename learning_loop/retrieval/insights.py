"""What was found, as an answer that people read and programs take apart. Pure: facts in, sentences out."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learning_loop.features import explain, family
from learning_loop.features.saying import seconds
from learning_loop.records import ExecutionRecord, Hit, Tally
from learning_loop.stats.robust import median, quantile

NOTHING = "Nothing is known about that yet."
CLEAR = 1.96  # standard errors that a difference of two shares must exceed to be called clear


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """One thing that is known: what, how often, when last, where it stands, and the executions it rests on.

    `score` is 0 to 1 for what was searched for, and 1 for what was counted. `count` of `total` runs, where it was counted;
    `notes` are the paths of what was written about it; `parts` are what the score adds up from, where that was asked for.
    """

    id: str
    memory: str
    source: str
    score: float
    title: str
    category: str
    evidence: tuple[str, ...] = ()
    at: str | None = None
    outcome: str | None = None
    count: int | None = None
    total: int | None = None
    value: str | None = None
    notes: tuple[str, ...] = ()
    section: str | None = None
    parts: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The insights found for a question, best first; false and saying so where there are none.

    `intent` is how the question was read, `headline` the answer in one sentence where it has one, `search` what it was
    found by.
    """

    question: str
    insights: tuple[Insight, ...]
    intent: str = "find"
    headline: str = ""
    search: str = ""
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.insights)

    def __len__(self) -> int:
        return len(self.insights)

    def __iter__(self) -> Iterator[Insight]:
        return iter(self.insights)

    def __getitem__(self, place: int) -> Insight:
        return self.insights[place]

    def __str__(self) -> str:
        return self.markdown

    @property
    def markdown(self) -> str:
        lines = [_plain(self.headline), ""] if self.headline else []
        lines += [_as_item(insight) for insight in self.insights] or ([] if self.headline else [NOTHING])
        return "\n".join(lines).rstrip()

    def as_dict(self) -> dict[str, Any]:
        """Return the answer for programs: `results` has every insight, what is not known of it left out."""
        names = [name for name in Insight.__slots__ if name not in ("id", "memory", "source", "score")]
        results = []
        for insight in self.insights:
            found: dict[str, Any] = {
                "id": insight.id,
                "memory": insight.memory,
                "source": insight.source,
                "score": insight.score,
            }
            found |= {name: value for name in names if (value := getattr(insight, name)) not in (None, ())}
            results.append(found)
        return {
            "question": self.question,
            "intent": self.intent,
            "headline": self.headline,
            "search": self.search,
            "results": results,
            "warnings": list(self.warnings),
        }


def _as_item(insight: Insight) -> str:
    when = f" ({insight.at[:10]})" if insight.at else ""
    where = f", {insight.section}" if insight.section else ""
    lines = [f"- **{_plain(insight.title)}**{when}", f"  {_plain(insight.memory)}"]
    runs = f"rests on {_some(insight.evidence)}" if insight.evidence and insight.evidence != (insight.id,) else ""
    seen = f"see {', '.join(f'`{path}`' for path in insight.notes[:3])}" if insight.notes else ""
    source = f"`{insight.source}`{where}" if insight.source else ""
    if below := "; ".join(part for part in (source, runs, seen) if part):
        lines.append(f"  {below}")
    if insight.parts:
        lines.append(
            "  " + ", ".join(f"{part} {value:.2f}" for part, value in insight.parts.items()) + f" = {insight.score:.2f}"
        )
    return "\n".join(lines)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def _plain(text: str) -> str:
    """Return a text on one line, without what a terminal would obey."""
    return " ".join(_CONTROL.sub(" ", text).split())


def _some(ids: Sequence[str], most: int = 3) -> str:
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")


def of_hit(hit: Hit, *, explained: bool) -> Insight:
    """Return a note that was found, as the words of it that say most."""
    return Insight(
        id=hit.id,
        memory=hit.text,
        source=hit.source,
        score=round(hit.score, 4),
        title=hit.title,
        category=hit.category,
        evidence=hit.evidence,
        at=hit.at.isoformat() if hit.at else None,
        outcome=hit.outcome,
        section=hit.section,
        parts={part: round(value, 4) for part, value in hit.parts.items()} if explained and hit.parts else None,
    )


def of_run(record: ExecutionRecord, status: str, notes: Sequence[str] = (), *, score: float = 1.0) -> Insight:
    """Return one execution; `status` is how it is known to have gone by now."""
    execution, outcome = record.execution, record.outcome
    said = [status]
    if outcome is not None and outcome.duration_s is not None:
        said[0] += f" after {seconds(outcome.duration_s)}"
    if outcome is not None and (outcome.error_type or outcome.error_message):
        said.append(": ".join(part for part in (outcome.error_type, outcome.error_message) if part))
    if record.score is not None and record.score.overall is not None:
        said.append(f"score {record.score.overall:.0f}")
    if execution.agent:
        said.append(f"by {execution.agent}")
    return Insight(
        id=execution.id,
        memory="; ".join(said)[:600],
        source=f"execution:{execution.id}",
        score=round(score, 4),
        title=f"{execution.kind}: {execution.task_id} {status}",
        category="execution",
        evidence=(execution.id,),
        at=execution.started_at.isoformat(),
        outcome=status,
        notes=tuple(notes),
    )


def of_group(
    tally: Tally, newest: ExecutionRecord | None, *, by: str, of: str, total: int, notes: Sequence[str] = ()
) -> Insight:
    """Return what a number of runs have in common. `of` is what was counted: runs, failed or succeeded, or their share."""
    outcome = newest.outcome if newest is not None else None
    value, name = tally.value or "", tally.value or ""
    if by == "error" and outcome is not None:
        name = ": ".join(part for part in (outcome.error_type, family(outcome.error_message or "")) if part)
        value = outcome.error_type or name
    count = {"failed": tally.failed, "succeeded": tally.succeeded}.get(of, tally.runs)
    if of == "share":
        count, whole, said = tally.succeeded, tally.succeeded + tally.failed, share_said(tally)
    else:
        whole = total
        said = f"{count} of {total} {_counted(of, by)}"
    if (
        by == "error"
        and outcome is not None
        and (known := explain(f"{outcome.error_type or ''}: {outcome.error_message or ''}"))
    ):
        said += f": {known.text}"
    if newest is not None:
        said += f"; last on {newest.execution.started_at:%Y-%m-%d}"
    return Insight(
        id=tally.value or "",
        memory=said,
        source=f"execution:{newest.execution.id}" if newest is not None else "",
        score=1.0,
        title=name,
        category=by,
        evidence=(newest.execution.id,) if newest is not None else (),
        at=newest.execution.started_at.isoformat() if newest is not None else None,
        count=count,
        total=whole,
        value=value,
        notes=tuple(notes),
    )


def share_said(tally: Tally) -> str:
    """Return the share of successes of a group in words, with its interval."""
    count, whole = tally.succeeded, tally.succeeded + tally.failed
    low, high = interval(count, whole)
    return f"{count} of {whole} runs succeeded, {count / whole:.0%} (95 % interval {low:.0%} to {high:.0%})"


def _counted(of: str, by: str) -> str:
    if by == "error" or of == "failed":
        return "failed runs"
    return "runs that succeeded" if of == "succeeded" else "runs"


def trend_of(course: Sequence[tuple[bool | None, float | None, float | None]], of: str) -> tuple[str, str] | None:
    """Return (rising, falling or steady; a sentence with both halves' figures), None for fewer than four runs.

    The later half of the runs is held against the earlier. A share has changed where the difference is more than 1.96
    standard errors; a duration or cost where the medians are a tenth apart and the rank-sum test (Mann and Whitney, 1947)
    says so at the same level. Nothing is acted on by this; it orients.
    """
    place = {"success": 0, "duration": 1, "cost": 2}[of]
    values = [float(value) for run in course if (value := run[place]) is not None]
    if len(values) < 4:
        return None
    before, after = values[: len(values) // 2], values[len(values) // 2 :]
    if of == "success":
        first, second = sum(before) / len(before), sum(after) / len(after)
        pooled = sum(values) / len(values)
        error = math.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / len(before) + 1 / len(after)))
        changed = abs(second - first) > CLEAR * error
        figures = f"{first:.0%} of the earlier {len(before)} runs succeeded, {second:.0%} of the later {len(after)}"
    else:
        first, second = median(before), median(after)
        changed = abs(second - first) > 0.1 * first and abs(_rank_sum(before, after)) > CLEAR
        show = seconds if of == "duration" else "{:.3f} USD".format
        figures = f"the median was {show(first)} in the earlier {len(before)} runs, {show(second)} in the later {len(after)}"
    verdict = "steady" if not changed else "rising" if second > first else "falling"
    what = {"success": "the share of successes", "duration": "the duration", "cost": "the cost"}[of]
    return verdict, f"{what[0].upper()}{what[1:]} is {verdict}: {figures}."


def level_of(course: Sequence[tuple[bool | None, float | None, float | None]], of: str) -> tuple[str, str, int] | None:
    """Return (the value; a sentence; on how many runs it rests) of how runs mostly go; None where nothing is known of it.

    Of successes the share with its interval, of durations and costs the median, with the middle half of the runs.
    """
    if of == "success":
        judged = [run[0] for run in course if run[0] is not None]
        said = share_said(Tally(None, len(course), sum(judged), judged.count(False), None)) if judged else ""
        return (f"{sum(judged) / len(judged):.0%}", said, len(judged)) if judged else None
    values = [float(value) for run in course if (value := run[1 if of == "duration" else 2]) is not None]
    if not values:
        return None
    values.sort()
    show = seconds if of == "duration" else "{:.3f} USD".format
    low, middle, high = (show(quantile(values, share)) for share in (0.25, 0.5, 0.75))
    over = f"{len(values)} runs" if len(values) > 1 else "1 run"
    half = f", half of them {low} to {high}" if len(values) > 3 else ""
    return middle, f"the median {of} is {middle}, over {over}{half}", len(values)


def _rank_sum(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the standardised rank sum of the later values, ties sharing their mean rank."""
    ordered = sorted([(value, 0) for value in before] + [(value, 1) for value in after])
    total, start = 0.0, 0
    while start < len(ordered):
        end = start
        while end < len(ordered) and ordered[end][0] == ordered[start][0]:
            end += 1
        rank = (start + 1 + end) / 2
        total += rank * sum(which for _, which in ordered[start:end])
        start = end
    n, m = len(after), len(before)
    return (total - n * (n + m + 1) / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def interval(successes: int, runs: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927)."""
    if not runs:
        return 0.0, 1.0
    share, z2 = successes / runs, CLEAR**2
    centre = (share + z2 / (2 * runs)) / (1 + z2 / runs)
    half = CLEAR * math.sqrt(share * (1 - share) / runs + z2 / (4 * runs * runs)) / (1 + z2 / runs)
    return max(0.0, centre - half), min(1.0, centre + half)
