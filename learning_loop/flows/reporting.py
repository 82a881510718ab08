"""The report's content: decisions first, then the numbers they rest on; plain data, rendered by a template."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta, tzinfo
from itertools import chain
from typing import Any

from learning_loop.features.saying import clipped
from learning_loop.flows.alerts import Alert
from learning_loop.flows.lifts import HARMS, RuleLift
from learning_loop.patterns.anti import NAMES
from learning_loop.patterns.find import Found
from learning_loop.records import Event, Kind, Observation, Pattern
from learning_loop.rules import Rule
from learning_loop.rules.changes import Plan
from learning_loop.stats.contingency import risk_difference, wilson
from learning_loop.stats.student import Z95
from learning_loop.synthesis import Metrics, Outlook, Period, WeekCounts
from learning_loop.synthesis.statistics import spread_of
from learning_loop.synthesis.thresholds import Suggestion

TOP_PATTERNS, TOP_ERRORS, TOP_OUTLOOK = 12, 10, 10
FEW_RUNS = 5
LIKELY = 0.5
MEMORY, MUCH, RISE = 8, 10, 2  # an error rises with so many runs, and more than twice what any of the last eight weeks had
SHARE_NAMED = 0.5  # where most of the known errors are likely, to name them says nothing
FEW_WEEKS = 4  # before which a trend is none
STARVING = 20  # runs, shown and withheld, below which nothing is known of a rule
FEW_NEW = 3  # runs that make a new error worth a look


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a synthesis found and did: everything that its report is made of.

    `weeks` are the counts up to the period, the oldest first; `state` and `fallen` the patterns that are kept and that fell,
    by their keys; `notes` and `paths` where the notes of patterns and rules lie, by their keys; `needs` lines for people;
    `looked_at` how many runs patterns were looked for in; `named` looks up the runs that the report points to; `lifts` are
    what is known of rules and memory, `moved` the changes of rules by the gate and by people in the period, `level` the
    share of useless rules that the gate allows.
    """

    period: Period
    runs: Sequence[Observation]
    weeks: Sequence[WeekCounts]
    found: Found
    state: Mapping[str, Mapping[str, Any]]
    fallen: Mapping[str, Mapping[str, Any]]
    rules: Sequence[Rule]
    planned: Plan
    alerts: Sequence[Alert]
    closed: Sequence[Alert]
    figures: Metrics
    outlook: Sequence[Outlook]
    suggestions: Sequence[Suggestion]
    needs: Sequence[str]
    notes: Mapping[str, str]
    paths: Mapping[str, str]
    looked_at: int
    reviews: bool
    named: Callable[[Sequence[str]], Sequence[Mapping[str, Any]]]
    lifts: Sequence[RuleLift]
    moved: Sequence[Event]
    level: float

    @property
    def week(self) -> WeekCounts | None:
        """The counts of the period itself, where it is a week."""
        own = self.period.kind == "week" and bool(self.weeks) and self.weeks[-1].week == self.period.label
        return self.weeks[-1] if own else None

    @property
    def before(self) -> WeekCounts | None:
        """The counts of the week before it, where the period is a week."""
        return self.weeks[-2] if self.week is not None and len(self.weeks) > 1 else None


