"""Anti-patterns: what should make people stop and look, from the newest runs of one kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from learning_loop.features import family
from learning_loop.records import Kind, Observation
from learning_loop.settings import AntiPatterns
from learning_loop.stats.robust import median

GONE = 5  # successes in a row after which an error counts as mended, and three times as many as lay between two of it
BEFORE = 20  # earlier runs that the newest are held against
FEW_BEFORE = 8
BY_CHANCE = 0.001  # nearly all of the newest above nearly all before: runs are looked at again and again
NEARLY_ALL = 0.8
DAY = 86_400.0
JITTER_S = 0.005  # added to both sides, so that next to nothing does not become twice next to nothing

NEEDED = 3 * BEFORE  # runs of a kind that it takes to look
NAMES = {  # what several alerts of a sort are called
    "repeated_error": "The same error again and again",
    "slowing": "Execution time is increasing",
    "low_reuse": "Little is reused",
    "repeated_surprise": "Surprising again and again",
    "low_scores": "Scores stay low",
    "failure_rate": "Failing more than before",
    "cost": "Costing more than before",
    "latency": "Taking longer than before",
    "surprise": "More surprising than before",
    "drift": "Strategies earn less than before",
    "reward_drift": "A part of a reward has changed",
    "sample_ratio": "Units are missing in a test",
    "stalled": "Learning does not go on",
}
ADVICE = {
    "repeated_error": "review the architecture round it: an error that comes back is not mended where it shows",
    "slowing": "check memory and complexity: what grows with every run?",
    "low_reuse": "check for over-specialisation: what do these runs share with those that worked?",
    "repeated_surprise": "the domain is not understood: review what is assumed in working-memory/current-assumptions.md",
    "low_scores": "look for the root cause, review the assumptions, and compare the agents that did this",
    "failure_rate": "look what changed with the first of these runs: a version, a limit, another kind of work",
    "cost": "look what is done for it: more calls, more tokens, a dearer model",
    "latency": "look what is waited for: a limit, a queue, larger inputs",
    "surprise": "the past says little of these runs any more: look what is new in them",
    "drift": "what was learned before does not count any more; look what changed in the work",
    "reward_drift": "look whether what is measured has changed, or what is done for it",
    "sample_ratio": "nothing is concluded from it until it is known why: look for runs that end without an outcome",
    "stalled": "look whether units still come, and whether their outcomes are told",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One anti-pattern that holds now: `sort` is a setting of `anti_patterns`, `key` what the alert is known by."""

    sort: str
    key: str
    title: str
    text: str
    executions: tuple[str, ...]
    baseline: float | None = None  # seconds that a slow kind took before it became slow

    @property
    def advice(self) -> str:
        return ADVICE[self.sort]

    @property
    def id(self) -> str:
        return alert_id(self.key)


def alert_id(key: str) -> str:
    return blake2b(key.encode(), digest_size=4).hexdigest()


def alarms(
    kind: Kind,
    runs: Sequence[Observation],
    limits: AntiPatterns,
    *,
    now: float,
    high_surprise: float,
    baseline: float | None = None,
) -> list[Alarm]:
    """Return the anti-patterns that hold for a kind; `runs` are its newest, oldest first, and `now` seconds since 1970.

    Where its slowness is known already, `baseline` is what it took before: it stays slow until it is near that again.
    """
    repeated = _repeated_errors(kind, runs, limits, now)
    low = _low_scores(kind, runs, limits)
    if low is not None and any(set(low.executions) <= set(alarm.executions) for alarm in repeated):
        low = None  # one error is behind it, and has its alert
    others = (
        _slowing(kind, runs, limits, baseline),
        _low_reuse(kind, runs, limits),
        _surprises(kind, runs, limits, high_surprise),
        low,
    )
    return [*repeated, *(alarm for alarm in others if alarm is not None)]


