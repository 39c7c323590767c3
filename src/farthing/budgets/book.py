"""The limits of a ledger, for a gateway that asks about every request."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from farthing.budgets import leases
from farthing.budgets._account import Account, RateAccount, Share
from farthing.budgets._shared import SharedLimits
from farthing.budgets.kept import KeptAdmission
from farthing.budgets.reservations import Ask, Refusal, Reservation, Settlement
from farthing.budgets.stored import StoredBudget
from farthing.budgets.windows import Clock
from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger.address import Address, Where
from farthing.ledger.store import Store

logger = logging.getLogger("farthing.budgets")

FRESH_S = 2.0
"""Seconds within which a limit that was set, topped up or removed is effective."""
RENEW_S = 1.0
"""Seconds between renewals of leases, and between signs of life."""
IDLE_RENEWALS = 5
"""Renewals without anything to cover, after which a lease is given back as a whole."""
DRY_S = 0.25
"""Seconds for which a limit that has no more to give is not asked again."""
_TRIES = 5


class BudgetBook:
    """Admits, settles, and keeps what it knows up to date.

    What was read is believed for `fresh_s` seconds. Then one request reads whether anything
    changed, in another thread. Those that come meanwhile go by what is known; the very first ones
    wait. Each limit is spent from a lease, see `leases`; who does not fit in waits until it has
    been made larger, or could not be, together with all others that wait.
    """

    def __init__(
        self, where: Where, ledger: Store, *, fresh_s: float = FRESH_S, clock: Clock | None = None
    ) -> None:
        """Read nothing yet; the first `admit` does. What is charged is booked in `ledger`."""
        self._shared = SharedLimits(Address.of(where))
        self.admission = KeptAdmission(ledger, self._shared.gateway, clock=clock)
        self._ledger, self._fresh_s = ledger, fresh_s
        self._read_at, self._is_away = -math.inf, False
        self._seen: int | None = None
        self._new: list[StoredBudget] = []  # whose earlier spending is not summed up yet
        self._lock = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def gateway(self) -> str:
        """This process, as the ledger knows it."""
        return self.admission.gateway

    async def has_limits(self) -> bool:
        """Whether there are any, as of no more than `fresh_s` ago.

        While the ledger is away, what was read last is believed: leases hold all the same.
        Raises LedgerError if it was never read.
        """
        if self._is_old() and (self._never_read or not self._lock.locked()):
            async with self._lock:
                if self._is_old():
                    await self._try_to_refresh()
        return self.admission.has_limits

    @property
    def _never_read(self) -> bool:
        return self._read_at == -math.inf

    async def _try_to_refresh(self) -> None:
        began = monotonic()
        try:
            await self._refresh()
            self._is_away = False
        except LedgerError as error:
            if self._never_read:
                raise
            if not self._is_away:
                logger.warning("%s; what was read last is believed", error)
            self._is_away = True
        self._read_at = began

    async def admit(self, ask: Ask, *, id: str) -> Reservation | Refusal:
        """As `Admission.admit`; call `has_limits` before.

        Raises LedgerError if a lease has to be renewed and the ledger cannot be written.
        """
        for _ in range(_TRIES):
            answered = self.admission.admit(ask, id=id)
            short = isinstance(answered, Refusal) and self.admission.short(ask, monotonic())
            if not short:
                break
            await self._widen(short, ask)
        return answered

    def settle(
        self,
        reservation: Reservation,
        cost: Cost | None,
        *,
        tokens: int | None = None,
        parts: Mapping[str, Cost] | None = None,
    ) -> Settlement:
        """As `Admission.settle`, and booked."""
        try:
            return self.admission.settle(reservation, cost, tokens=tokens, parts=parts)
        finally:
            self.admission.forget(reservation)

    def cancel(self, reservation: Reservation) -> None:
        """As `Admission.cancel`, and booked."""
        try:
            self.admission.cancel(reservation)
        finally:
            self.admission.forget(reservation)

    async def aclose(self) -> None:
        """Give the leases back; to be called when all has settled, before the ledger closes."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        with suppress(LedgerError):
            await self._ledger.flush()
            await asyncio.to_thread(self._shared.end)
        self._shared.close()

    def _is_old(self) -> bool:
        return monotonic() - self._read_at >= self._fresh_s

    async def _refresh(self) -> None:
        found = await asyncio.to_thread(self._shared.changes, self._seen)
        if found is None:
            return
        seen, budgets, rates = found
        if self._keeper is None:
            await asyncio.to_thread(self._shared.register)
            for lesson in await asyncio.to_thread(self._shared.lessons):
                self.admission.learn(*lesson)
            self._keeper = asyncio.ensure_future(self._keep())
        self._new += self.admission.exchange(budgets, rates)
        if self._new:
            await self._ledger.flush()
            await asyncio.to_thread(self._shared.take_over, self._new, self.admission.now())
            self._new = []
        await self._renew(self.admission.shared)
        self._seen = seen

    async def _keep(self) -> None:
        """Refresh and renew again and again; a failure is logged once, until it is over."""
        failed = False
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                if await self.has_limits():
                    async with self._lock:
                        await self._renew(self._used())
                failed = False
            except Exception as error:
                if not failed:
                    logger.error("cannot renew what may be spent: %s", error)
                failed = True

    async def _widen(self, short: Sequence[tuple[Share, int]], ask: Ask) -> None:
        for share, need in short:
            share.waiting += need
        try:
            async with self._lock:
                if self.admission.short(ask, monotonic()):
                    await self._renew(self._used())
        finally:
            for share, need in short:
                share.waiting -= need

    def _used(self) -> list[Account | RateAccount]:
        """What has anything in flight or pending, or somebody who waits, or a lease."""
        return [
            account
            for account in self.admission.shared
            if account.share.lease or account.share.waiting or self._exposure(account)
        ]

    def _exposure(self, account: Account | RateAccount) -> int:
        pending = account.pending if isinstance(account, Account) else 0
        return self._in_flight(account) + pending

    def _in_flight(self, account: Account | RateAccount) -> int:
        if isinstance(account, Account):
            return account.in_flight()
        return account.in_flight(self.admission.now())

    async def _renew(self, used: Sequence[Account | RateAccount]) -> None:
        """Have leases that fit what is in flight, what is pending and who waits."""
        for account in used:
            share, need = account.share, self._exposure(account) + account.share.waiting
            share.idle = 0 if need else share.idle + 1
            if share.idle > IDLE_RENEWALS:
                share.spare = 0
            share.lease = min(share.lease, need + share.spare)
        claims = [self._claim(account) for account in used]
        grants = await asyncio.to_thread(self._shared.renew, claims, self.admission.stored)
        if grants is None:
            logger.warning("gateway %s stood still and was taken for dead", self.gateway)
            self.admission.begin_anew(self._shared.gateway)
            return
        now, seconds = self.admission.now(), monotonic()
        for account, claim, grant in zip(used, claims, grants, strict=True):
            share = account.share
            share.lease, share.elsewhere, share.spare = grant.lease, grant.elsewhere, grant.spare
            share.dry_until = seconds + DRY_S if grant.dry else 0.0
            if isinstance(account, Account) and claim.since is not None:
                account.renewed(grant, claim.since, now)

    def _claim(self, account: Account | RateAccount) -> leases.Claim:
        share = account.share
        claim = leases.Claim(
            share.number,
            account.limit,
            self._in_flight(account),
            share.waiting,
            share.lease,
            share.idle <= IDLE_RENEWALS,
        )
        if isinstance(account, RateAccount):
            return claim
        since = self.admission.stored_budget(account).begins(self.admission.now())
        charged = dict(account.charged)
        return replace(claim, pending=account.pending, charged=charged, since=since)
