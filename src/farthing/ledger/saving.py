"""What a plan saved against its strongest model alone, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from farthing.core.money import Cost

_GROUPS, _CLASSES, _REPLICATES = 1_000, 48, 2_000

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Saving:
    """What operations cost, beside what the strongest model alone would have cost.

    Attributes:
        operations: how many were compared.
        answered_by_strongest: those in which the strongest model was asked too, so that its
            own cost is known.
        spent: what they cost; exact.
        strongest: what asking the strongest model once for each would have cost.
        basis: how `strongest` was got: "counted" from its own answers; "estimated" where it
            was not asked, by its mean cost for inputs of the same length; "modelled" from its
            price and the tokens of the model that did answer.
        share: 1 - spent / strongest; None if the strongest model costs nothing.
        interval: 95% bootstrap interval of `share`; None with fewer than two operations.
    """

    operations: int
    answered_by_strongest: int
    spent: Cost
    strongest: Cost
    basis: Literal["counted", "estimated", "modelled"]
    share: float | None
    interval: tuple[float, float] | None

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]


class SavingTally:
    """Adds up operations one at a time, in memory that does not grow with their number.

    Operations are dealt into up to 1000 groups, which the bootstrap draws with replacement: up
    to 1000 operations that is the plain bootstrap. Lengths are classed by powers of two.
    """

    def __init__(self) -> None:
        self._operations = self._counted = self._others = self._unpriced = 0
        self._own, self._elsewhere = _Dealer(), _Dealer()
        self._spent = self._alone = Cost(0)
        self._spent_by, self._alone_by, self._modelled_by = np.zeros((3, _GROUPS))
        self._missing = np.zeros((_GROUPS, _CLASSES))
        self._seen = np.zeros((2, _GROUPS, _CLASSES))
        self._seen_elsewhere = np.zeros((2, _GROUPS, _CLASSES))

    def operation(
        self, spent: Cost, *, input_tokens: int, alone: Cost | None, modelled: Cost | None
    ) -> None:
        """Add an operation that was answered.

        Args:
            spent: what all its attempts cost.
            input_tokens: the length of its prompt.
            alone: what the strongest model's answer cost in it; None if it was not asked.
            modelled: what it would have cost by the strongest model's price; None if unknown.
        """
        group, length = self._own.group(self._operations), _length_class(input_tokens)
        self._operations += 1
        self._spent += spent
        self._spent_by[group] += float(spent)
        if alone is not None:
            self._counted += 1
            self._alone += alone
            self._alone_by[group] += float(alone)
            self._seen[:, group, length] += (1.0, float(alone))
        else:
            self._missing[group, length] += 1
            self._unpriced += modelled is None
            self._modelled_by[group] += float(modelled or 0)

    def observation(self, input_tokens: int, alone: Cost) -> None:
        """Add an answer that the strongest model gave outside of these operations."""
        group = self._elsewhere.group(self._others)
        self._others += 1
        self._seen_elsewhere[:, group, _length_class(input_tokens)] += (1.0, float(alone))

    def result(self, seed: int = 0) -> Saving | None:
        """The saving; None without operations, or when nobody knows what to compare with."""
        n, missing = self._operations, self._operations - self._counted
        if n == 0:
            return None
        estimated = bool(self._seen.any() or self._seen_elsewhere.any())
        if missing and not estimated and self._unpriced:
            return None
        own = np.ones((1, min(n, _GROUPS)))
        other = np.ones((1, min(self._others, _GROUPS)))
        gap = float(self._missing_cost(own, other, estimated)[0])
        strongest = self._alone + Cost.from_float(gap)
        return Saving(
            operations=n,
            answered_by_strongest=self._counted,
            spent=self._spent,
            strongest=strongest,
            basis="counted" if not missing else "estimated" if estimated else "modelled",
            share=1 - float(self._spent) / float(strongest) if strongest else None,
            interval=self._interval(estimated, seed) if n > 1 and strongest else None,
        )

    def _interval(self, estimated: bool, seed: int) -> tuple[float, float] | None:
        rng = np.random.default_rng(seed)
        own = _resample(rng, min(self._operations, _GROUPS))
        other = _resample(rng, min(self._others, _GROUPS))
        groups = own.shape[1]
        spent = own @ self._spent_by[:groups]
        strongest = own @ self._alone_by[:groups] + self._missing_cost(own, other, estimated)
        if not (strongest > 0).all():
            return None
        low, high = np.quantile(1 - spent / strongest, (0.025, 0.975))
        return float(low), float(high)

    def _missing_cost(self, own: Array, other: Array, estimated: bool) -> Array:
        """What the strongest model would have cost where it was not asked.

        One figure for each row of weights, which say how often each group was drawn.
        """
        groups, others = own.shape[1], other.shape[1]
        if not estimated:
            modelled: Array = own @ self._modelled_by[:groups]
            return modelled
        seen, cost = (self._seen + self._seen_elsewhere).sum(1)
        known = seen > 0
        nearest = np.abs(np.arange(_CLASSES)[:, None] - np.flatnonzero(known)).argmin(1)
        missing = self._missing @ np.eye(known.sum())[nearest]
        count, total = (
            own @ self._seen[i][:groups, known] + other @ self._seen_elsewhere[i][:others, known]
            for i in (0, 1)
        )
        # A draw that has no answer for a length falls back on the data's own mean.
        mean = np.where(count > 0, total / np.maximum(count, 1), cost[known] / seen[known])
        gap: Array = ((own @ missing[:groups]) * mean).sum(1)
        return gap


class _Dealer:
    """Deals the first rows to a group each and later ones at random, so that no period in the
    traffic gathers in a group; all groups stay of one size."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._order = np.arange(_GROUPS)

    def group(self, number: int) -> int:
        place = number % _GROUPS
        if number and place == 0:
            self._rng.shuffle(self._order)
        return int(self._order[place])


def _resample(rng: np.random.Generator, groups: int) -> Array:
    if groups == 0:
        return np.zeros((_REPLICATES, 0))
    weights: Array = rng.multinomial(groups, np.full(groups, 1 / groups), _REPLICATES).astype(float)
    return weights


def _length_class(input_tokens: int) -> int:
    return min(input_tokens.bit_length(), _CLASSES - 1)
