"""The weekly synthesis: read a week, find what recurs, change rules and notes a little, report. All of it, or nothing."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from learning_loop.app import App
from learning_loop.errors import UsageError
from learning_loop.experiments.lift import Lifts
from learning_loop.features import parse, show
from learning_loop.features.conditions import Comparison, parts_of
from learning_loop.flows.alerts import RESOLVED, Alert, alerts, announce, check_alerts, event_of, note_of
from learning_loop.flows.judging import DECIDED, judge, judged
from learning_loop.flows.lifts import RuleLift, memory_lifts, rule_lifts
from learning_loop.flows.plan import ARCHIVE, Plan
from learning_loop.flows.remember import note_name
from learning_loop.flows.reporting import Findings, report_of
from learning_loop.flows.rules import FOLDER as RULES
from learning_loop.flows.rules import RuleBook
from learning_loop.flows.weeks import MOST_RUNS, CountedWeeks, lifetimes, of_period
from learning_loop.ledger import Filter
from learning_loop.patterns.candidates import Limits
from learning_loop.patterns.find import Found, find_patterns, review_patterns
from learning_loop.records import ByKey, Event, Observation, Pattern
from learning_loop.rules import Change, Rule, plan_changes, proposals, said
from learning_loop.rules.changes import Plan as RulePlan
from learning_loop.rules.propose import Proposal
from learning_loop.synthesis import Period, metrics_of, outlook, week_of
from learning_loop.synthesis.charts import charts
from learning_loop.synthesis.periods import parse_month, parse_week, weeks_between
from learning_loop.synthesis.thresholds import suggestions
from learning_loop.workspace.notes import digest_of

FORMAT = 3  # of what is kept of a week; raised when the same runs would come to something else
WAIT_S = 30.0
Told = Callable[[int, int], None]
STEPS = 6  # judging, reading, finding patterns, changing rules and notes, writing the report, committing
PLACES = {"dependency": "memory/long-term/integration-gotchas"}
COMPONENT_PATTERNS = "memory/long-term/component-patterns"
VEGA_LITE = "5.21"
MOST_LIFTS = 20  # rules in a report; `learning-loop rules list` has them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis(ByKey):
    """What a synthesis came to; its parts answer by name and by key, as `found["patterns_identified"]`."""

    period: str
    timestamp: str
    report: str
    patterns_identified: int
    rules_updated: bool
    changed: bool
    runs: int
    new_patterns: tuple[str, ...] = ()
    rule_changes: tuple[str, ...] = ()
    promoted: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()


def synthesize(
    app: App, period: Period | None = None, *, dry_run: bool = False, told: Told = lambda _done, _total: None
) -> Synthesis:
    """Carry out the synthesis of a week (by default that of the newest run), and return what it came to.

    The same week with the same runs gives the report there is and changes nothing; with more runs it is done anew. A month or
    a sprint is reviewed: a report, and no change to rules or notes. So is a week before the last one that was synthesised.
    One process at a time; a crash at any moment leaves everything as it was, or everything done, and so does an exception that
    `told`, which hears of every step, raises. Raise UsageError for a period that has not begun.
    """
    zone = ZoneInfo(app.settings.synthesis.timezone)
    if not dry_run:
        judge(app, wait_s=WAIT_S)
    told(1, STEPS)
    chosen = period or week_of(_newest_run(app) or app.clock(), zone)
    if chosen.start is not None and chosen.start > app.clock():
        raise UsageError(f"{chosen.label} has not begun: there is nothing to learn from yet")
    with app.journal.alone(wait_s=WAIT_S):
        app.journal.recover(lambda name: bool(app.ledger.events("files", name)))
        inputs = _inputs(app, chosen)
        done = app.ledger.events("synthesis", chosen.label, last=1)
        if done and done[0].data["inputs"] == inputs and (app.workspace.root / done[0].data["result"]["report"]).is_file():
            return _result(done[0].data["result"], changed=False)
        week = _Week(app, chosen, zone, inputs, asks=not dry_run, told=told)
        result, plan = week.carry_out()
        if dry_run:
            return result
        plan.commit(chosen.label)
    told(STEPS, STEPS)
    for alert in week.opened:
        announce(app, alert)
    return result


def week_named(app: App, label: str) -> Period:
    """Return the week of this name in the workspace's time zone; raise UsageError."""
    return parse_week(label, ZoneInfo(app.settings.synthesis.timezone))


