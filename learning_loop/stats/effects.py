"""The effect of what is shown at random with a known probability, one run at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scores(NamedTuple):
    """What each run says of an effect, with what was known before it of how far it could lie off and how much it varies."""

    value: Floats
    lowest: Floats
    highest: Floats
    spread: Floats  # its variance, as a multiple of that of the outcome round its prediction


def effect_scores(shown: NDArray[np.bool_], propensity: Floats, outcome: Floats, predicted: Floats) -> Scores:
    """Return the augmented inverse-propensity scores of runs; all arguments of one shape, outcomes and predictions in [0, 1].

    Given everything before the run, the mean of a score is the effect of showing on the outcome, whatever the prediction: a
    good one makes it vary less. Robins, Rotnitzky and Zhao, "Estimation of regression coefficients when some regressors are
    not always observed", JASA 89 (1994).
    """
    off = outcome - predicted
    withheld = 1 - propensity
    return Scores(
        value=np.where(shown, off / propensity, -off / withheld),
        lowest=-np.maximum(predicted / propensity, (1 - predicted) / withheld),
        highest=np.maximum((1 - predicted) / propensity, predicted / withheld),
        spread=1 / (propensity * withheld),
    )
