"""Conformal risk control: a bound on the expected loss of the next question, for a monotone knob.

Source: Angelopoulos, Bates, Fisch, Lei, Schuster: Conformal Risk Control (2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def controlled(losses: ArrayLike, alpha: float, most: float = 1.0) -> int:
    """How many settings there are of which any choice keeps E[loss of the next] <= `alpha`.

    The expectation is over calibration questions and the next one together. A question's loss
    under a setting is taken to be the greatest under it and those before it, which makes it
    monotone; the last setting is taken with (sum of losses + most) / (n + 1) <= alpha. Losses of
    0 and 1 make it split conformal prediction.

    Assumes that the questions and the next one are exchangeable. Says nothing about one
    calibration set: many of them may do worse than `alpha`.

    Args:
        losses: between 0 and `most`, from the safest setting on, shape (settings, questions).
        alpha: in the unit of the losses.
        most: no loss can be greater.

    Raises:
        ValueError: a loss is not between 0 and `most`.
    """
    values = np.asarray(losses)
    if not ((values >= 0) & (values <= most)).all():
        raise ValueError(f"want losses between 0 and {most}")
    total = np.maximum.accumulate(values, axis=0).sum(axis=1)
    allowed = alpha * (values.shape[1] + 1) - most
    passed: NDArray[np.bool_] = total <= allowed + 1e-9 * most
    return len(passed) if passed.all() else int(np.argmin(passed))
