"""What operations of one kind cost, learned from those that settled.

Kinds are routes and classes of input length. The cost of an operation that has run for a while is
not that of a new one: the short ones are gone. So costs are learned by age, from those settled
operations that took longer.
"""

from __future__ import annotations

import bisect

import numpy as np
from scipy.special import ndtri

from farthing.risk.adaptive import AdaptiveLevel
from farthing.risk.sums import Floats, exponential_means, weighted_quantiles

REMEMBERED = 256  # settled operations of a kind that are learned from
ENOUGH = 40  # with so many, the prior no longer decides about one operation
PRIOR_WEIGHT = 16  # settled operations that the prior counts for in the scale of the tail
TAIL_WEIGHT = 4.0  # settled operations that the tail counts for
TAIL_SCALE = 2.0  # mean of the tail over the mean of what is known
BEYOND = 2.0  # mean of what outlasts all that settled, over what its age would cost
GREATEST = 16.0  # mean of a tail at most, over the greatest cost known and the prior
POINTS = 8
REFRESH = 32  # settlements between two tables, once there are many

AGES = [0.0, *(0.1 * 2 ** (i / 2) for i in range(31))]  # seconds; the last class is open
_EDGES = np.array(AGES)
_SHAPE = np.exp(ndtri((np.arange(POINTS) + 0.5) / POINTS))
_SHAPE /= _SHAPE.mean()  # a log-normal shape, sigma 1, mean 1


def age_class(age_s: float) -> int:
    """The class of an age in seconds."""
    return max(0, bisect.bisect_right(AGES, age_s) - 1)


class CostClass:
    """Costs of one kind of operation, in USD as floats: estimates, never amounts owed.

    Of the operations that began together, the cheap ones tend to end first, so that those that have
    settled are cheaper than those in flight. How long operations last is therefore estimated from
    both, as in a life table (Kaplan, Meier, 1958), and each settled cost gets the weight of its
    class of duration. The mass of what lasts longer than any that settled, and a little more,
    goes to a tail of log-normal shape, with a mean that is at least what the mean rate of spending
    makes of the age. At first, all is tail, and its mean is the prior.

    Attributes:
        means: `exponential_means` by age class, shape (ages, rates).
    """

    def __init__(self, typical: float) -> None:
        self._typical = max(typical, 1e-12)
        self._costs = np.zeros(REMEMBERED)
        self._durations = np.zeros(REMEMBERED)
        self._classes = np.zeros(REMEMBERED, np.int64)
        self._entered = np.zeros(len(AGES))  # how many reached an age; the old count for less
        self._ended = np.zeros(len(AGES))
        self._settled = self._since = 0
        self._levels: dict[float, AdaptiveLevel] = {}
        self._quantiles: dict[float, Floats] = {}
        self._ordered: list[float] = []
        self.means: Floats
        self._learn()

    def enter(self, age: int) -> None:
        """An operation in flight comes into this class of age."""
        self._entered[age] += 1

    def forget(self, age: int) -> None:
        """An operation that got into this class of age told nothing, and is not to count."""
        self._entered[: age + 1] = np.maximum(self._entered[: age + 1] - 1, 0)

    def level(self, alpha: float) -> AdaptiveLevel:
        """The level at which reservations for budgets with this alpha are taken."""
        if alpha not in self._levels:
            self._levels[alpha] = AdaptiveLevel(alpha)
        return self._levels[alpha]

    def quantile(self, alpha: float) -> float:
        """The upper quantile of a new operation's cost."""
        level = self.level(alpha)
        known = level.upper(self._ordered) if self._ordered else 0.0
        if self._settled < ENOUGH:
            known = max(known, float(self.quantiles(alpha)[0]))
        return known

    def quantiles(self, alpha: float) -> Floats:
        """The upper quantile of an operation's cost by its age class."""
        if alpha not in self._quantiles:
            level = min(max(self.level(alpha).level, alpha / 4), 2 * alpha)
            self._quantiles[alpha] = weighted_quantiles(self._all, self._weights, level)
        return self._quantiles[alpha]

    def exceeded(self, alpha: float, more: bool) -> None:
        """Take in whether an operation cost more than was reserved for it."""
        self.level(alpha).update(more)

    def observe(self, cost: float, duration_s: float) -> None:
        """Take in what an operation cost, and how long it was in flight."""
        at, age = self._settled % REMEMBERED, age_class(duration_s)
        self._costs[at], self._durations[at], self._classes[at] = cost, duration_s, age
        self._entered *= 1 - 1 / REMEMBERED
        self._ended *= 1 - 1 / REMEMBERED
        self._ended[age] += 1
        self._settled += 1
        self._since += 1
        if self._since >= min(max(1, self._settled // 8), REFRESH):
            self._learn()

    def _survival(self) -> tuple[Floats, int]:
        """The share that reaches each class of age, and the first that none is known to reach."""
        # Those still inside count as at risk for all of it: costs seem higher. With half of them,
        # the actuary's convention, overshoot was ten times as great (benchmarks/admission.py).
        at_risk = np.maximum(self._entered, self._ended)
        unknown = np.flatnonzero(at_risk < 1e-3)
        last = int(unknown[0]) if len(unknown) else len(AGES) - 1
        ends = self._ended[:last] / at_risk[:last]
        return np.concatenate([[1.0], np.cumprod(1 - ends)]), last

    def _learn(self) -> None:
        self._since = 0
        n = min(self._settled, REMEMBERED)
        costs, durations, classes = self._costs[:n], self._durations[:n], self._classes[:n]
        reach, last = self._survival()
        ending = np.zeros(len(AGES))
        ending[:last] = reach[:-1] - reach[1:]
        number = np.bincount(classes, minlength=len(AGES))
        beyond = float(reach[-1]) + float(ending[number == 0].sum())
        share = (ending / np.maximum(number, 1))[classes]

        unsure = max(PRIOR_WEIGHT / (PRIOR_WEIGHT + self._settled), min(1.0, 3 * beyond))
        center, pace = self._typical, 0.0
        if n:
            mean = max(float(costs.mean()), 1e-12)
            center = self._typical**unsure * mean ** (1 - unsure)
            pace = float(costs.sum()) / max(float(durations.sum()), n * AGES[1])
        most = GREATEST * max(self._typical, float(costs.max(initial=0.0)))
        tail = np.multiply.outer(np.clip(pace * _EDGES, TAIL_SCALE * center, most), _SHAPE)
        oldest = np.maximum(_EDGES, AGES[last])
        rest = np.multiply.outer(np.clip(BEYOND * pace * oldest, center, most), _SHAPE)

        # in each row, as much weight as operations were seen to reach the age
        alive = (classes >= np.arange(len(AGES))[:, None]) * share
        mass = alive.sum(axis=1) + beyond
        seen = np.minimum(np.maximum(self._entered, self._ended), REMEMBERED)
        per = np.where(mass > 1e-12, seen / np.maximum(mass, 1e-12), 0.0)[:, None]
        weights = alive * per
        more = np.hstack([tail, rest])
        more_weights = np.empty_like(more)
        more_weights[:, :POINTS] = TAIL_WEIGHT / POINTS
        more_weights[:, POINTS:] = beyond * per / POINTS
        self.means = exponential_means(costs, weights, more, more_weights)
        self._ordered = np.sort(costs).tolist()
        self._all = np.hstack([np.broadcast_to(costs, weights.shape), more])
        self._weights = np.hstack([weights, more_weights])
        self._quantiles = {}
