"""Capture after: how a run ended, as one outcome."""

import asyncio
import math
import signal
import sys
import time
from typing import Any

from learning_loop.capture import Verdict, digest, plain, preview, read_result
from learning_loop.features import error_line, fingerprint, shape_of
from learning_loop.features.encoding import RESERVED
from learning_loop.flows.run import Run
from learning_loop.flows.usage import totals
from learning_loop.records import Outcome
from learning_loop.settings import Capture

READ = frozenset(  # what is read from `run.outcome(...)`; every other name is a measure of the work's own
    ("success", "score", "tests_passed", "tests_total", "exit_code", "output_tail", "error_type", "error_message")
) | {"duration_s", "cpu_s", "peak_memory_bytes"}
_CANCELLED = (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)
MOST_MESSAGE = 4_000
INTERRUPTED = -signal.SIGINT


def outcome_of(run: Run, result: Any, error: BaseException | None, settings: Capture) -> Outcome:
    """Return how a run ended, from its result or the exception it raised, and from what was said on the way.

    What the work said through `run.outcome(...)` outranks what its result says.
    """
    duration = run.elapsed_s
    cpu = None if run.elsewhere else time.process_time() - run.cpu_started
    verdict = _verdict(run, result)
    error_type, message = _error(error, verdict, run)
    success = _success(error, verdict, ran=run.ran)
    used = totals(run.usages)
    done = [step.role for step in run.steps if step.status == "completed"]
    points = [decision.point for decision in run.observed.decisions if not decision.point.startswith(RESERVED)]
    return Outcome(
        execution_id=run.id,
        task_type=run.task.type,
        component=run.task.component,
        project=run.task.project,
        status=_status(error, success, verdict),
        success=success,
        ended_at=run.app.clock() if run.app else run.started_at,
        score=verdict.score,
        tests_passed=verdict.tests_passed,
        tests_total=verdict.tests_total,
        exit_code=verdict.exit_code,
        error_type=error_type,
        error_message=message[:MOST_MESSAGE] if message else None,
        error_fingerprint=fingerprint(error_type, message) if success is False else None,
        output_tail=_text(run.observed.outcomes.get("output_tail")),
        result_digest=digest(result),
        result_preview=preview(run.app.redact(plain(result)), settings.preview_characters) if run.app else None,
        duration_s=_measured(run, "duration_s", duration),
        cpu_s=_measured(run, "cpu_s", cpu),
        peak_memory_bytes=_whole(_measured(run, "peak_memory_bytes", None if run.elsewhere else _peak_memory())),
        cost_usd=used.cost_usd,
        tokens=used.tokens,
        attempts=used.attempts,
        successful_attempts=used.successful_attempts,
        failed_attempts=used.failed_attempts,
        fallback_rotations=used.fallback_rotations,
        mean_latency_ms=used.mean_latency_ms,
        shape=shape_of(_own_parameters(run), run.task.dependencies, done, points) if run.execution else (),
    )


def _own_parameters(run: Run) -> dict[str, Any]:
    """Return the parameters without those that rules set: how reusable a run is built must not hang on what it was shown."""
    given = run.execution.parameters if run.execution is not None else {}
    return {name: value for name, value in given.items() if name not in run.set_by_rules}


def bare_outcome(run: Run, error: BaseException | None, known: Outcome | None = None) -> Outcome:
    """Return the little that can always be kept of how a run ended.

    Success is as the `known` outcome has it; without one, a run that raised nothing is neither success nor failure.
    """
    verdict = Verdict()
    success = known.success if known is not None else _success(error, verdict, ran=False)
    return Outcome(
        execution_id=run.id,
        task_type=run.task.type,
        component=run.task.component,
        project=run.task.project,
        status=known.status if known is not None else _status(error, success, verdict),
        success=success,
        ended_at=run.app.clock() if run.app else run.started_at,
        error_type=type(error).__name__ if error is not None else None,
        duration_s=run.elapsed_s,
    )


def _measured(run: Run, name: str, own: float | None) -> float | None:
    """Return what the work said it took, else what was measured."""
    said = run.observed.outcomes.get(name)
    if said is None:
        return own
    if isinstance(said, int | float) and not isinstance(said, bool) and math.isfinite(said) and said >= 0:
        return said
    run.guard.warn(f"the run's {name} is {str(said)[:40]!r}: a number is needed, so it was ignored", run.warnings)
    return own


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _verdict(run: Run, result: Any) -> Verdict:
    given = read_result(result)
    said = read_result(run.observed.outcomes)
    run.warnings += [*given.faults, *said.faults]

    def pick(name: str) -> Any:
        value = getattr(said, name)
        return getattr(given, name) if value is None else value

    told = {name: pick(name) for name in ("success", "score", "tests_passed", "tests_total", "exit_code")}
    deciding = tuple(fault for fault in (*given.faults, *said.faults) if "score" not in fault)
    return Verdict(**told, faults=() if told["success"] is not None else deciding)


def _success(error: BaseException | None, verdict: Verdict, *, ran: bool) -> bool | None:
    if isinstance(error, _CANCELLED):
        return None
    if isinstance(error, SystemExit):
        return error.code in (None, 0)
    if error is not None:
        return False
    if verdict.success is not None:
        return verdict.success
    if verdict.exit_code == INTERRUPTED or verdict.faults:  # stopped by a person, or a claim that cannot be read
        return None
    if verdict.exit_code is not None:
        return verdict.exit_code == 0
    if verdict.tests_total and verdict.tests_passed is not None:
        return verdict.tests_passed == verdict.tests_total
    return True if ran else None


def _status(error: BaseException | None, success: bool | None, verdict: Verdict) -> str:
    if isinstance(error, _CANCELLED):
        return "cancelled"
    if success is None and verdict.exit_code == INTERRUPTED:
        return "cancelled"
    return {True: "succeeded", False: "failed", None: "unknown"}[success]


def _error(error: BaseException | None, verdict: Verdict, run: Run) -> tuple[str | None, str | None]:
    if error is not None:
        text = run.guard.attempt("the exception's text", run.warnings, lambda: str(error))  # it may fail to say what it is
        return type(error).__name__, text or type(error).__name__
    if _success(None, verdict, ran=True) is not False:
        return None, None
    said = run.observed.outcomes
    if said.get("error_message"):
        return _text(said.get("error_type")), _text(said["error_message"])
    return error_line(str(said["output_tail"])) if said.get("output_tail") else (None, None)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _peak_memory() -> int | None:
    """Return the most memory this process has held so far, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
