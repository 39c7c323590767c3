"""How connections of psycopg are prepared. Only imported for a ledger on PostgreSQL."""

from __future__ import annotations

from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.types.string import StrDumper

_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)


class _TextDumper(StrDumper):
    """Writes texts, in which PostgreSQL cannot hold a NUL: it becomes a replacement character."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd"))


def prepare(connection: Connection, *, lock_timeout_s: float) -> None:
    """Set what a ledger needs of a new connection: that commits are durable and waits end."""
    connection.adapters.register_dumper(str, _TextDumper)
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false)", [str(round(lock_timeout_s * 1000))]
    )
    connection.execute(_DURABLE)
    connection.commit()
