"""Testing along a graph: what one certified setting frees, it hands to those it points to.

The general form of the rules of `risk.testing`, for settings that are no single sequence: several
families of cascades, each with its own order, where the level of a family that is certified whole
goes to the others. Valid and fixed beforehand as those are.

Source: Bretz, Maurer, Brannath, Posch: A graphical approach to sequentially rejective multiple
test procedures (2009).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farthing.risk.testing import Bools, checked

Floats = NDArray[np.float64]


def graphical(
    p_values: ArrayLike, delta: float, weights: ArrayLike, transitions: ArrayLike
) -> Bools:
    """Certifies while some setting's p-value is at most its weight's share of `delta`.

    Args:
        weights: each setting's share of `delta` at first, in sum at most 1.
        transitions: row i says how the level of setting i is divided when it is certified: not
            negative, in sum at most 1, nothing to itself. Shape (settings, settings).
    """
    p = np.asarray(p_values, float)
    level = checked(weights, len(p)).copy()
    hands = np.array(transitions, dtype=float)
    _check(hands, len(p))
    certified = np.zeros(len(p), np.bool_)
    while len(passed := np.flatnonzero((level > 0) & (p <= delta * level + 1e-15))):
        at = passed[0]
        certified[at] = True
        level = level + level[at] * hands[at]
        back = hands[:, at] * hands[at]  # what would come back to each by way of `at`
        hands = hands + np.outer(hands[:, at], hands[at])
        np.fill_diagonal(hands, 0.0)
        rest = (1 - back)[:, None]
        hands = np.divide(hands, rest, out=np.zeros_like(hands), where=rest > 1e-12)
        hands[:, at], hands[at], level[at] = 0.0, 0.0, 0.0
    return certified


def chains(lengths: Sequence[int]) -> tuple[Floats, Floats]:
    """Weights and transitions of several sequences, one after another in the p-values.

    Each begins with an equal share of `delta`; the last of each hands on to the beginnings of the
    others, in equal parts.
    """
    count, starts = sum(lengths), np.cumsum([0, *lengths])[:-1]
    if not lengths or min(lengths) < 1:
        raise ValueError("want at least one setting in each sequence")
    weights, transitions = np.zeros(count), np.zeros((count, count))
    weights[starts] = 1 / len(lengths)
    for start, length in zip(starts, lengths, strict=True):
        inner = np.arange(start, start + length - 1)
        transitions[inner, inner + 1] = 1.0
        others = starts[starts != start]
        if len(others):
            transitions[start + length - 1, others] = 1 / len(others)
    return weights, transitions


def _check(transitions: Floats, count: int) -> None:
    if transitions.shape != (count, count):
        raise ValueError(f"transitions of shape {transitions.shape} for {count} settings")
    wrong = (transitions < 0).any() or (transitions.sum(axis=1) > 1 + 1e-9).any()
    if wrong or np.diagonal(transitions).any():
        raise ValueError("want rows that are not negative, in sum at most 1, nothing to itself")
