"""Admission by the budgets in a ledger, which may change while operations are in flight."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from datetime import UTC, datetime
from time import monotonic

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from farthing.budgets._account import Account
from farthing.budgets.admission import Admission
from farthing.budgets.reservations import Reservation, Settlement
from farthing.budgets.spending import spent
from farthing.budgets.stored import StoredBudget, read_budgets
from farthing.budgets.windows import Clock
from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger.address import Address, Where
from farthing.ledger.engines import cause, engine_for
from farthing.ledger.schema import budgets

FRESH_S = 2.0
"""Seconds within which a budget that was set, topped up or removed is effective."""

Slices = list[tuple[datetime, int]]


class KeptAdmission(Admission):
    """An admission whose budgets can be exchanged, without losing sight of what is in flight."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._settled: list[tuple[Reservation, int]] | None = None

    @property
    def has_budgets(self) -> bool:
        """Whether there is any."""
        return bool(self._accounts)

    def watch(self) -> list[str]:
        """Begin to note what settles, for `exchange`; returns what is in flight."""
        self._settled = []
        return [reservation.id for reservation in self.open]

    def unwatch(self) -> None:
        """Note no more."""
        self._settled = None

    def settle(
        self, reservation: Reservation, cost: Cost | None, *, tokens: int | None = None
    ) -> Settlement:
        """As `Admission.settle`, noted if `watch` said so."""
        settlement = super().settle(reservation, cost, tokens=tokens)
        if self._settled is not None:
            self._settled.append((reservation, settlement.cost.pico))
        return settlement

    def exchange(self, changed: Collection[tuple[StoredBudget, Slices]], kept: set[str]) -> None:
        """Put budgets in force: the `changed` and the `kept` ones, and no others.

        What is in flight is held in the changed ones too.

        Args:
            changed: with what was spent by operations that ended before `watch`.
        """
        settled = self._settled or []
        accounts = {name: a for name, a in self._accounts.items() if name in kept}
        for stored, slices in changed:
            account = accounts[stored.budget.name] = Account(stored.budget)
            for at, pico in slices:
                account.window.add(pico, at)
            for reservation, pico in settled:
                if stored.budget.scope in reservation.ask.scopes:
                    account.window.add(pico, self._clock.now())
        self._accounts = accounts
        self._by_scope = {}
        for account in accounts.values():
            self._by_scope.setdefault(account.budget.scope, []).append(account)
        for entry in self._open.values():
            held = [(a, hold) for a, hold in entry.accounts if a.budget.name in kept]
            for stored, _ in changed:
                ask, account = entry.reservation.ask, accounts[stored.budget.name]
                if stored.budget.scope in ask.scopes:
                    hold = account.hold(ask, entry.kind) or 0
                    account.begin(ask, entry.kind, hold, entry.age)
                    held.append((account, hold))
            entry.accounts = held


class BudgetBook:
    """The budgets of a ledger, for a gateway that asks about every request.

    What was read is believed for `fresh_s` seconds. Then one request reads whether anything
    changed, in another thread. Those that come meanwhile go by what is known; the very first
    ones wait. What is spent is read once for each budget, when it comes into force; from then on
    it is counted here, so that what other processes spend is not seen.
    """

    def __init__(
        self, where: Where, *, fresh_s: float = FRESH_S, clock: Clock | None = None
    ) -> None:
        """Open nothing yet; the first `current` does."""
        self.address = Address.of(where)
        self._engine = engine_for(self.address, "read")
        self._fresh_s = fresh_s
        self._admission = KeptAdmission(clock=clock)
        self._stored: dict[str, StoredBudget] = {}
        self._seen: int | None = -1
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    async def current(self) -> KeptAdmission:
        """The admission, by budgets no older than `fresh_s`.

        Raises LedgerError if the ledger cannot be read.
        """
        if self._is_old() and (self._seen == -1 or not self._reading.locked()):
            async with self._reading:
                if self._is_old():
                    await self._refresh()
        return self._admission

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _is_old(self) -> bool:
        return monotonic() - self._read_at >= self._fresh_s

    async def _refresh(self) -> None:
        began = monotonic()
        found = await asyncio.to_thread(self._changes)
        if found is not None:
            seen, stored = found
            changed = [s for s in stored if self._stored.get(s.budget.name) != s]
            kept = {s.budget.name for s in stored if s not in changed}
            now, in_flight = datetime.now(UTC), self._admission.watch()
            try:
                sums = await asyncio.to_thread(self._sums, changed, now, in_flight)
                self._admission.exchange(list(zip(changed, sums, strict=True)), kept)
            finally:
                self._admission.unwatch()
            self._seen, self._stored = seen, {s.budget.name: s for s in stored}
        self._read_at = began

    def _changes(self) -> tuple[int | None, list[StoredBudget]] | None:
        """The last row's number and the budgets in force; None if nothing changed."""
        try:
            with self._engine.begin() as connection:
                last = connection.execute(select(func.max(budgets.c.number))).scalar()
                return None if last == self._seen else (last, read_budgets(connection))
        except SQLAlchemyError as error:
            raise self._unreadable(error) from None

    def _sums(
        self, changed: list[StoredBudget], now: datetime, in_flight: list[str]
    ) -> list[Slices]:
        try:
            with self._engine.begin() as connection:
                return [spent(connection, s, now, before=now, without=in_flight) for s in changed]
        except SQLAlchemyError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> LedgerError:
        return LedgerError(f"cannot read the budgets in {self.address}: {cause(error)}")
