"""What operations of one kind cost, learned from those that settled.

Kinds are routes and classes of input length. The cost of an operation that has run for a while is
not that of a new one: the short ones are gone. So costs are learned by age, from those settled
operations that took longer.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from farthing.core.money import PICO_PER_USD
from farthing.risk.adaptive import AdaptiveLevel
from farthing.risk.sums import Floats, exponential_means, weighted_quantiles

REMEMBERED = 512  # settled operations of a kind that are learned from
RELEARN = 8  # learn again when one in so many of them is new
DOUBTED = 16  # costs that the prior counts for in what is doubted
OUTLASTING = 1.0  # operations that outlast all that settled, besides those seen to
BEYOND = 1.5  # their mean cost over what their age would cost, once few outlast
GREATEST = 16.0  # their mean cost at most, over the greatest cost known and the prior
POINTS = 8

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
    both (Kaplan, Meier, 1958), and each settled cost gets the weight of its duration. What lasts
    longer than all that settled costs what the mean rate of spending makes of that age, and more,
    in a log-normal shape. At first that is everything, and its mean is the prior.

    What only a bound on many operations needs is worked out when it is asked for.
    """

    def __init__(self, typical: float) -> None:
        self._typical = max(typical, 1e-12)
        self._settled: deque[tuple[float, float, float]] = deque()  # duration, cost, when it ended
        self._flying: dict[str, float] = {}  # when it began
        self._since_s = -math.inf  # what ended until then is forgotten
        self._unlearned = 0
        self._levels: dict[float, AdaptiveLevel] = {}
        self._quantiles: dict[float, Floats] = {}
        self._holds: dict[float, int] = {}
        self._means: Floats | None = None
        self._doubts: Floats | None = None
        self._learn(0.0)

    @property
    def means(self) -> Floats:
        """`exponential_means` by age class, shape (ages, rates)."""
        if self._means is None:
            weights, tail_weights = self._by_age()
            self._means = exponential_means(self._costs, weights, self._tail, tail_weights)
        return self._means

    @property
    def doubts(self) -> Floats:
        """How much the errors of two age classes' means vary together, over the variance of one
        cost, shape (ages, ages)."""
        if self._doubts is None:
            number = self._alive().sum(axis=1)
            self._doubts = 1 / (DOUBTED + np.maximum.outer(number, number))
        return self._doubts

    def begin(self, id: str, began_s: float) -> None:
        """An operation is in flight since a time on the clock of `observe`."""
        self._flying[id] = began_s

    def end(self, id: str) -> None:
        """An operation is in flight no longer."""
        del self._flying[id]

    def level(self, alpha: float) -> AdaptiveLevel:
        """The level at which reservations for budgets with this alpha are taken."""
        if alpha not in self._levels:
            self._levels[alpha] = AdaptiveLevel(alpha)
        return self._levels[alpha]

    def quantile(self, alpha: float) -> float:
        """The upper quantile of a new operation's cost."""
        return self.level(alpha).upper(self._ordered, self._above)

    def hold(self, alpha: float) -> int:
        """`quantile` in picodollars, rounded up."""
        hold = self._holds.get(alpha)
        if hold is None:
            hold = self._holds[alpha] = math.ceil(self.quantile(alpha) * PICO_PER_USD)
        return hold

    def quantiles(self, alpha: float) -> Floats:
        """The upper quantile of an operation's cost by its age class."""
        if alpha not in self._quantiles:
            level = min(max(self.level(alpha).level, alpha / 4), 2 * alpha)
            weights = self._by_age()
            costs = np.hstack([np.broadcast_to(self._costs, weights[0].shape), self._tail])
            self._quantiles[alpha] = weighted_quantiles(costs, np.hstack(weights), level)
        return self._quantiles[alpha]

    def exceeded(self, alpha: float, more: bool) -> None:
        """Take in whether an operation cost more than was reserved for it."""
        self.level(alpha).update(more)
        self._holds.pop(alpha, None)

    def observe(self, cost: float, duration_s: float, ended_s: float = -math.inf) -> None:
        """Take in what an operation cost, how long it was in flight, and when it ended.

        Those that ended before this process began come first, without a time.
        """
        self._settled.append((duration_s, cost, ended_s))
        if len(self._settled) > REMEMBERED:
            self._since_s = self._settled.popleft()[2]
        self._unlearned += 1
        if self._unlearned >= max(1, len(self._settled) // RELEARN):
            self._learn(ended_s)

    def _shares(self, durations: Floats, ended: Floats, now_s: float) -> Floats:
        """The share of operations that end at each of these durations, which ascend."""
        began = np.fromiter(self._flying.values(), float, len(self._flying))
        ages = np.sort(now_s - began)
        at_risk = np.arange(len(durations), 0, -1) + len(ages) - ages.searchsorted(durations)
        if self._since_s > -math.inf:
            # Of those that began before, the ones that had ended are forgotten: the others are at
            # risk from the age on that they then had.
            late = np.sort(self._since_s - np.concatenate([ended - durations, began]))
            at_risk -= len(late) - late.searchsorted(durations, "right")
        reach = np.cumprod(1 - 1 / (np.maximum(at_risk, 1) + OUTLASTING))
        return -np.diff(reach, prepend=1.0)

    def _learn(self, now_s: float) -> None:
        self._unlearned = 0
        n = len(self._settled)
        columns = np.fromiter(chain.from_iterable(self._settled), float, 3 * n).reshape(n, 3).T
        durations, costs, ended = columns[:, np.lexsort(columns[::-1])]
        ending = self._shares(durations, ended, now_s)
        beyond = max(1.0 - float(ending.sum()), 1e-9)

        mean, pace, longest = self._typical, 0.0, 0.0
        if n:
            unsure = min(1.0, 3 * beyond)
            mean = self._typical**unsure * max(float(costs.mean()), 1e-12) ** (1 - unsure)
            pace = float(costs.sum()) / max(float(durations.sum()), n * AGES[1])
            longest = float(durations[-1])
        most = GREATEST * max(self._typical, float(costs.max(initial=0.0)))
        outlasting = (BEYOND + beyond) * pace * np.maximum(_EDGES, longest)
        tail = np.multiply.outer(np.clip(outlasting, mean, most), _SHAPE)
        self._durations, self._costs, self._tail = durations, costs, tail
        self._ending, self._beyond = ending, beyond
        self._means = self._doubts = None
        self._quantiles, self._holds = {}, {}
        new, weights = (
            np.append(costs, tail[0]),
            np.append(ending * (durations >= 0), np.full(POINTS, beyond / POINTS)),
        )
        order = new.argsort()
        self._ordered = new[order].tolist()
        self._above = (1 - weights[order].cumsum()).tolist()

    def _alive(self) -> NDArray[np.bool_]:
        """Which of the known operations lasted to each age, shape (ages, operations)."""
        alive: NDArray[np.bool_] = self._durations >= _EDGES[:, None]
        return alive

    def _by_age(self) -> tuple[Floats, Floats]:
        """The weights of the known costs, and of those beyond, for operations of each age."""
        return self._alive() * self._ending, np.full_like(self._tail, self._beyond / POINTS)
