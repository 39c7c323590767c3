"""The ledger in an SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sqlite3
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from farthing.core.errors import LedgerError
from farthing.ledger import schema
from farthing.ledger._writer import Row, Writer
from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)

_BUSY_SECONDS = 30


class Ledger:
    """Operations and attempts in one SQLite file, which several processes may write at once.

    Rows are written by a thread of their own, all that have come in the meantime in one
    transaction. What `finish` or `flush` has confirmed is on disk.
    """

    def __init__(self, path: Path, engine: Engine, *, texts: bool) -> None:
        self.path = path
        self._writer: Writer | None = Writer(engine, texts=texts)

    @classmethod
    def open(cls, path: str | Path, *, texts: bool = True) -> Self:
        """Open or create the ledger at `path`.

        Args:
            texts: whether prompts and answers are kept verbatim.

        Raises:
            LedgerError: the file cannot be written, is no ledger, or has another schema; for an
                older one it names the command that upgrades it.
        """
        path = Path(path)
        return cls(path, open_to_write(path), texts=texts)

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
                f"cannot write to the ledger {self.path}: {cause(failure)}; the rows are kept in "
                "memory and tried again with the next ones"
            ) from failure

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise LedgerError(f"the ledger {self.path} is closed")
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


def open_to_write(path: str | Path) -> Engine:
    """An engine that writes the ledger at `path`; a new file is made at the newest version.

    Raises LedgerError if the file cannot be written, is no ledger, or has another schema.
    """
    path = Path(path)
    engine = engine_for(path, "rwc", begin="BEGIN IMMEDIATE", pragma="synchronous = FULL")
    try:
        with engine.begin() as connection:
            if not inspect(connection).get_table_names():
                schema.create(connection)
            check_schema(connection, path)
        _use_wal(engine)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise LedgerError(f"cannot open the ledger {path}: {cause(error)}") from error
    except LedgerError:
        engine.dispose()
        raise
    return engine


def open_to_read(path: str | Path) -> Engine:
    """An engine that reads the ledger at `path`, also while others write to it.

    Raises LedgerError if there is no ledger, or it has another schema.
    """
    path = Path(path)
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path}; name the one to read with --db")
    engine = engine_for(path, "rw", begin="BEGIN", pragma="query_only = ON")
    try:
        with engine.begin() as connection:
            check_schema(connection, path)
    except SQLAlchemyError as error:
        engine.dispose()
        raise LedgerError(f"cannot read the ledger {path}: {cause(error)}") from error
    except LedgerError:
        engine.dispose()
        raise
    return engine


def schema_version(connection: Connection, path: Path) -> int:
    """The version of a ledger's tables; LedgerError if the database is no ledger."""
    version = None
    if inspect(connection).has_table("meta"):
        query = select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
        version = connection.execute(query).scalar()
    if version is None or not version.isdecimal():
        raise LedgerError(f"{path} is a database, but no ledger of Farthing; name another file")
    return int(version)


def check_schema(connection: Connection, path: Path) -> None:
    """Raise LedgerError unless the database is a ledger of this version."""
    version = schema_version(connection, path)
    if version > schema.SCHEMA_VERSION:
        raise newer(path, version)
    if version < schema.SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {path} has schema {version}, and this Farthing writes schema "
            f"{schema.SCHEMA_VERSION}; stop what writes to it and run `farthing db upgrade --db "
            f"{shlex.quote(str(path))}`, with `--backup FILE` to keep a copy of it as it is"
        )


def newer(path: Path, version: int) -> LedgerError:
    """What is said of a ledger that a later Farthing has written."""
    return LedgerError(
        f"the ledger {path} has schema {version}, which a newer Farthing wrote; this one knows "
        f"schemas up to {schema.SCHEMA_VERSION}: update Farthing, or name another file"
    )


def engine_for(
    path: Path, mode: str, *, begin: str, pragma: str, busy_s: float = _BUSY_SECONDS
) -> Engine:
    """An engine for an SQLite file whose transactions begin with the statement `begin`.

    Args:
        mode: SQLite's: "rw", or "rwc" to make a file that does not exist.
        pragma: set on every connection.
        busy_s: seconds to wait for a lock that another connection holds.
    """
    url = f"sqlite:///file:{quote(str(path))}?mode={mode}&uri=true"
    engine = create_engine(url, connect_args={"timeout": busy_s})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not the driver
        connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _use_wal(engine: Engine) -> None:
    """Turn write-ahead logging on; SQLite does not wait when another process does the same."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection = engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def cause(error: Exception) -> str:
    """What the database said, without the statement and its values."""
    return str(error.orig if isinstance(error, DatabaseError) else error)
