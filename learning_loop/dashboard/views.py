"""What the pages show, as plain data: each function is a page, read from ledger and notes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from learning_loop.app import App
from learning_loop.dashboard import charts
from learning_loop.dashboard.metrics import LearningDashboard
from learning_loop.errors import WorkspaceError
from learning_loop.experiments.ab import AbTest
from learning_loop.experiments.lift import Lifts
from learning_loop.experiments.ramp import Climb
from learning_loop.features.encoding import OWN, RAMP
from learning_loop.flows.ab_report import report_of
from learning_loop.flows.ab_tests import EVIDENCE, Experiment, experiments
from learning_loop.flows.alerts import OPEN, alerts
from learning_loop.flows.contributions import contributed
from learning_loop.flows.experience import LEARNED, RULES, Episode, Log
from learning_loop.flows.lifts import RuleLift, memory_lifts, rule_lifts, shown_to
from learning_loop.flows.measuring import counted_weeks
from learning_loop.flows.points import CLIMB, POLICY, climb_of, ledger_points, standing
from learning_loop.flows.rules import RuleBook
from learning_loop.flows.status import search_of
from learning_loop.ledger import Filter
from learning_loop.records import DIMENSIONS, Decision, ExecutionRecord
from learning_loop.settings import Point
from learning_loop.stats.contingency import wilson
from learning_loop.stats.student import mean_of
from learning_loop.workspace.versions import folder_of, load_version

DAYS = 14  # that the overview looks back from the newest run
MOST_EPISODES = 2_000  # the newest, that the page of a policy looks at
MOST_BUCKETS, MOST_BINS = 12, 15
MOST_LOOKS = 200  # at a ramp, the newest, that are drawn


# ------------------------------------------------------------------------------------------------------------- overview


def overview(app: App) -> dict[str, Any]:
    """Say whether it learns, whether that helps, and what needs a person."""
    figures = LearningDashboard(app).generate_report()
    counts = app.ledger.counts()
    memory = memory_lifts(app)
    rules = rule_lifts(app)
    book = RuleBook(app)
    in_force = {rule.id for rule in book.in_force(fresh=True)}
    waiting = [rule for rule in book.rules() if rule.status == "candidate" or (rule.shown and rule.id not in in_force)]
    tests = [test for test in experiments(app).values() if test.stands]
    weeks = counted_weeks(app)
    return {
        "counts": counts,
        "total": sum(counts.values()),
        "trends": figures["trends"],
        "suggestions": figures["recommendations"],
        "memory": memory,
        "rules": rules,
        "helping": [item for item in rules if item.verdict == "helps"],
        "alerts": [alert for alert in alerts(app) if alert.state == OPEN],
        "waiting": waiting,
        "tests": tests,
        "newest": app.ledger.listed(Filter(), limit=8),
        "search": search_of(app),
        "score_chart": _score_chart(weeks),
        "runs_chart": charts.bars(_daily(app), "day", title="day", colour="status", count="runs"),
        "effects_chart": charts.intervals(_effects([*memory, *rules][:12]), title="effect on the score, in points"),
    }


def _daily(app: App) -> list[dict[str, Any]]:
    newest = app.ledger.listed(Filter(), limit=1)
    since = min(newest[0].started_at if newest else app.clock(), app.clock()) - timedelta(days=DAYS)
    return [{"day": day, "status": status, "runs": runs} for day, status, runs in app.ledger.daily(since)]


def _score_chart(weeks: Sequence[Any]) -> Any:
    from learning_loop.synthesis.charts import charts as of_weeks

    spec = of_weeks(weeks).get("scores") if weeks else None
    drawn = {"$schema": charts.SCHEMA, "width": "container", "height": charts.HEIGHT, "title": None, "background": None}
    return None if spec is None else {**spec, **drawn}


def _effects(items: Sequence[RuleLift]) -> list[dict[str, Any]]:
    return [
        {
            "name": item.title[:60],
            "effect": round(item.lift.effect, 2),
            "low": round(item.lift.low or 0.0, 2),
            "high": round(item.lift.high or 0.0, 2),
            "verdict": item.verdict,
        }
        for item in items
        if item.lift.effect is not None
    ]


# ------------------------------------------------------------------------------------------------------------------ run


@dataclass(frozen=True, slots=True)
class Part:
    """A share of the overall score: a dimension's value, its weight, what it rests on."""

    name: str
    value: float | None
    weight: float
    basis: str


