"""Clients with keys: who comes in, what they may ask for, and as whom they are booked."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from openai import AuthenticationError, NotFoundError

from farthing.gateway.build import open_service
from farthing.gateway.config import load
from farthing.gateway.errors import AccessError
from farthing.gateway.sections import GatewayConfig
from farthing.gateway.service import Service
from farthing.ledger.keyring import KeyRing
from farthing.ledger.keys import Key, Keys

HELLO = [{"role": "user", "content": "hello"}]
FRESH_S = 0.2


@pytest.fixture
def store(tmp_path):
    with Keys(tmp_path / "keys.db") as opened:
        yield opened


@pytest.fixture
async def gateway(start, store):
    """A gateway with keys, and the admin's token `master`."""
    gateway = await start(token="master")
    gateway.service.keys = KeyRing(store.address, fresh_s=FRESH_S, unknown_s=0)
    return gateway


async def ask(gateway, secret, model="parrot", **settings):
    client = gateway.client(api_key=secret)
    return await client.chat.completions.create(model=model, messages=HELLO, **settings)


async def refused(gateway, secret, match):
    with pytest.raises(AuthenticationError, match=match) as error:
        await ask(gateway, secret)
    assert error.value.body["type"] == "authentication_error"
    assert error.value.body["code"] == "invalid_api_key"
    assert error.value.response.headers["www-authenticate"] == "Bearer"
    assert secret not in str(error.value)


async def test_a_key_comes_in_and_is_booked(gateway, store):
    secret = store.create(Key("alice", "al", "search", {"env": "prod"}))
    answer = await ask(gateway, secret, extra_headers={"x-farthing-tags": "team=forged,run=7"})
    assert answer.choices[0].message.content == "hello"
    (booked,) = gateway.ledger.operations
    assert booked.key == "alice"
    assert booked.tags == {"run": "7", "env": "prod", "user": "al", "team": "search"}
    assert secret not in repr(gateway.ledger.operations)


async def test_a_client_with_a_key_cannot_choose_its_user_or_team(gateway, store):
    secret = store.create(Key("nobody"))
    await ask(gateway, secret, extra_headers={"x-farthing-tags": "user=al,team=search,run=7"})
    assert gateway.ledger.operations[0].tags == {"run": "7"}


async def test_streams_and_plans_are_booked_too(gateway, store):
    secret = store.create(Key("alice"))
    stream = await ask(gateway, secret, "gpt", stream=True)
    assert [chunk async for chunk in stream]
    await ask(gateway, secret, "cheap")
    assert [row.key for row in gateway.ledger.operations] == ["alice", "alice"]


async def test_a_key_is_no_business_of_the_upstream(gateway, store):
    secret = store.create(Key("alice"))
    await ask(gateway, secret, "gpt")
    assert secret[20:] not in repr(vars(gateway.upstream))


async def test_without_a_key_nobody_comes_in(gateway, store):
    store.create(Key("alice"))
    await refused(gateway, "none", "no key of the gateway")
    await refused(gateway, f"fk-{'0' * 16}-{'a' * 43}", "no key of the gateway")
    for headers in ({}, {"Authorization": "Basic bWFzdGVyOg=="}, {"Authorization": "Bearer"}):
        for address in ("/v1/models", "/v1/models/parrot"):
            async with gateway.http.get(address, headers=headers) as response:
                assert response.status == 401
    async with gateway.http.get("/healthz") as response:
        assert response.status == 200
    assert gateway.ledger.operations == []
    assert gateway.parrot.calls == []


async def test_the_token_still_opens_everything(gateway, store):
    store.create(Key("alice", models=()))
    await ask(gateway, "master")
    assert gateway.ledger.operations[0].key is None


async def test_only_keys(start, store):
    gateway = await start()
    gateway.service.keys = KeyRing(store.address)
    secret = store.create(Key("alice"))
    await ask(gateway, secret)
    await refused(gateway, "master", "no key of the gateway")


async def test_an_expired_key(gateway, store):
    ends = datetime.now(UTC) + timedelta(seconds=0.4)
    secret = store.create(Key("alice"), expires_at=ends)
    await ask(gateway, secret)
    await asyncio.sleep(0.5)
    await refused(gateway, secret, "'alice' has expired")


