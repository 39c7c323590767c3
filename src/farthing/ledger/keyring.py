"""Whose secret is it? Told from memory, which is read anew every few seconds."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
from datetime import UTC, datetime
from time import monotonic

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from farthing.core.errors import LedgerError
from farthing.ledger.address import Address, Where
from farthing.ledger.engines import cause, engine_for
from farthing.ledger.key_rows import SECRET, Key, KeySecret, hash_secret, read_secrets
from farthing.ledger.keys import KeysError
from farthing.ledger.schema import key_events, key_secrets
from farthing.ledger.values import timestamp

FRESH_S = 2.0
"""Seconds within which a revocation is effective."""
UNKNOWN_S = 0.2
"""Seconds within which a new key is; many unknown secrets cause no more reads than this."""

_NOBODY = hash_secret("")
logger = logging.getLogger("farthing.ledger")


class KeyRefusedError(KeysError):
    """A secret that is not, or no longer, accepted; the message does not hold it."""


class KeyRing:
    """The keys of a ledger, for a gateway that asks about every request.

    What was read is believed for `fresh_s` seconds. Then one request reads whether anything
    changed, in another thread, and those that come meanwhile wait for it: no secret is accepted
    by what is older. Rows are only ever added, so that two numbers tell of any change.
    """

    def __init__(
        self,
        where: Where,
        *,
        fresh_s: float = FRESH_S,
        unknown_s: float = UNKNOWN_S,
        believe_last: bool = False,
    ) -> None:
        """Open nothing yet; the first `find` does.

        Args:
            believe_last: go by what was read last while the ledger is away. A secret that is
                revoked meanwhile is accepted until it is back.
        """
        self.address = Address.of(where)
        self._engine = engine_for(self.address, "read")
        self._fresh_s, self._unknown_s = fresh_s, min(unknown_s, fresh_s)
        self._secrets: dict[str, KeySecret] = {}
        self._seen: tuple[int | None, int | None] | None = None
        self._read_at = -math.inf
        self._reading = asyncio.Lock()
        self._believe_last = believe_last

    async def find(self, sent: str) -> Key:
        """The key that `sent` is a secret of.

        Raises:
            KeyRefusedError: it is none, or has expired, or was rotated or revoked.
            LedgerError: the ledger cannot be read, and what is in memory is too old.
        """
        parts = SECRET.fullmatch(sent)
        if parts is None:
            raise _unknown()
        id = parts[1]
        if self._is_older_than(self._age(id)):
            async with self._reading:
                if self._is_older_than(self._age(id)):
                    await self._read_again()
        secret = self._secrets.get(id)
        kept = _NOBODY if secret is None else secret.sha256
        if not hmac.compare_digest(hash_secret(sent), kept) or secret is None:
            raise _unknown()
        if secret.ends_at is not None and datetime.now(UTC) >= secret.ends_at:
            ended = {"expired": "has expired", "rotated": "was replaced", "revoked": "was revoked"}
            raise KeyRefusedError(
                f"this secret of the key {secret.key.name!r} {ended[secret.ended_by]}: its end "
                f"was {timestamp(secret.ends_at)}"
            )
        return secret.key

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _age(self, id: str) -> float:
        return self._fresh_s if id in self._secrets else self._unknown_s

    def _is_older_than(self, seconds: float) -> bool:
        return monotonic() - self._read_at >= seconds

    async def _read_again(self) -> None:
        began = monotonic()
        try:
            await asyncio.to_thread(self._read)
        except LedgerError as error:
            if self._seen is None or not self._believe_last:
                raise
            logger.warning("%s; those that were read last are believed", error)
            self._read_at = began

    def _read(self) -> None:
        began = monotonic()
        last = select(
            select(func.max(key_secrets.c.number)).scalar_subquery(),
            select(func.max(key_events.c.number)).scalar_subquery(),
        )
        try:
            with self._engine.begin() as connection:
                row = connection.execute(last).one()
                seen = (row[0], row[1])
                if seen != self._seen:
                    found = {secret.id: secret for secret in read_secrets(connection)}
                    self._secrets, self._seen = found, seen
        except SQLAlchemyError as error:
            raise LedgerError(f"cannot read the keys in {self.address}: {cause(error)}") from None
        self._read_at = began


def _unknown() -> KeyRefusedError:
    return KeyRefusedError(
        "this is no key of the gateway: send a secret of `farthing keys create` as "
        "`Authorization: Bearer fk-...`"
    )
