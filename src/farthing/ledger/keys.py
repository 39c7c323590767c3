"""Clients' keys: made, listed, rotated and revoked; rows are only ever added."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert, select

from farthing.core.errors import FarthingError
from farthing.ledger.address import Where
from farthing.ledger.editing import Editor
from farthing.ledger.engines import reading
from farthing.ledger.key_rows import (
    Key,
    KeySecret,
    KeyState,
    hash_secret,
    key_states,
    moment,
)
from farthing.ledger.schema import key_events, key_secrets, keys
from farthing.ledger.values import timestamp

__all__ = ["Key", "KeySecret", "KeyState", "Keys", "KeysError", "list_keys"]

NAME = re.compile(r"[A-Za-z0-9][\w.:/@#+-]{0,127}", re.ASCII)
MAX_LABELS, MAX_LABEL = 16, 256


class KeysError(FarthingError):
    """A key that cannot be made or changed as asked."""


class Keys(Editor):
    """The keys in a ledger. Gateways see a change within seconds; see `KeyRing`."""

    def create(self, key: Key, *, expires_at: datetime | None = None) -> str:
        """Book `key` and return its secret, which cannot be had again.

        Raises:
            KeysError: the name is taken or not allowed, a label is too long, or the key would
                be expired from the start.
            LedgerError: it cannot be written.
        """
        _check(key)
        with self._writing() as connection:
            now = datetime.now(UTC)
            if _has(connection, key.name):
                raise KeysError(
                    f"there is a key {key.name!r} already, or was: names are not given twice, so "
                    "that reports stay clear; `farthing keys rotate` gives it a new secret"
                )
            values = {
                "name": key.name,
                "created_at": timestamp(key.created_at),
                "user_name": key.user,
                "team": key.team,
                "tags": json.dumps(dict(key.tags), ensure_ascii=False, sort_keys=True),
                "models": None if key.models is None else json.dumps(key.models),
                "plans": None if key.plans is None else json.dumps(key.plans),
            }
            connection.execute(insert(keys), values)
            return _add_secret(connection, key.name, now, expires_at)

    def rotate(
        self, name: str, *, grace: timedelta = timedelta(0), expires_at: datetime | None = None
    ) -> str:
        """Book a new secret for the key, return it, and end the earlier ones after `grace`.

        Args:
            expires_at: of the new secret; None keeps the moment at which the last one expires.

        Raises:
            KeysError: no such key, it is revoked, or the new secret would be expired.
            LedgerError: it cannot be written.
        """
        with self._writing() as connection:
            now = datetime.now(UTC)
            found = self._state(connection, name, now)
            if found.state == "revoked":
                raise KeysError(f"the key {name!r} is revoked; create one of another name")
            ids = [secret.id for secret in found.secrets if secret.is_live(now)]
            if expires_at is None:
                expires_at = _expiry(connection, found.secrets[-1].id)
            secret = _add_secret(connection, name, now, expires_at)
            _end(connection, name, ids, "rotated", now, now + grace)
            return secret

    def revoke(self, name: str) -> bool:
        """End all of the key's secrets now, for good; False if that was done before.

        Raises KeysError if there is no such key, LedgerError if it cannot be written.
        """
        with self._writing() as connection:
            now = datetime.now(UTC)
            found = self._state(connection, name, now)
            if found.state == "revoked":
                return False
            _end(connection, name, [secret.id for secret in found.secrets], "revoked", now, now)
            return True

    def _state(self, connection: Connection, name: str, now: datetime) -> KeyState:
        for found in key_states(connection, now):
            if found.key.name == name:
                return found
        raise KeysError(
            f"there is no key {name!r} in {self.address}; `farthing keys list` shows all"
        )


def list_keys(where: Where) -> list[KeyState]:
    """The keys in the ledger at `where` as they stand now, by name.

    Raises LedgerError if there is no ledger, or it cannot be read.
    """
    with reading(where) as connection:
        return key_states(connection, datetime.now(UTC))


def _check(key: Key) -> None:
    if not NAME.fullmatch(key.name):
        raise KeysError(
            f"{key.name!r} is no name for a key: at most 128 letters, digits and . _ : / @ # + -"
        )
    taken = {"user", "team"} & set(key.tags)
    if taken:
        option = min(taken)
        raise KeysError(f"the tag {option!r} is what --{option} sets")
    labels: Sequence[str] = [*key.labels, *key.labels.values()]
    if len(key.labels) > MAX_LABELS:
        raise KeysError(f"a key has at most {MAX_LABELS} tags, user and team among them")
    for label in labels:
        if not label or len(label) > MAX_LABEL or not label.isprintable():
            raise KeysError(f"a tag is printable and has 1 to {MAX_LABEL} characters: {label!r}")


def _has(connection: Connection, name: str) -> bool:
    return connection.execute(select(keys.c.name).where(keys.c.name == name)).first() is not None


def _add_secret(
    connection: Connection, name: str, now: datetime, expires_at: datetime | None
) -> str:
    if expires_at is not None and expires_at <= now:
        raise KeysError(
            f"a secret that expires at {timestamp(expires_at)} is expired already; set --expires"
        )
    id = secrets.token_hex(8)
    secret = f"fk-{id}-{secrets.token_urlsafe(32)}"
    values = {
        "id": id,
        "key_name": name,
        "sha256": hash_secret(secret),
        "created_at": timestamp(now),
        "expires_at": None if expires_at is None else timestamp(expires_at),
    }
    connection.execute(insert(key_secrets), values)
    return secret


def _end(
    connection: Connection, name: str, ids: list[str], kind: str, at: datetime, ends_at: datetime
) -> None:
    moments = {"at": timestamp(at), "ends_at": timestamp(ends_at)}
    for id in ids:
        values = {"key_name": name, "secret_id": id, "kind": kind} | moments
        connection.execute(insert(key_events), values)


def _expiry(connection: Connection, id: str) -> datetime | None:
    query = select(key_secrets.c.expires_at).where(key_secrets.c.id == id)
    told = connection.execute(query).scalar()
    return None if told is None else moment(told)
