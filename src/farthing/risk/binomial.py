"""Exact inference on a rate from a count."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval for a rate (Clopper and Pearson, 1934); (0, 1) without trials.

    Covers the true rate with probability at least `confidence`, for independent trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no count")
    if trials == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = stats.beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1
    return float(low), float(high)


def tail_p_value(violations: int, trials: int, alpha: float) -> float:
    """P-value of "the violation rate exceeds alpha": the chance of as few violations at alpha."""
    return float(stats.binom.cdf(violations, trials, alpha))


def p_values(violations: ArrayLike, trials: int, alpha: float) -> NDArray[np.float64]:
    """`tail_p_value` of each of many counts."""
    found: NDArray[np.float64] = stats.binom.cdf(np.asarray(violations), trials, alpha)
    return found


def upper_bounds(violations: ArrayLike, trials: int, delta: float) -> NDArray[np.float64]:
    """The exact upper bound on each rate, wrong with probability at most `delta` (one-sided)."""
    counts = np.asarray(violations, dtype=float)
    inner = stats.beta.ppf(1 - delta, counts + 1, np.maximum(trials - counts, 1))
    found: NDArray[np.float64] = np.where(counts < trials, inner, 1.0)
    return found


def most_violations(trials: int, alpha: float, delta: float) -> int:
    """The most violations at which the p-value is at most `delta`; -1 if none is few enough."""
    count = int(stats.binom.ppf(delta, trials, alpha))
    while count >= 0 and tail_p_value(count, trials, alpha) > delta:
        count -= 1
    return count


def least_trials(alpha: float, delta: float) -> int:
    """The fewest trials with which a rate of at most alpha can be certified at all."""
    return math.ceil(math.log(delta) / math.log1p(-alpha))
