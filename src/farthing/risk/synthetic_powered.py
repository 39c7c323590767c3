"""A conformal threshold from few real scores and many synthetic ones, valid whatever these are.

Split conformal prediction takes the k-th smallest of n real scores as threshold, so that a new one
is at most as great with probability at least 1 - alpha. With few real scores k / (n + 1) moves in
large steps, and the threshold varies much. Synthetic scores (of another model's answers, of made-up
questions) are many, but may be distributed otherwise.

The threshold is the synthetic (1 - alpha) quantile, as long as it lies between two of the real
scores, else the nearer of the two. Which two: those real scores that the quantile would lie between
with probability 1 - beta if both kinds were distributed alike (a window for each rank, from its
beta-binomial distribution among the synthetic scores). So

- whatever the synthetic scores, coverage is between `floor` and `ceiling`, with any number of them;
- if these are distributed like the real ones: at least 1 - alpha - beta, and near 1 - alpha.

Assumes exchangeable real scores, the new one among them, and synthetic ones that do not depend on
them. Ties are broken upwards: they make coverage greater, and `ceiling` no bound.

Source: Bashari, Lotan, Lee, Dobriban, Romano: Synthetic-Powered Predictive Inference (2025). There
scores are transported to synthetic ones within windows of ranks; this is the threshold on real
scores that comes to the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a new score is compared with.

    Attributes:
        value: accept scores up to this; infinite where all must be.
        floor: coverage is at least this, whatever the synthetic scores.
        ceiling: and at most this, without ties.
        by: "synthetic" if their quantile is the threshold, "real" if it lay outside.
    """

    value: float
    floor: float
    ceiling: float
    by: str


def threshold(real: ArrayLike, synthetic: ArrayLike, alpha: float, beta: float = 0.1) -> Threshold:
    """The threshold for new scores (smaller is better conforming).

    Args:
        real, synthetic: scores, shape (n,) and (N,); neither empty.
        alpha: share of new scores that may exceed the threshold.
        beta: of how far real scores are trusted over synthetic ones: the smaller, the wider the
            windows, and the lower `floor`.
    """
    own = np.sort(np.asarray(real, dtype=float))
    made = np.sort(np.asarray(synthetic, dtype=float))
    if not len(own) or not len(made):
        raise ValueError(f"{len(own)} real and {len(made)} synthetic scores: want some of both")
    if not (0 < alpha < 1 and 0 < beta < 1):
        raise ValueError(f"alpha {alpha}, beta {beta}: want numbers between 0 and 1")
    n = len(own)
    rank = math.ceil((1 - alpha) * (len(made) + 1) - 1e-9)
    quantile = made[rank - 1] if rank <= len(made) else math.inf
    first, last = _window(n, len(made), rank, beta)
    ends = np.concatenate([[-math.inf], own, [math.inf]])
    low, high = float(ends[first]), float(ends[last])
    return Threshold(
        float(min(max(quantile, low), high)),
        first / (n + 1),
        last / (n + 1),
        "synthetic" if low <= quantile <= high else "real",
    )


@lru_cache(maxsize=64)
def _window(n: int, many: int, rank: int, beta: float) -> tuple[int, int]:
    """The ranks among n + 1 real scores that surely lie within, and that may, the quantile.

    If distributed alike, the number of synthetic scores below the r-th of n + 1 real ones is beta-
    binomial. A rank is surely within if nearly all of its window is, and may be if hardly any is.
    """
    ranks = np.arange(1, n + 2)
    below = stats.betabinom(many, ranks, n + 2 - ranks)
    surely = np.count_nonzero(np.asarray(below.ppf(1 - beta / 2)) + 1 <= rank)
    perhaps = np.count_nonzero(np.asarray(below.ppf(beta / 2)) + 1 <= rank)
    return int(surely), int(perhaps)
