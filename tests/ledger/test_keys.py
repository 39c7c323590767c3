"""Keys as they are kept: shown once, ended for good, told apart in constant time."""

import asyncio
import hmac
import re
from datetime import UTC, datetime, timedelta

import pytest
from ledger_sql import execute, rows

from farthing.core.errors import LedgerError
from farthing.ledger import Ledger, keyring
from farthing.ledger.key_rows import SECRET, hash_secret
from farthing.ledger.keyring import KeyRefusedError, KeyRing
from farthing.ledger.keys import Key, Keys, KeysError, list_keys

HOUR = timedelta(hours=1)
SECRETS = ("key_secrets", "key_events")


@pytest.fixture
def store(where):
    with Keys(where) as opened:
        yield opened


@pytest.fixture
def ring(store):
    opened = KeyRing(store.address, fresh_s=0)
    yield opened
    opened.close()


def soon(seconds=3600):
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_secret_stands_for_its_key(store, ring):
    key = Key("alice", "al", "search", {"env": "prod"}, ("small",), ("thrifty", "fast"))
    secret = store.create(key)
    assert SECRET.fullmatch(secret)
    assert await ring.find(secret) == key
    assert key.labels == {"env": "prod", "user": "al", "team": "search"}


def test_what_a_key_may_use():
    everything = Key("a")
    assert everything.may_use("x", plan=True)
    assert everything.may_use("x", plan=False)
    models = Key("a", models=("x",))
    assert models.may_use("x", plan=False)
    assert not models.may_use("y", plan=False)
    assert not models.may_use("x", plan=True)
    plans = Key("a", plans=("x",))
    assert plans.may_use("x", plan=True)
    assert not plans.may_use("x", plan=False)
    assert not Key("a", models=()).may_use("x", plan=False)


def test_secrets_are_long_and_never_repeat(store):
    made = [store.create(Key(f"k{n}")) for n in range(50)]
    random = {secret[20:] for secret in made}
    assert len(random) == 50
    assert min(map(len, random)) == 43  # 256 bits in base64


def test_no_database_holds_a_secret(store):
    made = [store.create(Key("alice")), store.rotate("alice", grace=HOUR)]
    store.revoke("alice")
    if store.address.path is None:
        tables = [rows(store.address, f"SELECT * FROM {name}") for name in ("keys", *SECRETS)]
        kept = repr(tables).encode()
    else:
        kept = b"".join(path.read_bytes() for path in store.address.path.parent.iterdir())
    for secret in made:
        assert hash_secret(secret).encode() in kept
        assert secret.encode() not in kept
        assert secret[20:].encode() not in kept


def test_a_name_is_given_once(store):
    store.create(Key("alice"))
    store.revoke("alice")
    with pytest.raises(KeysError, match="already, or was"):
        store.create(Key("alice"))
    assert len(rows(store.address, "SELECT * FROM key_secrets")) == 1


@pytest.mark.parametrize(
    "key",
    [
        Key(""),
        Key("a b"),
        Key("a" * 129),
        Key("a", user=""),
        Key("a", tags={"user": "x"}),
        Key("a", tags={"x": "a\nb"}),
        Key("a", tags={f"t{n}": "x" for n in range(17)}),
        Key("a", team="x" * 257),
    ],
)
def test_keys_that_cannot_be_made(store, key):
    with pytest.raises(KeysError):
        store.create(key)
    assert rows(store.address, "SELECT * FROM keys") == []


async def test_expiry(store, ring):
    with pytest.raises(KeysError, match="expired already"):
        store.create(Key("alice"), expires_at=soon(-1))
    assert list_keys(store.address) == []
    secret = store.create(Key("alice"), expires_at=soon(0.3))
    assert (await ring.find(secret)).name == "alice"
    await asyncio.sleep(0.35)
    with pytest.raises(KeyRefusedError, match="'alice' has expired"):
        await ring.find(secret)
    assert [state.state for state in list_keys(store.address)] == ["expired"]
    with pytest.raises(KeysError, match="set --expires"):
        store.rotate("alice")
    renewed = store.rotate("alice", expires_at=soon())
    assert (await ring.find(renewed)).name == "alice"


async def test_revocation_is_for_good(store, ring):
    first = store.create(Key("alice"))
    second = store.rotate("alice", grace=HOUR)
    assert store.revoke("alice") is True
    assert store.revoke("alice") is False
    for secret in (first, second):
        with pytest.raises(KeyRefusedError, match="'alice' was revoked"):
            await ring.find(secret)
    with pytest.raises(KeysError, match="is revoked"):
        store.rotate("alice")
    assert [state.state for state in list_keys(store.address)] == ["revoked"]


async def test_rotation_at_once(store, ring):
    first = store.create(Key("alice"))
    second = store.rotate("alice")
    with pytest.raises(KeyRefusedError, match="was replaced"):
        await ring.find(first)
    assert (await ring.find(second)).name == "alice"


async def test_rotation_with_grace(store, ring):
    first = store.create(Key("alice"))
    second = store.rotate("alice", grace=timedelta(seconds=0.3))
    assert (await ring.find(first)).name == (await ring.find(second)).name == "alice"
    await asyncio.sleep(0.35)
    with pytest.raises(KeyRefusedError, match="was replaced"):
        await ring.find(first)
    assert (await ring.find(second)).name == "alice"


