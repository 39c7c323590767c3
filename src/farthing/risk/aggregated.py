"""Adaptive levels of several step sizes, weighted by how well each has done of late."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
HORIZON = 500  # outcomes within which the best step size may change


@dataclass(slots=True)
class AggregatedLevel:
    """The level at which to take an upper quantile, where nobody knows how fast things drift.

    Dynamically tuned adaptive conformal inference: one level for each step size moves as
    `risk.adaptive.AdaptiveLevel` does, and `level` is their mean, weighted by the pinball loss of
    late. A short step size is steady, a long one quick; the weights find which is called for.
    Over any stretch of some `HORIZON` outcomes the loss is close to that of the best path of
    levels that changes slowly; the share that exceeds tends to `alpha`, but slower than by one
    step size alone, and the bound of `AdaptiveLevel` on it does not hold.

    Assumes nothing of the order or dependence of the outcomes.

    Source: Gibbs, Candès: Conformal Inference for Online Prediction with Arbitrary Distribution
    Shifts (2024).

    Attributes:
        alpha: share of values that may exceed their quantile.
        steps: the step sizes.
        levels, weights: of each step size; the weights add up to 1.
    """

    alpha: float
    steps: Sequence[float] = STEPS
    levels: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}: want a number between 0 and 1")
        if not self.steps or not all(0 < step < 1 for step in self.steps):
            raise ValueError(f"steps are {self.steps}: want numbers between 0 and 1")
        self.levels = self.levels or [self.alpha] * len(self.steps)
        self.weights = self.weights or [1 / len(self.steps)] * len(self.steps)

    @property
    def level(self) -> float:
        """The share of values that the quantile should now leave above it; maybe beyond 0 to 1."""
        return sum(w * level for w, level in zip(self.weights, self.levels, strict=True))

    def update(self, share: float) -> None:
        """Take in at which level the value that came would just have been the quantile.

        That is its conformal p-value (`risk.conformal.p_values`): a value of p-value `share`
        exceeds the quantile at every level above it.
        """
        learning, mixing = self._rates()
        losses = [self._loss(share, level) for level in self.levels]
        raw = [w * math.exp(-learning * c) for w, c in zip(self.weights, losses, strict=True)]
        total, count = sum(raw), len(raw)
        self.weights = [(1 - mixing) * w / total + mixing / count for w in raw]
        self.levels = [
            level + step * (self.alpha - (share < level))
            for step, level in zip(self.steps, self.levels, strict=True)
        ]

    def _loss(self, share: float, level: float) -> float:
        return self.alpha * (share - level) - min(0.0, share - level)

    def _rates(self) -> tuple[float, float]:
        """How fast weights follow losses, and how much each gets back, as in the source."""
        a, count = self.alpha, len(self.steps)
        spread = (1 - a) ** 2 * a**3 + a**2 * (1 - a) ** 3
        learning = math.sqrt(3 / HORIZON * (math.log(count * HORIZON) + 2) / spread)
        return learning, 1 / (2 * HORIZON)
