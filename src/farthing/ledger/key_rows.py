"""The rows of clients' keys, as they are read.

A secret is `fk-`, sixteen hexadecimal digits by which its row is found, a hyphen, and 43 URL-safe
characters of 256 random bits. It is shown once and kept only as its SHA-256. A slow, salted hash
is for passwords, which can be guessed: it makes each of a few billion guesses dear. There is
nothing to guess in 256 random bits, so a plain hash is as safe, and costs a request microseconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, select

from farthing.ledger.schema import key_events, key_secrets, keys

SECRET = re.compile(r"fk-([0-9a-f]{16})-[A-Za-z0-9_-]{43}")

ADMIN_TAG = "farthing-admin"
"""The tag, with the value "true", of keys made with `--admin`."""

State = Literal["active", "expired", "revoked"]
Ending = Literal["expired", "rotated", "revoked"]


@dataclass(frozen=True, slots=True)
class Key:
    """Whom a secret stands for, and what they may call.

    Attributes:
        name: never given twice, not even after the key is revoked.
        user, team: booked as the tags `user` and `team`.
        tags: booked with every operation.
        models, plans: names that clients may ask for. If both are None they may ask for
            everything; if one is given, for nothing but what is listed. A plan calls whichever
            models it needs.
        created_at: in UTC.
    """

    name: str
    user: str | None = None
    team: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] | None = None
    plans: tuple[str, ...] | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_admin(self) -> bool:
        """Whether its holder may switch plans off."""
        return self.tags.get(ADMIN_TAG) == "true"

    @property
    def labels(self) -> dict[str, str]:
        """The tags that are booked, those of user and team among them."""
        labels = dict(self.tags)
        if self.user is not None:
            labels["user"] = self.user
        if self.team is not None:
            labels["team"] = self.team
        return labels

    def may_use(self, name: str, *, plan: bool) -> bool:
        """Whether clients with this key may ask for the model, or plan, of that name."""
        if self.models is None and self.plans is None:
            return True
        return name in ((self.plans if plan else self.models) or ())


@dataclass(frozen=True, slots=True)
class KeySecret:
    """One of a key's secrets, without the secret.

    Attributes:
        id: the sixteen digits of it that are public.
        sha256: of the whole secret, in hexadecimal.
        ends_at: from when it is refused; None if nothing ends it. In UTC.
        ended_by: what that is.
    """

    id: str
    key: Key
    sha256: str
    created_at: datetime
    ends_at: datetime | None = None
    ended_by: Ending = "expired"

    def is_live(self, now: datetime) -> bool:
        """Whether it is accepted at `now`."""
        return self.ends_at is None or now < self.ends_at


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key as it stands: "expired" if none of its secrets is accepted any more.

    Attributes:
        ends_at: from when no secret of it is accepted; None if that is open. In UTC.
    """

    key: Key
    secrets: tuple[KeySecret, ...]
    state: State
    ends_at: datetime | None


def hash_secret(secret: str) -> str:
    """What is kept of a secret: its SHA-256 in hexadecimal; see the module for why."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_secrets(connection: Connection) -> list[KeySecret]:
    """All secrets, the oldest first, and what ends each first."""
    of_name = {row.name: _key(row) for row in connection.execute(select(keys))}
    ends: dict[str, list[tuple[datetime, Ending]]] = {}
    for event in connection.execute(select(key_events).order_by(key_events.c.number)):
        ends.setdefault(event.secret_id, []).append((moment(event.ends_at), event.kind))
    read = []
    for row in connection.execute(select(key_secrets).order_by(key_secrets.c.number)):
        of_secret = ends.get(row.id, [])
        if row.expires_at is not None:
            of_secret = [(moment(row.expires_at), "expired"), *of_secret]
        created, key = moment(row.created_at), of_name[row.key_name]
        secret = KeySecret(row.id, key, row.sha256, created)
        if of_secret:
            ends_at, ended_by = min(of_secret)
            secret = replace(secret, ends_at=ends_at, ended_by=ended_by)
        read.append(secret)
    return read


def key_states(connection: Connection, now: datetime) -> list[KeyState]:
    """All keys as they stand at `now`, by name."""
    grouped: dict[str, list[KeySecret]] = {}
    for secret in read_secrets(connection):
        grouped.setdefault(secret.key.name, []).append(secret)
    query = select(key_events.c.key_name).where(key_events.c.kind == "revoked").distinct()
    revoked = set(connection.execute(query).scalars())
    states = []
    for name, of_key in sorted(grouped.items()):
        live = any(secret.is_live(now) for secret in of_key)
        state: State = "active" if live else "expired"
        ends = [secret.ends_at for secret in of_key]
        last = None if None in ends else max(end for end in ends if end is not None)
        states.append(
            KeyState(of_key[0].key, tuple(of_key), "revoked" if name in revoked else state, last)
        )
    return states


def _key(row: Any) -> Key:
    return Key(
        row.name,
        row.user_name,
        row.team,
        json.loads(row.tags),
        None if row.models is None else tuple(json.loads(row.models)),
        None if row.plans is None else tuple(json.loads(row.plans)),
        moment(row.created_at),
    )


def moment(text: str) -> datetime:
    """A moment as the ledger writes it, read."""
    return datetime.fromisoformat(text)