def report_of(given: Findings, zone: tzinfo) -> dict[str, Any]:
    """Return the report of a period as plain data; see the template for what each part is for."""
    period, runs, found = given.period, given.runs, given.found
    counts, errors = _counts(runs, given.week), _errors(given.weeks, given.week)
    report = {
        "title": period.title,
        "period": period.label,
        "kind": period.kind,
        "from": period.start.astimezone(zone) if period.start else None,
        "until": (period.end - timedelta(seconds=1)).astimezone(zone) if period.end else None,
        "reviews": given.reviews,
        "counts": counts,
        "score": _score(runs),
        "compared": _compared(runs, given.before),
        "before": given.before.week if given.before is not None else None,
        "decide": _decide(given, errors),
        "patterns": _patterns(given),
        "more_patterns": max(len(found.patterns) - TOP_PATTERNS, 0),
        "fallen": [{"key": key, "title": entry["title"], "last": entry["last"]} for key, entry in given.fallen.items()],
        "alerts": [
            {"name": name, "advice": group[0].advice, "alerts": [_alert(alert) for alert in group]}
            for sort, name in NAMES.items()
            if (group := [alert for alert in given.alerts if alert.sort == sort])
        ],
        "closed_alerts": [_alert(alert) for alert in given.closed],
        "changes": [
            {name: getattr(change, name) for name in ("action", "title", "reason", "before", "after")}
            | {"path": given.paths.get(change.key)}
            for change in given.planned.changes
        ],
        "held_back": list(given.planned.held_back),
        "moved": [
            {name: event.data[name] for name in ("action", "title", "reason", "path", "by")} | {"at": event.at.astimezone(zone)}
            for event in given.moved
        ],
        "lifts": [item.plain() | {"path": item.rule.path if item.rule else None} for item in given.lifts],
        "level": given.level,
        "rules_in_force": sum(rule.shown for rule in given.rules),
        "errors": errors,
        "outlook": _outlook(given.outlook, given.weeks),
        "trends": _trends(given.figures, given.weeks),
        "spend": _spend(runs, given.before),
        "agents": [
            {"name": agent.name, "runs": agent.runs, "success": agent.success.plain(), "score": agent.score.plain()}
            for agent in given.figures.agent_effectiveness
        ],
        "suggestions": [asdict(item) | {"text": item.text} for item in given.suggestions],
        "unknown": [*_unknown(runs, found, counts, given.looked_at), *_starving(given.lifts)],
        "metrics": given.figures.plain(),
    }
    return report | {"runs": list(given.named(_pointed_to(report)))}


def _pointed_to(report: Mapping[str, Any]) -> list[str]:
    """Return the ids of the runs that the report's text points to."""
    alerts = [alert for group in report["alerts"] for alert in group["alerts"]]
    several = [item["executions"][:2] for item in (*report["patterns"], *alerts)]
    return list(dict.fromkeys(chain(*several, *(error["executions"][:1] for error in report["errors"]))))


def _outlook(outlook: Sequence[Outlook], weeks: Sequence[WeekCounts]) -> list[dict[str, Any]]:
    known = len({name for item in weeks[-MEMORY:] for name in item.errors})
    likely = [item for item in outlook[:TOP_OUTLOOK] if item.probability >= LIKELY]
    return (
        [{"error": item.text, "probability": item.probability} for item in likely] if len(likely) <= SHARE_NAMED * known else []
    )


def _judged(runs: Sequence[Observation]) -> list[Observation]:
    """Return the runs that count in a rate; those from lists of failures have no score, and are a share of nothing."""
    return [run for run in runs if run.success is not None and run.score is not None]


def _counts(runs: Sequence[Observation], week: WeekCounts | None) -> dict[str, Any]:
    judged = _judged(runs)
    succeeded = sum(run.success is True for run in judged)
    low, high = wilson(succeeded, len(judged)) if judged else (None, None)
    return {
        "runs": week.runs if week is not None else len(runs),
        "judged": len(judged),
        "succeeded": succeeded,
        "failed": len(judged) - succeeded,
        "scored": sum(run.score is not None for run in runs),
        "kinds": len({run.kind for run in runs}),
        "share": succeeded / len(judged) if judged else None,
        "share_low": low,
        "share_high": high,
    }


def _score(runs: Sequence[Observation]) -> dict[str, Any]:
    scores = [run.score for run in runs if run.score is not None]
    error = spread_of(len(scores), sum(scores), sum(score * score for score in scores))
    mean = sum(scores) / len(scores) if scores else None
    half = None if error is None else Z95 * error
    return {
        "mean": mean,
        "low": None if mean is None or half is None else max(mean - half, 0.0),
        "high": None if mean is None or half is None else min(mean + half, 100.0),
        "n": len(scores),
    }


