"""Admission: an operation may start if what it could cost still fits its budgets.

Nothing here waits, reads or writes, so that calls from one event loop cannot come between the check
and the reservation. One admission knows only what passed through it: several processes that share
a budget need one that is shared.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from farthing.budgets._account import Account, RateAccount
from farthing.budgets.learned import AGES, CostClass, age_class
from farthing.budgets.limits import Budget, RateLimit
from farthing.budgets.reservations import Ask, BudgetState, Refusal, Reservation, Settlement
from farthing.budgets.windows import Clock
from farthing.core.errors import BudgetError
from farthing.core.money import Cost
from farthing.ledger.rows import ChargeBasis

_KEPT = 1000  # sets of scopes whose limits are remembered, and operations that are over


@dataclass(slots=True, eq=False)
class _Open:
    """An operation in flight."""

    reservation: Reservation
    kind: CostClass
    began_s: float
    age: int
    accounts: list[tuple[Account, int]]
    rates: list[RateAccount]


class Admission:
    """Budgets and rate limits with what is spent and in flight; admits, settles, tells.

    Args:
        budgets, rates: the limits; their names must differ.
        clock: of windows and of how long operations run.

    Raises ValueError for two limits of one name.
    """

    def __init__(
        self,
        budgets: Iterable[Budget] = (),
        rates: Iterable[RateLimit] = (),
        *,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._accounts: dict[str, Account] = {}
        self._rates: dict[str, RateAccount] = {}
        self._by_scope: dict[str, list[Account]] = {}
        self._rates_by_scope: dict[str, list[RateAccount]] = {}
        self._kinds: dict[tuple[str, int], CostClass] = {}
        self._limits: dict[frozenset[str], tuple[list[Account], list[RateAccount]]] = {}
        self._open: dict[str, _Open] = {}
        self._newest: deque[_Open] = (
            deque()
        )  # of the first age class, and maybe over; the oldest first
        self._birthdays: list[tuple[float, str]] = []  # when others change their age class
        for budget in budgets:
            self._check_new(budget.name)
            account = self._accounts[budget.name] = Account(budget, self._grow)
            self._by_scope.setdefault(budget.scope, []).append(account)
        for rate in rates:
            self._check_new(rate.name)
            counter = self._rates[rate.name] = RateAccount(rate)
            self._rates_by_scope.setdefault(rate.scope, []).append(counter)

    def _check_new(self, name: str) -> None:
        if name in self._accounts or name in self._rates:
            raise ValueError(f"two limits are called {name!r}")

    def admit(self, ask: Ask, *, id: str | None = None) -> Reservation | Refusal:
        """Reserve for an operation in all its budgets and rates, or in none.

        Where several refuse, the one with the longest wait is told. A soft budget never refuses; it
        is among the reservation's warnings instead.

        Args:
            id: of the operation; a new one is made if None. ValueError if it is in flight.
        """
        if id in self._open:
            raise ValueError(f"operation {id!r} is already in flight")
        now, seconds = self._clock.read()
        kind = self._kind(ask)
        accounts: list[tuple[Account, int]] = []
        refusals: list[Refusal] = []
        warnings: list[Refusal] = []
        caps: list[Cost] = []
        holds: dict[str, Cost] = {}
        concerned, counters = self._limits.get(ask.scopes) or self._limits_of(ask.scopes)
        for account in concerned:
            budget, hold = account.budget, account.hold(ask, kind)
            if refusal := account.refuses(ask, kind, hold, now):
                (warnings if budget.soft else refusals).append(refusal)
            accounts.append((account, hold or 0))
            holds[budget.name] = Cost(hold or 0)
            if budget.per_operation is not None:
                caps.append(budget.per_operation)
        if counters:
            refusals += [refusal for x in counters if (refusal := x.refuses(ask, now))]
        if refusals:
            return max(refusals, key=_wait)
        reservation = Reservation(
            id or uuid4().hex, ask, now, holds, min(caps, default=None), tuple(warnings)
        )
        self._begin(_Open(reservation, kind, seconds, 0, accounts, counters))
        for counter in counters:
            counter.begin(ask, now)
        return reservation

    def settle(
        self,
        reservation: Reservation,
        cost: Cost | None,
        *,
        tokens: int | None = None,
        parts: Mapping[str, Cost] | None = None,
    ) -> Settlement:
        """Charge what an operation cost instead of what was reserved for it.

        Call it once all its attempts are booked. The cost is charged to the windows in which it
        settles, also where it is more than was reserved.

        Args:
            cost: None if it is unknown; what was reserved is charged. From this, and from an
                operation that was free, nothing is learned.
            tokens: what it used; None if unknown.
            parts: by scope, such as "model:large", the part of the cost that falls under it; other
                scopes of models are charged nothing, and other kinds of scopes the whole.

        Raises BudgetError if the operation is not in flight, ValueError for a negative cost.
        """
        if cost is not None and cost.pico < 0:
            raise ValueError(f"an operation cannot cost {cost} USD")
        now, seconds = self._clock.read()
        entry = self._end(reservation)
        exceeded: list[str] = []
        by_alpha: dict[float, bool] = {}
        for account, hold in entry.accounts:
            if cost is None:
                account.charge(hold, now)
                account.assumed += hold
                self.charged(reservation, account, Cost(hold), hold, now, "assumed")
                continue
            budget = account.budget
            part = cost if parts is None else _part(budget.scope, cost, parts)
            account.charge(part.pico, now)
            self.charged(reservation, account, part, hold, now, "counted")
            account.settled += 1
            if part.pico > hold:
                account.exceeded += 1
                exceeded.append(budget.name)
            if budget.mode == "quantile":
                by_alpha[budget.alpha] = cost.pico > hold
        for counter in entry.rates:
            used = entry.reservation.ask.tokens if tokens is None else tokens
            counter.end(entry.reservation.ask, used, now)
        if cost is None:
            return Settlement(entry.reservation.reserved, True, ())
        if not cost:
            return Settlement(cost, False, ())
        for alpha, more in by_alpha.items():
            entry.kind.exceeded(alpha, more)
        entry.kind.observe(float(cost), seconds - entry.began_s, seconds)
        return Settlement(cost, False, tuple(exceeded))

    def cancel(self, reservation: Reservation) -> None:
        """Release an operation that called nothing. It still counts as a request.

        Raises BudgetError if it is not in flight.
        """
        entry, now = self._end(reservation), self._clock.now()
        for account, hold in entry.accounts:
            self.charged(reservation, account, Cost(0), hold, now, "counted")
        for counter in entry.rates:
            counter.end(reservation.ask, 0, now)

    def charged(
        self,
        reservation: Reservation,
        account: Account,
        cost: Cost,
        hold: int,
        now: datetime,
        basis: ChargeBasis,
    ) -> None:
        """For those who book charges: `cost` was charged in place of `hold`, maybe zero."""

    def recover(self, reservations: Iterable[Reservation]) -> int:
        """Hold again what was in flight when a process died; how many were not held already.

        Each is held as it was, in the budgets that still exist, until it is settled or cancelled.
        Nothing is refused and no rate is counted. Their ages go by the wall clock.
        """
        now, seconds = self._clock.read()
        count = 0
        for reservation in reservations:
            if reservation.id in self._open:
                continue
            accounts = [
                (self._accounts[name], hold.pico)
                for name, hold in reservation.holds.items()
                if name in self._accounts
            ]
            age_s = max(0.0, (now - reservation.at).total_seconds())
            began, age = seconds - age_s, age_class(age_s)
            kind = self._kind(reservation.ask)
            self._begin(_Open(reservation, kind, began, age, accounts, []))
            count += 1
        return count

    def restore(self, scopes: Iterable[str], cost: Cost, at: datetime) -> None:
        """Count what was spent before this process began, from the ledger.

        To be called in the order of time, before the first `admit`; what is outside the
        present window is forgotten by itself.
        """
        for scope in scopes:
            for account in self._by_scope.get(scope, ()):
                account.window.add(cost.pico, at)

    def learn(self, route: str, length: int, cost: Cost, duration_s: float) -> None:
        """Learn from an operation that settled before this process began."""
        ask = Ask(frozenset(), route, cost, length=length)
        kind = self._kind(ask)
        kind.observe(float(cost), duration_s)

    def top_up(self, name: str, amount: Cost) -> BudgetState:
        """Add prepaid money to a budget whose window is its whole life.

        Raises BudgetError if there is no such budget, or its window resets; ValueError for a
        negative amount.
        """
        account = self._account(name)
        if str(account.budget.window) != "total":
            raise BudgetError(f"budget {name}: only a budget with window total can be topped up")
        if amount.pico < 0:
            raise ValueError(f"cannot top up by {amount} USD")
        account.topped += amount.pico
        return self.state(name)

    def state(self, name: str) -> BudgetState:
        """A budget as of now; BudgetError if there is none of that name."""
        return self._account(name).state(self._clock.now())

    @property
    def names(self) -> list[str]:
        """The budgets' names."""
        return list(self._accounts)

    @property
    def open(self) -> list[Reservation]:
        """What is in flight, oldest admission first."""
        return [entry.reservation for entry in self._open.values()]

    def _account(self, name: str) -> Account:
        if name not in self._accounts:
            raise BudgetError(f"there is no budget {name!r}; there are: {', '.join(self.names)}")
        return self._accounts[name]

    def _kind(self, ask: Ask) -> CostClass:
        key = ask.route, ask.length
        if key not in self._kinds:
            self._kinds[key] = CostClass(float(ask.typical))
        return self._kinds[key]

    def _limits_of(self, scopes: frozenset[str]) -> tuple[list[Account], list[RateAccount]]:
        """What concerns an operation with these scopes."""
        if len(self._limits) >= _KEPT:
            self._limits.clear()
        found = self._limits[scopes] = (
            [account for scope in scopes for account in self._by_scope.get(scope, ())],
            [counter for scope in scopes for counter in self._rates_by_scope.get(scope, ())],
        )
        return found

    def _begin(self, entry: _Open) -> None:
        ask = entry.reservation.ask
        for account, hold in entry.accounts:
            account.begin(ask, entry.kind, hold, entry.age)
        entry.kind.begin(entry.reservation.id, entry.began_s)
        self._open[entry.reservation.id] = entry
        if entry.age or (self._newest and entry.began_s < self._newest[-1].began_s):
            self._next_birthday(entry)
        else:
            self._newest.append(entry)
            if len(self._newest) > 2 * len(self._open) + _KEPT:
                self._grow()

    def _end(self, reservation: Reservation) -> _Open:
        entry = self._open.pop(reservation.id, None)
        if entry is None:
            raise BudgetError(f"operation {reservation.id!r} is not in flight")
        entry.kind.end(reservation.id)
        for account, hold in entry.accounts:
            account.end(entry.reservation.ask, entry.kind, hold, entry.age)
        return entry

    def _next_birthday(self, entry: _Open) -> None:
        if entry.age + 1 < len(AGES):
            due = entry.began_s + AGES[entry.age + 1]
            heapq.heappush(self._birthdays, (due, entry.reservation.id))

    def _grow(self) -> None:
        """Let what is in flight be as old as it is; where no bound asks for ages, that can wait."""
        newest, birthdays, seconds = self._newest, self._birthdays, self._clock.seconds()
        while newest and newest[0].began_s + AGES[1] <= seconds:
            oldest = newest.popleft()
            if self._open.get(oldest.reservation.id) is oldest:
                self._next_birthday(oldest)
        while birthdays and birthdays[0][0] <= seconds:
            entry = self._open.get(heapq.heappop(birthdays)[1])
            if entry is None:
                continue
            for account, _ in entry.accounts:
                account.grow_older(entry.kind, entry.age)
            entry.age += 1
            self._next_birthday(entry)


def _part(scope: str, cost: Cost, parts: Mapping[str, Cost]) -> Cost:
    return parts.get(scope, Cost(0)) if scope.startswith("model:") else cost


def _wait(refusal: Refusal) -> float:
    return float("inf") if refusal.retry_after_s is None else refusal.retry_after_s
