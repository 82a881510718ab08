"""Generated histories: pure noise, and effects that are known because they were planted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from learning_loop.records import Kind, Observation

FEATURES = 50  # of two values each: a hundred conditions
Rng = np.random.Generator
Fails = Callable[[Any, str, float], float]  # of the features, the component and the share of time that is over


def history(
    rng: Rng, runs: int, fails: Fails = lambda *_: 0.4, *, slows: Callable[[float], float] = lambda _: 1.0
) -> list[Observation]:
    """Return runs of four components whose probability of failure a function gives, and that take longer as another says."""
    drawn = rng.integers(0, 2, (runs, FEATURES))
    found, at = [], 1.7e9
    for number in range(runs):
        at += float(rng.exponential(900))
        took = float(np.exp(rng.normal(3, 0.3))) * slows(number / runs)
        component = f"c{number % 4}"
        failed = bool(rng.random() < fails(drawn[number], component, number / runs))
        features = {f"parameter:p{place:02}": f"v{value}" for place, value in enumerate(drawn[number])}
        found.append(
            Observation(
                id=f"e{number}",
                kind=Kind(type="task", component=component),
                started=at,
                ended=at + took,
                success=not failed,
                score=float(np.clip((30 if failed else 92) + rng.normal(0, 3), 0, 100)),
                duration_s=took,
                features={**features, "type": "task", "component": component},
            )
        )
    return found


def planted(effect: float) -> Fails:
    """Return failures of which one value of one feature makes so many more, as a share, than the other."""
    return lambda drawn, *_: 0.4 + effect / 2 if drawn[7] else 0.4 - effect / 2


def chain(rng: Rng, runs: int) -> list[Observation]:
    """Return runs of build and deploy in turn, where deploy mostly fails after build has."""
    found, at, broke = [], 1.7e9, False
    for number in range(runs):
        at += float(rng.exponential(900))
        deploys = number % 2 == 1
        failed = bool(rng.random() < (0.7 if deploys and broke else 0.15))
        broke = failed
        kind = Kind(type="deploy" if deploys else "build", component="site")
        score = 30.0 if failed else 90.0
        found.append(
            Observation(id=f"e{number}", kind=kind, started=at, ended=at + 9, success=not failed, score=score, duration_s=9.0)
        )
    return found


def versioned(rng: Rng, runs: int, share: float = 0.6) -> list[Observation]:
    """Return runs of which a share fails from a change of one dependency on, and a tenth before it."""
    found = []
    for number, run in enumerate(history(rng, runs, lambda *_: 0.0)):
        later = number > runs * 0.6
        failed = bool(rng.random() < (share if later else 0.1))
        features = {**run.features, "dependency:python:requests": "2.32" if later else "2.31"}
        found.append(replace(run, success=not failed, score=30.0 if failed else 90.0, features=features))
    return found


def on_shift(rng: Rng) -> list[Observation]:
    """Return noise with good and bad days, and features that stay the same for a day."""
    found = []
    for number, run in enumerate(history(rng, 400)):
        if number % 12 == 0:
            luck, drawn = rng.normal(0, 0.5), rng.integers(0, 2, 10)
        failed = bool(rng.random() < 1 / (1 + np.exp(0.4 + luck)))
        at = 1.7e9 + 86_400 * (number // 12) + 600 * (number % 12)
        features = {f"parameter:p{place}": f"v{value}" for place, value in enumerate(drawn)}
        score = 30.0 if failed else 92.0
        found.append(replace(run, started=at, ended=at + 5, success=not failed, score=score, features=features))
    return found
