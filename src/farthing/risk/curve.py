"""One number for a curve of quality over cost.

All take the points of a policy's settings together with those of the models alone, and allow a
coin to be tossed between two settings: the curve is the upper concave hull, which never falls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
GRID = 512


@dataclass(frozen=True, slots=True)
class Ends:
    """The range over which curves are compared: always the cheapest model to always the best."""

    low_cost: float
    low_quality: float
    high_cost: float
    high_quality: float

    def shares(self, grid: Floats) -> Floats:
        """Costs at shares of the range, 0 to 1."""
        return self.low_cost + grid * (self.high_cost - self.low_cost)


def hull(costs: ArrayLike, qualities: ArrayLike) -> tuple[Floats, Floats]:
    """The corners of the upper concave hull that does not fall, by ascending cost."""
    x, y = np.asarray(costs, float), np.asarray(qualities, float)
    order = np.lexsort((-y, x))
    corners: list[tuple[float, float]] = []
    for cost, quality in zip(x[order], y[order], strict=True):
        if corners and (quality <= corners[-1][1] or cost <= corners[-1][0]):
            continue
        while len(corners) > 1 and _slope(corners[-2], (cost, quality)) >= _slope(
            corners[-2], corners[-1]
        ):
            corners.pop()
        corners.append((float(cost), float(quality)))
    return np.array([c for c, _ in corners]), np.array([q for _, q in corners])


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def quality_at(costs: ArrayLike, qualities: ArrayLike, at: ArrayLike) -> Floats:
    """The hull's quality at some costs; that of its first corner below it."""
    x, y = hull(costs, qualities)
    values: Floats = np.interp(np.asarray(at, float), x, y)
    return values


def aiq(costs: ArrayLike, qualities: ArrayLike, ends: Ends) -> float:
    """Average improvement in quality: the hull's mean height over the range of costs.

    Source: RouterBench (Hu et al., 2024).
    """
    return float(quality_at(costs, qualities, ends.shares(np.linspace(0, 1, GRID))).mean())


def apgr(costs: ArrayLike, qualities: ArrayLike, ends: Ends) -> float | None:
    """Average share of the gap between cheapest and best model that is recovered.

    Over the range of costs, not over shares of calls as with two models only; a random mix of the
    two has one half. None where the best model is not better.

    Source: RouteLLM (Ong et al., 2024).
    """
    gap = ends.high_quality - ends.low_quality
    if gap <= 0:
        return None
    return (aiq(costs, qualities, ends) - ends.low_quality) / gap


def cpt(costs: ArrayLike, qualities: ArrayLike, ends: Ends, share: float) -> float | None:
    """The least cost, as a share of the range, that recovers `share` of the gap in quality.

    A random mix of the two models needs just that share. None where it is not reached, or there
    is no gap. Zero where less than the cheapest model's cost does.

    Source: call-performance threshold of RouteLLM (Ong et al., 2024), over cost.
    """
    gap = ends.high_quality - ends.low_quality
    if gap <= 0:
        return None
    wanted = ends.low_quality + share * gap
    x, y = hull(costs, qualities)
    if y[-1] < wanted - 1e-12:
        return None
    cost = float(np.interp(min(wanted, y[-1]), y, x))
    return max(0.0, (cost - ends.low_cost) / (ends.high_cost - ends.low_cost))


def distance(cost: float, quality: float, costs: ArrayLike, qualities: ArrayLike) -> float:
    """How much quality a point lacks to the hull of other points at its cost; zero on or above."""
    return max(0.0, float(quality_at(costs, qualities, [cost])[0]) - quality)
