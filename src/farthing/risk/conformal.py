"""Upper quantiles that one value to come exceeds with probability at most alpha."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farthing.risk.binomial import most_violations

Floats = NDArray[np.float64]


def quantile(scores: ArrayLike, alpha: float) -> float:
    """The split conformal quantile: P(next score > quantile) <= alpha; inf if there are too few.

    The ceil((1 - alpha)(n + 1))-th smallest of n scores. The probability is over the scores and
    the next one together, which are assumed exchangeable; ties do no harm. Without ties it is at
    least alpha - 1 / (n + 1). Broken by drift: see `weighted_quantile` and `risk.adaptive`.

    Source: Papadopoulos, Proedrou, Vovk, Gammerman: Inductive Confidence Machines (2002); Lei,
    G'Sell, Rinaldo, Tibshirani, Wasserman: Distribution-Free Predictive Inference (2018).
    """
    ordered = _sorted(scores)
    rank = math.ceil((1 - alpha) * (len(ordered) + 1) - 1e-9)
    return _at_rank(ordered, rank)


def pac_quantile(scores: ArrayLike, alpha: float, delta: float) -> float:
    """The least score that, but for a share `delta` of calibrations, is exceeded at most by alpha.

    The tolerance limit of Wilks (1941): a statement about these very scores, for all that is to
    come, where `quantile` speaks of scores and the next one together. Assumes independent draws.
    Inf with fewer than log(delta) / log(1 - alpha) scores.
    """
    ordered = _sorted(scores)
    allowed = most_violations(len(ordered), alpha, delta)
    return _at_rank(ordered, len(ordered) - allowed if allowed >= 0 else len(ordered) + 1)


def weighted_quantile(
    scores: ArrayLike, weights: ArrayLike, new_weights: ArrayLike, alpha: float
) -> Floats:
    """The quantile for values to come of another distribution, one for each of `new_weights`.

    The least score up to which the calibration scores have 1 - alpha of all the weight, that of
    the value to come included; inf where they never have. P(next score > quantile) <= alpha if
    the weights are proportional to the ratio of densities, to come over calibration, of what
    the weights were computed from, and if the score given that is distributed as before
    (covariate shift). Broken by wrong weights: the probability is then off by up to the total
    variation between the true distribution and the one that the weights make.

    Source: Tibshirani, Foygel Barber, Candès, Ramdas: Conformal Prediction Under Covariate
    Shift (2019).

    Args:
        scores, weights: shape (n,); weights not negative, of any scale.
        new_weights: of the values to come, on the same scale, any shape.
    """
    values, shares = np.asarray(scores, float), np.asarray(weights, float)
    new = np.asarray(new_weights, float)
    if values.shape != shares.shape or values.ndim != 1:
        raise ValueError(f"{shares.shape} weights for {values.shape} scores")
    if (shares < 0).any() or (new < 0).any():
        raise ValueError("a weight is negative")
    order = np.argsort(values, kind="stable")
    up_to = np.cumsum(shares[order])
    total = (up_to[-1] if len(up_to) else 0.0) + new
    at = np.searchsorted(up_to, (1 - alpha) * total * (1 - 1e-12), side="left")
    found: Floats = np.append(values[order], np.inf)[at]
    return found


def p_values(scores: ArrayLike, new: ArrayLike) -> Floats:
    """The chance of a score as high as each of `new`, were it exchangeable with `scores`.

    (1 + how many are at least as high) / (n + 1): at most alpha with probability at most alpha.
    """
    ordered = _sorted(scores)
    below = np.searchsorted(ordered, np.asarray(new, float), side="left")
    found: Floats = (1 + len(ordered) - below) / (len(ordered) + 1)
    return found


def _sorted(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, float)
    if np.isnan(values).any():
        raise ValueError("a score is not a number")
    return np.sort(values, axis=None)


def _at_rank(ordered: Floats, rank: int) -> float:
    """The rank-th smallest, from 1; inf beyond the greatest."""
    return float(ordered[max(rank, 1) - 1]) if rank <= len(ordered) else math.inf
