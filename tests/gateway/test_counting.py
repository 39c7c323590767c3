"""Anthropic's counting of tokens through the official client."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

ASK: Any = [{"role": "user", "content": "hello"}]


async def test_the_upstreams_count_comes_back_as_it_is(gateway: Any) -> None:
    counted = await gateway.anthropic().messages.count_tokens(
        model="claude", messages=ASK, system="Be.", extra_headers={"anthropic-beta": "x"}
    )
    assert counted.input_tokens == 11
    (sent,) = gateway.upstream.requests
    assert sent == {"model": "claude-fake", "messages": ASK, "system": "Be."}
    assert gateway.upstream.headers[0]["anthropic-beta"] == "x"
    assert gateway.upstream.sent[0] == counted_bytes(11)


def counted_bytes(count: int) -> bytes:
    return b'{\n "input_tokens": %d\n}' % count


async def test_nothing_is_booked(gateway: Any) -> None:
    await gateway.anthropic().messages.count_tokens(model="claude", messages=ASK)
    assert not gateway.ledger.operations
    assert not gateway.ledger.attempts


@pytest.mark.parametrize("model", ["gpt", "parrot", "lone"])
async def test_who_cannot_count_says_so(gateway: Any, model: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await gateway.anthropic().messages.count_tokens(model=model, messages=ASK)
    told = caught.value.body["error"]  # type: ignore[index]
    assert (told["type"], told["param"], told["code"]) == (
        "invalid_request_error",
        "model",
        "unsupported",
    )
    assert repr(model) in told["message"]
    assert not gateway.upstream.bodies


async def test_errors_have_anthropics_shape(gateway: Any) -> None:
    count = gateway.anthropic().messages.count_tokens
    with pytest.raises(anthropic.NotFoundError) as absent:
        await count(model="nobody", messages=ASK)
    assert absent.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError):
        await count(model="claude", messages=[])
    gateway.upstream.status = 529
    gateway.upstream.error = {"type": "error", "error": {"type": "overloaded_error"}}
    with pytest.raises(anthropic.InternalServerError) as failed:
        await count(model="claude", messages=ASK)
    assert failed.value.status_code == 502
    gateway.upstream.status, gateway.upstream.malformed = 200, b'{"input_tokens": "many"}'
    with pytest.raises(anthropic.InternalServerError):
        await count(model="claude", messages=ASK)


async def test_it_asks_for_the_token(start: Any) -> None:
    gateway = await start(token="master")
    with pytest.raises(anthropic.AuthenticationError):
        await gateway.anthropic().messages.count_tokens(model="claude", messages=ASK)
    client = gateway.anthropic(api_key="master")
    assert (await client.messages.count_tokens(model="claude", messages=ASK)).input_tokens == 11


async def test_a_body_that_is_too_large(start: Any) -> None:
    gateway = await start(max_body_mb=0.001)
    with pytest.raises(anthropic.RequestTooLargeError):
        await gateway.anthropic().messages.count_tokens(
            model="claude", messages=[{"role": "user", "content": "x" * 2000}]
        )
