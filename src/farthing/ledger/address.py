"""Where a ledger is: a file, or a database on a PostgreSQL server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from farthing.core.errors import LedgerError

_SCHEMES = ("postgresql", "postgres")
_SECRETS = {"password", "sslpassword"}


@dataclass(frozen=True, slots=True)
class Address:
    """Which ledger is meant. As text it is the path, or the URL without password and options.

    Attributes:
        path: of an SQLite file; None for PostgreSQL.
        url: of a PostgreSQL database; None for a file.
    """

    path: Path | None = None
    url: URL | None = field(default=None, repr=False)

    @classmethod
    def of(cls, where: Where) -> Address:
        """The address that `where` says: a path, or text such as `postgresql://host/database`.

        Raises LedgerError for a URL that cannot be read; the message holds none of it.
        """
        if isinstance(where, Address):
            return where
        if isinstance(where, Path):
            return cls(path=where)
        told = where
        scheme, separator, _ = told.partition("://")
        if not separator:
            return cls(path=Path(told))
        if scheme not in _SCHEMES:
            raise LedgerError(
                f"a ledger is a path or postgresql://USER@HOST:PORT/DATABASE, not {scheme}://..."
            )
        try:
            url = make_url(told)
        except (ArgumentError, ValueError):
            raise LedgerError(
                "cannot read the URL of the ledger; it is postgresql://USER@HOST:PORT/DATABASE, "
                "with % codes for what is special in a name or password"
            ) from None
        return cls(url=url.set(drivername="postgresql+psycopg"))

    @property
    def has_password(self) -> bool:
        """Whether the URL holds a password."""
        if self.url is None:
            return False
        return bool(self.url.password) or not _SECRETS.isdisjoint(self.url.query)

    def __str__(self) -> str:
        if self.url is None:
            return str(self.path)
        told = {part: self._part(part) for part in ("username", "host", "port", "database")}
        user = f"{told['username']}@" if told["username"] else ""
        port = f":{told['port']}" if told["port"] else ""
        host, socket = told["host"], ""
        if host.startswith("/"):
            host, socket = "", f"?host={host}"
        return f"postgresql://{user}{host}{port}/{told['database']}{socket}"

    def _part(self, name: str) -> str:
        """A part of the URL, which may stand among its options, under libpq's name."""
        assert self.url is not None
        libpq = {"username": "user", "database": "dbname"}.get(name, name)
        found = getattr(self.url, name) or self.url.query.get(libpq) or ""
        return ",".join(found) if isinstance(found, tuple) else str(found)


Where = str | Path | Address
"""What says which ledger is meant; see `Address.of`."""
