"""Resampling of weighted particles.

All four schemes are unbiased: particle i is kept n * w[i] times on average. They differ in how
much the number varies about that; multinomial varies most.

Source: Comparison of Resampling Schemes for Particle Filtering (Douc, Cappé & Moulines, 2005).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from farthing.models.recording import Floats, Ints

Scheme = Literal["multinomial", "stratified", "systematic", "residual"]
SCHEMES: tuple[str, ...] = get_args(Scheme)


def normalised(logs: Floats) -> Floats:
    """Weights that sum to 1 from their logarithms; equal ones where all are zero."""
    top = logs.max()
    if not np.isfinite(top):
        return np.full(len(logs), 1 / len(logs))
    weights: Floats = np.exp(logs - top)
    weights /= weights.sum()
    return weights


def effective(weights: Floats) -> float:
    """The effective sample size of weights that sum to 1: from 1 to how many there are."""
    return float(1 / (weights**2).sum())


def resample(weights: Floats, scheme: Scheme, rng: np.random.Generator) -> Ints:
    """Which particles are kept, as often as there are weights; these sum to 1."""
    n = len(weights)
    match scheme:
        case "multinomial":
            return _invert(weights, np.sort(rng.random(n)))
        case "stratified":
            return _invert(weights, (np.arange(n) + rng.random(n)) / n)
        case "systematic":
            return _invert(weights, (np.arange(n) + rng.random()) / n)
        case "residual":
            whole = np.floor(n * weights + 1e-9).astype(np.int64)
            kept = np.repeat(np.arange(n), whole)
            left = n - len(kept)
            if left <= 0:
                return kept[:n]
            rest = np.maximum(n * weights - whole, 0.0)
            return np.concatenate((kept, _invert(rest / rest.sum(), np.sort(rng.random(left)))))


def _invert(weights: Floats, at: Floats) -> Ints:
    chosen = np.searchsorted(weights.cumsum(), at, side="right")
    kept: Ints = np.minimum(chosen, np.flatnonzero(weights)[-1])
    return kept
