"""What single models get and give: bytes in and bytes out, at every endpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
BODIES: Any = {
    "/v1/chat/completions": ("gpt", CHAT),
    "/v1/completions": ("gpt", {"prompt": "hello"}),
    "/v1/embeddings": ("gpt", {"input": "hello"}),
    "/v1/responses": ("gpt", {"input": "hello"}),
    "/v1/messages": ("claude", {**CHAT, "max_tokens": 9}),
}
EXTRAS = {"new_field": {"x": [1.50, None]}, "metadata": {"a": "ü"}, "top_p": 0.5}


async def post(gateway: Any, path: str, body: Any, **headers: str) -> tuple[int, Any, bytes]:
    async with gateway.http.post(path, json=body, headers=headers) as response:
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize("path", BODIES)
async def test_plain_answers_are_the_upstreams_bytes(gateway: Any, path: str) -> None:
    model, asked = BODIES[path]
    status, headers, body = await post(gateway, path, {"model": model, **asked, **EXTRAS})
    assert status == 200
    assert body == gateway.upstream.sent[0]
    name = f"{model}-fake"
    assert gateway.upstream.requests == [{"model": name, **asked, **EXTRAS}]
    (attempt,) = gateway.ledger.attempts
    assert headers["x-farthing-cost-usd"] == str(attempt.cost)
    assert attempt.usage_basis == "exact"
    assert attempt.usage.input_tokens == 11
    assert gateway.ledger.operations[0].prompt == "hello"
    (outcome,) = gateway.ledger.outcomes
    assert (outcome.status, outcome.answered_by) == ("ok", model)
    if "embeddings" not in path:
        assert outcome.answer == "the answer is 42"
        assert attempt.upstream_id == json.loads(body)["id"]


@pytest.mark.parametrize("path", [path for path in BODIES if "embeddings" not in path])
@pytest.mark.parametrize("split", [None, 7])
async def test_streams_are_the_upstreams_bytes(gateway: Any, path: str, split: Any) -> None:
    gateway.upstream.split = split
    model, asked = BODIES[path]
    ask = {"model": model, **asked, **EXTRAS, "stream": True}
    if path in ("/v1/chat/completions", "/v1/completions"):
        ask["stream_options"] = {"include_usage": True}
    _, headers, body = await post(gateway, path, ask)
    assert headers["Content-Type"].startswith("text/event-stream")
    assert body == gateway.upstream.sent[0]
    assert gateway.upstream.requests == [{**ask, "model": f"{model}-fake"}]
    (attempt,) = gateway.ledger.attempts
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (11, 5)
    assert attempt.samples[0].text == "The answer is 42."
    assert attempt.upstream_id is not None


@pytest.mark.parametrize("path", [path for path in BODIES if "embeddings" not in path])
async def test_the_end_of_a_stream_waits_until_it_is_booked(
    gateway: Any, path: str, monkeypatch: Any
) -> None:
    model, asked = BODIES[path]
    ends = (b"[DONE]", b"message_stop", b"response.completed")
    order = []
    finish = gateway.ledger.finish

    async def noted(row: Any) -> None:
        order.append("booked")
        await finish(row)

    monkeypatch.setattr(gateway.ledger, "finish", noted)
    ask = {"model": model, **asked, "stream": True}
    async with gateway.http.post(path, json=ask) as response:
        async for line in response.content:
            if line.startswith(b"data:") and any(end in line for end in ends):
                order.append("end")
    assert order == ["booked", "end"]


async def test_of_a_field_sent_twice_the_upstream_sees_what_was_checked(gateway: Any) -> None:
    body = b'{"model": "down", "messages": [{"role": "user", "content": "x"}], "model": "gpt"}'
    async with gateway.http.post("/v1/chat/completions", data=body) as response:
        assert response.status == 200
    assert gateway.upstream.bodies[0].count(b'"model"') == 1
    assert gateway.upstream.requests[0]["model"] == "gpt-fake"


async def test_only_headers_of_the_format_go_on(gateway: Any) -> None:
    sent = {
        "anthropic-beta": "files-1",
        "anthropic-version": "2023-01-01",
        "anthropic-dangerous": "x",
        "x-forwarded-for": "1.2.3.4",
        "cookie": "a=b",
        "authorization": "Bearer theirs",
    }
    model, asked = BODIES["/v1/messages"]
    await post(gateway, "/v1/messages", {"model": model, **asked}, **sent)
    await post(gateway, "/v1/messages", {"model": "gpt", **asked}, **sent)
    raw, translated = gateway.upstream.headers
    assert (raw["anthropic-beta"], raw["anthropic-version"]) == ("files-1", "2023-01-01")
    assert "anthropic-beta" not in translated
    for headers in (raw, translated):
        for name in ("anthropic-dangerous", "x-forwarded-for", "cookie", "authorization"):
            assert name not in headers
    status, _, body = await post(
        gateway, "/v1/messages", {"model": model, **asked}, **{"anthropic-beta": "x" * 300}
    )
    assert (status, json.loads(body)["error"]["param"]) == (400, "anthropic-beta")


async def test_an_image_address_is_not_fetched(gateway: Any) -> None:
    url = f"{gateway.upstream.base_url}/never"
    part = {"type": "image_url", "image_url": {"url": url}}
    asked = {"messages": [{"role": "user", "content": [part]}]}
    for model in ("gpt", "claude", "lone"):
        status, _, _ = await post(gateway, "/v1/chat/completions", {"model": model, **asked})
        assert status == 200
    assert len(gateway.upstream.bodies) == 3  # the calls alone
    image = gateway.upstream.requests[1]["messages"][0]["content"][0]
    assert image == {"type": "image", "source": {"type": "url", "url": url}}


async def test_an_answer_in_the_background_is_refused(gateway: Any) -> None:
    ask = {"model": "gpt", "input": "x", "background": True}
    status, _, body = await post(gateway, "/v1/responses", ask)
    assert (status, json.loads(body)["error"]["param"]) == (400, "background")
    assert not gateway.upstream.bodies


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
async def test_usage_that_is_not_told_is_not_zero(gateway: Any, path: str) -> None:
    model, asked = BODIES[path]
    answer = {"id": "x", "content": [{"type": "text", "text": "yes"}], "output": []}
    gateway.upstream.malformed = json.dumps(answer).encode()
    status, _, body = await post(gateway, path, {"model": model, **asked})
    assert (status, body) == (200, gateway.upstream.malformed)
    assert gateway.ledger.attempts[0].usage_basis == "estimated"