def _repeated_errors(kind: Kind, runs: Sequence[Observation], limits: AntiPatterns, now: float) -> list[Alarm]:
    limit = limits.repeated_error
    if limit is None:
        return []
    recent = [run for run in runs if run.ended >= now - limit.days * DAY]
    found = []
    for error in dict.fromkeys(run.error for run in recent if run.error and run.success is False):
        same = [place for place, run in enumerate(recent) if run.error == error and run.success is False]
        since = sum(run.success is True for run in recent[same[-1] + 1 :])
        between = (same[-1] - same[0]) / max(len(same) - 1, 1)
        if len(same) >= limit.times and since < max(GONE, 3 * between):
            text = family(recent[same[-1]].error_text or error)[:120]
            found.append(
                Alarm(
                    "repeated_error",
                    f"repeated_error:{kind.key}:{error}",
                    f"“{text}” again and again, in {kind}",
                    f"{len(same)} runs failed with it within {limit.days} days",
                    _ids([recent[place] for place in same]),
                )
            )
    return found


def _slowing(kind: Kind, runs: Sequence[Observation], limits: AntiPatterns, baseline: float | None) -> Alarm | None:
    limit = limits.slowing
    good = [run for run in runs if run.success is not False and run.duration_s is not None]
    if limit is None or len(good) < limit.runs + FEW_BEFORE:
        return None
    newest, before = good[-limit.runs :], good[-limit.runs - BEFORE : -limit.runs]
    now, then = ([run.duration_s or 0.0 for run in part] for part in (newest, before))
    usual = median(then) if baseline is None else baseline
    ratio = (median(now) + JITTER_S) / (usual + JITTER_S)
    if ratio < limit.ratio or (baseline is None and _by_chance(now, then)):
        return None
    return Alarm(
        "slowing",
        f"slowing:{kind.key}",
        f"{kind}: execution time is increasing",
        f"the last {len(now)} runs took {median(now):.3g} s in the middle, {ratio:.1f} times the {usual:.3g} s before",
        _ids(newest),
        baseline=usual,
    )


def _by_chance(later: Sequence[float], earlier: Sequence[float]) -> bool:
    from learning_loop.stats.ranks import rank_sum_greater  # numpy, which few runs need

    return rank_sum_greater(later, earlier) > BY_CHANCE


def _low_reuse(kind: Kind, runs: Sequence[Observation], limits: AntiPatterns) -> Alarm | None:
    limit = limits.low_reuse
    known = [run for run in runs if run.reusability is not None]
    if limit is None or len(known) < limit.runs:
        return None
    newest = known[-limit.runs :]
    middle = median([run.reusability or 0.0 for run in newest])
    if middle >= limit.below:
        return None
    return Alarm(
        "low_reuse",
        f"low_reuse:{kind.key}",
        f"{kind}: little is reused",
        f"the last {len(newest)} runs have a reusability of {middle:.0f} in the middle, below {limit.below:g}",
        _ids(newest),
    )


def _surprises(kind: Kind, runs: Sequence[Observation], limits: AntiPatterns, high: float) -> Alarm | None:
    limit = limits.repeated_surprise
    if limit is None:
        return None
    newest = runs[-limit.runs :]
    surprising = [run for run in newest if run.surprise is not None and run.surprise > high]
    if len(surprising) < limit.times:
        return None
    return Alarm(
        "repeated_surprise",
        f"repeated_surprise:{kind.key}",
        f"{kind}: surprising again and again",
        f"{len(surprising)} of the last {len(newest)} runs were surprising (above {high:g})",
        _ids(surprising),
    )


def _low_scores(kind: Kind, runs: Sequence[Observation], limits: AntiPatterns) -> Alarm | None:
    limit = limits.low_scores
    scored = [run for run in runs if run.score is not None]
    if limit is None or len(scored) < limit.runs:
        return None
    newest = scored[-limit.runs :]
    low = [run for run in newest if run.score is not None and run.score < limit.below]
    if len(low) < NEARLY_ALL * len(newest):
        return None
    return Alarm(
        "low_scores",
        f"low_scores:{kind.key}",
        f"{kind}: scores stay low",
        f"{len(low)} of the last {len(newest)} runs scored below {limit.below:g}",
        _ids(low),
    )


def _ids(runs: Sequence[Observation]) -> tuple[str, ...]:
    return tuple(run.id for run in runs)[::-1][:20]
