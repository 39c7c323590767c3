"""What a coin toss between two models buys: the baseline that a router has to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def random_mix(costs: ArrayLike, qualities: ArrayLike, cost: float) -> float | None:
    """The best mean quality of a random choice between two of the models at a mean cost.

    That is the upper concave hull of (cost, quality) at `cost`; beyond the dearest model its
    best value, and None where even the cheapest model costs more.
    """
    x, y = np.asarray(costs, float), np.asarray(qualities, float)
    if cost < x.min() * (1 - 1e-12):
        return None
    best = float(y[x <= cost * (1 + 1e-12)].max())
    for low in np.flatnonzero(x <= cost):
        for high in np.flatnonzero(x > cost):
            share = (cost - x[low]) / (x[high] - x[low])
            best = max(best, float(y[low] + share * (y[high] - y[low])))
    return best
