"""A monitor that may be looked at after every request, for ever: is the rate at most alpha?"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

BETS = (0.5, 0.25, 0.125, 0.0625, 0.03125)
GREATEST = 1e200


@dataclass(slots=True)
class RateMonitor:
    """An e-process against "the expected loss is at most alpha, whatever came before".

    Bets against the promise with a capital of 1: while it holds, the capital cannot be expected to
    grow, and by Ville's inequality it ever reaches 1 / delta with probability at most `delta`,
    over unbounded time. Then `alarm` is set, and stays. Each bet is a likelihood ratio: that of a
    rate `alpha + bet (1 - alpha)` over alpha. A part 1 / (t (t + 1)) of the capital waits until
    the t-th outcome, so that a drift after many good outcomes is seen nearly as soon as one after
    few: the delay grows as 2 log t.

    Assumes that losses lie between 0 and 1. Needs no independence. False only in this sense:
    an alarm says that the rate was above alpha for a while, not that it still is, nor why; a
    certificate in marginal mode does not promise a rate of at most alpha to every plan.

    Source: Waudby-Smith, Ramdas: Estimating Means of Bounded Random Variables by Betting (2023);
    Shin, Ramdas, Rinaldo: E-detectors (2024), of which the waiting capital is the form
    that never alarms falsely.

    Attributes:
        alpha: the expected loss promised.
        delta: chance of a false alarm, ever.
        outcomes: how many were taken in.
        stakes: the capital in each of `BETS`.
        peak: the greatest `e_value` so far; 1 / peak is a p-value at any time.
    """

    alpha: float
    delta: float
    outcomes: int = 0
    stakes: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    peak: float = 1.0

    def __post_init__(self) -> None:
        for name in ("alpha", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: want a number between 0 and 1")

    @property
    def e_value(self) -> float:
        """The capital now: that which is bet, and that which waits."""
        return sum(self.stakes) + 1 / (self.outcomes + 1)

    @property
    def alarm(self) -> bool:
        """Whether the capital ever reached 1 / delta."""
        return self.peak >= 1 / self.delta

    def update(self, x: float) -> None:
        """Take in one loss: 1 for a violation, 0 for none, or anything between.

        Raises:
            ValueError: the loss is not between 0 and 1.
        """
        if not 0 <= x <= 1:
            raise ValueError(f"a loss of {x}: want a number between 0 and 1")
        self.outcomes += 1
        new = 1 / (self.outcomes * (self.outcomes + 1)) / len(BETS)
        surprise = x / self.alpha - 1
        self.stakes = [
            min((stake + new) * (1 + bet * surprise), GREATEST)
            for stake, bet in zip(self.stakes, BETS, strict=True)
        ]
        self.peak = max(self.peak, self.e_value)

    def state(self) -> dict[str, Any]:
        """All that it knows, of numbers and lists alone."""
        return {
            "alpha": self.alpha,
            "delta": self.delta,
            "outcomes": self.outcomes,
            "stakes": list(self.stakes),
            "peak": self.peak,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> RateMonitor:
        """The monitor that goes on where `state` was taken. Raises ValueError if it is none."""
        try:
            monitor = cls(**copy.deepcopy(state))
        except TypeError as error:
            raise ValueError(f"not the state of a rate monitor: {error}") from None
        if len(monitor.stakes) != len(BETS):
            raise ValueError(f"{len(monitor.stakes)} stakes: want {len(BETS)}")
        return monitor
