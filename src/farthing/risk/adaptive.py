"""A quantile that corrects itself, so that it is exceeded as often as it promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class AdaptiveLevel:
    """The level at which to take an upper quantile, steered by how often it was exceeded.

    Adaptive conformal inference: after each outcome the level moves by
    `level += step * (alpha - exceeded)`. Whatever the outcomes, after n of them the share that
    exceeded differs from `alpha` by at most (max(alpha, 1 - alpha) + step) / (step * n), as long
    as no value exceeds an upper quantile at level 0 or below; `upper` tends to that by growing
    without limit, but reaches it at once only where the caller has a true upper bound.

    Assumes nothing of the order or dependence of the outcomes. Says nothing about one outcome,
    nor about a short run of them: at the default step, the n in the statement above is in the
    hundreds before it says anything.

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
        self.level += self.step * (self.alpha - exceeded)

    def upper(self, ordered: Sequence[float]) -> float:
        """The upper quantile, in the unit of the values.

        The conformal one: the ceil((n + 1)(1 - level))-th of n values, smallest first. Where that
        is beyond the greatest, the greatest is scaled up, doubling for every ten steps that
        the level is below 0.

        Args:
            ordered: past values that are not negative, ascending; at least one.
        """
        n = len(ordered)
        rank = math.ceil((n + 1) * (1 - self.level) - 1e-9)
        if rank <= n:
            return float(ordered[max(rank, 1) - 1])
        beyond = max(0.0, -self.level) / (10 * self.step)
        return float(ordered[-1]) * float(2.0 ** min(1.0 + beyond, 60.0))