async def test_a_revoked_key_is_refused_within_the_time_told(gateway, store):
    secret = store.create(Key("alice"))
    await ask(gateway, secret)
    store.revoke("alice")
    await asyncio.sleep(FRESH_S)
    await refused(gateway, secret, "'alice' was revoked")
    assert len(gateway.ledger.operations) == 1


async def test_a_rotated_key_with_grace(gateway, store):
    first = store.create(Key("alice"))
    second = store.rotate("alice", grace=timedelta(seconds=2))
    await ask(gateway, first)
    await ask(gateway, second)
    await asyncio.sleep(2.1)
    await refused(gateway, first, "was replaced")
    await ask(gateway, second)


async def test_what_a_key_may_not_use_costs_nothing(gateway, store):
    secret = store.create(Key("alice", models=("parrot",)))
    await ask(gateway, secret, "parrot")
    for name in ("gpt", "cheap", "nowhere"):  # one answer for what is not there and not allowed
        with pytest.raises(NotFoundError, match=f"'alice' may use .*{name}.*it has parrot") as no:
            await ask(gateway, secret, name)
        assert no.value.body["code"] == "model_not_found"
    assert len(gateway.ledger.operations) == 1
    assert len(gateway.parrot.calls) == 1
    client = gateway.client(api_key=secret)
    assert [model.id async for model in client.models.list()] == ["parrot"]
    with pytest.raises(NotFoundError):
        await client.models.retrieve("gpt")


async def test_a_plan_calls_the_models_that_it_needs(gateway, store):
    secret = store.create(Key("alice", plans=("strict",)))
    answer = await ask(gateway, secret, "strict")
    assert answer.farthing["answered_by"] == "gpt"
    with pytest.raises(NotFoundError):
        await ask(gateway, secret, "gpt")


async def test_keys_that_cannot_be_read_let_nobody_in(gateway, store, tmp_path):
    secret = store.create(Key("alice"))
    gateway.service.keys = KeyRing(tmp_path / "nowhere" / "keys.db")
    async with gateway.http.get(
        "/v1/models", headers={"Authorization": f"Bearer {secret}"}
    ) as response:
        assert response.status == 503
    async with gateway.http.get("/v1/models", headers={"Authorization": "Bearer master"}) as known:
        assert known.status == 200


async def test_logs_hold_no_secret(gateway, store, caplog):
    caplog.set_level(logging.DEBUG)
    secret = store.create(Key("alice"))
    await ask(gateway, secret)
    await ask(gateway, secret, "gpt")
    store.revoke("alice")
    await asyncio.sleep(FRESH_S)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("farthing", "sqlal"))]
    await refused(gateway, secret, "revoked")
    ours += [r.getMessage() for r in caplog.records if r.name.startswith(("farthing", "alembic"))]
    assert secret[20:] not in "\n".join(ours)


async def test_the_view_of_a_client_shares_everything_but_the_caller():
    service = Service(GatewayConfig(), {}, token="t")
    seen = service.seen_by(Key("alice"))
    assert service.caller is None
    assert seen.ledger is service.ledger
    assert seen.drains is service.drains
    assert seen._readers is service._readers


class WithKeys(GatewayConfig, frozen=True, kw_only=True):
    keys: bool = True


async def test_the_keys_are_those_of_the_ledger(tmp_path):
    (tmp_path / "farthing.toml").write_text('[models.small]\nkind = "tiny"\nsize = "small"\n')
    config = load(tmp_path / "farthing.toml")
    plain = open_service(config)
    assert plain.keys is None
    await plain.aclose()
    service = open_service(msgspec.structs.replace(config, gateway=WithKeys()))
    with Keys(tmp_path / "farthing.db") as store:
        secret = store.create(Key("alice"))
    seen = await service.admit(f"Bearer {secret}")
    assert (seen.caller.name, seen.names) == ("alice", ["small"])
    with pytest.raises(AccessError):
        await service.admit(None)
    await service.aclose()