def _compared(runs: Sequence[Observation], before: WeekCounts | None) -> dict[str, Any] | None:
    """Return how the share of successes stands to the week before, within the same kinds of task, with its interval."""
    if before is None:
        return None
    now: dict[Kind, list[int]] = {}
    for run in _judged(runs):
        counts = now.setdefault(run.kind, [0, 0])
        counts[0] += run.success is True
        counts[1] += 1
    then = {kind.kind: (kind.succeeded, kind.succeeded + kind.failed) for kind in before.kinds}
    found = risk_difference([(*counts, *then[kind]) for kind, counts in now.items() if kind in then])  # type: ignore[misc]
    if found is None:
        return None
    points, low, high = (100 * value for value in found)
    return {"points": points, "low": low, "high": high, "clear": low > 0 or high < 0, "week": before.week}


def _decide(given: Findings, errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str | None]]:
    """Return what needs a person, the most pressing first, each with the command that deals with it where there is one."""
    decisions: list[tuple[str, str | None]] = [(line, None) for line in given.needs]
    decisions += [
        (f"find out why runs go without an outcome depending on “{item.title}”: its effect is not to be trusted", None)
        for item in given.lifts
        if item.lift.skewed
    ]
    decisions += [
        (f"narrow “{item.title}”: it harms in {', '.join(item.harms_in)}, whatever it does elsewhere", None)
        for item in given.lifts
        if item.harms_in and item.verdict != HARMS
    ]
    decisions += [
        (f"“{item.title}” is yours and harms: change it or reject it", f"learning-loop rules reject '{item.title}'")
        for item in given.lifts
        if item.rule is not None and item.rule.mine and item.rule.shown and item.verdict == HARMS
    ]
    for error in errors:
        text = clipped(str(error["error"]), 120)
        if error["rises"]:
            decisions.append(
                (f"look at “{text}”: {error['count']} runs failed with it, {error['before']} the week before", None)
            )
        elif error["new"] and error["count"] >= FEW_NEW:
            decisions.append((f"look at “{text}”: it is new, and {error['count']} runs failed with it", None))
    for sort, name in NAMES.items():
        of_sort = [alert for alert in given.alerts if alert.sort == sort and alert.state == "open"]
        if len(of_sort) == 1:
            decisions.append((f"{of_sort[0].title}: {of_sort[0].advice}", f"learning-loop alerts ack {of_sort[0].id}"))
        elif of_sort:
            decisions.append((f"{name}, {len(of_sort)} times: {of_sort[0].advice}", "learning-loop alerts list"))
    ruled = {change.proposal.pattern for change in given.planned.changes if change.proposal is not None}
    news = [pattern for pattern in given.found.new if pattern.key not in ruled and _bad(pattern)]
    decisions += [(f"look at what is new: {pattern.title}", None) for pattern in news]
    added = [change.title for change in given.planned.changes if change.action == "add"]
    decisions += [(f"judge the new rule “{title}”: its note says why, and how to reject it", None) for title in added]
    decisions += [(f"try another threshold in config/triggers.yaml: {item.text}", None) for item in given.suggestions]
    return [{"text": text, "command": command} for text, command in decisions]


def _bad(pattern: Pattern) -> bool:
    return pattern.family in ("failure", "dependency") or pattern.consequent in ("slower", "dearer")


def _patterns(given: Findings) -> list[dict[str, Any]]:
    new = {pattern.key for pattern in given.found.new}
    names = (
        "title", "family", "text", "antecedent", "consequent", "support", "hits", "confidence", "base", "lift", "effect",
        "low", "high", "unit", "p_value", "adjusted",
    )  # fmt: skip
    return [
        {
            **{name: getattr(pattern, name) for name in names},
            "new": pattern.key in new,
            "since": given.state.get(pattern.key, {}).get("since"),
            "note": given.notes.get(pattern.key),
            "executions": list(pattern.executions),
            "alike": list(pattern.alike),
        }
        for pattern in given.found.patterns[:TOP_PATTERNS]
    ]


def _alert(alert: Alert) -> dict[str, Any]:
    names = ("id", "sort", "title", "text", "state", "note", "opened_at")
    return {**{name: getattr(alert, name) for name in names}, "executions": list(alert.executions)}


