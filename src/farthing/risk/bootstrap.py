"""Intervals for means by resampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

GROUPS = 2000


def mean_interval(
    values: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of independent values (Efron, 1979).

    Too narrow below some thirty values or with heavy tails. NaN without values.
    """
    data = np.asarray(values, dtype=float)
    if data.size == 0:
        return float("nan"), float("nan")
    means = resampled_means(data[:, None], resamples, seed)[:, 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def resampled_means(columns: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Means of each column in each resample of the rows, shape (resamples, columns).

    All columns see the same rows, so that differences and ratios of them are paired. More than
    `GROUPS` rows are put into so many random groups, and groups are resampled: for means of
    independent rows that is the same, at a bounded cost.
    """
    rng = np.random.default_rng(seed)
    sums, sizes = columns, np.ones(len(columns))
    if len(columns) > GROUPS:
        bounds = np.linspace(0, len(columns), GROUPS, endpoint=False).astype(np.int64)
        sums = np.add.reduceat(columns[rng.permutation(len(columns))], bounds, axis=0)
        sizes = np.diff(bounds, append=len(columns)).astype(float)
    groups = len(sums)
    means = np.empty((resamples, columns.shape[1]))
    step = max(1, 2_000_000 // groups)
    for begin in range(0, resamples, step):
        count = min(step, resamples - begin)
        weights = rng.multinomial(groups, np.full(groups, 1 / groups), size=count)
        means[begin : begin + count] = weights @ sums / (weights @ sizes)[:, None]
    return means


def corrected_interval(
    value: float, resampled: ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Bias-corrected percentile interval (Efron, 1981) from a statistic and its resampled values.

    The percentiles are moved by how far the resamples lie to one side of the value, so that what
    resampling distorts (a minimum, a ratio) is set right in part. Infinite values take part; NaN
    are left out, and without others both ends are NaN.
    """
    drawn = np.asarray(resampled, dtype=float)
    drawn = np.sort(drawn[~np.isnan(drawn)])
    if np.isnan(value) or not len(drawn):
        return float("nan"), float("nan")
    below = (np.searchsorted(drawn, value, "left") + np.searchsorted(drawn, value, "right")) / 2
    shift = stats.norm.ppf((below + 0.5) / (len(drawn) + 1))
    tail = stats.norm.ppf((1 - confidence) / 2)
    places = stats.norm.cdf(2 * shift + np.array([tail, -tail])) * len(drawn)
    low, high = drawn[np.clip(np.ceil(places).astype(int) - 1, 0, len(drawn) - 1)]
    return float(low), float(high)
