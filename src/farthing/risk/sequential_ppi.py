"""Prediction-powered intervals that may be looked at after every label.

An interval for a fixed number of labels is wrong more often than it says if one stops labelling
when it looks good. A confidence sequence holds at all times at once: label, look, go on or stop.

Labels y_1, y_2, ... come one by one with their predictions f_i; the mean m of the predictions is
known from a pool that has them all, within an interval (`pool_interval`). Each label corrects:

    z_i = y_i - w_i * f_i, whose mean, given what came before, is theta - w_i * m

with a weight w_i learned from the labels before it. Two sequences:

- `mixture` is asymptotic. It rests on sums of z_i being nearly normal from the first label at which
  it says anything (`FIRST`) on. A prior on theta, a mixture of normals around where the predictions
  alone put it, makes it shorter where these are good, and a little longer where they are not.
- `betting` is exact, at all times and for any number of labels, for labels and predictions between
  0 and 1. Predictions help it less: what is known of their mean must be exact too, and half of the
  stakes go on without them, in case they are bad.

Both assume that the labelled units come in random order, and that the pool is a random sample of
the units the mean is about. Nothing here allows for units that are chosen in the light of answers,
or for a mean that moves. The chance of error is split: a tenth goes to the pool's interval.

Sources: Robbins: Statistical Methods Related to the Law of the Iterated Logarithm (1970), for
mixtures; Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform Central Limit Theory and
Asymptotic Confidence Sequences (2021); Waudby-Smith, Ramdas: Estimating Means of Bounded Random
Variables by Betting (2023); Kilian, Cortinovis, Caron: Anytime-valid, Bayes-assisted,
Prediction-Powered Inference (2025).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

FIRST = 50  # labels before the mixture says anything
POOL_SHARE = 0.1  # of the chance of error, for the mean of the predictions
GRID = 1000  # of means that are bet against
MOST = 0.75  # of the capital that one bet may lose
DRAWN = 1.0  # towards a weight of 1: as ten labels with predictions of variance 0.1 do
PRIOR = ((0.5, 0.02), (0.5, 0.2))  # weight and standard deviation of each normal


@dataclass(frozen=True, slots=True)
class Sequence:
    """Bounds after each label; both hold at all times with the confidence asked for.

    Attributes:
        low, high: running intersection of the intervals, shape (n,); infinite where nothing can
            be said yet.
    """

    low: Floats
    high: Floats


def pool_interval(predictions: ArrayLike, alpha: float, *, exact: bool) -> tuple[float, float]:
    """Interval for the mean of the predictions, wrong with probability at most `alpha`.

    Args:
        predictions: of the whole pool; between 0 and 1 if `exact`.
        exact: by the empirical Bernstein bound (Maurer and Pontil, 2009); else normal.
    """
    f = np.asarray(predictions, dtype=float)
    if len(f) < 2:
        raise ValueError(f"{len(f)} predictions are too few for an interval of their mean")
    if exact:
        log = math.log(4 / alpha)
        reach = math.sqrt(2 * f.var(ddof=1) * log / len(f)) + 7 * log / (3 * (len(f) - 1))
    else:
        reach = float(stats.norm.isf(alpha / 2)) * float(f.std(ddof=1)) / math.sqrt(len(f))
    return float(f.mean()) - reach, float(f.mean()) + reach


def mixture(
    labels: ArrayLike,
    predictions: ArrayLike | None = None,
    pool: ArrayLike | None = None,
    confidence: float = 0.95,
    prior: tuple[tuple[float, float], ...] = PRIOR,
) -> Sequence:
    """The asymptotic sequence, two-sided.

    Args:
        labels, predictions: of the labelled units in the order in which they were labelled,
            shape (n,).
        pool: predictions of all units; None for labels alone, whose prior is around 1/2.
        prior: weights and standard deviations of the normals, around the pool's mean. It must be
            fixed before the labels are seen; if it is wrong, intervals are longer, not wrong.
    """
    y, f, alpha, (below, above) = _prepared(labels, predictions, pool, confidence, exact=False)
    weight = _weights(y, f) if pool is not None else np.zeros(len(y))
    z = y - weight * f
    n = np.arange(1, len(y) + 1)
    mean, used = z.cumsum() / n, weight.cumsum() / n
    variance = np.maximum((z**2).cumsum() / n - mean**2, 1e-12) * n / np.maximum(n - 1, 1)
    error = variance / n
    middle = (below + above) / 2
    centre = 0.5 if pool is None else middle
    mixed = special.logsumexp(
        [
            math.log(share) + stats.norm.logpdf(mean + used * middle, centre, np.sqrt(error + s**2))
            for share, s in prior
        ],
        axis=0,
    )
    reach = np.sqrt(2 * error * (math.log(1 / alpha) - mixed - 0.5 * np.log(2 * np.pi * error)))
    ready = (n >= FIRST) & (variance > 1e-9)
    ends = np.stack([used * below, used * above])
    low = np.where(ready, mean + ends.min(axis=0) - reach, -math.inf)
    high = np.where(ready, mean + ends.max(axis=0) + reach, math.inf)
    return Sequence(np.maximum.accumulate(low), np.minimum.accumulate(high))


def betting(
    labels: ArrayLike,
    predictions: ArrayLike | None = None,
    pool: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Sequence:
    """The exact sequence, each bound with half of the chance of error.

    Args:
        labels, predictions, pool: as for `mixture`, all between 0 and 1.
    """
    y, f, alpha, (below, above) = _prepared(labels, predictions, pool, confidence, exact=True)
    for values in (y, f):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("betting needs labels and predictions between 0 and 1")
    weight = _weights(y, f).clip(0.0, 1.0) if pool is not None else np.zeros(len(y))
    low = _refuted(y, f, weight, below, alpha / 2)
    high = 1 - _refuted(1 - y, 1 - f, weight, 1 - above, alpha / 2)
    return Sequence(low, high)


def _refuted(y: Floats, f: Floats, weight: Floats, least: float, alpha: float) -> Floats:
    """After each label the greatest mean that is refuted as too low; 0 if none is.

    Capital is bet against theta: sum log(1 + bet * (z + weight * m - theta)). It grows with m, so
    that the least m of the pool's interval speaks for all of them. Half of it is bet without
    predictions, so that bad ones cost little.
    """
    theta = np.arange(GRID + 1) / GRID
    halves = [_capital(y, np.zeros(len(y)), theta, alpha)]
    if weight.any():
        z = y - weight * f
        halves.append(_capital(z, weight, theta, alpha, weight * max(least, 0.0)))
    capital = np.logaddexp.reduce(halves, axis=0) - math.log(len(halves))
    refuted = np.maximum.accumulate(capital, axis=0) >= math.log(1 / alpha)
    leading = np.logical_and.accumulate(refuted, axis=1).sum(axis=1)
    found: Floats = np.maximum(leading - 1, 0) / GRID
    return found


def _capital(
    z: Floats, weight: Floats, theta: Floats, alpha: float, back: Floats | float = 0.0
) -> Floats:
    """Logarithm of the capital after each label, shape (n, len(theta))."""
    n = np.arange(1, len(z) + 1)
    mean = (0.5 + z.cumsum()) / (n + 1)
    variance = (0.25 + ((z - mean) ** 2).cumsum()) / (n + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    bet = np.sqrt(2 * math.log(1 / alpha) / (before * n * np.log1p(n)))
    bets = np.minimum(bet[:, None], MOST / (theta + weight[:, None]).clip(min=1e-12))
    gains: Floats = np.log1p(bets * ((z + back)[:, None] - theta)).cumsum(axis=0)
    return gains


def _weights(y: Floats, f: Floats) -> Floats:
    """For each label cov(y, f) / var(f) of those before it, drawn towards 1."""
    n = np.arange(1, len(y) + 1)
    mean_y, mean_f = y.cumsum() / n, f.cumsum() / n
    covariance = (y * f).cumsum() - n * mean_y * mean_f
    spread = (f * f).cumsum() - n * mean_f**2
    found = (covariance + DRAWN) / (spread + DRAWN)
    return np.concatenate([[1.0], found[:-1]])


def _prepared(
    labels: ArrayLike,
    predictions: ArrayLike | None,
    pool: ArrayLike | None,
    confidence: float,
    *,
    exact: bool,
) -> tuple[Floats, Floats, float, tuple[float, float]]:
    """Labels, predictions, what is left of the chance of error, and the pool's interval."""
    y = np.asarray(labels, dtype=float)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: want a number between 0 and 1")
    if (predictions is None) != (pool is None):
        raise ValueError("predictions and their pool go together")
    if predictions is None or pool is None:
        return y, np.zeros(len(y)), 1 - confidence, (0.0, 0.0)
    f = np.asarray(predictions, dtype=float)
    if y.ndim != 1 or y.shape != f.shape:
        raise ValueError(f"labels {y.shape}, predictions {f.shape}: want the same number of both")
    alpha = 1 - confidence
    interval = pool_interval(pool, POOL_SHARE * alpha, exact=exact)
    return y, f, (1 - POOL_SHARE) * alpha, interval