def run(app: App, execution_id: str) -> dict[str, Any]:
    """One execution, step by step."""
    record = app.ledger.execution(execution_id)
    contributions = contributed(app, record)
    score, weights = record.score, app.settings.scoring.weights
    parts = []
    if score is not None:
        parts = [
            Part(name, getattr(score, name), float(weights.get(name, 0.0)), score.basis.get(name, "")) for name in DIMENSIONS
        ]
    return {
        "record": record,
        "excluded": any(event.subject == execution_id for event in app.ledger.events("excluded")),
        "shown": shown_to(app, execution_id),
        "decisions": [made for made in record.decisions if made.point != OWN and not made.point.startswith(RAMP)],
        "contributions": contributions,
        "parts": parts,
        "predicted": record.noted("pre", "predicted") or {},
        "before": _noted(record, ("initial_state", "dependencies", "assumptions")),
        "deviations": record.noted("post", "deviations") or [],
        "discoveries": record.noted("post", "discoveries") or [],
        "notes": _notes_of(app, record),
        "children": app.ledger.children(execution_id),
        "spans": _spans(record),
    }


def _noted(record: ExecutionRecord, keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key in keys if (value := record.noted("pre", key))}


def _notes_of(app: App, record: ExecutionRecord) -> list[str]:
    written = {version.path for version in app.ledger.note_versions(execution_id=record.execution.id)}
    cited = set(app.index.store.citing([record.execution.id]))
    return sorted(path for path in written | cited if (app.workspace.root / path).is_file())


def _spans(record: ExecutionRecord) -> list[dict[str, Any]]:
    """Return when each thing that was noted happened, as a share of the whole run, for a time line."""
    begun = record.execution.started_at
    if record.outcome is None:
        return []
    whole = max((record.outcome.ended_at - begun).total_seconds(), record.outcome.duration_s or 0.0, 1e-6)
    marks = [("checkpoint", item.name, item.at) for item in record.checkpoints]
    marks += [("decision", f"{item.point}: {item.chosen}", item.at) for item in record.decisions if item.point != OWN]
    marks += [("model", item.model, item.at) for item in record.usage]
    found = [
        {"sort": sort, "name": name, "at": min(max((at - begun).total_seconds(), 0.0) / whole, 1.0)} for sort, name, at in marks
    ]
    return sorted(found, key=lambda span: span["at"])


# -------------------------------------------------------------------------------------------------------------- rules


def judged_rules(app: App, *, retired: bool) -> tuple[list[RuleLift], list[RuleLift]]:
    """Return every rule with what is known of it by now; and memory as a whole, and the kinds of notes in it."""
    from learning_loop.flows.judging import catch_up

    catch_up(app)
    lifts = Lifts(app.ledger.exposed())
    return rule_lifts(app, retired=retired, lifts=lifts), memory_lifts(app, lifts=lifts)


def rules(app: App, *, retired: bool) -> dict[str, Any]:
    """Every rule, and what is known of it."""
    found, memory = judged_rules(app, retired=retired)
    return {
        "rules": found,
        "memory": memory,
        "retired": retired,
        "chart": charts.intervals(_effects([*memory, *found][:25]), title="effect on the score, in points"),
        "weeks": [event.subject for event in app.ledger.events("synthesis") if event.data["kind"] == "week"][::-1],
        "faults": RuleBook(app).faults,
    }


# --------------------------------------------------------------------------------------------------------- experiments


