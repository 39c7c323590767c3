"""Tries to break the gateway, at every endpoint: told what is wrong, and never with 500."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from functools import cache
from typing import Any

import pytest

from farthing.gateway.endpoints import ENDPOINTS

PATHS = [endpoint.path for endpoint in ENDPOINTS]
SECRET = "the-secret-of-a-prompt"


async def post(gateway: Any, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    async with gateway.http.post(path, data=body, headers=headers) as response:
        return response.status, json.loads(await response.read())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff", b'{"model": NaN}', b"[" * 10**6, b'{"a":' * 10**6],
    ids=lambda body: repr(body[:9]),
)
async def test_what_is_no_json(gateway: Any, path: str, body: bytes) -> None:
    status, told = await post(gateway, path, body)
    assert (status, told["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("depth", [190, 300, 900, 938, 940, 942, 985, 2_000, 100_000])
async def test_deep_nesting_within_a_field(gateway: Any, path: str, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    message = b'[{"role": "user", "content": [{"type": "text", "text": "x", "x": %s}]}]' % nested
    for field in (b"metadata", b"messages", b"input", b"tools", b"response_format"):
        for model in (b"gpt", b"claude", b"lone"):
            fields = {b"messages": message, b"input": message, b"prompt": b'"x"', field: nested}
            for value in (nested, message):
                told = b", ".join(b'"%s": %s' % it for it in {**fields, field: value}.items())
                body = b'{"model": "%s", "max_tokens": 9, %s}' % (model, told)
                status, answer = await post(gateway, path, body)
                assert status in (200, 400), (answer, field)
                assert status == 400 or depth < 200


@cache
def bomb(encoding: str) -> bytes:
    packed = (gzip.compress if encoding == "gzip" else zlib.compress)(b" " * 100 * 2**20)
    assert len(packed) < 2**18
    return packed


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_decompression_bombs(start: Any, path: str, encoding: str) -> None:
    gateway = await start(max_body_mb=1)
    status, told = await post(gateway, path, bomb(encoding), **{"Content-Encoding": encoding})
    assert status == 413
    assert "max_body_mb" in told["error"]["message"]
    assert not gateway.upstream.bodies


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_is_not_packed_as_told(gateway: Any, path: str) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd"):
        async with gateway.http.post(
            path, data=b"not packed", headers={"Content-Encoding": encoding}
        ) as response:
            assert 400 <= response.status < 500


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5\r\nTransfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "x-farthing-tags: a=b\rx: y\r\nContent-Length: 0",
        "x-farthing-tags: a=\0\r\nContent-Length: 0",
        " folded: x\r\nContent-Length: 0",
    ],
)
async def test_smuggled_headers(gateway: Any, path: str, head: str) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    hidden = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{hidden}"
    writer.write(sent.encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400") or answer.startswith(b"HTTP/1.0 400")
    assert answer.count(b"HTTP/1.") == 1  # the hidden request was never one
    assert not gateway.upstream.bodies


@pytest.mark.parametrize(
    "model",
    [
        "http://169.254.169.254/latest",
        "../../etc/passwd",
        "gpt\r\nx: y",
        "gpt?x=y",
        "gpt\x00",
        "file:///etc/passwd",
        "x" * 100_000,
    ],
    ids=lambda name: repr(name[:20]),
)
@pytest.mark.parametrize("path", PATHS)
async def test_a_models_name_is_only_a_name(gateway: Any, path: str, model: str) -> None:
    asked = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
    body = json.dumps({**asked, "input": "x", "prompt": "x"}).encode()
    status, told = await post(gateway, path, body)
    assert status == 404
    assert told["error"]["message"]
    assert not gateway.upstream.bodies


@pytest.mark.parametrize("path", PATHS)
async def test_errors_show_no_prompt(gateway: Any, path: str, caplog: Any) -> None:
    messages = [{"role": "user", "content": SECRET}]
    fields = {"messages": messages, "input": SECRET, "prompt": SECRET, "max_tokens": 9}
    wrongs = ({"model": "nope"}, {"model": "down"}, {"stream": SECRET}, {"n": SECRET})
    for wrong in wrongs:
        status, told = await post(gateway, path, json.dumps({**fields, **wrong}).encode())
        assert status >= 400
        assert SECRET not in json.dumps(told)
    gateway.upstream.malformed = b'{"choices": 3}'
    model = "claude" if path == "/v1/messages" else "gpt"
    status, told = await post(gateway, path, json.dumps({**fields, "model": model}).encode())
    assert status == 502
    assert SECRET not in json.dumps(told) + caplog.text


@pytest.mark.parametrize("path", PATHS)
async def test_only_post_is_answered(gateway: Any, path: str) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        async with gateway.http.request(method, path) as response:
            assert response.status == 405
