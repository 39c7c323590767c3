"""Opening a ledger, in an SQLite file or on a PostgreSQL server."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy import Connection, Engine, inspect, select
from sqlalchemy.exc import SQLAlchemyError, StatementError

from farthing.core.errors import LedgerError
from farthing.ledger import _postgres, _sqlite, schema
from farthing.ledger.address import Address, Where

_WAIT_S = 30.0


def engine_for(
    where: Where, use: Literal["create", "write", "read"], *, wait_s: float = _WAIT_S
) -> Engine:
    """An engine that has not looked at the ledger yet.

    Args:
        use: "create" also writes, and makes an SQLite file that does not exist. "read" sees the
            same rows in all queries of a transaction.
        wait_s: seconds to wait for a lock that another connection holds.

    Raises LedgerError for PostgreSQL without its driver.
    """
    address = Address.of(where)
    if address.url is not None:
        return _postgres.engine_for(address.url, use, wait_s)
    assert address.path is not None
    return _sqlite.engine_for(address.path, use, wait_s)


def open_to_write(where: Where) -> Engine:
    """An engine that writes the ledger at `where`; a new one is made at the newest version.

    Raises LedgerError if it cannot be written, is no ledger, or has another schema.
    """
    address = Address.of(where)
    engine = engine_for(address, "create")
    try:
        with engine.begin() as connection:
            if _is_new(connection):
                schema.create(connection)
            check_schema(connection, address)
        if address.path is not None:
            _sqlite.use_wal(engine, _WAIT_S)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise LedgerError(f"cannot open the ledger {address}: {cause(error)}") from None
    except LedgerError:
        engine.dispose()
        raise
    return engine


def open_to_read(where: Where) -> Engine:
    """An engine that reads the ledger at `where`, also while others write to it.

    Raises LedgerError if there is no ledger, or it has another schema.
    """
    address = existing(where)
    engine = engine_for(address, "read")
    try:
        with engine.begin() as connection:
            check_schema(connection, address)
    except SQLAlchemyError as error:
        engine.dispose()
        raise LedgerError(f"cannot read the ledger {address}: {cause(error)}") from None
    except LedgerError:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(where: Where) -> Iterator[Connection]:
    """A transaction that reads the ledger at `where`; LedgerError if it cannot be read."""
    address = Address.of(where)
    engine = open_to_read(address)
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LedgerError(f"cannot read the ledger {address}: {cause(error)}") from None
    finally:
        engine.dispose()


def existing(where: Where) -> Address:
    """The address; LedgerError if it is of a file that does not exist."""
    address = Address.of(where)
    if address.path is not None and not address.path.exists():
        raise LedgerError(f"there is no ledger at {address}; name it with --db")
    return address


def schema_version(connection: Connection, address: Address) -> int:
    """The version of a ledger's tables; LedgerError if the database is no ledger."""
    version = None
    if _has_table(connection, "meta"):
        query = select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
        version = connection.execute(query).scalar()
    if version is None or not version.isdecimal():
        if address.url is not None:
            raise LedgerError(
                f"there is no ledger in the schema {_postgres.first_schema(connection)} of "
                f"{address}; a gateway makes it when it starts"
            )
        raise LedgerError(f"{address} is a database, but no ledger of Farthing; name another file")
    return int(version)


def check_schema(connection: Connection, address: Address) -> None:
    """Raise LedgerError unless the database is a ledger of this version."""
    version = schema_version(connection, address)
    if version > schema.SCHEMA_VERSION:
        raise newer(address, version)
    if version < schema.SCHEMA_VERSION:
        keep = (
            "with `--backup FILE` to keep a copy of it as it is"
            if address.path is not None
            else "after `pg_dump` to keep a copy of it as it is"
        )
        raise LedgerError(
            f"the ledger {address} has schema {version}, and this Farthing writes schema "
            f"{schema.SCHEMA_VERSION}; stop what writes to it and run `farthing db upgrade --db "
            f"{shlex.quote(str(address))}`, {keep}"
        )


def newer(address: Address, version: int) -> LedgerError:
    """What is said of a ledger that a later Farthing has written."""
    return LedgerError(
        f"the ledger {address} has schema {version}, which a newer Farthing wrote; this one knows "
        f"schemas up to {schema.SCHEMA_VERSION}: update Farthing, or name another ledger"
    )


def cause(error: Exception) -> str:
    """What the database said, without the statement and its values."""
    if isinstance(error, StatementError) and error.orig is not None:
        said = getattr(getattr(error.orig, "diag", None), "message_primary", None)
        return said or str(error.orig).partition("\n")[0]
    return str(error)


def lock(connection: Connection) -> None:
    """Keep others from changing the ledger until the commit; a writer on SQLite does already."""
    if connection.dialect.name != "sqlite":
        _postgres.lock(connection)


def _is_new(connection: Connection) -> bool:
    """Whether the tables are still to be made; on PostgreSQL nobody else can make them then."""
    if connection.dialect.name == "sqlite":
        return not inspect(connection).get_table_names()
    if _has_table(connection, "meta"):
        return False
    lock(connection)
    return not _has_table(connection, "meta")


def _has_table(connection: Connection, name: str) -> bool:
    named = None if connection.dialect.name == "sqlite" else _postgres.first_schema(connection)
    return inspect(connection).has_table(name, schema=named)
