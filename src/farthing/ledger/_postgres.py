"""What is PostgreSQL's own in opening a ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select

from farthing.core.errors import LedgerError

_LOCK = int.from_bytes(b"farthing")
"""Of the advisory lock that is held while tables are made or changed, and by `Editor`."""

_CONNECTION = {
    "application_name": "farthing",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""What libpq is told, in seconds but for the last, unless the URL says otherwise."""

_PASSING = ("the database system is", "too many", "connection slots", "administrator command")
"""What a server says that will have us later."""


def engine_for(url: URL, use: str, wait_s: float) -> Engine:
    """An engine for a database; see `engines.engine_for`.

    Raises LedgerError if the driver is not installed.
    """
    try:
        from farthing.ledger import _psycopg
    except ImportError as error:
        raise LedgerError(
            "a ledger on PostgreSQL needs the driver psycopg: pip install 'farthing[postgres]'"
        ) from error
    reads = use == "read"
    engine = create_engine(
        url,
        connect_args={k: v for k, v in _CONNECTION.items() if k not in url.query},
        # A report's queries must all see the same rows.
        isolation_level="REPEATABLE READ" if reads else "READ COMMITTED",
        execution_options={"postgresql_readonly": reads},
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        _psycopg.prepare(connection, lock_timeout_s=wait_s)

    return engine


def turns_away(error: Exception) -> bool:
    """Whether a server answered and will not have us, so that waiting does not help."""
    said = str(error)
    return "FATAL:" in said and not any(reason in said for reason in _PASSING)


def lock(connection: Connection) -> None:
    """Wait for whoever makes or changes tables, and keep others from it until the commit."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def first_schema(connection: Connection) -> str | None:
    """The schema in which tables are made, the first of `search_path`.

    None if there is none, and for a connection of SQLite.
    """
    if connection.dialect.name == "sqlite":
        return None
    found: str | None = connection.execute(select(func.current_schema())).scalar()
    return found