def _errors(weeks: Sequence[WeekCounts], week: WeekCounts | None) -> list[dict[str, Any]]:
    """Return the commonest errors of the week, and what is new of it: never seen before, or risen beyond its ups and downs."""
    if week is None:
        return []
    earlier = weeks[:-1]
    top = sorted(week.errors.items(), key=lambda item: (-item[1].count, item[0]))[:TOP_ERRORS]
    found = []
    for name, error in top:
        counts = [other.errors[name].count if name in other.errors else 0 for other in earlier]
        most = max(counts[-MEMORY:], default=0)
        new = bool(earlier) and not any(counts)
        found.append(
            {
                "error": error.text,
                "count": error.count,
                "before": counts[-1] if counts else None,
                "new": new,
                "rises": not new and bool(earlier) and error.count >= MUCH and error.count > RISE * most,
                "where": error.components,
                "executions": error.newest,
            }
        )
    return found


def _trends(figures: Metrics, weeks: Sequence[WeekCounts]) -> list[dict[str, Any]]:
    rows = [
        ("score", figures.overall_improvement),
        ("failures", figures.trends["failures"]),
        ("reuse", figures.trends["reuse"]),
        ("duration", figures.trends["duration"]),
    ]
    if len(weeks) < FEW_WEEKS:
        return []
    known = [(name, measure) for name, measure in rows if measure.low is not None and (measure.low, measure.high) != (0, 0)]
    return [{"name": name, "weeks": len(weeks), **measure.plain()} for name, measure in known]


def _spend(runs: Sequence[Observation], before: WeekCounts | None) -> dict[str, Any] | None:
    costs = [run.cost_usd for run in runs if run.cost_usd is not None]
    if not costs:
        return None
    return {
        "usd": sum(costs),
        "runs": len(costs),
        "tokens": sum(run.tokens or 0 for run in runs),
        "before": before.cost_sum if before is not None and before.costs else None,
        "failed_usd": sum(run.cost_usd or 0.0 for run in runs if run.success is False),
    }


def _unknown(runs: Sequence[Observation], found: Found, counts: Mapping[str, Any], looked_at: int) -> list[str]:
    """Return what the period cannot tell, and how sure the rest is."""
    lines = []
    if unjudged := sum(run.success is None and run.score is None for run in runs):
        lines.append(f"how {unjudged} of {len(runs)} runs went: nothing says whether they succeeded")
    if listed := sum(run.success is not None and run.score is None for run in runs):
        lines.append(f"what {listed} failures are a share of: they come from lists of failures only")
    if counts["runs"] > len(runs):
        lines.append(f"anything about single runs but the newest {len(runs)} of {counts['runs']}: only these were looked at")
    few = [kind for kind in {run.kind for run in runs} if sum(run.kind == kind for run in runs) < FEW_RUNS]
    if 2 * len(few) > counts["kinds"]:
        lines.append(f"much about {len(few)} of {counts['kinds']} kinds of task: they ran fewer than {FEW_RUNS} times")
    if runs and not any(run.cost_usd is not None for run in runs):
        lines.append("what it cost: no run recorded a cost")
    if runs and not any(run.duration_s is not None for run in runs):
        lines.append("how long things take: no run recorded a duration")
    if found.tested:
        lines.append(
            f"whether one of the patterns is chance: {found.tested} hypotheses were tested on {looked_at} runs, "
            f"in such a way that noise alone gives anything in {100 * found.level:.2g} % of such looks"
        )
    elif counts["scored"]:
        lines.append("any pattern: too few scored runs, or nothing that varies between them")
    return lines


def _starving(lifts: Sequence[RuleLift]) -> list[str]:
    """Return the rules on trial that hardly any run was eligible for."""
    few = [item for item in lifts if item.status == "trial" and item.lift.shown + item.lift.withheld < STARVING]
    told = [f"“{item.title}” ({item.lift.shown + item.lift.withheld} runs so far)" for item in few]
    return [f"whether these rules on trial help, for hardly a run was eligible: {', '.join(told)}"] if told else []
