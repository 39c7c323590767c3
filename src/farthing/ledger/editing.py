"""Changing what a ledger holds besides traffic: its keys and its budgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from farthing.core.errors import LedgerError
from farthing.ledger.address import Address, Where
from farthing.ledger.engines import cause, lock, open_to_write


class Editor:
    """A ledger that is open for changes, one after the other with those of other processes."""

    def __init__(self, where: Where, *, create: bool = True) -> None:
        """Open the ledger, or make it unless `create` is false.

        Raises LedgerError if it cannot be written.
        """
        self.address = Address.of(where)
        self._engine = open_to_write(self.address, create=create)

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction, whose failures are LedgerErrors that hold no values."""
        try:
            with self._engine.begin() as connection:
                lock(connection)
                yield connection
        except SQLAlchemyError as error:
            message = f"cannot write to the ledger {self.address}: {cause(error)}"
            raise LedgerError(message) from None
