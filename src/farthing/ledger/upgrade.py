"""Which version a ledger's tables are of, and how an older file is brought up to date."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from farthing.core.errors import LedgerError
from farthing.ledger import schema
from farthing.ledger.address import Address, Where
from farthing.ledger.engines import (
    cause,
    engine_for,
    existing,
    has_table,
    lock,
    newer,
    schema_version,
)

_PATIENCE_S = 5.0
FIRST = 1
"""The version of the files made before there were migrations."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a ledger's tables stand.

    Attributes:
        version: of the file.
        newest: that this program writes.
    """

    address: Address
    version: int
    newest: int = schema.SCHEMA_VERSION

    @property
    def state(self) -> Literal["current", "old", "newer"]:
        """How the file's version compares with the program's."""
        if self.version == self.newest:
            return "current"
        return "old" if self.version < self.newest else "newer"


def schema_state(where: Where) -> SchemaState:
    """The version of the ledger at `where`, whichever it is; nothing is changed.

    Raises LedgerError if there is no file, or it is no ledger.
    """
    address = existing(where)
    engine = engine_for(address, "read")
    try:
        with engine.begin() as connection:
            return SchemaState(address, schema_version(connection, address))
    except SQLAlchemyError as error:
        raise LedgerError(f"cannot read the ledger {address}: {cause(error)}") from error
    finally:
        engine.dispose()


def upgrade(
    where: Where, *, backup: str | Path | None = None, patience_s: float = _PATIENCE_S
) -> tuple[int, int]:
    """Bring the ledger at `where` to the newest version, in one transaction: wholly or not at all.

    Rows are kept as they are. A file made before there were migrations is told what it is first.

    Args:
        backup: a file that does not exist; the ledger as it was is copied there before.
        patience_s: seconds to wait for another process that is writing.

    Returns:
        The versions before and after; equal if there was nothing to do.

    Raises:
        LedgerError: there is no file, it is no ledger or one of a newer Farthing, another process
            is writing to it, or the copy cannot be made. The ledger is then as it was.
    """
    address = existing(where)
    if backup is not None and address.path is None:
        raise LedgerError(f"only files are copied here: copy {address} with pg_dump")
    engine = engine_for(address, "write", wait_s=patience_s)
    try:
        with engine.begin() as connection:
            lock(connection)  # from here on nobody else changes it
            version = schema_version(connection, address)
            if version > schema.SCHEMA_VERSION:
                raise newer(address, version)
            if version < schema.SCHEMA_VERSION:
                if backup is not None:
                    _copy(address, Path(backup))
                _migrate(connection)
    except OperationalError as error:
        if "locked" in str(error.orig) or "lock timeout" in str(error.orig):
            raise LedgerError(
                f"another process is writing to the ledger {address}; stop the gateways that "
                "use it, and upgrade then"
            ) from error
        raise LedgerError(f"cannot upgrade the ledger {address}: {cause(error)}") from error
    except SQLAlchemyError as error:
        raise LedgerError(f"cannot upgrade the ledger {address}: {cause(error)}") from error
    finally:
        engine.dispose()
    return version, schema.SCHEMA_VERSION


def _migrate(connection: Connection) -> None:
    """Run the steps that are missing. Alembic is imported here, since only this needs it."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "farthing.ledger:migrations")
    config.attributes["connection"] = connection
    if not has_table(connection, schema.alembic_version.name):
        command.stamp(config, schema.revision(FIRST))
    command.upgrade(config, schema.revision(schema.SCHEMA_VERSION))
    connection.execute(
        update(schema.meta)
        .where(schema.meta.c.key == "schema_version")
        .values(value=str(schema.SCHEMA_VERSION))
    )


def _copy(address: Address, backup: Path) -> None:
    """Copy what is committed; a plain copy of the file would leave out what is in its -wal."""
    assert address.path is not None
    if backup.exists():
        raise LedgerError(f"{backup} exists; name a new file for the copy of the ledger")
    try:
        with closing(sqlite3.connect(address.path)) as old, closing(sqlite3.connect(backup)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        backup.unlink(missing_ok=True)
        raise LedgerError(f"cannot copy the ledger to {backup}: {error}") from error
