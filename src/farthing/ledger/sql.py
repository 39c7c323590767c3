"""The ledger in an SQL database."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from sqlalchemy import Engine

from farthing.core.errors import LedgerError
from farthing.ledger._writer import Row, Writer
from farthing.ledger.address import Address, Where
from farthing.ledger.engines import cause, open_to_write
from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)


class Ledger:
    """Operations and attempts in one database, which several processes may write at once.

    Rows are written by a thread of their own, all that have come in the meantime in one
    transaction. What `finish` or `flush` has confirmed is on disk.
    """

    def __init__(self, address: Address, engine: Engine, *, texts: bool) -> None:
        self.address = address
        self._writer: Writer | None = Writer(engine, texts=texts)

    @classmethod
    def open(cls, where: Where, *, texts: bool = True) -> Self:
        """Open or create the ledger at `where`.

        Args:
            texts: whether prompts and answers are kept verbatim.

        Raises:
            LedgerError: it cannot be written, is no ledger, or has another schema; for an older
                one it names the command that upgrades it.
        """
        address = Address.of(where)
        return cls(address, open_to_write(address), texts=texts)

    def begin(self, row: OperationRow) -> None:
        """Book the start of an operation, without waiting."""
        self._open_writer().put(row)

    def attempt(self, row: AttemptRow) -> None:
        """Book an attempt, without waiting."""
        self._open_writer().put(row)

    def reserve(self, row: ReservationRow) -> None:
        """Book what is held for an operation in a budget, without waiting."""
        self._open_writer().put(row)

    def charge(self, row: ChargeRow) -> None:
        """Book what an operation was charged in a budget, once, without waiting."""
        self._open_writer().put(row)

    async def finish(self, row: OutcomeRow) -> None:
        """Book an outcome; returns when it and all that was booked before are on disk.

        Raises LedgerError if they could not be written.
        """
        await self._settled(row)

    async def flush(self) -> None:
        """Return when all that was booked before is on disk; LedgerError if it is not."""
        await self._settled(None)

    async def close(self) -> None:
        """Flush, and take no more; LedgerError if rows were left that could not be written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            waiter = _Waiter()
            writer.stop(waiter.settle)
            await self._confirmed(waiter)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _settled(self, row: Row | None) -> None:
        waiter = _Waiter()
        self._open_writer().put(row, waiter.settle)
        await self._confirmed(waiter)

    async def _confirmed(self, waiter: _Waiter) -> None:
        failure = await waiter.future
        if failure is not None:
            raise LedgerError(
                f"cannot write to the ledger {self.address}: {cause(failure)}; the rows are "
                "kept in memory and tried again with the next ones"
            ) from failure

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise LedgerError(f"the ledger {self.address} is closed")
        return self._writer


class _Waiter:
    """A future that another thread can settle."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Exception | None] = self._loop.create_future()

    def settle(self, failure: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._set, failure)

    def _set(self, failure: Exception | None) -> None:
        if not self.future.done():
            self.future.set_result(failure)
