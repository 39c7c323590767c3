"""The off switch: by the ledger for all, by a header for admins."""

import asyncio
import logging

import pytest
from openai import AuthenticationError, BadRequestError, PermissionDeniedError

from farthing.gateway import bypass
from farthing.gateway.bypass import SwitchEditor, SwitchReader, read_switch
from farthing.ledger.key_rows import ADMIN_TAG
from farthing.ledger.keyring import KeyRing
from farthing.ledger.keys import Key, Keys

HELLO = [{"role": "user", "content": "hello"}]
ON = {"x-farthing-bypass": "1"}


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "switch.db"


@pytest.fixture
async def gateway(start, ledger):
    """A gateway with keys, the static token `master`, and a switch."""
    gateway = await start(token="master")
    with Keys(ledger):
        pass
    gateway.service.keys = KeyRing(ledger, fresh_s=0.1, unknown_s=0)
    gateway.service.switch = SwitchReader(ledger)
    return gateway


async def ask(gateway, secret="master", model="cheap", headers=None, **settings):
    client = gateway.client(api_key=secret)
    return await client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, extra_headers=headers, **settings
    )


async def test_a_switched_off_plan_is_answered_by_its_strongest_model(gateway, ledger):
    with SwitchEditor(ledger) as switch:
        assert switch.set(True)
        assert not switch.set(True)
    await gateway.service.switch.read()
    answer = await ask(gateway)
    assert answer.headers["x-farthing-bypass"] == "1"
    assert answer.headers["x-farthing-answered-by"] == "gpt"
    told = answer.parse().farthing
    assert (told["bypass"], told["plan"], told["attempts"]) == (True, "cheap", 1)
    (attempt,) = gateway.ledger.attempts
    assert (attempt.node, attempt.model) == ("bypass", "gpt")
    (operation,) = gateway.ledger.operations
    assert operation.plan == "cheap"
    (outcome,) = gateway.ledger.outcomes
    assert (outcome.budget, outcome.alpha) == (None, None)  # it says nothing of the promise
    with SwitchEditor(ledger) as switch:
        assert switch.set(False)
    await gateway.service.switch.read()
    answer = await ask(gateway)
    assert "x-farthing-bypass" not in answer.headers
    assert "bypass" not in answer.parse().farthing
    assert gateway.ledger.attempts[1].node == "cascade/0"


async def test_streams_too(gateway, ledger):
    with SwitchEditor(ledger) as switch:
        switch.set(True)
    await gateway.service.switch.read()
    answer = await ask(gateway, stream=True)
    assert answer.headers["x-farthing-bypass"] == "1"
    texts = [c.choices[0].delta.content or "" async for c in answer.parse() if c.choices]
    assert "".join(texts) == "The answer is 42."
    assert gateway.ledger.attempts[0].node == "bypass"


async def test_single_models_are_as_ever(gateway, ledger):
    answer = await ask(gateway, model="gpt", headers=ON)
    assert "x-farthing-bypass" not in answer.headers
    assert gateway.ledger.attempts[0].node == "single"


async def test_the_header_is_for_admins(gateway, ledger):
    with Keys(ledger) as keys:
        admin = keys.create(Key("boss", tags={ADMIN_TAG: "true"}))
        other = keys.create(Key("clerk"))
    for secret in ("master", admin):
        answer = await ask(gateway, secret, headers=ON)
        assert answer.parse().farthing["bypass"] is True
    with pytest.raises(PermissionDeniedError, match="'clerk' may not switch plans off") as refused:
        await ask(gateway, other, headers=ON)
    assert refused.value.body["type"] == "permission_error"
    with pytest.raises(PermissionDeniedError):
        await ask(gateway, other, headers=ON | {"x-farthing-tags": f"{ADMIN_TAG}=true"})
    with pytest.raises(AuthenticationError):
        await ask(gateway, "wrong", headers=ON)
    with pytest.raises(BadRequestError, match="must be 0 or 1"):
        await ask(gateway, admin, headers={"x-farthing-bypass": "yes"})
    answer = await ask(gateway, other, headers={"x-farthing-bypass": "0"})
    assert "bypass" not in answer.parse().farthing
    assert len(gateway.ledger.operations) == 3


async def test_it_is_seen_within_two_seconds_and_believed_while_the_ledger_is_away(
    gateway, ledger, monkeypatch, caplog
):
    monkeypatch.setattr(bypass, "FRESH_S", 0.05)
    caplog.set_level(logging.WARNING)
    reader = gateway.service.switch
    keeper = asyncio.create_task(reader.keep())

    async def seen(on):
        async with asyncio.timeout(2):
            while reader.on is not on:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    with SwitchEditor(ledger) as switch:
        switch.set(True)
    await seen(True)
    aside = ledger.rename(ledger.with_suffix(".aside"))
    ledger.mkdir()  # no database can be opened there
    await asyncio.sleep(0.3)
    assert reader.on
    ledger.rmdir()
    aside.rename(ledger)
    with SwitchEditor(ledger) as switch:
        switch.set(False)
    await seen(False)
    keeper.cancel()


def test_the_switch_of_a_ledger(tmp_path):
    where = tmp_path / "new.db"
    assert read_switch(where) == bypass.Switch()
    with SwitchEditor(where) as switch:
        assert not switch.set(False)
        assert switch.set(True)
    found = read_switch(where)
    assert found.on
    assert found.since is not None
    assert found.since.endswith("Z")


async def test_the_switch_on_both_databases(where):
    with SwitchEditor(where) as switch:
        assert switch.set(True)
        assert read_switch(where).on
        reader = SwitchReader(where)
        await reader.read()
        assert reader.on
        assert switch.set(False)
        await reader.read()
        assert not reader.on
        reader.close()
