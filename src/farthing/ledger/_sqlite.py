"""What is SQLite's own in opening a ledger."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event

_MODES = {
    "create": ("rwc", "BEGIN IMMEDIATE", "synchronous = FULL"),
    "write": ("rw", "BEGIN IMMEDIATE", "synchronous = FULL"),
    "read": ("rw", "BEGIN", "query_only = ON"),
}
"""For each use: SQLite's mode, how transactions begin, and what is set on every connection."""


def engine_for(path: Path, use: str, wait_s: float) -> Engine:
    """An engine for a file; see `engines.engine_for`."""
    mode, begin, pragma = _MODES[use]
    url = f"sqlite:///file:{quote(str(path))}?mode={mode}&uri=true"
    engine = create_engine(url, connect_args={"timeout": wait_s})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not the driver
        connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def use_wal(engine: Engine, wait_s: float) -> None:
    """Turn write-ahead logging on; SQLite does not wait when another process does the same."""
    deadline = time.monotonic() + wait_s
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
