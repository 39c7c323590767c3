"""What a process that enforces limits reads and writes in the ledger; none of it is async."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from farthing.budgets import leases, recovery
from farthing.budgets.spending import Lesson, lessons, take_over
from farthing.budgets.stored import StoredBudget, StoredRate, read_limits
from farthing.core.errors import LedgerError
from farthing.ledger.address import Address
from farthing.ledger.engines import cause, engine_for, lock
from farthing.ledger.schema import budgets

logger = logging.getLogger("farthing.budgets")


def new_gateway() -> str:
    """An identifier for a process that writes: "gw_" and 24 hexadecimal digits, sorted by time."""
    return f"gw_{time.time_ns() // 1000:014x}{os.urandom(5).hex()}"


class SharedLimits:
    """The limits in a ledger, and the leases on them.

    Attributes:
        gateway: this process, as the ledger knows it.

    Every method raises LedgerError if the ledger cannot be read, or written.
    """

    def __init__(self, address: Address) -> None:
        self.address, self.gateway = address, new_gateway()
        self._reader, self._writer = engine_for(address, "read"), engine_for(address, "write")
        self._registered = False
        self._signs: dict[str, tuple[str, float]] = {}  # of the others, and since when

    def changes(self, seen: int | None) -> tuple[int, list[StoredBudget], list[StoredRate]] | None:
        """The limits in force, and the number of the last change of them.

        None if that is `seen`.
        """
        with self._transaction(self._reader) as connection:
            last = connection.execute(select(func.max(budgets.c.number))).scalar() or 0
            return None if last == seen else (last, *read_limits(connection))

    def lessons(self) -> list[Lesson]:
        """What operations cost that ended not long ago."""
        with self._transaction(self._reader) as connection:
            return lessons(connection)

    def register(self) -> None:
        """Make this process known; to be called before it books anything."""
        with self._transaction(self._writer) as connection:
            self._show(connection)

    def take_over(self, new: Sequence[StoredBudget], now: datetime) -> None:
        """Sum up what was spent before budgets came into force, as far as it is for us to do."""
        with self._transaction(self._writer) as connection:
            self._show(connection)
            leases.lock(connection, sorted(stored.counted_as for stored in new))
            for stored in new:
                take_over(connection, stored, self.gateway, now)

    def renew(
        self, claims: Sequence[leases.Claim], in_force: Sequence[StoredBudget]
    ) -> list[leases.Grant] | None:
        """Show that this process lives, recover from those that do not, and renew leases.

        None if another process took this one for dead: then it has a new name and no leases.
        """
        with self._transaction(self._writer) as connection:
            others = leases.others(connection, self.gateway)
            silent = self._silent(others)
            if silent:
                lock(connection)  # or two could wait for each other
            if not self._show(connection):
                self.gateway, self._registered = new_gateway(), False
                return None
            for gateway in silent:
                now = datetime.now(UTC)
                count = recovery.recover(connection, gateway, in_force, now, by=self.gateway)
                logger.warning("gateway %s died; it had %d requests in flight", gateway, count)
            return leases.renew(connection, self.gateway, claims, processes=1 + len(others))

    def end(self) -> None:
        """Give all leases back."""
        if self._registered:
            with self._transaction(self._writer) as connection:
                leases.end(connection, self.gateway, datetime.now(UTC))

    def close(self) -> None:
        """Close the database."""
        self._reader.dispose()
        self._writer.dispose()

    def _show(self, connection: Connection) -> bool:
        now = datetime.now(UTC)
        if self._registered:
            return leases.sign(connection, self.gateway, now)
        leases.register(connection, self.gateway, now)
        self._registered = True
        return True

    def _silent(self, others: dict[str, str]) -> list[str]:
        """Those whose sign has been the same for long, as we have seen it ourselves."""
        now, before = monotonic(), self._signs
        self._signs = {}
        for gateway, sign in others.items():
            last = before.get(gateway)
            self._signs[gateway] = last if last is not None and last[0] == sign else (sign, now)
        return [g for g, (_, at) in self._signs.items() if now - at >= recovery.DEAD_AFTER_S]

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            self._signs.clear()  # the others could make none either, perhaps
            what = "read" if engine is self._reader else "write"
            raise LedgerError(
                f"cannot {what} the budgets in {self.address}: {cause(error)}"
            ) from None
