"""A conformal test martingale: does a stream of scores still look like one shuffled deck?"""

from __future__ import annotations

import bisect
import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

SLOPES = (-1.0, 0.0, 1.0)
JUMP = 0.01
GREATEST = 1e200


@dataclass(slots=True)
class ExchangeabilityMonitor:
    """Bets against "the scores are exchangeable": that each would rank anywhere among the last.

    The conformal p-value of each score, ties broken at random, is uniform and independent of
    those before it as long as the scores are exchangeable. Three accounts bet that p-values
    are low, that they are high, and not at all, and at each score 1 % of the capital is divided
    anew (the simple jumper). Under exchangeability the capital reaches 1 / delta with probability
    at most `delta`, over unbounded time; then `alarm` is set, and stays. As in
    `risk.monitor.RateMonitor`, a part of the capital waits, so that late changes are seen too.

    Scores are compared by bin, so that the state is small, however long the stream: a change
    within one bin is not seen. It says that the stream has changed, not whether for the worse, and
    a change so slow that the past is as mixed as the present may pass unseen. Broken by what is no
    drift but no shuffled deck either: times of day, one client's bursts, repeated questions.

    Source: Vovk, Petej, Nouretdinov, Ahlberg, Carlsson, Gammerman: Retrain or Not Retrain:
    Conformal Test Martingales for Change-Point Detection (2021).

    Attributes:
        edges: between the bins, ascending; fixed before the stream. A score equal to an edge
            counts to the bin above.
        delta: chance of a false alarm, ever.
        seed: of the breaking of ties.
        counts: how many scores lie in each bin, those of the calibration included.
        outcomes: how many scores of the stream were taken in.
        accounts: the capital bet on each of `SLOPES`.
        peak: the greatest `e_value` so far.
    """

    edges: list[float]
    delta: float
    seed: int = 0
    counts: list[int] = field(default_factory=list)
    outcomes: int = 0
    accounts: list[float] = field(default_factory=lambda: [0.0] * len(SLOPES))
    peak: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise ValueError(f"delta is {self.delta}: want a number between 0 and 1")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges do not ascend")
        self.counts = self.counts or [0] * (len(self.edges) + 1)

    @classmethod
    def after(
        cls, scores: ArrayLike, delta: float, *, bins: int = 32, seed: int = 0
    ) -> ExchangeabilityMonitor:
        """A monitor that expects a stream like these scores, from its first on.

        Half of the scores, chosen at random, place the edges at their quantiles; the others count
        as the past. (Were both the same scores, the first of the stream would stand apart.)
        """
        values = np.random.default_rng(seed).permutation(np.asarray(scores, float).ravel())
        half = len(values) // 2
        if half < 1:
            raise ValueError("want at least two scores to begin with")
        marks = np.quantile(values[:half], np.arange(1, bins) / bins, method="higher")
        monitor = cls([float(mark) for mark in np.unique(marks)], delta, seed)
        for value in values[half:]:
            monitor.counts[monitor._bin(float(value))] += 1
        return monitor

    @property
    def e_value(self) -> float:
        """The capital now: that which is bet, and that which waits."""
        return sum(self.accounts) + 1 / (self.outcomes + 1)

    @property
    def alarm(self) -> bool:
        """Whether the capital ever reached 1 / delta."""
        return self.peak >= 1 / self.delta

    def update(self, x: float) -> None:
        """Take in one score. Raises ValueError if it is not a number."""
        self.bet(self._p_value(x))

    def bet(self, p: float) -> None:
        """Take in a p-value that is uniform and independent of those before it, if all is well."""
        self.outcomes += 1
        new = 1 / (self.outcomes * (self.outcomes + 1))
        capital = sum(self.accounts)
        shared = (JUMP * capital + new) / len(SLOPES)
        self.accounts = [
            min(((1 - JUMP) * held + shared) * (1 + slope * (p - 0.5)), GREATEST)
            for held, slope in zip(self.accounts, SLOPES, strict=True)
        ]
        self.peak = max(self.peak, self.e_value)

    def _bin(self, x: float) -> int:
        if math.isnan(x):
            raise ValueError("a score is not a number")
        return bisect.bisect_right(self.edges, x)

    def _p_value(self, x: float) -> float:
        """The share of scores above this one, itself and its equals counted by chance."""
        bin_ = self._bin(x)
        self.counts[bin_] += 1
        above, same = sum(self.counts[bin_ + 1 :]), self.counts[bin_]
        return (above + _uniform(self.seed, self.outcomes) * same) / sum(self.counts)

    def state(self) -> dict[str, Any]:
        """All that it knows, of numbers and lists alone."""
        return {
            "edges": list(self.edges),
            "delta": self.delta,
            "seed": self.seed,
            "counts": list(self.counts),
            "outcomes": self.outcomes,
            "accounts": list(self.accounts),
            "peak": self.peak,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ExchangeabilityMonitor:
        """The monitor that goes on where `state` was taken. Raises ValueError if it is none."""
        try:
            monitor = cls(**copy.deepcopy(state))
        except TypeError as error:
            raise ValueError(f"not the state of an exchangeability monitor: {error}") from None
        lengths: Sequence[tuple[int, int]] = (
            (len(monitor.counts), len(monitor.edges) + 1),
            (len(monitor.accounts), len(SLOPES)),
        )
        if any(found != wanted for found, wanted in lengths):
            raise ValueError("not the state of an exchangeability monitor: wrong lengths")
        return monitor


def _uniform(seed: int, count: int) -> float:
    """The count-th of a stream of numbers between 0 and 1, without any state."""
    digest = hashlib.blake2b(f"{seed}:{count}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