def period_named(app: App, week: str | None = None, month: str | None = None, sprint: str | None = None) -> Period | None:
    """Return the week, month or sprint of this name, None where none is given; raise UsageError."""
    zone = ZoneInfo(app.settings.synthesis.timezone)
    if sum(item is not None for item in (week, month, sprint)) > 1:
        raise UsageError("say one of week, month and sprint")
    if week is not None:
        return parse_week(week, zone)
    if month is not None:
        return parse_month(month, zone)
    return Period.of_sprint(sprint) if sprint is not None else None


def open_weeks(app: App) -> list[Period]:
    """Return the weeks with runs that were not synthesised yet, or not from all the runs they have now, the oldest first."""
    zone = ZoneInfo(app.settings.synthesis.timezone)
    first, newest = app.ledger.first_start(), _newest_run(app)
    if first is None or newest is None:
        return []
    done = {event.subject: event.data["inputs"] for event in app.ledger.events("synthesis")}
    weeks = [week for week in weeks_between(first, newest, zone) if app.ledger.extent(of_period(week))[0]]
    return [week for week in weeks if done.get(week.label) != _inputs(app, week)]


def _result(data: Mapping[str, Any], *, changed: bool) -> Synthesis:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return Synthesis(**{**given, "changed": changed})


def _newest_run(app: App) -> datetime | None:
    return app.ledger.extent(Filter(before=app.clock() + timedelta(seconds=1)))[3]


