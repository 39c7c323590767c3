"""Betting against a mean: bounds for losses between 0 and 1 that gain from a low variance.

Who claims that the mean of the losses is m or more must accept bets against it. We stake a share
of our capital that depends on the losses before, so that it cannot be expected to grow if the claim
is true, and by Ville's inequality exceeds 1 / delta with probability at most delta, ever.

The bets are taken in the order of the losses: it must not depend on their values. Assumes
independent losses of one expectation; it is enough that each has it given those before.

Source: Waudby-Smith, Ramdas: Estimating Means of Bounded Random Variables by Betting (2023).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

HALVINGS = 40
MOST = 0.75  # of the capital that one bet may lose


def p_values(losses: ArrayLike, alpha: float, delta: float = 0.1) -> Floats:
    """P-values of "the expected loss exceeds alpha", shape (settings,).

    Args:
        losses: between 0 and 1, shape (settings, n); in the same random order for all settings.
        delta: the level at which they are to be compared; tunes the stakes, valid whatever it is.
    """
    values = _checked(losses)
    return _p_values(values, _stakes(values, delta), np.full(len(values), alpha))


def upper_bounds(losses: ArrayLike, delta: float) -> Floats:
    """The upper bound on each expected loss, wrong with probability at most `delta`.

    Args:
        losses: between 0 and 1, shape (settings, n).

    Returns:
        shape (settings,); to within 2^-40, rounded upwards.
    """
    values = _checked(losses)
    stakes = _stakes(values, delta)
    low, high = np.zeros(len(values)), np.ones(len(values))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        refuted = _p_values(values, stakes, middle) <= delta
        low, high = np.where(refuted, low, middle), np.where(refuted, middle, high)
    return high


def interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval for the mean of values between 0 and 1, in random order.

    The hedged capital: half is bet against high means, half against low ones.
    """
    data = _checked(np.atleast_2d(np.asarray(values, float)))
    tail = (1 - confidence) / 2
    low, high = upper_bounds(np.concatenate([1 - data, data]), tail)
    return 1 - float(low), float(high)


def _stakes(losses: Floats, delta: float) -> Floats:
    """The bet on each loss, from those before it: the best for a normal one of that variance."""
    n = losses.shape[1]
    count = np.arange(1, n + 1)
    mean = (0.5 + losses.cumsum(axis=1)) / (count + 1)
    variance = (0.25 + ((losses - mean) ** 2).cumsum(axis=1)) / (count + 1)
    before = np.concatenate([np.full((len(losses), 1), 0.25), variance[:, :-1]], axis=1)
    found: Floats = np.sqrt(2 * math.log(1 / delta) / (max(n, 1) * before))
    return found


def _p_values(losses: Floats, stakes: Floats, means: Floats) -> Floats:
    """One over the greatest capital; it grows with the mean that is bet against."""
    most = MOST / np.maximum(1 - means, 1e-12)
    bets = np.minimum(stakes, most[:, None])
    capital = np.log1p(bets * (means[:, None] - losses)).cumsum(axis=1)
    found: Floats = np.exp(-capital.max(axis=1, initial=0.0))
    return found


def _checked(losses: ArrayLike) -> Floats:
    values = np.asarray(losses, float)
    if values.ndim != 2 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("want losses between 0 and 1, settings x losses")
    return values
