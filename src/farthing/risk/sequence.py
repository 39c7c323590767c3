"""Choosing along a sequence of policies so that the choice does not void the promise.

The sequence is fixed beforehand (on other data), from the safest policy to the boldest. What is
returned is how many policies, counted from the safest, may be chosen from.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farthing.risk.binomial import most_violations
from farthing.risk.control import controlled


def certified_pac(violated: NDArray[np.bool_], alpha: float, delta: float) -> int:
    """How many policies have a violation rate of at most `alpha`, all with confidence 1 - delta.

    Learn then test by fixed-sequence testing with exact binomial tails: each policy is tested
    at level `delta` in turn, until one fails. The chance that a policy among those returned
    violates more often than `alpha` is at most `delta`, whatever the dependence between them.

    Assumes that the questions are independent draws from what is to come. Broken by drift, by
    repeated questions, and by a sequence that was fixed on the same questions.

    Source: Angelopoulos, Bates, Candès, Jordan, Lei: Learn then Test (2021).

    Args:
        violated: policy x question, shape (policies, questions).
    """
    allowed = most_violations(violated.shape[1], alpha, delta)
    return _leading(violated.sum(axis=1) <= allowed)


def certified_marginal(violated: NDArray[np.bool_], alpha: float) -> int:
    """How many policies there are of which any choice keeps P(violation) <= `alpha`.

    The probability is over calibration questions and the next one together. Conformal risk
    control (`risk.control`) of a loss of 0 or 1: a question counts against a policy if that
    policy or a safer one violates on it.

    Args:
        violated: policy x question, shape (policies, questions).
    """
    return controlled(violated, alpha)


def allowed_marginal(n: int, alpha: float) -> int:
    """The most violations among n with (violations + 1) / (n + 1) <= alpha; negative if none."""
    return math.floor(alpha * (n + 1) + 1e-9) - 1


def least_marginal(alpha: float) -> int:
    """The fewest questions with which `alpha` can be promised marginally."""
    return math.ceil(1 / alpha - 1e-9) - 1


def _leading(passed: NDArray[np.bool_]) -> int:
    return len(passed) if passed.all() else int(np.argmin(passed))
