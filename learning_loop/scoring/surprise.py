"""Surprise: how far the run ended from what history predicted before it."""

import math

from learning_loop.records import Outcome
from learning_loop.scoring.history import Prediction
from learning_loop.stats.robust import two_sided_tail

EXPONENT = 1 / 3  # puts a tail probability of .027 at a surprise of 70, .001 at 90, .5 at 21


def surprise(outcome: Outcome, prediction: Prediction) -> tuple[float | None, str]:
    """Return 0-100 or None, and what it rests on: 100 * (1 - p ** (1/3)).

    p is the two-sided tail probability of what happened under the prediction: of the outcome (its predicted share where
    that is below one half, else 1) and, of a success, of the logarithm of its duration (Student's t); where both are
    judged, the smaller one doubled. A threshold of 70 so lets one ordinary success in forty through, and is first passed
    by a failure after eighteen successes.
    """
    tails = []
    if prediction.success is not None and outcome.success is not None:
        share = prediction.success if outcome.success else 1 - prediction.success
        word = "success" if outcome.success else "failure"
        tails.append((share if share < 0.5 else 1.0, f"{word}, predicted with {share:.0%} from {prediction.runs} runs"))
    if prediction.log_duration is not None and outcome.duration_s and outcome.success:
        tail = two_sided_tail(math.log(outcome.duration_s), prediction.log_duration)
        usual = math.exp(prediction.log_duration.centre)
        tails.append((tail, f"{outcome.duration_s:.3g} s, predicted about {usual:.3g} s from {prediction.log_duration.n} runs"))
    if not tails:
        return None, "unknown: too few earlier runs for a prediction"
    tail, text = min(tails)
    return 100 * (1 - min(1.0, tail * len(tails)) ** EXPONENT), text
