"""What counts against one limit: what is spent, and what is in flight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from farthing.budgets.learned import AGES, CostClass
from farthing.budgets.leases import Grant, still_pending
from farthing.budgets.limits import Budget, RateLimit
from farthing.budgets.reservations import Ask, BudgetState, Reason, Refusal
from farthing.budgets.stored import StoredBudget
from farthing.budgets.windows import Spent, Window
from farthing.core.money import PICO_PER_USD, Cost
from farthing.risk.sums import RATES, upper_sum

SETTLING_S = 1  # when to try again where it would fit but for what is in flight
CAUTION = 2  # the joint bound is at alpha / CAUTION: it is looked at many times
MINUTE = Window(rolling=timedelta(minutes=1))


@dataclass(slots=True)
class Share:
    """This process's part of a limit that others count against too.

    Attributes:
        number: of the limit's counting in the ledger; 0 if nobody else counts against it, and
            the rest means nothing.
        lease: what may count here at once; see `leases`.
        spare: what of it may be idle.
        elsewhere: the leases of the others.
        waiting: what those need who wait for a larger lease.
        dry_until: on the monotonic clock; until then it is no use to ask for more.
        idle: how many renewals in succession found nothing to cover.
    """

    number: int = 0
    lease: int = 0
    spare: int = 0
    elsewhere: int = 0
    waiting: int = 0
    dry_until: float = 0.0
    idle: int = 0


class Account:
    """A budget with what counts against it.

    Attributes:
        pending: what was charged here and is not known to be in the shared sums.
        charged: what was charged here, by the part of the window that it is summed up in.
    """

    def __init__(self, budget: Budget, grow: Callable[[], None], number: int = 0) -> None:
        """`grow` sees to it that the ages of what is in flight are those of now."""
        self.budget, self.share = budget, Share(number)
        self.window = Spent(budget.window)
        self._grow = grow
        self.pending = 0
        self.charged: dict[datetime, int] = {}
        self.topped = self.assumed = 0
        self.held = self.bounds = self.open = self.unbounded = 0
        self.settled = self.exceeded = 0
        self._ages: dict[CostClass, list[int]] = {}
        self._number: dict[CostClass, int] = {}
        self._part: tuple[datetime, datetime | None] | None = None  # since, until

    @property
    def limit(self) -> int:
        """In picodollars, top-ups included."""
        return self.budget.limit.pico + self.topped

    def hold(self, ask: Ask, kind: CostClass) -> int | None:
        """What to reserve for one operation, in picodollars; None if nothing bounds it and a
        bound is needed."""
        bound = None if ask.bound is None else ask.bound.pico
        if self.budget.mode == "worst-case":
            return bound
        quantile = kind.hold(self.budget.alpha)
        return quantile if bound is None else min(quantile, bound)

    def in_flight(
        self,
        new: CostClass | None = None,
        ask: Ask | None = None,
        hold: int = 0,
        *,
        enough: int = -1,
    ) -> int:
        """What the operations in flight, and a new one, cost together at most, in picodollars:
        with probability 1 - alpha, or for certain in worst-case mode.

        Where that is clearly no more than `enough`, a number between the two is told, sooner.
        """
        if self.budget.mode == "worst-case":
            return self.held + hold
        if not self.open and new is None:
            return 0
        alpha, bound = self.budget.alpha, None
        if not self.unbounded and (ask is None or ask.bound is not None):
            bound = self.bounds + (ask.bound.pico if ask is not None and ask.bound else 0)
            if bound <= enough:
                return bound
        self._grow()
        total = np.zeros(len(RATES))
        single, doubt = hold / PICO_PER_USD, 0.0
        for kind, counts in self._ages.items():
            ages = np.array(counts, float)
            total += ages @ kind.means
            single += float(ages @ kind.quantiles(alpha))
            doubt += float(ages @ kind.doubts @ ages)
        if new is not None:
            total += new.means[0]
        joint = upper_sum(total, alpha / CAUTION, doubt / max(1, self.open))
        most = math.ceil(min(single, joint) * PICO_PER_USD)
        return most if bound is None else min(most, bound)

    def refuses(self, ask: Ask, kind: CostClass, hold: int | None, now: datetime) -> Refusal | None:
        """Why an operation does not fit; None if it does."""
        spent, budget, share = self.window.at(now), self.budget, self.share
        if hold is None:
            return self._refusal("unbounded", spent, spent + self.in_flight(), now, None)
        room = budget.limit.pico + self.topped - spent - share.elsewhere
        if share.number and not budget.soft:
            # A lease can exceed what is free: what was in flight seemed to cost more once.
            room = min(room, share.lease - self.pending)
        most = self.in_flight(kind, ask, hold, enough=room)
        if most <= room:
            return None
        return self._refusal("budget", spent, spent + most + self.share.elsewhere, now, hold)

    def needs(self, ask: Ask, kind: CostClass, hold: int) -> int:
        """What a lease must cover more for one operation more, in picodollars."""
        return max(0, self.in_flight(kind, ask, hold) - self.in_flight())

    def part_at(self, now: datetime, stored: StoredBudget) -> datetime:
        """`stored.since(now)`, of the budget as it is stored; `now` must not go back."""
        part = self._part
        if part is None or (part[1] is not None and part[1] <= now):
            part = self._part = stored.since(now), stored.until(now)
        return part[0]

    def charge(self, pico: int, now: datetime) -> None:
        """Count what was spent."""
        self.window.add(pico, now)
        self.pending += pico

    def renewed(self, grant: Grant, begins: datetime, now: datetime) -> None:
        """Take over the shared sums of the window that began at `begins`."""
        self.charged = {since: pico for since, pico in self.charged.items() if since >= begins}
        self.pending = still_pending(self.charged, grant.own)
        self.window = Spent(self.budget.window)
        for since, pico in grant.spent.items():
            self.window.add(pico, min(now, since + self.budget.window.part))
        self.window.add(self.pending, now)

    def _refusal(
        self, reason: Reason, spent: int, needed: int, now: datetime, hold: int | None
    ) -> Refusal:
        resets_at = self.window.resets_at(now)
        retry = None
        if hold is not None and hold <= self.limit:
            if spent + hold <= self.limit:
                retry = SETTLING_S
            elif resets_at is not None:
                retry = max(1, math.ceil((resets_at - now).total_seconds()))
        return Refusal(
            reason,
            self.budget.name,
            self.budget.scope,
            Cost(self.limit),
            Cost(spent),
            Cost(self.in_flight() + self.share.elsewhere),
            Cost(needed),
            resets_at,
            retry,
            self.budget.soft,
        )

    def begin(self, ask: Ask, kind: CostClass, hold: int, age: int) -> None:
        """Hold an operation that was admitted."""
        self.open += 1
        self.held += hold
        if ask.bound is None:
            self.unbounded += 1
        else:
            self.bounds += ask.bound.pico
        ages = self._ages.get(kind)
        if ages is None:
            ages = self._ages[kind] = [0] * len(AGES)
            self._number[kind] = 0
        ages[age] += 1
        self._number[kind] += 1

    def grow_older(self, kind: CostClass, age: int) -> None:
        """An operation leaves this class of age for the next."""
        ages = self._ages[kind]
        ages[age] -= 1
        ages[age + 1] += 1

    def end(self, ask: Ask, kind: CostClass, hold: int, age: int) -> None:
        """Hold an operation no longer."""
        self.open -= 1
        self.held -= hold
        if ask.bound is None:
            self.unbounded -= 1
        else:
            self.bounds -= ask.bound.pico
        self._ages[kind][age] -= 1
        self._number[kind] -= 1
        if not self._number[kind]:
            del self._ages[kind], self._number[kind]

    def state(self, now: datetime) -> BudgetState:
        """The budget as of now."""
        return BudgetState(
            self.budget.name,
            Cost(self.limit),
            Cost(self.window.at(now)),
            Cost(self.assumed),
            Cost(self.held),
            Cost(self.in_flight()),
            self.open,
            self.settled,
            self.exceeded,
            self.budget.alpha,
            self.window.resets_at(now),
        )


class RateAccount:
    """A rate limit with what counts against it."""

    def __init__(self, rate: RateLimit, number: int = 0) -> None:
        self.rate, self.share = rate, Share(number)
        self.window = Spent(MINUTE)
        self.held = 0

    @property
    def limit(self) -> int:
        """How many there may be in a minute."""
        return self.rate.most

    def in_flight(self, now: datetime) -> int:
        """What a lease must cover: requests, or tokens."""
        return self.window.at(now) + self.held

    def units(self, ask: Ask) -> int:
        """What an operation counts for."""
        return 1 if self.rate.requests is not None else ask.tokens

    def refuses(self, ask: Ask, now: datetime) -> Refusal | None:
        """Why an operation does not fit; None if it does."""
        rate, spent, new = self.rate, self.window.at(now), self.units(ask)
        needed, elsewhere = spent + self.held + new, self.share.elsewhere
        if needed <= (self.share.lease if self.share.number else rate.most):
            return None
        resets_at = self.window.resets_at(now)
        retry = None
        if new <= rate.most:
            retry = SETTLING_S
            if spent + new > rate.most and resets_at is not None:
                retry = max(1, math.ceil((resets_at - now).total_seconds()))
        return Refusal(
            "rate",
            rate.name,
            rate.scope,
            rate.most,
            spent,
            self.held + elsewhere,
            needed + elsewhere,
            resets_at,
            retry,
        )

    def begin(self, ask: Ask, now: datetime) -> None:
        """Count an operation that was admitted."""
        if self.rate.requests is not None:
            self.window.add(1, now)
        else:
            self.held += ask.tokens

    def end(self, ask: Ask, tokens: int, now: datetime) -> None:
        """Count what an operation used."""
        if self.rate.tokens is not None:
            self.held -= ask.tokens
            self.window.add(tokens, now)
