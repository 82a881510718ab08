"""Root cause from evidence: what the error says, what changed since it last worked, what failures have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from learning_loop.features import contrasts, differences, explain, features_of
from learning_loop.records import ExecutionRecord, Finding, Kind, RootCause

MOST_FINDINGS = 6
PASSING = ("state:git.changed_files", "state:git.branch")  # vary from run to run without meaning anything

# How much each kind of evidence weighs by itself. Findings on the same subject add up, so that two independent signs
# of one cause outrank either; the order is what matters, from what was checked to what merely differs.
CHECKED, SAID, MENDED, COMMON, CHANGED, RAISED, CHANGED_STATE, CHANGED_CODE, SEEN = (
    1.0,
    0.9,
    0.85,
    0.8,
    0.6,
    0.5,
    0.35,
    0.3,
    0.1,
)
MOST_COMPARED = 20


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared of a run: how it ended, all that may explain it, and which dependencies were found before it."""

    id: str
    kind: Kind
    started_at: datetime
    success: bool | None
    fingerprint: str | None
    features: Mapping[str, str]
    found: frozenset[str]

    @classmethod
    def of(cls, record: ExecutionRecord) -> "Compared":
        """Take it from a record that has its decisions and the phases before it."""
        execution, outcome = record.execution, record.outcome
        checks = record.noted("pre", "dependencies") or {}
        return cls(
            id=execution.id,
            kind=execution.kind,
            started_at=execution.started_at,
            success=outcome.success if outcome else None,
            fingerprint=outcome.error_fingerprint if outcome else None,
            features=features_of(record),
            found=frozenset(name for name, check in checks.items() if check.get("satisfied")),
        )


def root_cause(record: ExecutionRecord, others: Sequence[Compared], same_error: Sequence[Compared]) -> RootCause:
    """Return the likeliest causes of how a run went, each with the executions it rests on.

    `others` are earlier runs of the same kind, newest first; `same_error` are runs of any kind with the same error.
    """
    outcome = record.outcome
    message = (outcome.error_message or outcome.output_tail or "") if outcome else ""
    here = Compared.of(record)
    failed = [other for other in others if other.success is False]
    succeeded = [other for other in others if other.success]
    findings = [
        *_missing(record, succeeded),
        *_said(record, message),
        *_raised(record),
        *_mended(here, failed, succeeded),
        *_common(here, failed, succeeded),
        *(_changed(here, succeeded) if succeeded else ()),
    ]
    merged = _merge(findings)
    if seen := _recurrence(here, same_error):
        merged.append(seen)
    return RootCause(
        execution_id=record.execution.id,
        fingerprint=here.fingerprint,
        error=_error(record),
        findings=tuple(merged[:MOST_FINDINGS]),
        compared_with=len(others),
    )


def _error(record: ExecutionRecord) -> str | None:
    outcome = record.outcome
    if outcome is None or not (outcome.error_type or outcome.error_message):
        return None
    return ": ".join(part for part in (outcome.error_type, outcome.error_message) if part)


def _missing(record: ExecutionRecord, succeeded: Sequence[Compared]) -> list[Finding]:
    """Name the declared dependencies that were found missing before the run."""
    found = []
    for name, check in (record.noted("pre", "dependencies") or {}).items():
        if check.get("satisfied"):
            continue
        text, executions = check.get("reason") or f"{name} is missing", [record.execution.id]
        earlier = next((run for run in succeeded if name in run.found), None)
        if earlier:
            text += "; it was there in the last success"
            executions.append(earlier.id)
        subject = name if ":" in name else f"{check.get('sort', 'python')}:{name}"
        found.append(
            Finding(kind="missing dependency", subject=subject, text=text, executions=tuple(executions), weight=CHECKED)
        )
    return found


def _said(record: ExecutionRecord, message: str) -> list[Finding]:
    """Say what a well-known error means."""
    outcome = record.outcome
    known = explain(f"{outcome.error_type or ''}: {message}" if outcome else message)
    if (
        known
        and known.kind == "syntax"
        and outcome
        and (fuller := explain(outcome.output_tail or ""))
        and fuller.kind == "syntax"
    ):
        known = fuller  # the output names the file
    if known is None:
        return []
    return [Finding(kind=known.kind, subject=known.subject, text=known.text, executions=(record.execution.id,), weight=SAID)]


def _raised(record: ExecutionRecord) -> list[Finding]:
    """Say the error itself, where nothing better is known."""
    error = _error(record)
    if error is None or record.outcome is None or record.outcome.success is not False:
        return []
    text = f"it ended with {' '.join(error.split())[:300]}"
    return [Finding(kind="error", subject="error text", text=text, executions=(record.execution.id,), weight=RAISED)]


def _changed(here: Compared, succeeded: Sequence[Compared]) -> list[Finding]:
    """Say what differs from the last success, but for what differs between successes just as well."""
    known = [run.features for run in succeeded[:MOST_COMPARED]]
    varies = {name for name in known[0] if len({features.get(name) for features in known}) > 1}
    return [finding for finding in differences_from(here, succeeded[0], "the last success") if finding.subject not in varies]


