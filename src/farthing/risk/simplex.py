"""What becomes of a weighted ranking when its weights change."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 20_000


def first_shares(scores: ArrayLike, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """The share of all weightings of the criteria by which each thing is first.

    Weightings are drawn uniformly from the simplex (all that are not negative and add up to one),
    so that each share is off by 0.7 percentage points at most, at 20,000 draws and 95 % confidence.
    Things that are equally good share a place.

    Args:
        scores: by thing and criterion, more is better, shape (things, criteria).
    """
    table = np.asarray(scores, dtype=float)
    weights = np.random.default_rng(seed).dirichlet(np.ones(table.shape[1]), size=draws)
    totals = weights @ table.T
    first = totals >= totals.max(axis=1, keepdims=True) - 1e-12
    shares: NDArray[np.float64] = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares
