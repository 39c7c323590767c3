"""Hoeffding-Bentkus: upper bounds on the mean of losses between 0 and 1, from their mean alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

HALVINGS = 50


def p_values(means: ArrayLike, n: int, alpha: ArrayLike) -> Floats:
    """P-values of "the expected loss exceeds alpha", one for each mean of n losses.

    The lesser of Hoeffding's exp(-n KL(mean, alpha)) and Bentkus's e P(Bin(n, alpha) <= n mean).
    Assumes independent losses between 0 and 1 of one expectation, and nothing of their shape:
    losses of low variance are better bounded by `risk.betting`, those of 0 or 1 by
    `risk.binomial`.

    Source: Bates, Angelopoulos, Lei, Malik, Jordan: Distribution-Free, Risk-Controlling
    Prediction Sets (2021).

    Args:
        means: any shape.
        alpha: between 0 and 1; one, or one for each mean.
    """
    observed = np.asarray(means, float)
    limit = np.broadcast_to(np.asarray(alpha, float), observed.shape)
    low = np.minimum(observed, limit)
    divergence = special.rel_entr(low, limit) + special.rel_entr(1 - low, 1 - limit)
    bentkus = np.e * stats.binom.cdf(np.ceil(n * observed - 1e-9), n, limit)
    found: Floats = np.minimum(np.exp(-n * divergence), bentkus).clip(max=1.0)
    return found


def upper_bounds(means: ArrayLike, n: int, delta: float) -> Floats:
    """The upper bound on each expected loss, wrong with probability at most `delta`.

    The least alpha with a p-value of at most `delta`, to within 2^-50, rounded upwards.
    """
    low = np.array(means, dtype=float)
    high = np.ones_like(low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        refuted = p_values(means, n, middle) <= delta
        low, high = np.where(refuted, low, middle), np.where(refuted, middle, high)
    return high
