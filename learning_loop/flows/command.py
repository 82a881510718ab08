"""Wrapping any command: its briefing and parameters come as files, its outcome from exit code, output and JUnit."""

import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learning_loop.capture import read_junit
from learning_loop.capture.process import Ended, run_command
from learning_loop.errors import UsageError
from learning_loop.flows.run import Run

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what shells end with where a command cannot start


def carry_out(
    run: Run, command: Sequence[str], *, environ: Mapping[str, str], tail_bytes: int, junit: Path | None = None
) -> dict[str, Any]:
    """Run a command as the work of `run` and return its result: `exit_code`, and tests passed and run where known.

    The command finds its briefing in the markdown file named by LEARNING_LOOP_BRIEFING and its parameters in the JSON file
    named by LEARNING_LOOP_PARAMETERS, beside it; both are gone when it has ended.
    """
    before = _written_at(junit)
    with contextlib.ExitStack() as stack:
        named = {"LEARNING_LOOP_EXECUTION": run.id}
        with run.guard("briefing", run.warnings):
            named |= _written_for(run, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="learning-loop-"))))
        ended = _started(command, {**environ, **named}, tail_bytes)
    run.outcome(
        output_tail=ended.output_tail, duration_s=ended.duration_s, cpu_s=ended.cpu_s, peak_memory_bytes=ended.peak_memory_bytes
    )
    if ended.exit_code < 0:
        run.outcome(error_type="Signal", error_message=f"killed by {signal.Signals(-ended.exit_code).name}")
    elif ended.exit_code and not ended.output_tail.strip():
        run.outcome(error_type=f"Exit{ended.exit_code}", error_message=f"exit code {ended.exit_code} without a word")
    result: dict[str, Any] = {"exit_code": ended.exit_code}
    if junit is not None:
        with run.guard("JUnit", run.warnings):
            if before is not None and _written_at(junit) == before:
                raise UsageError(f"{junit}: is from an earlier run; this one did not write it. Check the command's options")
            passed, total, message = read_junit(junit)
            result |= {"tests_passed": passed, "tests_total": total}
            if message is not None:
                run.outcome(error_message=message)
    return result


def _written_for(run: Run, folder: Path) -> dict[str, str]:
    """Write briefing and parameters into a folder and return the variables that name them."""
    briefing, parameters = folder / "briefing.md", folder / "parameters.json"
    briefing.write_text(run.briefing.markdown, encoding="utf-8", errors="replace")
    parameters.write_text(json.dumps(dict(run.parameters), default=str), encoding="utf-8")
    return {"LEARNING_LOOP_BRIEFING": str(briefing), "LEARNING_LOOP_PARAMETERS": str(parameters)}


def _written_at(path: Path | None) -> int | None:
    return path.stat().st_mtime_ns if path is not None and path.is_file() else None


def _started(command: Sequence[str], environ: Mapping[str, str], tail_bytes: int) -> Ended:
    try:
        return run_command(command, environ=environ, tail_bytes=tail_bytes)
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        text = f"{command[0]}: command not found" if code == NOT_FOUND else f"{command[0]}: cannot be run: {error.strerror}"
        sys.stderr.write(f"{text}\n")
        return Ended(exit_code=code, duration_s=0.0, cpu_s=0.0, peak_memory_bytes=0, output_tail=text)


def parameters_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` pairs, values as JSON where they are that; raise UsageError for one without `=`."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise UsageError(f"{pair!r} is no parameter: write it as name=value")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
