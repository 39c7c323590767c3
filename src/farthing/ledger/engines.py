"""Opening a ledger, in an SQLite file or on a PostgreSQL server."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy import Connection, Engine, inspect, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError, StatementError

from farthing.core.errors import LedgerAwayError, LedgerError
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


def open_to_write(where: Where, *, create: bool = True) -> Engine:
    """An engine that writes the ledger at `where`.

    Args:
        create: whether one that does not exist is made, at the newest version.

    Raises LedgerError if it cannot be written, is no ledger, or has another schema.
    """
    address = Address.of(where) if create else existing(where)
    engine = engine_for(address, "create" if create else "write")
    try:
        with engine.begin() as connection:
            if create and _is_new(connection, address):
                schema.create(connection)
            check_schema(connection, address)
        if address.path is not None:
            _sqlite.use_wal(engine, _WAIT_S)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        away = isinstance(error, (OperationalError, sqlite3.OperationalError))
        kind = LedgerAwayError if away and not _postgres.turns_away(error) else LedgerError
        raise kind(f"cannot open the ledger {address}: {cause(error)}") from None
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
    if has_table(connection, schema.meta.name):
        query = select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
        version = connection.execute(query).scalar()
    if version is None or not version.isdecimal():
        if address.url is not None:
            raise LedgerError(
                f"there is no ledger in {_schema(connection, address)}; a gateway that starts "
                "makes one there"
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


def has_table(connection: Connection, name: str) -> bool:
    """Whether the database has a table of that name where a ledger's tables are."""
    return inspect(connection).has_table(name, schema=_postgres.first_schema(connection))


def _is_new(connection: Connection, address: Address) -> bool:
    """Whether the tables are still to be made; on PostgreSQL nobody else can make them then.

    Raises LedgerError if tables of others have their names.
    """
    if address.path is not None:
        return not inspect(connection).get_table_names()
    if has_table(connection, schema.meta.name):
        return False
    lock(connection)
    if has_table(connection, schema.meta.name):
        return False
    named = _postgres.first_schema(connection)
    if named is None:
        raise LedgerError(
            f"{address} has no schema to make tables in: search_path names none that the user may "
            "use"
        )
    found = inspect(connection).get_table_names(schema=named)
    if taken := sorted(schema.metadata.tables.keys() & set(found)):
        raise LedgerError(
            f"{_schema(connection, address)} has tables that are not the ledger's but have their "
            f"names: {', '.join(taken)}; make a schema for the ledger and name it at the end of "
            "the URL: ?options=-csearch_path%3DNAME"
        )
    return True


def _schema(connection: Connection, address: Address) -> str:
    return f"the schema {_postgres.first_schema(connection)} of {address}"
