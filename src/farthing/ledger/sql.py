"""The ledger in an SQL database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from sqlalchemy import Engine

from farthing.core.errors import LedgerAwayError, LedgerError
from farthing.ledger._batches import Row
from farthing.ledger._journal import Journal
from farthing.ledger._writer import Policy, Writer
from farthing.ledger.address import Address, Where
from farthing.ledger.engines import cause, open_to_write
from farthing.ledger.replay import replay_into
from farthing.ledger.retention import Keeper, Retention
from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)
from farthing.ledger.store import State


class Ledger:
    """Operations and attempts in one database, which several processes may write at once.

    Rows are written by a thread of their own, all that have come in the meantime in one
    transaction. What `finish` or `flush` has confirmed is on disk, in the ledger or, while that is
    away, in its journal.
    """

    def __init__(self, address: Address, open_engine: Callable[[], Engine], policy: Policy) -> None:
        self.address, self._policy = address, policy
        self._running = Writer(str(address), open_engine, policy)
        self._writer: Writer | None = self._running

    @classmethod
    def open(
        cls,
        where: Where,
        *,
        texts: bool = True,
        sync: Literal["full", "relaxed"] = "full",
        on_failure: Literal["refuse", "spool"] = "refuse",
        spool: str | Path | None = None,
        retention: Retention | None = None,
    ) -> Self:
        """Open or create the ledger at `where`, and replay what a journal was left with.

        Args:
            texts: whether prompts and answers are kept verbatim.
            sync: "relaxed" lets `finish` return before its row is written.
            on_failure: "spool" writes to the journal what the ledger does not take; such a ledger
                can be opened while it is away.
            spool: path of the journal.
            retention: what is removed, at once and every day.

        Raises:
            LedgerError: it cannot be written, is no ledger, or has another schema; for an older
                one it names the command that upgrades it. Or the journal cannot be opened.
        """
        address, journal = Address.of(where), None
        engine: Engine | None = None
        if on_failure == "spool":
            if spool is None:
                raise LedgerError("say where the journal is, to spool")
            journal = Journal.open(spool)
        try:
            engine = open_to_write(address)
        except LedgerError as error:
            if journal is None or not isinstance(error, LedgerAwayError):
                if journal is not None:
                    journal.close()
                raise
        if journal is None and engine is not None and spool is not None and _holds(spool):
            replay_into(engine, spool)
        policy = Policy(
            texts=texts,
            relaxed=sync == "relaxed",
            journal=journal,
            keeper=None if retention is None else Keeper(retention),
        )
        return cls(address, lambda: open_to_write(address) if engine is None else engine, policy)

    @property
    def state(self) -> State:
        """Whether rows go to the ledger, or to its journal, or are not safe at all."""
        if self._running.failure is not None:
            return "refusing"
        return "spooling" if self._running.spooling else "ok"

    def check(self) -> None:
        """Raise LedgerAwayError if what was booked last is not safe: then book nothing new."""
        failure = self._running.failure
        if failure is not None:
            raise LedgerAwayError(
                f"the ledger {self.address} cannot be written: {cause(failure)}; nothing was "
                "called, and requests are taken again when it is back"
            )

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

        A relaxed ledger returns at once. Raises LedgerError if they could not be written.
        """
        if self._policy.relaxed:
            self._open_writer().put(row)
        else:
            await self._settled(row)

    async def flush(self) -> None:
        """Return when all that was booked before is on disk; LedgerError if it is not."""
        await self._settled(None)

    async def close(self) -> None:
        """Flush, and take no more; LedgerError if rows were left that could not be written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            waiter = asyncio.get_running_loop().create_future()
            writer.stop(waiter)
            await self._confirmed(waiter)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _settled(self, row: Row | None) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._open_writer().put(row, waiter)
        await self._confirmed(waiter)

    async def _confirmed(self, waiter: asyncio.Future[Exception | None]) -> None:
        failure = await waiter
        if failure is not None:
            raise LedgerError(
                f"cannot write to the ledger {self.address}: {cause(failure)}; the rows are "
                "kept in memory and tried again with the next ones"
            ) from failure

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise LedgerError(f"the ledger {self.address} is closed")
        return self._writer


def _holds(spool: str | Path) -> bool:
    """Whether there is a journal that is not empty."""
    try:
        return Path(spool).stat().st_size > 0
    except FileNotFoundError:
        return False
