"""Requests that are wrong, and clients that may not come in."""

from __future__ import annotations

import gzip
import json
from typing import Any

import openai
import pytest

ASK: Any = [{"role": "user", "content": "hello"}]


async def post(gateway: Any, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    async with gateway.http.post("/v1/chat/completions", data=body, headers=headers) as response:
        told = await response.json()
        return response.status, told["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff", b'{"model": NaN}', b"[" * 5000, b'{"a":' * 5000],
    ids=repr,
)
async def test_bodies_that_are_no_json_object(gateway: Any, body: bytes) -> None:
    status, error = await post(gateway, body)
    assert (status, error["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": "x"}, {"content": "x"}]}, "messages[1]"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 1000}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": 3}, "stream_options"),
        ({"logprobs": 1}, "logprobs"),
    ],
    ids=repr,
)
async def test_fields_that_are_wrong(gateway: Any, changes: dict[str, Any], param: str) -> None:
    for model in ("gpt", "cheap"):
        body = {"model": model, "messages": ASK, **changes}
        status, error = await post(gateway, json.dumps(body).encode())
        assert (status, error["param"]) == (400, param)
        assert error["type"] == "invalid_request_error"
    assert not gateway.ledger.operations


@pytest.mark.parametrize(
    "field",
    [
        {"n": 2},
        {"logprobs": True},
        {"tools": [{"type": "function"}]},
        {"functions": [{"name": "f"}]},
        {"audio": {"voice": "x"}},
        {"modalities": ["text", "audio"]},
    ],
    ids=repr,
)
async def test_what_a_plan_cannot_do_costs_nothing(gateway: Any, field: dict[str, Any]) -> None:
    for stream in (False, True):
        body = {"model": "cheap", "messages": ASK, "stream": stream, **field}
        status, error = await post(gateway, json.dumps(body).encode())
        assert (status, error["param"], error["code"]) == (400, next(iter(field)), "unsupported")
        assert "plan 'cheap'" in error["message"]
    assert not gateway.parrot.calls
    assert not gateway.ledger.operations
    status, _, _ = await gateway.chat(model="gpt", **field)
    assert status == 200


async def test_null_fields_are_as_good_as_none(gateway: Any) -> None:
    names = ("n", "temperature", "max_tokens", "seed", "stream", "stream_options", "tools")
    for model in ("cheap", "gpt"):
        status, _, _ = await gateway.chat(model=model, **dict.fromkeys(names))
        assert status == 200


async def test_an_unknown_model(gateway: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await gateway.client().chat.completions.create(model="nope", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "cheap" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        await gateway.client().models.retrieve("nope")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-farthing-tags", "team"),
        ("x-farthing-tags", "=x"),
        ("x-farthing-tags", "a=" + "x" * 300),
        ("x-farthing-tags", ",".join(f"t{i}=1" for i in range(17))),
        ("x-farthing-question", "x" * 300),
    ],
)
async def test_headers_that_are_wrong(gateway: Any, header: str, value: str) -> None:
    body = json.dumps({"model": "gpt", "messages": ASK}).encode()
    status, error = await post(gateway, body, **{header: value})
    assert (status, error["param"]) == (400, header)


async def test_bodies_that_are_too_large(start: Any) -> None:
    gateway = await start(max_body_mb=0.01)
    body = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": "x" * 20000}]})
    status, error = await post(gateway, body.encode())
    assert (status, error["type"]) == (413, "invalid_request_error")
    assert "max_body_mb" in error["message"]

    async def chunked() -> Any:
        yield body.encode()

    async with gateway.http.post("/v1/chat/completions", data=chunked()) as response:
        assert response.status == 413
    bomb = gzip.compress(body.encode())
    assert len(bomb) < 1000
    status, error = await post(gateway, bomb, **{"Content-Encoding": "gzip"})
    assert status == 413
    assert not gateway.upstream.bodies


async def test_a_body_that_is_not_what_its_encoding_says(gateway: Any) -> None:
    async with gateway.http.post(
        "/v1/chat/completions", data=b"not gzip", headers={"Content-Encoding": "gzip"}
    ) as response:
        assert response.status == 400


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic right-token", "right-token", "Bearer \xff\xfe"],
)
async def test_a_wrong_token(start: Any, authorization: str | None) -> None:
    gateway = await start(token="right-token")
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
        async with gateway.http.request(method, path, headers=headers, data=b"{") as response:
            assert response.status == 401
            error = (await response.json())["error"]
            assert error["type"] == "authentication_error"
            assert "right" not in error["message"]
    async with gateway.http.get("/healthz") as response:
        assert response.status == 200


async def test_the_right_token_stays_here(start: Any) -> None:
    gateway = await start(token="right-token")
    client = gateway.client(api_key="right-token")
    answer = await client.chat.completions.create(model="gpt", messages=ASK)
    assert answer.choices[0].message.content == "The answer is 42."
    assert "right-token" not in str(gateway.upstream.headers)
    with pytest.raises(openai.AuthenticationError):
        await gateway.client(api_key="wrong").chat.completions.create(model="gpt", messages=ASK)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/", 404),
        ("POST", "/v1/audio/speech", 404),
        ("GET", "/v1/models/../../etc/passwd", 404),
    ],
)
async def test_other_addresses(gateway: Any, method: str, path: str, status: int) -> None:
    async with gateway.http.request(method, path) as response:
        assert response.status == status
        assert (await response.json())["error"]["type"] == "invalid_request_error"