def _mended(here: Compared, failed: Sequence[Compared], succeeded: Sequence[Compared]) -> list[Finding]:
    """Say what changed when the same error last went away."""
    before = next((run for run in failed if here.fingerprint and run.fingerprint == here.fingerprint), None)
    if before is None:
        return []
    later = [run for run in succeeded if run.started_at > before.started_at]
    if not later:
        return []
    after = min(later, key=lambda run: run.started_at)
    changed = [
        (name, old, new)
        for name, old, new in differences(after.features, before.features)
        if here.features.get(name) == old and not name.startswith("state:git")
    ]
    return [
        Finding(
            kind="mended before",
            subject=name,
            text=f"the same error went away when {spoken(name)} {_change(old, new)}",
            executions=(before.id, after.id),
            weight=MENDED,
        )
        for name, old, new in changed[:2]
    ]


def _common(here: Compared, failed: Sequence[Compared], succeeded: Sequence[Compared]) -> list[Finding]:
    """Say what this run shares with the failures of its kind and not with the successes."""
    if not failed or not succeeded:
        return []
    group = [here, *failed]
    found = []
    for contrast in contrasts([run.features for run in group], [run.features for run in succeeded]):
        if here.features.get(contrast.feature) != contrast.value or contrast.feature in PASSING:
            continue
        sharing = [run.id for run in group if run.features.get(contrast.feature) == contrast.value]
        text = (
            f"{spoken(contrast.feature)} = {short(contrast.value)} in {contrast.with_count} of {contrast.with_total} failures "
            f"and {contrast.without_count} of {contrast.without_total} successes (Fisher p = {contrast.p_value:.2g})"
        )
        found.append(
            Finding(
                kind="common to failures", subject=contrast.feature, text=text, executions=tuple(sharing[:20]), weight=COMMON
            )
        )
    return found[:3]


def differences_from(here: Compared, reference: Compared, name: str) -> list[Finding]:
    """Return what differs between a run and one that went well, as findings."""
    found = []
    for feature, old, new in differences(here.features, reference.features):
        if feature in PASSING:
            continue
        code = feature.startswith("state:git")
        weight = CHANGED_CODE if code else CHANGED_STATE if feature.startswith("state:") else CHANGED
        text = f"since {name}, {spoken(feature)} {_change(old, new)}"
        executions = (here.id, reference.id)
        found.append(Finding(kind="changed", subject=feature, text=text, executions=executions, weight=weight))
    return found


def _merge(findings: Sequence[Finding]) -> list[Finding]:
    """Join findings on one subject: their weights add up, the heaviest one leads."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.subject.removeprefix("dependency:"), []).append(finding)
    merged = []
    for found in groups.values():
        group = sorted(found, key=lambda finding: -finding.weight)
        if group[0].kind == "missing dependency":  # that it changed from present to missing says no more
            group = [finding for finding in group if finding.kind != "changed"]
        texts = list(dict.fromkeys(finding.text for finding in group))
        lead = next((text for text in texts[1:] if text.startswith(texts[0])), texts[0])  # the fuller of two that begin alike
        rest = [text for text in texts if text not in lead]
        ids = tuple(dict.fromkeys(execution for finding in group for execution in finding.executions))
        merged.append(
            Finding(
                kind=group[0].kind,
                subject=group[0].subject,
                text="; ".join([lead, *rest]),
                executions=ids,
                weight=sum(finding.weight for finding in group),
            )
        )
    return sorted(merged, key=lambda finding: -finding.weight)


def _recurrence(here: Compared, same_error: Sequence[Compared]) -> Finding | None:
    earlier = [run for run in same_error if run.id != here.id]
    if not earlier:
        return None
    kinds = sorted({str(run.kind) for run in earlier})
    newest, oldest = earlier[0], earlier[-1]
    when = (
        f"{oldest.started_at:%Y-%m-%d %H:%M}" + (f" to {newest.started_at:%Y-%m-%d %H:%M}" if len(earlier) > 1 else "") + " UTC"
    )
    times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
    text = f"the same error was seen {times} before ({when}; {', '.join(kinds[:4])})"
    ids = tuple(run.id for run in earlier[:20])
    return Finding(kind="recurrence", subject="error", text=text, executions=ids, weight=SEEN)


def spoken(feature: str) -> str:
    """Return a feature's name as people say it."""
    sort, _, name = feature.partition(":")
    return {"state": name.replace(".", " "), "agent": "the agent"}.get(sort, f"{sort} {name}".strip())


def short(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= 60 else f"{value[:57]}…"


def _change(old: str | None, new: str | None) -> str:
    if old is None:
        return f"was added ({short(new)})"
    if new is None:
        return f"was removed (it was {short(old)})"
    return f"changed from {short(old)} to {short(new)}"
