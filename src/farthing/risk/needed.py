"""How many more labels would settle whether a mean reaches a target: modelled, not promised.

It is asked how many there would have to be if the estimate and the spread stayed as they are. Half
of the time more will be needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import stats

from farthing.risk import binomial
from farthing.risk.prediction_powered import Estimate

MOST = 10_000_000


def exact_needed(successes: int, trials: int, delta: float, target: float | None) -> int | None:
    """For the exact binomial bounds, each wrong with probability at most `delta`.

    Returns:
        0 if settled; None without a target, or beyond ten million.
    """
    if target is None:
        return None
    rate = successes / trials

    def settled(count: int) -> bool:
        # Successes rounded towards the target, so that no luck is counted on.
        hits = math.floor(rate * count) if rate >= target else math.ceil(rate * count)
        low, high = binomial.interval(min(hits, count), count, 1 - 2 * delta)
        return low >= target or high < target

    if settled(trials):
        return 0
    return _least(settled, trials)


def scaled_needed(
    trials: int, value: float, low: float, high: float, target: float | None
) -> int | None:
    """For bounds whose distance from the estimate goes with one over the root of the labels.

    Returns:
        as `exact_needed`.
    """
    if target is None:
        return None
    if low >= target or high < target:
        return 0
    gap = value - target
    reach = value - low if gap > 0 else high - value
    if gap == 0 or trials * (reach / gap) ** 2 > MOST:
        return None
    return max(1, math.ceil(trials * (reach / gap) ** 2) - trials)


def powered_needed(
    found: Estimate, low: float, high: float, confidence: float, target: float | None
) -> int | None:
    """For one-sided bounds by PPI++, whose weight of the predictions falls as labels come in.

    The variance of n labels is that of labels alone, less a share of it: rho^2 * N / (n + N), where
    rho is the correlation of labels and predictions.

    Returns:
        as `exact_needed`.
    """
    if target is None:
        return None
    if low >= target or high < target:
        return 0
    gap = found.value - target
    if gap == 0:
        return None
    reach = (found.value - low if gap > 0 else high - found.value) / found.error
    reach = max(reach, float(stats.norm.ppf(confidence)))
    alone = found.effective * found.error**2  # variance of one label
    n, judged = found.labelled, found.judged
    explained = (1 - n / found.effective) * (n + judged) / max(judged, 1)

    def settled(count: int) -> bool:
        return alone / count * (1 - explained * judged / (count + judged)) <= (gap / reach) ** 2

    return _least(settled, n)


def _least(settled: Callable[[int], bool], trials: int) -> int | None:
    """How many more than `trials` settle it, if more do as well."""
    low, high = trials, 2 * trials
    while not settled(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high - trials