async def test_a_later_rotation_does_not_lengthen_grace(store, ring):
    first = store.create(Key("alice"))
    store.rotate("alice", grace=timedelta(seconds=0.2))
    store.rotate("alice", grace=HOUR)
    await asyncio.sleep(0.25)
    with pytest.raises(KeyRefusedError, match="was replaced"):
        await ring.find(first)


def test_grace_does_not_lengthen_a_life(store):
    ends = soon(60)
    store.create(Key("alice"), expires_at=ends)
    store.rotate("alice", grace=HOUR)
    (state,) = list_keys(store.address)
    assert [secret.ends_at for secret in state.secrets] == [ends, ends]
    assert state.ends_at == ends


def test_nothing_is_changed_or_deleted(store):
    log = {}
    for step in (
        lambda: store.create(Key("alice")),
        lambda: store.rotate("alice", grace=HOUR),
        lambda: store.rotate("alice"),
        lambda: store.revoke("alice"),
    ):
        step()
        for table in ("keys", *SECRETS):
            now = rows(store.address, f"SELECT * FROM {table}")
            assert now[: len(log.get(table, []))] == log.get(table, [])
            log[table] = now
    assert [len(log[table]) for table in ("keys", *SECRETS)] == [1, 3, 6]


async def test_strangers(store, ring):
    secret = store.create(Key("alice"))
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    other = f"fk-{'0' * 16}-{secret[20:]}"
    for sent in ("", "fk-", "none", secret.upper(), secret + "x", changed, other, "\udcff" * 63):
        with pytest.raises(KeyRefusedError) as refused:
            await ring.find(sent)
        assert secret[20:] not in str(refused.value)
        assert "no key of the gateway" in str(refused.value)


async def test_hashes_are_compared_in_constant_time(store, ring, monkeypatch):
    compared = []

    def compare(a, b):
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    secret = store.create(Key("alice"))
    monkeypatch.setattr(keyring, "hmac", type("H", (), {"compare_digest": staticmethod(compare)}))
    await ring.find(secret)
    stranger = f"fk-{'0' * 16}-{secret[20:]}"
    with pytest.raises(KeyRefusedError):
        await ring.find(stranger)
    assert [a for a, _ in compared] == [hash_secret(secret), hash_secret(stranger)]
    assert all(re.fullmatch("[0-9a-f]{64}", b) for _, b in compared)


async def test_what_is_fresh_is_not_read_again(store, monkeypatch):
    secret = store.create(Key("alice"))
    ring = KeyRing(store.address, fresh_s=1.0)
    reads = []
    read = KeyRing._read
    monkeypatch.setattr(KeyRing, "_read", lambda self: (reads.append(1), read(self))[1])
    await asyncio.gather(*(ring.find(secret) for _ in range(100)))
    assert len(reads) == 1
    store.revoke("alice")
    await ring.find(secret)  # believed for a second
    await asyncio.sleep(1.0)
    refusals = await asyncio.gather(
        *(ring.find(secret) for _ in range(100)), return_exceptions=True
    )
    assert {type(refusal) for refusal in refusals} == {KeyRefusedError}
    assert len(reads) == 2
    ring.close()


async def test_a_new_key_works_at_once_and_strangers_do_not_cause_reads(store, monkeypatch):
    ring = KeyRing(store.address, fresh_s=60, unknown_s=0.05)
    first = store.create(Key("first"))
    await ring.find(first)
    second = store.create(Key("second"))
    await asyncio.sleep(0.05)
    assert (await ring.find(second)).name == "second"
    reads = []
    monkeypatch.setattr(KeyRing, "_read", lambda self: reads.append(1))
    ring._unknown_s = 60
    for n in range(50):
        with pytest.raises(KeyRefusedError):
            await ring.find(f"fk-{n:016x}-{'a' * 43}")
    assert reads == []
    ring.close()


async def test_keys_are_booked_while_a_gateway_writes(where):
    async with Ledger.open(where):
        with Keys(where) as store:
            secret = store.create(Key("alice"))
        ring = KeyRing(where)
        assert (await ring.find(secret)).name == "alice"
        ring.close()


async def test_keys_that_cannot_be_read_are_an_error_and_no_way_in(store, ring):
    secret = store.create(Key("alice"))
    await ring.find(secret)
    execute(store.address, "ALTER TABLE key_events RENAME TO away")
    with pytest.raises(LedgerError, match="cannot read the keys"):
        await ring.find(secret)


def test_a_failure_to_write_tells_no_values(store):
    execute(store.address, "ALTER TABLE key_secrets RENAME TO away")
    with pytest.raises(LedgerError, match=r"no such table|does not exist") as failure:
        store.create(Key("alice"))
    assert "sha256" not in str(failure.value)
    assert failure.value.__suppress_context__
    assert rows(store.address, "SELECT * FROM keys") == []


def test_an_unknown_key_is_told(store):
    for change in (store.rotate, store.revoke):
        with pytest.raises(KeysError, match="no key 'zoe'"):
            change("zoe")
