"""Carrying out what was chosen: timeouts, retries, fallbacks, and parallel parts."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import count
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from learning_loop.records import Configuration

Part = TypeVar("Part")
Result = TypeVar("Result")
Noted = Callable[[int, BaseException | None], None]

ATTEMPTS = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What is taken in the place of a result that no attempt gave: a person's word."""

    value: Any


Next = bool | Answer


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
    limit = None if timeout_s is None else timeout_s * configuration.timeout_multiplier
    patient = configuration.retry_strategy == "retry_with_backoff" and idempotent
    others = fallbacks if configuration.retry_strategy == "fallback" else ()
    ways = [work] * ATTEMPTS if patient else [work, *others]

    def again(number: int, _error: BaseException) -> bool:
        return number < len(ways)

    waits = Waits(FIRST_WAIT_S, 2.0, LONGEST_WAIT_S) if patient else AT_ONCE
    return persist(lambda number: within(ways[number - 1], limit), again=again, waits=waits, noted=noted)


class Waits(NamedTuple):
    """How long is waited after the first attempt that failed, by what factor longer after each, and how long at most."""

    first_s: float = 0.0
    factor: float = 2.0
    longest_s: float = 0.0


AT_ONCE = Waits()


def persist(
    attempt: Callable[[int], Any],
    *,
    again: Callable[[int, BaseException], Next],
    waits: Waits = AT_ONCE,
    noted: Noted = lambda _number, _error: None,
) -> Any:
    """Make attempts, numbered from one, until one returns or `again` says no; raise what the last one raised.

    `again` is asked after each that failed, with its number and what it raised; an Answer of it is taken for the result. Before
    the next, up to as long is waited as `waits` says, evenly at random.
    """
    from tenacity import Retrying, wait_none, wait_random_exponential

    def goes_on(state: Any) -> bool:
        error = state.outcome.exception()
        noted(state.attempt_number, error)
        if not isinstance(error, Exception):
            return False
        following = again(state.attempt_number, error)
        if isinstance(following, Answer):
            state.set_result(following.value)
            return False
        return following

    waiting = wait_random_exponential(multiplier=waits.first_s, exp_base=waits.factor, max=waits.longest_s)
    numbers = count(1)
    retrying = Retrying(wait=waiting if waits.first_s else wait_none(), retry=goes_on, reraise=True)
    return retrying(lambda: attempt(next(numbers)))


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


def in_parallel(work: Callable[[Part], Result], parts: Iterable[Part], at_once: int) -> list[Result]:
    """Return what the work gives for each part, in their order; up to `at_once` at a time.

    Where one fails, what it raised is raised once those under way have ended; no more are begun.
    """
    if at_once <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="learning-loop-part") as pool:
        waiting = [pool.submit(copy_context().run, work, part) for part in parts]
        try:
            return [done.result() for done in waiting]
        except BaseException:
            for left in waiting:
                left.cancel()
            raise
