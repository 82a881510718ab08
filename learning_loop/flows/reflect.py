"""Reflection: each trigger looks at the evidence and writes its note."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from learning_loop.app import App
from learning_loop.capture import digest
from learning_loop.errors import NoteError, NotFoundError
from learning_loop.features.saying import clipped
from learning_loop.flows.earlier import Earlier
from learning_loop.flows.remember import note_name, remember
from learning_loop.flows.wording import ToWord, Wordings, worded
from learning_loop.ledger import EVERYTHING, Filter
from learning_loop.records import ExecutionRecord, Finding, Kind, Outcome, RootCause
from learning_loop.reflection import (
    Compared,
    Contradiction,
    Template,
    contradiction,
    differences_from,
    generalise,
    improvements,
    root_cause,
)
from learning_loop.reflection import with_contradiction as entered
from learning_loop.workspace import atomic_write

MOST_ALIKE = 100  # runs with the same error that are looked at
GOOD_RUNS = 20  # a template is generalised from at most so many of the newest good runs
GROWTH = 1.5  # a template whose words stay the same is written again when its evidence has grown by half


@dataclass
class Reflection:
    """What reflecting on a run gave: lessons in a sentence each, suggestions, the paths of the notes it wrote."""

    learnings: list[str] = field(default_factory=list)
    improvements: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Examined:
    """What a kind's template was last generalised from: the parts of its runs, and after how many good ones to look again."""

    parts: frozenset[str]
    good: int
    again_at: int


