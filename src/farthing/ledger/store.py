"""What a ledger does, and one that only remembers."""

from __future__ import annotations

from typing import Literal, Protocol

from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)

State = Literal["ok", "spooling", "refusing"]


class Store(Protocol):
    """Where operations and attempts are booked; rows are only ever added."""

    @property
    def state(self) -> State:
        """Whether what is booked is safe: in its place, in a journal, or not at all."""
        ...

    def check(self) -> None:
        """Raise LedgerAwayError if what was booked last is not safe: then book nothing new."""
        ...

    def begin(self, row: OperationRow) -> None:
        """Book the start of an operation, without waiting."""
        ...

    def attempt(self, row: AttemptRow) -> None:
        """Book an attempt, without waiting."""
        ...

    def reserve(self, row: ReservationRow) -> None:
        """Book what is held for an operation in a budget, without waiting."""
        ...

    def charge(self, row: ChargeRow) -> None:
        """Book what an operation was charged in a budget, once, without waiting."""
        ...

    async def finish(self, row: OutcomeRow) -> None:
        """Book an outcome; returns when it and all that was booked before are safe.

        Raises LedgerError if they could not be written.
        """
        ...

    async def flush(self) -> None:
        """Return when all that was booked before is safe; LedgerError if it is not."""
        ...

    async def close(self) -> None:
        """Flush, and take no more."""
        ...


class MemoryLedger:
    """A `Store` that keeps its rows in lists and forgets them with the process."""

    state: State = "ok"

    def __init__(self) -> None:
        self.operations: list[OperationRow] = []
        self.attempts: list[AttemptRow] = []
        self.outcomes: list[OutcomeRow] = []
        self.reservations: list[ReservationRow] = []
        self.charges: list[ChargeRow] = []

    def check(self) -> None:
        """Nothing to fear."""

    def begin(self, row: OperationRow) -> None:
        """Book the start of an operation."""
        self.operations.append(row)

    def attempt(self, row: AttemptRow) -> None:
        """Book an attempt."""
        self.attempts.append(row)

    def reserve(self, row: ReservationRow) -> None:
        """Book a reservation."""
        self.reservations.append(row)

    def charge(self, row: ChargeRow) -> None:
        """Book a charge."""
        self.charges.append(row)

    async def finish(self, row: OutcomeRow) -> None:
        """Book an outcome."""
        self.outcomes.append(row)

    async def flush(self) -> None:
        """Nothing to wait for."""

    async def close(self) -> None:
        """Nothing to close."""
