"""A quantile that corrects itself, so that it is exceeded as often as it promises."""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

LOWEST = 20  # steps that a level goes below 0


@dataclass(slots=True)
class AdaptiveLevel:
    """The level at which to take an upper quantile, steered by how often it was exceeded.

    Adaptive conformal inference: after each outcome the level moves by
    `level += step * (alpha - exceeded)`. Whatever the outcomes, after n of them the share that
    exceeded differs from `alpha` by at most (max(alpha, 1 - alpha) + step) / (step * n), as long
    as no value exceeds an upper quantile at level 0 or below. `upper` grows to that end, up to
    eight times the greatest value; it reaches it for sure only where the caller has a true bound.

    Assumes nothing of the order or dependence of the outcomes. Says nothing about one outcome,
    nor about a short run of them: at the default step, the n in the statement above is in the
    hundreds before it says anything. Many outcomes that are told late, all of quantiles from
    before, push the level too far; that is why it goes no lower than 20 steps below 0.

    Source: Gibbs, Candès: Adaptive Conformal Inference Under Distribution Shift (2021).

    Attributes:
        alpha: share of values that may exceed their quantile.
        step: how far one outcome moves the level.
        level: the present level; below 0 after an unlikely run of excesses.
        outcomes, exceeded: how many values were compared, and how many exceeded.
    """

    alpha: float
    step: float = 0.01
    level: float = field(default=-1.0)
    outcomes: int = 0
    exceeded: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}: want a number between 0 and 1")
        if not 0 < self.step < 1:
            raise ValueError(f"step is {self.step}: want a number between 0 and 1")
        if self.level == -1.0:
            self.level = self.alpha

    def update(self, exceeded: bool) -> None:
        """Take in whether a value exceeded the quantile that was given for it."""
        self.outcomes += 1
        self.exceeded += exceeded
        moved = self.level + self.step * (self.alpha - exceeded)
        self.level = max(moved, -LOWEST * self.step)

    def upper(self, ordered: Sequence[float], above: Sequence[float]) -> float:
        """The upper quantile, in the unit of the values.

        The least value with a share of at most `level` above it. Where that is beyond the
        greatest, the greatest is scaled up, doubling for every ten steps that the level is below 0.

        Args:
            ordered: values that are not negative, ascending; at least one.
            above: the share above each, descending. For n past values of equal weight and one to
                come it is n / (n + 1), ..., 1 / (n + 1), and the quantile the conformal one.
        """
        at = bisect.bisect_left(above, -self.level - 1e-9, key=operator.neg)
        if at < len(ordered):
            return float(ordered[at])
        beyond = max(0.0, -self.level) / (10 * self.step)
        return float(ordered[-1]) * math.pow(2, 1 + beyond)
