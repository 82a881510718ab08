"""Carrying out what was chosen: timeouts, retries, fallbacks, and parallel parts."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread
from typing import Any, TypeVar

from learning_loop.records import Configuration

Part = TypeVar("Part")
Result = TypeVar("Result")
Noted = Callable[[int, BaseException | None], None]

ATTEMPTS = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0


def carry_out(
    work: Callable[[], Any],
    configuration: Configuration,
    *,
    timeout_s: float | None = None,
    idempotent: bool = False,
    fallbacks: Sequence[Callable[[], Any]] = (),
    noted: Noted = lambda _number, _error: None,
) -> Any:
    """Do the work, and return what it returns, or raise what it raised last.

    `timeout_s` times the multiplier is what an attempt may take; after that TimeoutError is raised, while a thread of Python's
    own cannot be stopped and ends by itself. `retry_with_backoff` does idempotent work up to three times, waiting longer and
    longer, with chance in it; `fallback` tries the other ways, in their order, once each, and a way that took too long may
    still be at work then. `noted` is told of every attempt.
    """
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_none, wait_random_exponential

    limit = None if timeout_s is None else timeout_s * configuration.timeout_multiplier
    again = configuration.retry_strategy == "retry_with_backoff" and idempotent
    others = fallbacks if configuration.retry_strategy == "fallback" else ()
    ways = [work] * ATTEMPTS if again else [work, *others]
    waiting = wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S) if again else wait_none()

    def told(state: Any) -> None:
        noted(state.attempt_number, state.outcome.exception())

    numbered = iter(ways)
    retrying = Retrying(
        stop=stop_after_attempt(len(ways)),
        wait=waiting,
        retry=retry_if_exception_type(Exception),
        after=told,
        reraise=True,
    )
    number = 0
    for attempt in retrying:
        number = attempt.retry_state.attempt_number
        with attempt:
            result = within(next(numbered), limit)
    noted(number, None)
    return result


def within(work: Callable[[], Any], limit_s: float | None) -> Any:
    """Return what the work returns, or raise TimeoutError where that takes longer; None sets no limit."""
    if limit_s is None:
        return work()
    from tenacity import Retrying, retry_always, stop_after_attempt

    once = Retrying(stop=stop_after_attempt(1), retry=retry_always, retry_error_callback=lambda state: state.outcome)
    ended: list[Any] = []  # how it ended, as a future: what was raised in a thread is raised again in the one that waits
    context = copy_context()
    thread = Thread(target=lambda: ended.append(once(context.run, work)), daemon=True, name="learning-loop-work")
    thread.start()
    thread.join(limit_s)
    if not ended:
        raise TimeoutError(f"the work took longer than {limit_s:g} s")
    return ended[0].result()


def in_parallel(work: Callable[[Part], Result], parts: Iterable[Part], configuration: Configuration) -> list[Result]:
    """Return what the work gives for each part, in their order; several at a time where the approach is parallel.

    Where one fails, what it raised is raised once those under way have ended; no more are begun.
    """
    if configuration.approach not in ("parallel", "coordinated") or configuration.parallelism == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(max_workers=configuration.parallelism, thread_name_prefix="learning-loop-part") as pool:
        waiting = [pool.submit(copy_context().run, work, part) for part in parts]
        try:
            return [done.result() for done in waiting]
        except BaseException:
            for left in waiting:
                left.cancel()
            raise
