"""What the gateway does when its upstream, its clients or its ledger misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from dataclasses import replace
from typing import Any

import openai
import pytest

from farthing.core.errors import LedgerError
from farthing.gateway import answering

ASK: Any = [{"role": "user", "content": "hello, this is private"}]
MODELS = pytest.mark.parametrize("model", ["gpt", "lone"])
STREAM = pytest.mark.parametrize("stream", [False, True])


def error_of(body: bytes) -> dict[str, Any]:
    told = json.loads(body)
    assert set(told) == {"error"}
    assert set(told["error"]) >= {"message", "type", "param", "code"}
    error: dict[str, Any] = told["error"]
    return error


@pytest.mark.parametrize("model", ["down", "doomed"])
@STREAM
async def test_upstream_down(gateway: Any, model: str, stream: bool) -> None:
    status, headers, body = await gateway.chat(model=model, stream=stream)
    assert status == 502
    assert headers["x-farthing-operation"] == gateway.ledger.operations[0].id
    assert error_of(body)["code"] == "upstream_unreachable"
    assert "model 'down'" in error_of(body)["message"]
    (outcome,) = gateway.ledger.outcomes
    (attempt,) = gateway.ledger.attempts
    assert (outcome.status, attempt.status, str(attempt.cost)) == ("failed", "failed", "0")


@MODELS
@STREAM
async def test_upstream_slow(gateway: Any, model: str, stream: bool) -> None:
    gateway.upstream.delay_s = 9
    status, _, body = await gateway.chat(model=model, stream=stream)
    assert status == 504
    assert error_of(body)["code"] == "upstream_timeout"
    assert gateway.ledger.attempts[0].status == "failed"
    assert gateway.ledger.attempts[0].cost is None


@MODELS
@STREAM
async def test_upstream_sends_malformed_json(gateway: Any, model: str, stream: bool) -> None:
    gateway.upstream.malformed = b'{"choices": ['
    status, _, body = await gateway.chat(model=model, stream=stream)
    assert status == 502
    assert error_of(body)["code"] == "upstream_malformed"


@MODELS
@STREAM
@pytest.mark.parametrize(
    ("upstream_status", "status"),
    [(400, 400), (404, 404), (422, 422), (429, 429), (401, 502), (403, 502), (500, 502)],
)
async def test_upstream_answers_with_an_error(
    gateway: Any, model: str, stream: bool, upstream_status: int, status: int
) -> None:
    sent = {"message": "as the upstream says", "type": "t", "param": "p", "code": "c"}
    gateway.upstream.status, gateway.upstream.error = upstream_status, {"error": sent}
    got, _, body = await gateway.chat(model=model, stream=stream)
    assert got == status
    if status == upstream_status:
        assert error_of(body) == sent
    else:
        assert error_of(body)["code"] == "upstream_status"
        assert "as the upstream says" not in error_of(body)["message"]


async def test_upstream_cuts_a_whole_answer(gateway: Any) -> None:
    gateway.upstream.cut_at = 50
    status, _, body = await gateway.chat(model="gpt")
    assert status == 502
    assert error_of(body)["code"] == "upstream_cut"


async def test_upstream_cuts_a_stream(gateway: Any) -> None:
    gateway.upstream.cut_at = 400
    status, _, body = await gateway.chat(model="gpt", stream=True)
    assert status == 200
    *events, last = [event for event in body.split(b"\n\n") if event]
    assert events
    assert gateway.upstream.sent[0].startswith(b"\n\n".join(events))
    assert error_of(last.removeprefix(b"data: "))["code"] == "upstream_cut"
    assert b"[DONE]" not in body
    (attempt,) = gateway.ledger.attempts
    assert (attempt.status, attempt.cost) == ("failed", None)
    assert attempt.upstream_id == "chatcmpl-fake"
    assert gateway.ledger.outcomes[0].status == "failed"
    stream = await gateway.client().chat.completions.create(model="gpt", messages=ASK, stream=True)
    with pytest.raises(openai.APIError, match=r"ended its stream|closed the connection"):
        [chunk async for chunk in stream]


@STREAM
async def test_a_request_takes_too_long(start: Any, stream: bool) -> None:
    gateway = await start(request_timeout_s=0.1)
    gateway.parrot.delay_s = 0.4
    for model in ("parrot", "cheap"):
        status, _, body = await gateway.chat(model=model, stream=stream)
        assert status == 504
        assert "request_timeout_s" in error_of(body)["message"]
    await gateway.service.drains.wait(5)
    assert [a.status for a in gateway.ledger.attempts] == ["cancelled"] * 2
    assert all(attempt.usage for attempt in gateway.ledger.attempts)


@pytest.mark.parametrize("model", ["parrot", "cheap"])
async def test_a_stream_takes_too_long(start: Any, model: str) -> None:
    gateway = await start(request_timeout_s=0.25, keepalive_s=0.05)
    gateway.parrot.delay_s = 0.2
    status, _, body = await gateway.chat(model=model, stream=True, messages=ASK)
    assert status == 200
    *_, last = [event for event in body.split(b"\n\n") if event]
    assert "request_timeout_s" in error_of(last.removeprefix(b"data: "))["message"]
    await gateway.service.drains.wait(5)
    assert [outcome.status for outcome in gateway.ledger.outcomes] == ["failed"]
    assert gateway.ledger.attempts[-1].status == "cancelled"


@pytest.mark.parametrize("model", ["gpt", "lone", "parrot", "cheap"])
@STREAM
async def test_the_client_leaves(gateway: Any, model: str, stream: bool) -> None:
    gateway.upstream.delay_s = gateway.parrot.delay_s = 0.2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await gateway.chat(model=model, stream=stream)
    await asyncio.sleep(0.05)
    await gateway.service.drains.wait(5)
    (attempt,) = gateway.ledger.attempts
    assert attempt.status == "cancelled"
    assert attempt.usage
    assert attempt.cost
    assert [outcome.status for outcome in gateway.ledger.outcomes] == ["cancelled"]
    if model in ("gpt", "lone"):
        assert gateway.upstream.answered == 1


@pytest.mark.parametrize("chunk_delay_s", [0.02, 0.0])
async def test_the_client_leaves_within_a_stream(
    gateway: Any, chunk_delay_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.upstream.words = ("word ",) * 20
    gateway.upstream.split = None if chunk_delay_s else 100
    gateway.upstream.chunk_delay_s = chunk_delay_s
    ask = {"model": "gpt", "messages": ASK, "stream": True}
    async with gateway.http.post("/v1/chat/completions", json=ask) as response:
        await response.content.readany()
        response.close()
    (attempt,) = await gateway.attempts(1)
    assert gateway.upstream.answered == 1
    assert attempt.status == ("cancelled" if chunk_delay_s else attempt.status)
    assert not caplog.records
    assert attempt.usage.output_tokens == gateway.upstream.billed_output == 20
    assert attempt.samples[0].text == "word " * 20


@pytest.mark.parametrize("model", ["gpt", "parrot", "cheap"])
async def test_a_client_that_does_not_read(start: Any, monkeypatch: Any, model: str) -> None:
    monkeypatch.setattr(answering, "LAST_WORDS_S", 0.1)
    gateway = await start(request_timeout_s=1)
    gateway.upstream.words = ("x" * 2**16,) * 128
    text = "hello" if model == "gpt" else ("z" * 2**19 + " ") * 16
    ask = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    body = json.dumps(ask).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])))
        await loop.sock_sendall(client, head.encode() + body)
        await asyncio.sleep(1.5)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := await loop.sock_recv(client, 2**20):
                received = received[-100:] + data
    assert b"[DONE]" not in received
    assert all(attempt.usage for attempt in gateway.ledger.attempts)
    assert gateway.ledger.outcomes[0].status in ("ok", "failed")  # a ledger keeps the first


async def test_a_ledger_that_cannot_be_written(gateway: Any, monkeypatch: Any) -> None:
    async def full(row: Any) -> None:
        raise LedgerError("cannot write to the ledger: the disk is full")

    monkeypatch.setattr(gateway.ledger, "finish", full)
    for model in ("gpt", "cheap"):
        status, _, body = await gateway.chat(model=model)
        assert status == 503
        assert "the disk is full" in error_of(body)["message"]
        _, _, body = await gateway.chat(model=model, stream=True)
        assert b"the disk is full" in body
        assert b"[DONE]" not in body


async def test_neither_keys_nor_prompts_in_logs_and_errors(
    gateway: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    model = gateway.service.models["gpt"]
    model._headers["Authorization"] = "Bearer sk-very-secret"
    model._secrets.append("sk-very-secret")
    gateway.upstream.status = 401
    gateway.upstream.error = {"error": {"message": "no sk-very-secret"}}
    said = []
    for stream in (False, True):
        said.append((await gateway.chat(model="gpt", messages=ASK, stream=stream))[2])

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("hello, this is private")

    monkeypatch.setattr(gateway.parrot, "complete", fail)
    status, _, body = await gateway.chat(model="parrot", messages=ASK)
    assert status == 500
    assert "ZeroDivisionError" in caplog.text
    for text in (caplog.text, *map(str, [*said, body])):
        assert "secret" not in text
        assert "private" not in text
    assert "secret" not in repr(gateway.ledger)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"on_disconnect": "cancel"}, None),
        ({"drain_timeout_s": 0.05}, "not read to its end within 0.05 s"),
    ],
)
async def test_a_call_whose_client_left_is_broken_off(
    gateway: Any, stream: bool, settings: dict[str, Any], error: str | None
) -> None:
    model = gateway.service.models["gpt"]
    model.card = replace(model.card, **settings)
    gateway.upstream.words = ("word ",) * 50
    gateway.upstream.chunk_delay_s = gateway.upstream.delay_s = 0.2
    client = gateway.client(timeout=0.5 if stream else 0.1)
    if stream:
        chunks = await client.chat.completions.create(model="gpt", messages=ASK, stream=True)
        await anext(aiter(chunks))
        await chunks.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="gpt", messages=ASK)
    (row,) = await gateway.attempts(1)
    assert await gateway.service.drains.wait(2) == 0
    assert (row.status, row.error, row.cost, row.usage) == ("cancelled", error, None, None)
    assert bool(row.samples) == stream
    assert gateway.upstream.answered == 0