def experiment(app: App, test: Experiment) -> dict[str, Any]:
    """One test: its arms, its evidence over time, its guards, what it did."""
    report, settings = report_of(app, test), app.settings.strategies.tests
    rows, limits = [], {}
    for event in app.ledger.events(EVIDENCE, test.id):
        kept = AbTest(test.control, test.candidates, settings, test.started_at, kept=event.data["test"])
        for arm in test.candidates:
            known = kept.known(arm)
            units = known["control"] + known["units"]
            for what in ("benefit", "harm"):
                rows.append({"units": units, "what": f"{what} of {arm}", "log_e": round(float(known[f"log_{what}"]), 3)})
                bar = float(known[f"log_{what}_bar"])
                if bar < 1e6:
                    limits[f"{what} of {arm}"] = {"what": f"{what} of {arm}", "log_e": round(bar, 3)}
    effects = [
        {"name": arm.version, "effect": round(arm.lift.effect, 2), "low": round(arm.lift.low or 0, 2),
         "high": round(arm.lift.high or 0, 2), "verdict": arm.state}
        for arm in report.arms if arm.lift is not None and arm.lift.effect is not None
    ]  # fmt: skip
    return {
        "test": test,
        "report": report,
        "guards": settings.guards,
        "evidence_chart": charts.evidence(rows, list(limits.values())),
        "effects_chart": charts.intervals(effects, title="points of the reward's range, beside the one in force"),
    }


def ramps(app: App) -> dict[str, Any]:
    """Return how far learned policies have come on their way to all units, and the evidence of each over time."""
    ramp, found, rows, bars = app.settings.policies.ramp, [], [], []
    for point in sorted({*ledger_points(app.ledger), *app.settings.policies.points}):
        now = standing(app, point)
        looks = app.ledger.events(CLIMB, climb_of(point, now.version), last=MOST_LOOKS) if now.version else []
        climbs = [Climb(str(now.version), ramp, event.at, kept=event.data) for event in looks]
        if not climbs or now.mode not in ("ab_test", "production"):
            continue
        found.append({"point": point, "now": now, "climb": climbs[-1], "at": looks[-1].at})
        for climb in climbs:
            units = int(climb.trials.gate.evidence.runs[0].sum())
            values = {"benefit": climb.benefit, "harm": climb.harm}
            rows += [{"units": units, "what": f"{what} at {point}", "log_e": round(value, 3)} for what, value in values.items()]
        if not climbs[-1].last:
            bars.append({"what": f"benefit at {point}", "log_e": round(climbs[-1].bar, 3)})
    return {"ramps": found, "ramp": ramp, "ramps_chart": charts.evidence(rows, bars)}


# ------------------------------------------------------------------------------------------------------------ policies


def policies(app: App, point: str | None, settings: Mapping[str, Point]) -> dict[str, Any]:
    """Every decision point, and one of them closely; `settings` are those of points that no configuration has."""
    counts = ledger_points(app.ledger)
    names = sorted({*counts, *app.settings.policies.points}, key=lambda name: (-counts.get(name, 0), name))
    chosen = point if point in names else (names[0] if names else None)
    return {
        "points": [{"name": name, "choices": counts.get(name, 0), "now": standing(app, name)} for name in names],
        "point": _point(app, chosen, settings.get(chosen)) if chosen is not None else None,
    }


def _point(app: App, point: str, settings: Point | None) -> dict[str, Any]:
    log = Log(app, point, app.settings.policies.points.get(point) or settings)
    episodes = log.newest(MOST_EPISODES)
    said = app.ledger.events(POLICY, point)
    trained = [_training(app, point, event) for event in said if event.data["action"] == "train"]
    by_mode = Counter(_mode(point, episode) for episode in episodes)
    return {
        "name": point,
        "now": standing(app, point),
        "said": said[::-1][:30],
        "episodes": len(episodes),
        "trained": trained[::-1],
        "sides": _sides(point, episodes),
        "trend_chart": charts.bands(_trend(point, episodes), "reward", title="mean reward"),
        "steps_chart": charts.bars(_steps(point, episodes), "steps", title="steps a run", colour="mode"),
        "rewards_chart": charts.bars(_binned(point, episodes), "reward", title="reward", colour="mode", sort=None),
        "actions_chart": charts.heat(_buckets(episodes), "action", "state", "share", title="share"),
        "modes_chart": charts.shares([{"mode": mode, "runs": runs} for mode, runs in by_mode.most_common()], "mode"),
    }