class Reflector:
    """Carries out the reflections that a score card triggers."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._earlier = Earlier(app.ledger)
        self._wordings = Wordings(app)
        self._examined: dict[Kind, _Examined] = {}
        self._actions: Mapping[str, Callable[[Outcome, str, Reflection], None]] = {
            "mandatory_reflection": self._mandatory_reflection,
            "extract_template": self._extract_template,
            "update_architecture": self._update_architecture,
        }

    def perform_reflection(self, action: str, reason: str, outcome: Outcome, into: Reflection) -> None:
        """Carry out one action on an execution that is in the ledger, and add what it gave to `into`."""
        self._actions[action](outcome, reason, into)

    # ----------------------------------------------------------------------------------------------------- root cause

    def root_cause_analysis(self, task_id: str) -> RootCause:
        """Return the likely causes of how a past run went; `task_id` may be an execution's id or a task's.

        Of a task that ran several times its newest failure is meant, or its newest run where none failed. Raise
        NotFoundError for an id that no run has.
        """
        return self._analyse(self._find(task_id))

    def _find(self, task_id: str) -> ExecutionRecord:
        for wanted in (Filter(task_id=task_id, status="failed"), Filter(task_id=task_id)):
            if found := self._app.ledger.executions(wanted, limit=1, parts=EVERYTHING):
                return found[0]
        try:
            return self._app.ledger.execution(self._app.ledger.resolve(task_id))
        except NotFoundError:
            raise NotFoundError(
                f"no task and no execution is called {task_id!r}: see `learning-loop executions list`"
            ) from None

    def _analyse(self, record: ExecutionRecord) -> RootCause:
        kind, before = record.execution.kind, record.execution.started_at
        others = self._earlier.runs(Filter(kind=kind, before=before), limit=self._app.settings.reflection.compare_with)
        mark = record.outcome.error_fingerprint if record.outcome else None
        same = Filter(fingerprints=(mark,), within=(kind.project,), before=before) if mark else None
        return root_cause(record, others, self._earlier.runs(same, limit=MOST_ALIKE) if same else [])

    def _mandatory_reflection(self, outcome: Outcome, reason: str, into: Reflection) -> None:
        record = self._app.ledger.execution(outcome.execution_id)
        cause = self._analyse(record)
        kind, advice = record.execution.kind, improvements(cause.findings)
        subject = f"failure:{kind.key}:{cause.fingerprint or 'low score'}"
        path = self._write(record, cause, advice, reason, subject)
        self._wordings.add(
            ToWord(subject, str(kind), cause, tuple(advice)),
            lambda: self._write(record, cause, advice, reason, subject, anew=False),
        )
        scored = f"scored {record.score.overall:.0f}" if record.score and record.score.overall is not None else ""
        ended = scored if record.outcome and record.outcome.success else record.status
        into.learnings.append(f"{kind} {ended}: {cause.summary}")
        into.improvements += advice
        into.notes.append(path)

    def _write(
        self, record: ExecutionRecord, cause: RootCause, advice: Sequence[str], reason: str, subject: str, *, anew: bool = True
    ) -> str:
        """Write the note on a failure, with what a language model made of its words where one did; return its path."""
        kind = record.execution.kind
        title = clipped(f"{kind}: {cause.summary}", 160)
        return remember(
            self._app,
            subject=subject,
            folder="memory/short-term",
            name=note_name(self._app, title),
            meta={
                "kind": "reflection",
                "title": title,
                "outcome": record.status,
                "tags": ["root-cause", *([cause.findings[0].kind.replace(" ", "-")] if cause.findings else [])],
                "confidence": confidence(cause.findings),
                "summary": "; next time: ".join([cause.summary, *advice[:1]]),
            },
            body=lambda front: self._app.templates.render(
                "notes/reflection.md.j2",
                front=front,
                record=record,
                cause=cause,
                reason=reason,
                improvements=advice,
                wording=worded(self._app, subject, cause),
            ),
            execution=record.execution,
            anew=anew,
        )

    # ------------------------------------------------------------------------------------------------------- template

    def _extract_template(self, outcome: Outcome, reason: str, into: Reflection) -> None:  # noqa: ARG002
        kind = Kind(type=outcome.task_type, component=outcome.component, project=outcome.project)
        parts = frozenset(part for part in outcome.shape if "=" not in part)
        examined = self._examined.get(kind)
        if examined is not None:
            examined.good += 1
            if parts <= examined.parts and examined.good < examined.again_at:
                return
        settings = self._app.settings
        least, high = settings.reflection.template_after, settings.reflection_triggers.thresholds.high_performance
        newest = self._app.ledger.executions(Filter(kind=kind, status="succeeded"), limit=GOOD_RUNS, parts=EVERYTHING)
        good = [run for run in newest if run.score and run.score.overall is not None and run.score.overall > high]
        count = max(len(good), examined.good if examined else 0)
        known = frozenset(part for run in good if run.outcome for part in run.outcome.shape if "=" not in part)
        self._examined[kind] = _Examined(parts=known, good=count, again_at=max(least, ceil(count * GROWTH)))
        template = generalise(good, least=least)
        if template is not None:
            self._write_template(template, into)

    def _place_of(self, template: Template) -> tuple[str, Mapping[str, Any]]:
        """Return the template's path, and what its front matter says where it is there; another kind's is left alone."""
        for ending in ("", f"-{(digest(template.kind.key) or '')[:4]}"):
            path = f"templates/successful-patterns/{template.name}{ending}/SKILL.md"
            known = self._app.notes.read(path).meta if (self._app.workspace.root / path).is_file() else {}
            kind = Kind(type=str(known.get("task_type")), component=known.get("component"), project=known.get("project"))
            if not known or "task_type" not in known or kind == template.kind:
                break
        return path, known

    def _write_template(self, template: Template, into: Reflection) -> None:
        path, known = self._place_of(template)
        runs = [run for run in template.executions if run not in (known.get("evidence") or ())]
        seen = int(known.get("seen") or 0)
        if known.get("says") == template.digest and len(runs) < seen * (GROWTH - 1):
            return
        about = (
            f"How {template.kind} goes when it goes well: steps, parameters, choices. Use it before the next {template.kind}."
        )
        written = remember(
            self._app,
            subject=f"template:{template.kind.key}",
            folder=f"templates/successful-patterns/{template.name}",
            name="SKILL",
            fixed_path=path,
            meta={
                "name": template.name,
                "description": about,
                "kind": "template",
                "title": f"Template: {template.kind}",
                "outcome": "succeeded",
                "task_type": template.kind.type,
                "component": template.kind.component,
                "project": template.kind.project,
                "evidence": runs[::-1],
                "says": template.digest,
                "parts": list(template.parts),
            },
            body=lambda front: self._app.templates.render("notes/skill.md.j2", front=front, template=template),
        )
        into.notes.append(written)
        verb = "was revised" if known else "was extracted"
        into.learnings.append(
            f"what {template.kind} does when it goes well {verb} as a template from {len(template.executions)} runs"
        )

    # ---------------------------------------------------------------------------------------------------- assumptions

    def _update_architecture(self, outcome: Outcome, reason: str, into: Reflection) -> None:
        record = self._app.ledger.execution(outcome.execution_id)
        findings = self._unusual(record)
        found = contradiction(record, findings)
        if found is None:
            return
        kind = record.execution.kind
        title = f"No longer holds: {found.expected}"
        path = remember(
            self._app,
            subject=f"assumption:{kind.key}:{found.expected}",
            folder="memory/long-term/architectural-decisions",
            name=note_name(self._app, title),
            meta={
                "kind": "decision",
                "title": title,
                "outcome": record.status,
                "tags": ["assumption", "surprise"],
                "confidence": confidence(findings),
                "summary": f"{found.expected} ({found.ground}), but {found.happened}",
            },
            body=lambda front: self._app.templates.render(
                "notes/decision.md.j2", front=front, record=record, contradiction=found, findings=findings, reason=reason
            ),
            execution=record.execution,
        )
        self._enter(found, path, outcome.execution_id)
        why = f"; {findings[0].text}" if findings else ""
        into.learnings.append(f"surprising: {found.expected} ({found.ground}), but {found.happened}{why}")
        into.improvements.append(f"review the assumption “{found.expected}”: it stands, with its evidence, in {path}")
        into.notes.append(path)

    def _unusual(self, record: ExecutionRecord) -> tuple[Finding, ...]:
        """Return what may explain a surprise: the causes of a failure, else what differs from the last ordinary success."""
        if record.outcome and record.outcome.success is False:
            return self._analyse(record).findings
        limit = self._app.settings.reflection_triggers.thresholds.high_surprise
        wanted = Filter(kind=record.execution.kind, status="succeeded", before=record.execution.started_at)
        most = self._app.settings.reflection.compare_with
        earlier = self._app.ledger.executions(wanted, limit=most)
        usual = next((run.execution.id for run in earlier if not _surprising(run, limit)), None)
        known = self._earlier.runs(Filter(ids=(usual,)), limit=1) if usual else []
        return tuple(differences_from(Compared.of(record), known[0], "the last ordinary run")[:5]) if known else ()

    def _enter(self, found: Contradiction, note: str, execution_id: str) -> None:
        path = self._app.workspace.assumptions
        clean = Contradiction(*(self._app.redact(text) for text in (found.expected, found.ground, found.happened)))
        with self._app.alone():
            try:
                before = path.read_bytes().decode("utf-8") if path.is_file() else "# Current assumptions\n"
            except UnicodeDecodeError:
                raise NoteError(f"{self._app.workspace.relative(path)}: is not UTF-8 text: save it as UTF-8") from None
            after = entered(before, clean, reference=f"execution {execution_id}, see {note}")
            if after != before:
                atomic_write(path, after.encode("utf-8"))


def _surprising(run: ExecutionRecord, limit: float) -> bool:
    return bool(run.score and run.score.surprise is not None and run.score.surprise > limit)


def confidence(findings: tuple[Finding, ...]) -> str | None:
    """Return how well the leading finding is supported: high by two independent signs, medium by a direct one, else low."""
    if not findings or findings[0].kind == "error":  # what happened is known, why is not
        return None
    return "high" if findings[0].weight >= 1.5 else "medium" if findings[0].weight >= 0.8 else "low"
