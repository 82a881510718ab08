"""Accuracy: whether the run achieved what it was for."""

from learning_loop.records import Outcome


def accuracy(outcome: Outcome) -> tuple[float | None, str]:
    """Return 0-100 or None, and what it rests on: the first of these that is known.

    - the runner's own score;
    - tests: 100 * passed / total;
    - a success flag, an exit code (0 is success), an exception: 100 or 0;
    - a runner that returned without an exception: 100.
    """
    if outcome.score is not None:
        return outcome.score, "the runner's own score"
    if outcome.tests_total and outcome.tests_passed is not None:
        return 100 * outcome.tests_passed / outcome.tests_total, f"{outcome.tests_passed} of {outcome.tests_total} tests passed"
    if outcome.success is None:
        return None, f"unknown: the run is {outcome.status}"
    if outcome.exit_code is not None:
        return (100.0 if outcome.success else 0.0), f"exit code {outcome.exit_code}"
    if outcome.error_type is not None:
        return 0.0, f"it raised {outcome.error_type}"
    return (100.0, "it succeeded") if outcome.success else (0.0, "it reported failure")
