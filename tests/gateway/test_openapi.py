"""The gateway's page in OpenAPI: who sees what of it, and that its answers are as it says."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from farthing.gateway.counting import COUNT_TOKENS
from farthing.gateway.endpoints import ENDPOINTS
from farthing.gateway.openapi import page

CASES = 150  # of the thousands of benchmarks/fuzz.py
ASK: Any = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("fuzz")


async def read(gateway: Any, **headers: str) -> dict[str, Any]:
    async with gateway.http.get("/openapi.json", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        told: dict[str, Any] = await answer.json()
        return told


def models(told: dict[str, Any]) -> Any:
    body = told["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    return body["content"]["application/json"]["schema"]["properties"]["model"].get("enum")


async def test_it_names_what_the_client_may_ask_for(gateway: Any) -> None:
    told = await read(gateway)
    assert models(told) == gateway.service.names
    assert told["security"] == [{}]


@pytest.mark.parametrize("sent", ["", "Bearer wrong"])
async def test_strangers_see_no_names(start: Any, sent: str) -> None:
    gateway = await start(token="master")
    told = await read(gateway, **({"Authorization": sent} if sent else {}))
    assert models(told) is None
    assert told["security"] == [{"bearer": []}, {"anthropic": []}]
    text = json.dumps(told)
    for name in (*gateway.service.names, "master", gateway.upstream.base_url):
        assert f'"{name}"' not in text
    assert models(await read(gateway, Authorization="Bearer master")) == gateway.service.names


async def test_all_that_is_answered_is_on_it(gateway: Any) -> None:
    told = await read(gateway)
    async with gateway.http.get("/nowhere") as answer:
        message = (await answer.json())["error"]["message"]
    known = message.partition("this gateway has ")[2].split(", ")
    assert sorted(told["paths"]) == sorted([*known, "/v1/models/{name}"])
    assert {endpoint.path for endpoint in ENDPOINTS} < told["paths"].keys()


async def test_unknown_fields_pass(gateway: Any) -> None:
    body = (await read(gateway))["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert jsonschema_rs.is_valid(schema, {**ASK, "model": "gpt", "invented": {"x": 1}})
    assert not jsonschema_rs.is_valid(schema, {**ASK, "model": "nobody"})
    assert not jsonschema_rs.is_valid(schema, {"model": "gpt"})


def test_requests_at_random(fuzz: Any) -> None:
    with fuzz.gateway() as (url, _):
        found = fuzz.Fuzz(url)
        found.run(CASES)
    assert not found.faults, "\n\n".join(found.faults[:3])
    assert found.cases >= CASES
    told = {200: 0, 401: 0}
    for (_, status), count in found.seen.items():
        told[status] = told.get(status, 0) + count
    assert told[200] > CASES / 10
    assert told[401] > 0
    for endpoint in ENDPOINTS:
        assert found.seen[f"POST {endpoint.path}", 400] > 0, endpoint.path


@pytest.fixture
def liar() -> Iterator[str]:
    """What has the gateway's page, but answers otherwise."""

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = page(["m"], is_open=True) if self.path == "/openapi.json" else {"error": {}}
            self._answer(200, "application/json", json.dumps(told).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            lies = {
                "/v1/chat/completions": (500, "application/json", b'{"error": {}}'),
                "/v1/completions": (418, "application/json", b'{"error": {}}'),
                "/v1/embeddings": (200, "text/plain", b"hello"),
                "/v1/responses": (200, "application/json", b'{"choices": []}'),
                "/v1/messages": (404, "application/json", b'{"error": {}}'),
            }
            self._answer(*lies.get(self.path, (200, "application/json", b'{"input_tokens": 3}')))

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_answers_of_which_the_page_says_nothing_are_faults(fuzz: Any, liar: str) -> None:
    found = fuzz.Fuzz(liar)
    found.run(40)
    for endpoint in ENDPOINTS:
        asked = sum(n for (label, _), n in found.seen.items() if label == f"POST {endpoint.path}")
        assert asked
        assert sum(f"{liar}{endpoint.path}\n" in fault for fault in found.faults) == asked
    assert not any(f"{liar}{COUNT_TOKENS.path}\n" in fault for fault in found.faults)