def _inputs(app: App, period: Period) -> str:
    """Return what changes when a period's synthesis would come to something else."""
    settings = app.settings.model_dump_json(include={"patterns", "rules", "synthesis", "anti_patterns", "scoring"})
    text = json.dumps([FORMAT, app.ledger.extent(of_period(period)), settings], default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class _Week:
    """One synthesis under way: what is known of the period, and what is to change."""

    def __init__(self, app: App, period: Period, zone: ZoneInfo, inputs: str, *, asks: bool, told: Told) -> None:
        self.app, self.period, self.zone, self.inputs, self.asks, self.told = app, period, zone, inputs, asks, told
        self.now = app.clock()
        self.plan = Plan(app)
        self.rule_paths: dict[str, str] = {}
        self.opened: list[Alert] = []
        own = app.ledger.events("synthesis", period.label, last=1)
        self.written: dict[str, str] = own[0].data.get("files", {}) if own else {}
        self.parts: dict[str, str] = {}
        self.before: dict[str, Any] = dict(own[0].data["patterns"]) if own else {}  # what this very week gave, the last time
        done = [event for event in app.ledger.events("synthesis") if event.data["kind"] == "week"]
        self.looks = len(done) + 1
        done = [event for event in done if event.data["result"]["runs"]]  # a week without runs settles nothing before it
        earlier = [event for event in done if self._starts_before(event.subject)]
        self.state: dict[str, dict[str, Any]] = dict(earlier[-1].data["patterns"]) if earlier else {}
        later = any(not self._starts_before(event.subject) and event.subject != period.label for event in done)
        self.reviews = period.kind != "week" or later

    def _starts_before(self, label: str) -> bool:
        """Say whether a week is over before this one; to a month or a sprint, its own weeks come before its end."""
        start = parse_week(label, self.zone).start
        until = self.period.start if self.period.kind == "week" else self.period.end
        return start is not None and start < (until or self.now)

    def carry_out(self) -> tuple[Synthesis, Plan]:
        app = self.app
        runs = app.ledger.observations(of_period(self.period), most=MOST_RUNS)
        counted = CountedWeeks(app, self.period, self.zone, runs)
        weeks = counted.weeks
        self.plan.rows += counted.rows
        evidence = self._evidence(runs)
        self.told(2, STEPS)
        if self.reviews:  # looks at what is known; to look for more, again and again, would find it in noise
            found = review_patterns(evidence, self._limits(), known=self._known())
        else:
            found = find_patterns(evidence, self._limits(), known=self._known(), look=self.looks)
        self.told(3, STEPS)
        state = self._next_state(found)
        fallen = {key: entry for key, entry in (self.before | self.state).items() if key not in state}
        book = RuleBook(app)
        rules = book.rules(fresh=True)
        planned, opened = RulePlan((), ()), list[Alert]()
        if not self.reviews:
            self._write_patterns(found, state, fallen)
            planned = self._change_rules(found, rules, state, fallen)
            self._tend_notes()
            kinds = {*(run.kind for run in runs), *(alert.kind for alert in alerts(app))}
            opened = check_alerts(app, sorted(kinds, key=str), until=self.period.end)
            opened = self.opened = self._write_alerts(opened)
        self.told(4, STEPS)
        figures = metrics_of(weeks, lifetimes(app, state))
        changed_alerts = {alert.key for alert in opened}
        standing = [
            alert for alert in (*opened, *(old for old in alerts(app) if old.key not in changed_alerts)) if alert.stands
        ]
        folder = f"metrics/reports/{self.period.label}"
        result = Synthesis(
            period=self.period.label,
            timestamp=self.now.isoformat(),
            report=f"{folder}/report.md",
            patterns_identified=len(found.patterns),
            rules_updated=bool(planned.changes),
            changed=True,
            runs=weeks[-1].runs if self.period.kind == "week" else len(runs),
            new_patterns=tuple(pattern.title for pattern in found.new),
            rule_changes=tuple(f"{change.action}: {change.title}" for change in planned.changes),
            promoted=tuple(self.plan.promoted),
            archived=tuple(self.plan.archived),
            alerts=tuple(alert.title for alert in standing),
        )
        findings = Findings(
            period=self.period,
            runs=runs,
            weeks=weeks,
            found=found,
            state=state,
            fallen=fallen,
            rules=rules,
            planned=planned,
            alerts=standing,
            closed=[alert for alert in opened if not alert.stands],
            figures=figures,
            outlook=outlook(weeks),
            suggestions=suggestions(runs, app.settings.reflection_triggers.thresholds),
            needs=[*self.plan.faults, *book.faults, *self._waiting_for_people(rules)],
            notes={key: path for key in state if (path := self.plan.path_of(f"pattern:{key}")) is not None},
            paths=self.rule_paths,
            looked_at=len(evidence),
            reviews=self.reviews,
            named=self._named,
            lifts=self._lifts(),
            moved=self._moved(),
            level=app.settings.evidence.level,
        )
        report = report_of(findings, self.zone)
        self._write_report(folder, report, charts(weeks) if runs else {})
        data = {
            "kind": "review" if self.reviews else "week",
            "inputs": self.inputs,
            "result": {name: result[name] for name in result},
            "patterns": state,
            "level": found.level,
            "tested": found.tested,
            "files": self.parts,
            "checked": counted.checked,
        }
        self.told(5, STEPS)
        self.plan.rows.append(Event(kind="synthesis", subject=self.period.label, at=self.now, data=data))
        return result, self.plan

    # ----------------------------------------------------------------------------------------------------------- reading

    def _limits(self) -> Limits:
        given = self.app.settings.patterns
        return Limits(
            success_above=given.success_above,
            failure_below=given.failure_below,
            level=given.level,
            least_support=given.least_support,
            least_effect=given.least_effect,
            least_ratio=given.least_ratio,
        )

    def _evidence(self, runs: list[Observation]) -> list[Observation]:
        """Return the period's runs, and before them those of the weeks before where it has few."""
        given, start = self.app.settings.patterns, self.period.start
        if len(runs) >= given.runs or start is None or self.period.kind != "week":
            return runs
        earlier = Filter(since=start - timedelta(weeks=given.weeks), before=start, ended=True)
        return [*self.app.ledger.observations(earlier, most=given.runs - len(runs)), *runs]

    def _known(self) -> dict[str, str]:
        return {key: entry["antecedent"] for key, entry in self.state.items()}

    # ---------------------------------------------------------------------------------------------------------- changing

    def _next_state(self, found: Found) -> dict[str, dict[str, Any]]:
        """Return the patterns that are kept: those that stand, and those that fell only lately; a review changes none."""
        if self.reviews:
            return self.state
        state = {}
        for pattern in found.patterns:
            before = self.state.get(pattern.key, {})
            state[pattern.key] = {
                "since": before.get("since", self.period.label),
                "last": self.period.label,
                "antecedent": pattern.antecedent,
                "title": pattern.title,
                "family": pattern.family,
            }
        patience = timedelta(weeks=self.app.settings.patterns.obsolete_after_weeks)
        for key in found.fallen:
            if key in found.superseded:
                continue
            last = parse_week(self.state[key]["last"], self.zone).start
            if last is not None and self.period.start is not None and self.period.start - last < patience:
                state[key] = self.state[key]
        return state

    def _write_patterns(self, found: Found, state: Mapping[str, Any], fallen: Mapping[str, Any]) -> None:
        for pattern in found.patterns:
            self.plan.remember(
                subject=f"pattern:{pattern.key}",
                folder=PLACES.get(pattern.family, COMPONENT_PATTERNS),
                name=note_name(self.app, pattern.title),
                meta=_pattern_meta(pattern, state[pattern.key]),
                body=lambda front, pattern=pattern: self.app.templates.render(
                    "notes/pattern.md.j2", front=front, pattern=pattern
                ),
            )
        for key in fallen:
            self.plan.retire(f"pattern:{key}", "archived")

    def _change_rules(
        self, found: Found, rules: Sequence[Rule], state: Mapping[str, Any], fallen: Mapping[str, Any]
    ) -> RulePlan:
        settings, theirs = self.app.settings.rules, judged(self.app)
        rules = [replace(rule, mine=rule.mine or rule.unit in theirs) for rule in rules]  # what the gate judges is left alone
        orphans = [rule.pattern for rule in rules if rule.pattern is not None and rule.pattern not in state]
        why = dict.fromkeys(orphans, "its pattern does not stand any more")
        why |= {key: f"its pattern has not stood since {entry['last']}" for key, entry in fallen.items()}
        why |= dict.fromkeys(found.superseded, "another pattern says it better")
        planned = plan_changes(
            rules,
            self._proposed(found, rules),
            fallen=why,
            rejected=self._rejected(rules),
            most_new=settings.most_new,
        )
        for change in planned.changes:
            path, rule_id = self._change_rule(change)
            self.rule_paths[change.key] = path
            effect = change.proposal.effect if change.proposal else 0.0
            said_of = {name: getattr(change, name) for name in ("action", "key", "reason", "title", "before", "after")}
            was = change.rule.plain() if change.rule is not None else None
            data = {**said_of, "week": self.period.label, "path": path, "effect": effect, "by": "loop", "was": was}
            data["origin"] = change.proposal.origin if change.proposal is not None else None
            self.plan.rows.append(Event(kind="rule_change", subject=rule_id, at=self.now, data=data))
        return planned

    def _proposed(self, found: Found, rules: Sequence[Rule]) -> list[Proposal]:
        """Return the rules that patterns suggest, and those that a language model proposes for patterns without one."""
        own = proposals(found.patterns, settable=self.app.settings.rules.settable)
        ruled = {rule.pattern for rule in rules if rule.pattern} | {proposal.pattern for proposal in own}
        if not self.asks:
            return own
        from learning_loop.flows.modelling import rule_proposals

        budget = f"{self.period.label} {self.inputs}"
        return [*own, *rule_proposals(self.app, found, ruled, budget=budget, warnings=self.plan.faults)]

    def _change_rule(self, change: Change) -> tuple[str, str]:
        """Write the note of a rule that is added or revised, or retire it; return its path and id."""
        if change.proposal is None:
            retired = self.plan.retire(f"rule:{change.key}", "retired") or (change.rule.path if change.rule else "")
            return retired, change.rule.id if change.rule else retired
        proposal = change.proposal
        fresh = "candidate" if self.app.settings.rules.approval == "human" else "trial"
        status = change.rule.status if change.rule is not None and change.action == "revise" else fresh
        path = self.plan.path_of(f"pattern:{proposal.pattern}")
        note = self.plan.remember(
            anew=change.action == "add",
            subject=f"rule:{change.key}",
            folder=RULES,
            name=note_name(self.app, proposal.title),
            meta={
                "kind": "rule",
                "title": proposal.title,
                "when": show(proposal.when) if proposal.when is not None else None,
                "then": proposal.then.plain(),
                "status": status,
                "pattern": proposal.pattern,
                "tags": ["rule"],
                "evidence": list(proposal.executions[::-1]),
                "summary": said(proposal.then),
            },
            body=lambda front: self.app.templates.render(
                "notes/rule.md.j2", front=front, does=said(proposal.then), reason=proposal.reason, note=path
            ),
        )
        return (note.path, note.id) if note is not None else ("", change.key)

    def _rejected(self, rules: Sequence[Rule]) -> dict[str, float]:
        """Return how strong the patterns were behind the rules that a person rejected or removed, or that the gate did."""
        there = {rule.pattern: rule for rule in rules}
        found: dict[str, float] = {}
        promised: dict[str, float] = {}
        for event in self.app.ledger.events("rule_change"):
            key, reason = event.data["key"], event.data.get("verdict")
            rule = there.get(key.removeprefix("rule: "))
            if reason is None:
                promised[key] = max(float(event.data["effect"]), promised.get(key, 0.0))
            removed = rule is None and event.data["action"] != "retire" and not self.plan.lies_somewhere(f"rule:{key}")
            if removed or reason in DECIDED or (rule is not None and rule.status == "rejected"):
                found[key] = promised.get(key, 0.0)
        return found

    def _tend_notes(self) -> None:
        """Promote the reflections that came again, archive what has not for long, and alerts that are closed."""
        settings, end = self.app.settings.synthesis, self.period.end or self.now
        long_ago = end - timedelta(weeks=settings.obsolete_after_weeks)
        for folder in ("memory/short-term", "memory/working-memory/alerts"):
            for path in sorted(self.app.notes.marks_below(folder)):
                note = self.plan.own(path)
                if note is None or path in self.plan.files:
                    continue
                changed = note.moment("updated") or note.created or end
                if changed > end:
                    continue
                if folder.endswith("alerts"):
                    if note.text("status") == RESOLVED and changed < end - timedelta(weeks=1):
                        self.plan.move(note, ARCHIVE, status="archived")
                elif changed < long_ago:
                    self.plan.move(note, ARCHIVE, status="archived")
                elif (note.number("seen") or 0) >= settings.promote_after and note.category == "reflection":
                    self.plan.promoted.append(
                        self.plan.move(note, PLACES["dependency"], status=note.text("status") or "active")
                    )

    def _write_alerts(self, changed: Sequence[Alert]) -> list[Alert]:
        found = []
        for alert in changed:
            note = self.plan.remember(**note_of(self.app, alert))
            found.append(replace(alert, note=note.path if note else None))
            self.plan.rows.append(event_of(found[-1]))
        return found

    def _waiting_for_people(self, rules: Sequence[Rule]) -> list[str]:
        """Return what lies with a person: candidates to approve, and proposals beside notes they changed."""
        found = []
        if self.app.settings.rules.approval == "human":
            found += [f"approve or reject the rule “{rule.title}”: {rule.path}" for rule in rules if rule.status == "candidate"]
        root = self.app.workspace.root
        beside = sorted(
            path.relative_to(root).as_posix() for path in self.app.notes.paths() if path.name.endswith(".proposal.md")
        )
        return found + [f"a note you changed has a proposal beside it: {path}" for path in beside]

    def _lifts(self) -> list[RuleLift]:
        """Return what is known by now of the rules in force, the best known first, and of memory."""
        lifts = Lifts(self.app.ledger.exposed())
        known = [item for item in rule_lifts(self.app, lifts=lifts) if item.rule is not None and item.rule.shown]
        return [*known[:MOST_LIFTS], *memory_lifts(self.app, lifts=lifts)]

    def _moved(self) -> list[Event]:
        """Return what the gate and people did to rules in this period; what is done by synthesis is told by itself."""
        start, end = self.period.start, self.period.end
        if start is None:  # a sprint has no times of its own
            return []
        return [
            event
            for event in self.app.ledger.events("rule_change")
            if "week" not in event.data and event.at >= start and (end is None or event.at < end)
        ]

    def _named(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what a reader asks first of runs that are pointed to: which task, when, how it went, what was learned."""
        found = []
        for execution_id in ids:
            record = self.app.ledger.execution(execution_id)
            notes = (self.plan.place_of(note) for note in self.app.ledger.note_versions(execution_id=execution_id))
            found.append(
                {
                    "id": execution_id,
                    "task": record.execution.task_id,
                    "kind": str(record.execution.kind),
                    "at": record.execution.started_at.astimezone(self.zone),
                    "status": self.app.ledger.status_of(record),
                    "score": record.score.overall if record.score else None,
                    "note": next((path for path in notes if path is not None), None),
                }
            )
        return found

    def _write_report(self, folder: str, report: dict[str, Any], specs: Mapping[str, Any]) -> None:
        drawn = draw(specs)
        for name, content in drawn.items():
            self._write_part(f"{folder}/{name}.svg", content)
        report["charts"] = [{"name": name, "title": specs[name]["title"], "file": f"{name}.svg"} for name in drawn]
        text = self.app.redact(self.app.templates.render("reports/weekly.md.j2", report=report))
        self._write_part(f"{folder}/report.md", text.encode())
        plain = json.dumps(self.app.redact(report), indent=2, ensure_ascii=False, default=str) + "\n"
        self._write_part(f"{folder}/report.json", plain.encode())

    def _write_part(self, path: str, content: bytes) -> None:
        self.plan.write(path, content, known=self.written.get(path))
        self.parts[path] = digest_of(content)


def draw(specs: Mapping[str, Any]) -> dict[str, bytes]:
    """Return charts as SVG."""
    if not specs:
        return {}
    import vl_convert

    return {name: vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE).encode() for name, spec in specs.items()}


def _pattern_meta(pattern: Pattern, entry: Mapping[str, Any]) -> dict[str, Any]:
    pinned = _pinned(pattern)
    bad = pattern.family == "failure" or pattern.consequent.startswith("failure")
    return {
        "kind": "gotcha" if pattern.family == "dependency" else "pattern",
        "status": "active",
        "title": pattern.title,
        "outcome": "failed" if bad else "succeeded" if pattern.family == "success" else None,
        "family": pattern.family,
        "when": pattern.antecedent,
        "then": pattern.consequent,
        "support": pattern.support,
        "confidence": None if pattern.confidence is None else round(pattern.confidence, 4),
        "lift": None if pattern.lift is None else round(pattern.lift, 4),
        "effect": round(pattern.effect, 4),
        "interval": None if pattern.low is None or pattern.high is None else [round(pattern.low, 4), round(pattern.high, 4)],
        "task_type": pinned.get("type"),
        "component": pinned.get("component"),
        "project": pinned.get("project"),
        "tags": ["pattern", pattern.family],
        "found": entry["since"],
        "confirmed": entry["last"],
        "evidence": list(pattern.executions[::-1]),
        "summary": pattern.text,
    }


def _pinned(pattern: Pattern) -> dict[str, str]:
    """Return what a pattern's condition says of the task itself."""
    parts = parts_of(parse(pattern.antecedent))
    return {part.name: part.values[0] for part in parts if isinstance(part, Comparison) and part.operator == "="}
