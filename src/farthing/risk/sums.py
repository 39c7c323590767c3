"""Upper bounds on a sum of independent costs, from samples of each kind of cost.

A sum of costs C_1, ..., C_k exceeds x with probability at most exp(sum_i log E exp(r C_i) - r x),
for every rate r > 0 (Chernoff, 1952). So with K_i(r) = log E exp(r C_i) / r, the sum is at most
sum_i K_i(r) + log(1 / alpha) / r with probability at least 1 - alpha. The K_i(r) only add up: over
a fixed grid of rates, a running sum is all that has to be kept, however many costs there are.

Many small costs get a bound near mean + sqrt(2 log(1 / alpha) variance), as for a normal
distribution; few or heavy-tailed ones the wider bound that their exponential moments call for.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATES: Floats = np.exp2(np.arange(-9, 23, dtype=np.float64))
"""The grid of rates, in 1/USD: for sums from millionths of a dollar to hundreds of dollars."""


def exponential_means(costs: Floats, weights: Floats, more: Floats, more_weights: Floats) -> Floats:
    """K(r) = log E exp(r C) / r for each rate of `RATES`, in the unit of the costs.

    Between the mean (small rates) and the greatest cost (large rates).

    Args:
        costs: samples that all rows share, shape (samples,).
        weights: of these samples in each row's distribution, shape (rows, samples).
        more: samples of each row alone, shape (rows, points); at least one point.
        more_weights: of these, same shape; above 0 in total in each row.

    Returns:
        shape (rows, rates).
    """
    top = max(float(costs.max(initial=0.0)), float(more.max()))
    whole = (weights.sum(axis=1) + more_weights.sum(axis=1))[:, None]
    mean = (weights @ costs + (more_weights * more).sum(axis=1))[:, None] / whole
    powers = weights @ np.exp(np.multiply.outer(costs - top, RATES))
    own = np.exp(np.multiply.outer(more - top, RATES))
    powers += np.einsum("ij,ijk->ik", more_weights, own)
    moment = np.maximum(powers / whole, np.finfo(np.float64).tiny)
    # Where all powers vanish, the mean bounds K from below (Jensen).
    found: Floats = np.maximum(top + np.log(moment) / RATES, mean)
    return found


def upper_sum(total: Floats, alpha: float, doubt: float = 0.0) -> float:
    """The least upper (1 - alpha) bound on a sum, over the grid of rates.

    Conservative: the bound is exceeded with probability at most alpha if the K(r) are right, but
    for what `doubt` tells, and the costs are independent. Broken by costs that rise together, which
    is why K should be learned from recent costs; and it says nothing of the greatest of many bounds
    given one after another.

    Args:
        total: sum of `exponential_means` over the costs, shape (rates,).
        doubt: variance of the error of the sum's estimated mean, over the variance of the sum. For
            k costs and a mean estimated from n others it is k / n: what lies between the mean and
            the bound grows by sqrt(1 + k / n), as in an interval of prediction.
    """
    return float((total + (1 + doubt) * math.log(1 / alpha) / RATES).min())


def weighted_quantiles(costs: Floats, weights: Floats, level: float) -> Floats:
    """The least cost with at most `level` of the weight above it, for each row.

    Args:
        costs, weights: shape (rows, samples), each row with a weight above 0.
    """
    order = costs.argsort(axis=1)
    above = np.take_along_axis(weights, order, 1).cumsum(axis=1)
    wanted = (1 - min(max(level, 0.0), 1.0)) * above[:, -1:]
    at = (above < wanted * (1 - 1e-12)).sum(axis=1, keepdims=True).clip(max=costs.shape[1] - 1)
    found: Floats = np.take_along_axis(costs, np.take_along_axis(order, at, 1), 1)[:, 0]
    return found