def _mode(point: str, episode: Episode) -> str:
    """Return by whom the first choice was made: the draw of a ramp says, else the mode of a pack's run, else its policy."""
    record = episode.record
    for made in record.decisions if record is not None else ():
        if made.point == f"{RAMP}{point}" and made.chosen in (LEARNED, RULES):
            return made.chosen
    given = record.execution.parameters.get("mode") if record is not None else None
    return str(given) if given else episode.decisions[0].policy.partition("/")[0]


def _rewarded(episode: Episode) -> float | None:
    return episode.reward if episode.steps else None


def _trend(point: str, episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Return the mean reward by day, or by ten minutes where all is of a few days, with its interval, of each mode."""
    if not episodes:
        return []
    moments = [episode.decisions[0].at for episode in episodes]
    short = (max(moments) - min(moments)) < timedelta(days=3)
    grouped: dict[tuple[datetime, str], list[float]] = defaultdict(list)
    for episode, at in zip(episodes, moments, strict=True):
        if (value := _rewarded(episode)) is not None:
            begin = at.replace(minute=at.minute // 10 * 10 if short else 0, second=0, microsecond=0)
            grouped[begin if short else begin.replace(hour=0), _mode(point, episode)].append(value)
    found = []
    for (day, who), values in sorted(grouped.items()):
        mean = mean_of(values)
        if mean is not None:
            low, high = (mean.value if bound is None else bound for bound in (mean.low, mean.high))
            row = {"day": day.isoformat(), "who": who, "reward": mean.value, "low": low, "high": high, "runs": mean.of}
            found.append({name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()})
    return found


def _steps(point: str, episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    counts = Counter((len(episode.decisions), _mode(point, episode)) for episode in episodes)
    return [{"steps": steps, "mode": mode, "runs": runs} for (steps, mode), runs in sorted(counts.items())]


def _binned(point: str, episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    known = [(value, _mode(point, episode)) for episode in episodes if (value := _rewarded(episode)) is not None]
    if not known:
        return []
    low, high = min(value for value, _ in known), max(value for value, _ in known)
    width = (high - low) / MOST_BINS or 1.0
    counts = Counter((min(int((value - low) / width), MOST_BINS - 1), mode) for value, mode in known)
    return [
        {"reward": f"{low + place * width:.2f}", "mode": mode, "runs": runs} for (place, mode), runs in sorted(counts.items())
    ]


def _buckets(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Return how often each option was taken in each state, of the commonest states."""
    grouped: dict[str, Counter[str]] = defaultdict(Counter)
    for episode in episodes:
        for made in episode.decisions:
            grouped[_state(made)][made.chosen] += 1
    found = []
    for state, counts in sorted(grouped.items(), key=lambda item: -item[1].total())[:MOST_BUCKETS]:
        found += [
            {"state": state, "action": action, "share": round(count / counts.total(), 3), "runs": count}
            for action, count in counts.most_common()
        ]
    return found


def _state(made: Decision) -> str:
    told = [f"{name} {value}" for name, value in made.context.items() if isinstance(value, str | bool) and name != "where"]
    return ", ".join(told)[:90] or "any"


def _sides(point: str, episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Return what runs came to by who chose: how many, their mean reward, their share of successes, with intervals."""
    grouped: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        grouped[_mode(point, episode)].append(episode)
    found = []
    for mode, own in sorted(grouped.items(), key=lambda item: -len(item[1])):
        ended = [one.record.success for one in own if one.record is not None and one.record.success is not None]
        low, high = wilson(sum(ended), len(ended)) if ended else (None, None)
        found.append(
            {
                "mode": mode,
                "runs": len(own),
                "reward": mean_of([value for one in own if (value := _rewarded(one)) is not None]),
                "success": sum(ended) / len(ended) if ended else None,
                "low": low,
                "high": high,
                "steps": sum(len(one.decisions) for one in own) / len(own),
            }
        )
    return found


def _training(app: App, point: str, event: Any) -> dict[str, Any]:
    about: dict[str, Any] = {}
    try:
        _, about = load_version(folder_of(app.workspace, point) / event.data["version"])
    except WorkspaceError:
        about = {"gone": True}
    return {"at": event.at, "version": event.data["version"], "says": event.data["reason"], "about": about}
