"""Admission by the limits in a ledger, which may change while operations are in flight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from farthing.budgets._account import Account, RateAccount, Share
from farthing.budgets.admission import Admission
from farthing.budgets.reservations import Ask, Reservation
from farthing.budgets.stored import StoredBudget, StoredRate
from farthing.budgets.windows import Clock
from farthing.core.money import Cost
from farthing.ledger.rows import ChargeBasis, ChargeRow, ReservationRow
from farthing.ledger.store import Store


class KeptAdmission(Admission):
    """An admission whose limits are shared with other processes and can be exchanged.

    What is reserved and charged is booked in `ledger`, as `gateway`'s.
    """

    def __init__(self, ledger: Store, gateway: str, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.gateway = gateway
        self._ledger = ledger
        self._stored: dict[str, StoredBudget] = {}
        self._booked: set[str] = set()

    @property
    def has_limits(self) -> bool:
        """Whether there is any."""
        return bool(self._accounts or self._rates)

    @property
    def stored(self) -> list[StoredBudget]:
        """The budgets in force."""
        return list(self._stored.values())

    @property
    def shared(self) -> list[Account | RateAccount]:
        """What counts against each limit here."""
        return [*self._accounts.values(), *self._rates.values()]

    def amounts(self) -> dict[str, tuple[int, int, int]]:
        """Picodollars by budget: reserved, held to cost together, and leased."""
        return {
            name: (account.held, account.in_flight(), account.share.lease)
            for name, account in self._accounts.items()
        }

    def stored_budget(self, account: Account) -> StoredBudget:
        """The budget of an account, as it is stored."""
        return self._stored[account.budget.name]

    def now(self) -> datetime:
        """The present time, in UTC."""
        return self._clock.now()

    def book(self, reservation: Reservation) -> None:
        """Book what is held for an operation, whose own row is booked already."""
        self._booked.add(reservation.id)
        for name, hold in reservation.holds.items():
            if name in self._stored:
                self._book(reservation.id, self._stored[name], hold, reservation.at)

    def _book(self, operation: str, stored: StoredBudget, hold: Cost, at: datetime) -> None:
        name, number = stored.budget.name, stored.counted_as
        self._ledger.reserve(ReservationRow(operation, name, number, hold, at, self.gateway))

    def charged(
        self,
        reservation: Reservation,
        account: Account,
        cost: Cost,
        hold: int,
        now: datetime,
        basis: ChargeBasis,
    ) -> None:
        """Book a charge, of an operation that is booked."""
        if reservation.id not in self._booked:
            return
        name = account.budget.name
        since = account.part_at(now, self._stored[name])
        held = reservation.holds.get(name)
        account.charged[since] = account.charged.get(since, 0) + cost.pico
        self._ledger.charge(
            ChargeRow(
                reservation.id,
                name,
                account.share.number,
                cost,
                held if held is not None and held.pico == hold else Cost(hold),
                now,
                since,
                self.gateway,
                basis,
            )
        )

    def begin_anew(self, gateway: str) -> None:
        """Go on as another process, without leases; what this one was charged is in the sums."""
        self.gateway = gateway
        for account in self.shared:
            account.share.lease = 0
            if isinstance(account, Account):
                account.charged, account.pending = {}, 0

    def forget(self, reservation: Reservation) -> None:
        """Drop what is known of an operation that has settled."""
        self._booked.discard(reservation.id)

    def exchange(
        self, budgets: Iterable[StoredBudget], rates: Iterable[StoredRate]
    ) -> list[StoredBudget]:
        """Put these limits in force, and no others; returns the budgets that are new.

        What is in flight is held in the new ones too, and booked so.
        """
        earlier, self._stored = self._stored, {s.budget.name: s for s in budgets}
        accounts, new = {}, []
        for name, stored in self._stored.items():
            before = earlier.get(name)
            if before is not None and before.counted_as == stored.counted_as:
                account = self._accounts[name]
                account.budget = stored.budget
            else:
                account = Account(stored.budget, self._grow, stored.counted_as)
                new.append(stored)
            accounts[name] = account
        self._accounts = accounts
        self._by_scope, self._limits = {}, {}
        for account in accounts.values():
            self._by_scope.setdefault(account.budget.scope, []).append(account)
        self._exchange_rates(rates)
        self._hold_in([accounts[stored.budget.name] for stored in new])
        return new

    def _exchange_rates(self, rates: Iterable[StoredRate]) -> None:
        counters = {}
        for stored in rates:
            counter = self._rates.get(stored.rate.name)
            if counter is None or counter.share.number != stored.counted_as:
                counter = RateAccount(stored.rate, stored.counted_as)
            counters[stored.rate.name] = counter
        self._rates, self._rates_by_scope = counters, {}
        for counter in counters.values():
            self._rates_by_scope.setdefault(counter.rate.scope, []).append(counter)

    def _hold_in(self, new: Sequence[Account]) -> None:
        for entry in self._open.values():
            reservation = entry.reservation
            held = [(a, hold) for a, hold in entry.accounts if self._is_in_force(a)]
            for account in new:
                if account.budget.scope in reservation.ask.scopes:
                    hold = account.hold(reservation.ask, entry.kind) or 0
                    account.begin(reservation.ask, entry.kind, hold, entry.age)
                    held.append((account, hold))
                    if reservation.id in self._booked:
                        stored = self.stored_budget(account)
                        self._book(reservation.id, stored, Cost(hold), self.now())
            entry.accounts = held

    def _is_in_force(self, account: Account) -> bool:
        return self._accounts.get(account.budget.name) is account

    def short(self, ask: Ask, seconds: float) -> list[tuple[Share, int]]:
        """The shares that are too small for an operation, each with what it needs.

        Empty if larger ones would be no use: some limit refuses it that has no more to give, as
        of `seconds` on the monotonic clock.
        """
        kind, now = self._kind(ask), self.now()
        found: list[tuple[Share, int]] = []
        for scope in ask.scopes:
            for account in self._by_scope.get(scope, ()):
                hold = account.hold(ask, kind)
                if account.budget.soft or not account.refuses(ask, kind, hold, now):
                    continue
                if hold is None or account.share.dry_until > seconds:
                    return []
                found.append((account.share, account.needs(ask, kind, hold)))
            for counter in self._rates_by_scope.get(scope, ()):
                if not counter.refuses(ask, now):
                    continue
                if counter.share.dry_until > seconds:
                    return []
                found.append((counter.share, counter.units(ask)))
        return found
