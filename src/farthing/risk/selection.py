"""Which answers to accept so that, of the accepted ones, at most a stated share is bad.

Of calibration answers it is known whether each is good, of new ones only a score. A new answer's
p-value for "it is bad" compares its score with those of bad calibration answers; the procedure of
Benjamini and Hochberg makes of the p-values a set whose expected share of bad ones (the false-
discovery rate) is at most q. The threshold adapts to how many good answers there are.

`select` takes one score, fixed beforehand. `select_best` takes several and uses the one that
accepts most, by the calibration answers and the new ones: to choose the score first and then go on
as if it had been fixed accepts too many bad answers. The choice is made anew for each new answer,
in a way that would not change if it changed places with a calibration answer, which keeps its
p-value valid; a random pruning step makes up for the choices depending on each other.

Assumes that calibration and new answers are exchangeable, and that "good" is known of all of the
former. The rate is an expectation: a single selection may hold more, above all a small one.

Sources: Jin, Candès: Selection by Prediction with Conformal p-values (2023); Bai, Jin: Optimized
Conformal Selection (2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def p_values(scores: ArrayLike, good: ArrayLike, new: ArrayLike) -> Floats:
    """P-values of "this answer is bad", shape (m,).

    Args:
        scores: of the calibration answers, greater for better ones, shape (n,).
        good: whether each is good, shape (n,).
        new: scores of the new answers, shape (m,).
    """
    known, fine = np.asarray(scores, dtype=float), np.asarray(good, dtype=bool)
    if known.shape != fine.shape:
        raise ValueError(f"scores {known.shape}, good {fine.shape}: want the same number of both")
    bad = np.sort(known[~fine])
    above = len(bad) - np.searchsorted(bad, np.asarray(new, dtype=float), side="left")
    found: Floats = (1 + above) / (len(known) + 1)
    return found


def benjamini_hochberg(p: ArrayLike, q: float) -> Bools:
    """Which hypotheses are rejected so that the false-discovery rate is at most q, shape (m,)."""
    values = np.asarray(p, dtype=float)
    if not len(values):
        return np.zeros(0, np.bool_)
    found: Bools = values <= q * _count(np.sort(values)[None], q)[0] / len(values) + 1e-12
    return found


def select(scores: ArrayLike, good: ArrayLike, new: ArrayLike, q: float) -> Bools:
    """Which new answers to accept, by one score; shape (m,) (see `p_values`)."""
    return benjamini_hochberg(p_values(scores, good, new), q)


def select_best(
    scores: ArrayLike, good: ArrayLike, new: ArrayLike, q: float, *, seed: int = 0
) -> Bools:
    """Which new answers to accept, by the most powerful of several scores.

    Takes memory and time of scores x m x m.

    Args:
        scores: of the calibration answers, shape (scores, n).
        good: whether each is good, shape (n,).
        new: of the new answers, shape (scores, m).
        seed: of the pruning.
    """
    known, fresh = np.asarray(scores, dtype=float), np.asarray(new, dtype=float)
    fine = np.asarray(good, dtype=bool)
    if known.ndim != 2 or fresh.shape[:1] != known.shape[:1] or known.shape[1:] != fine.shape:
        raise ValueError(
            f"scores {known.shape}, good {fine.shape}, new {fresh.shape}: want scores x answers"
        )
    kinds, m = fresh.shape
    if not m:
        return np.zeros(0, np.bool_)
    n = known.shape[1]
    counts = np.empty((kinds, m))
    for kind in range(kinds):
        counts[kind] = _swapped_counts(known[kind][~fine], fresh[kind], n, q)
    best = counts.argmax(axis=0)
    accepted = counts[best, np.arange(m)]
    each = np.stack([p_values(known[kind], fine, fresh[kind]) for kind in range(kinds)])
    first = each[best, np.arange(m)] <= q * accepted / m + 1e-12
    # Pruning: the largest r such that r of the candidates have xi * (their count) <= r.
    shrunk = np.where(first, np.random.default_rng(seed).random(m) * accepted, np.inf)
    order = np.sort(shrunk)
    ranks = np.arange(1, m + 1)
    enough = np.flatnonzero(order <= ranks)
    chosen: Bools = shrunk <= (ranks[enough[-1]] if len(enough) else -1)
    return chosen


def _swapped_counts(bad: Floats, new: Floats, n: int, q: float) -> Floats:
    """For each new answer j how many would be accepted if j were a bad calibration answer.

    Its own p-value counts as 0. That number is the same whichever of the calibration answers and j
    is taken for the new one, if j is bad.
    """
    above = len(bad) - np.searchsorted(np.sort(bad), new, side="left")
    others = (above[None, :] + (new[:, None] >= new[None, :])) / (n + 1)
    np.fill_diagonal(others, 0.0)
    return _count(np.sort(others, axis=1), q)


def _count(ordered: Floats, q: float) -> Floats:
    """The greatest r with the r-th smallest p-value at most q r / m, in each row; 0 if none."""
    m = ordered.shape[1]
    ranks = np.arange(1, m + 1)
    found: Floats = ((ordered <= q * ranks / m + 1e-12) * ranks).max(axis=1).astype(float)
    return found
