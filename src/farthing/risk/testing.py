"""Learn then test: from p-values of a finite set of settings to those that may be chosen from.

The p-value of a setting belongs to the hypothesis that it breaks the promise; rejected, the setting
is certified. Every rule here certifies a setting that breaks it with probability at most `delta`,
for all settings together and whatever the dependence between their p-values, so that any of the
certified may be chosen by any criterion. They differ in power.

P-values come from `risk.binomial`, `risk.hoeffding` or `risk.betting`. Assumes that the order, the
starts and the weights were fixed without the data that the p-values are from.

Source: Angelopoulos, Bates, Candès, Jordan, Lei: Learn then Test (2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bools = NDArray[np.bool_]


def bonferroni(p_values: ArrayLike, delta: float) -> Bools:
    """Each of k settings at delta / k: needs no order, and loses most."""
    p = np.asarray(p_values, float)
    certified: Bools = p <= delta / max(len(p), 1)
    return certified


def holm(p_values: ArrayLike, delta: float) -> Bools:
    """The smallest p-value at delta / k, the next at delta / (k - 1), until one fails.

    Never fewer settings than `bonferroni`. Source: Holm (1979).
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    passed = p[order] <= delta / np.arange(len(p), 0, -1)
    certified = np.zeros(len(p), np.bool_)
    certified[order[: _leading(passed)]] = True
    return certified


def fixed_sequence(p_values: ArrayLike, delta: float, starts: Sequence[int] = (0,)) -> Bools:
    """The settings in their order, each at `delta`, until one fails.

    The strongest rule where the order goes from safe to bold: there is no price for its length.
    From several starts, each runs at its share of `delta`: a dent in the sequence then costs
    no more than the settings up to the next start.
    """
    p = np.asarray(p_values, float)
    passed = p <= delta / max(len(starts), 1)
    certified = np.zeros(len(p), np.bool_)
    for start in starts:
        if not 0 <= start < max(len(p), 1):
            raise ValueError(f"start {start} is none of {len(p)} settings")
        certified[start : start + _leading(passed[start:])] = True
    return certified


def fallback(p_values: ArrayLike, delta: float, weights: ArrayLike | None = None) -> Bools:
    """The settings in their order, each at its own share of `delta` and what was handed on.

    A certified setting hands its level on to the next; a failed one keeps it, but does not end
    the sequence. All weight on the first setting is `fixed_sequence`.

    Source: Wiens: A fixed sequence Bonferroni procedure (2003).

    Args:
        weights: not negative, in sum at most 1; by default equal.
    """
    p = np.asarray(p_values, float)
    shares = np.full(len(p), 1 / max(len(p), 1)) if weights is None else checked(weights, len(p))
    certified, handed = np.zeros(len(p), np.bool_), 0.0
    for at, share in enumerate(shares):
        level = handed + share
        certified[at] = level > 0 and p[at] <= delta * level + 1e-15
        handed = level if certified[at] else 0.0
    return certified


def pilot_order(p_values: ArrayLike, most: float = 1.0) -> NDArray[np.int64]:
    """An order for `fixed_sequence` where none is known: the settings by pilot p-value.

    Split fixed sequence testing: the pilot's questions order the settings and drop those with a
    p-value above `most`, others test them.

    Returns:
        indices of the settings kept, safest first.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable").astype(np.int64)
    kept: NDArray[np.int64] = order[p[order] <= most]
    return kept


def checked(weights: ArrayLike, count: int) -> NDArray[np.float64]:
    """Weights as an array; ValueError unless there are `count`, none negative, in sum at most 1."""
    found = np.asarray(weights, float)
    if found.shape != (count,) or (found < 0).any() or found.sum() > 1 + 1e-9:
        raise ValueError(f"want {count} weights, none negative, in sum at most 1")
    return found


def _leading(passed: Bools) -> int:
    return len(passed) if passed.all() else int(np.argmin(passed))
