"""What a judge of single items says of a measure of whole lists: Precision@K and the like.

People label lists (a query with the K items that were retrieved for it), a judge gives for each
item the chance that it is relevant. Of a measure of the list, its prediction is the expectation
over the patterns of relevance. Items that were not retrieved do not enter it: so the sum has 2^K
terms for K items of a list, not 2^C for a corpus of C.

The predictions go into prediction-powered inference with the labelled lists, a list being the unit
(`list_mean`), which takes out the judge's bias.

Assumes lists that are drawn independently, the labelled ones at random. A judge whose chances are
not calibrated, or whose errors within one list depend on each other, makes the interval wider, not
wrong.

Source: PRECISE: Reducing the Bias of LLM Evaluations Using Prediction-Powered Ranking Estimation
(2026).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farthing.risk.prediction_powered import Estimate, ppi_plus_mean

Floats = NDArray[np.float64]
Measure = Callable[[Floats], Floats]
"""Of relevance, 0 or 1, shape (lists, K), best-ranked first: the measure of each list."""

MOST = 20  # items of a list: 2^20 patterns


def precision(relevant: Floats) -> Floats:
    """Precision@K: the share of the K items that is relevant."""
    found: Floats = relevant.mean(axis=1)
    return found


def hit(relevant: Floats) -> Floats:
    """Hit@K: 1 if any item is relevant."""
    found: Floats = relevant.max(axis=1)
    return found


def reciprocal_rank(relevant: Floats) -> Floats:
    """One over the rank of the first relevant item, 0 if there is none."""
    first = relevant.argmax(axis=1)
    found: Floats = np.where(relevant.any(axis=1), 1 / (first + 1), 0.0)
    return found


def patterns(items: int) -> Floats:
    """All patterns of relevance of a list, shape (2^items, items)."""
    if not 1 <= items <= MOST:
        raise ValueError(f"lists of {items} items: want 1 to {MOST}")
    found: Floats = (np.arange(2**items)[:, None] >> np.arange(items) & 1).astype(float)
    return found


def expected(chances: ArrayLike, measure: Measure = precision) -> Floats:
    """The expectation of a measure if each item is relevant with its chance, independently.

    Args:
        chances: between 0 and 1, shape (lists, K).

    Returns:
        shape (lists,).
    """
    given = np.asarray(chances, dtype=float)
    if given.ndim != 2 or not ((given >= 0) & (given <= 1)).all():
        raise ValueError("want chances between 0 and 1, lists x items")
    whole = np.ones((len(given), 1))
    for item in range(given.shape[1]):  # patterns in the order of `patterns`: item i is bit i
        chance = given[:, item, None]
        whole = np.concatenate([whole * (1 - chance), whole * chance], axis=1)
    found: Floats = whole @ measure(patterns(given.shape[1]))
    return found


def list_mean(
    relevant: ArrayLike, chances: ArrayLike, more: ArrayLike, measure: Measure = precision
) -> Estimate:
    """The mean of a measure over lists, by PPI++.

    Args:
        relevant: what people said of the labelled lists, 0 or 1, shape (n, K).
        chances: what the judge said of them, shape (n, K).
        more: what it said of the others, shape (N, K).
    """
    labels = np.asarray(relevant, dtype=float)
    if labels.ndim != 2 or not np.isin(labels, (0.0, 1.0)).all():
        raise ValueError("want relevance of 0 or 1, lists x items")
    return ppi_plus_mean(measure(labels), expected(chances, measure), expected(more, measure))
