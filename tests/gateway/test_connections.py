"""Clients that are slow, or too many, on real sockets."""

import asyncio
import json
import socket
import ssl
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from certificates import certificate
from fakes import fake_upstream

from farthing.core.errors import ConfigError
from farthing.gateway import connections as limits
from farthing.gateway.app import create_app
from farthing.gateway.build import build_service
from farthing.gateway.config import load
from farthing.gateway.connections import Connections
from farthing.gateway.door import Doors
from farthing.gateway.tls import load_certificate, tls_context

BODY = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": "x"}]}).encode()
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(limits, "LOOK_S", 0.02)


@asynccontextmanager
async def gateway(tmp_path, base_url="http://127.0.0.1:9/v1", *, text="", **settings):
    """A gateway with limited connections: its port, its service and the limits."""
    path = tmp_path / "farthing.toml"
    path.write_text(
        f"[gateway]\n{text}\n[models.gpt]\nkind = 'http'\nbase_url = '{base_url}'\nretries = 0\n"
    )
    config = load(path)
    service = build_service(config)
    kept = Connections(**{"most": 100, "read_timeout_s": 0.3, "write_timeout_s": 0.4, **settings})
    service.connections = kept
    runner = web.AppRunner(create_app(service), handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    doors = Doors(service, runner.server)
    server = await kept.listen(doors, "127.0.0.1", 0, tls=tls_context(config))
    keeper = asyncio.create_task(kept.keep())
    try:
        yield server.sockets[0].getsockname()[1], service, kept
    finally:
        keeper.cancel()
        server.close()
        await doors.shutdown(0.2)
        await runner.cleanup()
        await service.aclose(1)


async def until(holds, seconds=5.0):
    end = time.monotonic() + seconds
    for _ in iter(lambda: bool(holds()), True):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", b""),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n", b"no request came within 0.3 s"),
        (HEAD + BODY[:10], b"nothing of the body came for 0.3 s"),
    ],
)
async def test_a_client_that_stops_sending_is_told_and_closed(tmp_path, sent, says):
    async with gateway(tmp_path) as (port, service, kept):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert 0.2 < time.monotonic() - began < 3
        assert says in answer
        assert (b" 408 " in answer) == bool(says)
        writer.close()
        await until(lambda: len(kept) == 0)
        assert not service.ledger.operations


async def test_a_head_that_drips_does_not_live_longer(tmp_path):
    async with gateway(tmp_path) as (port, *_):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        ended = asyncio.create_task(reader.read())
        while not ended.done() and time.monotonic() - began < 5:
            writer.write(b"x")
            await asyncio.sleep(0.05)
        assert time.monotonic() - began < 2
        writer.close()


async def test_a_body_that_drips_is_read_as_long_as_it_comes(tmp_path):
    async with fake_upstream() as fake, gateway(tmp_path, fake.base_url) as (port, *_):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        for place in range(0, len(BODY), 8):
            writer.write(BODY[place : place + 8])
            await asyncio.sleep(0.06)
        assert b" 200 OK" in await reader.readline()
        writer.close()


async def test_an_idle_connection_stays_and_a_slow_second_request_does_not(tmp_path):
    async with fake_upstream() as fake, gateway(tmp_path, fake.base_url) as (port, *_):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(HEAD + BODY)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(0.5)
        writer.write(HEAD[:20])
        assert b" 408 " in await asyncio.wait_for(reader.read(), 5)
        writer.close()


async def test_a_client_that_takes_nothing_is_cut_off_and_its_call_booked(tmp_path):
    words = ("x" * 10_000,) * 2_000
    async with (
        fake_upstream(words=words) as fake,
        gateway(tmp_path, fake.base_url) as (port, service, kept),
    ):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        body = BODY[:-1] + b', "stream": true}'
        head = HEAD.replace(b": %d\r" % len(BODY), b": %d\r" % len(body))
        client.sendall(head + body)
        await until(lambda: len(kept) == 1)
        await until(lambda: len(kept) == 0)
        await until(lambda: service.ledger.attempts, 30)
        (attempt,) = service.ledger.attempts
        assert (attempt.status, attempt.usage.output) == ("cancelled", 2_000)
        assert service.ledger.outcomes[0].status == "cancelled"
        client.close()


async def test_a_slow_reader_that_reads_is_served(tmp_path):
    words = ("x" * 10_000,) * 200
    async with fake_upstream(words=words) as fake, gateway(tmp_path, fake.base_url) as (port, *_):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        ask = json.loads(BODY) | {"stream": True}
        size = 0
        async with (
            aiohttp.ClientSession(read_bufsize=4096) as http,
            http.post(url, json=ask) as answer,
        ):
            async for piece in answer.content.iter_chunked(2**17):
                size += len(piece)
                await asyncio.sleep(0.05)
        assert size > 2_000_000


async def test_too_many_connections_are_told_to_come_later(tmp_path):
    async with gateway(tmp_path, most=2, read_timeout_s=30) as (port, _, kept):
        first = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until(lambda: len(kept) == 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await reader.read()
        assert b" 503 " in answer
        assert b"Retry-After: 1" in answer
        assert kept.refused == 1
        for _, opened in (*first, (reader, writer)):
            opened.close()
        await until(lambda: len(kept) == 0)
        url = f"http://127.0.0.1:{port}/v1/models"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            assert answer.status == 200


TLS = "tls_cert = 'cert.pem'\ntls_key = 'cert.key'"


async def test_https(tmp_path):
    cert, _ = certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(cert))
    async with (
        fake_upstream() as fake,
        gateway(tmp_path, fake.base_url, text=TLS) as (port, *_),
        aiohttp.ClientSession() as http,
    ):
        url = f"https://127.0.0.1:{port}/v1/chat/completions"
        async with http.post(url, json=json.loads(BODY), ssl=trust) as answer:
            assert answer.status == 200
        ask = json.loads(BODY) | {"stream": True}
        async with http.post(url, json=ask, ssl=trust) as answer:
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        with pytest.raises(aiohttp.ClientError):
            await http.post(url.replace("https", "http"), json=ask)


async def test_a_client_that_does_not_shake_hands_is_cut_off(tmp_path):
    certificate(tmp_path)
    async with gateway(tmp_path, text=TLS) as (port, *_):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path):
    certificate(tmp_path)
    path = tmp_path / "farthing.toml"
    path.write_text(f"[gateway]\n{TLS}\n[models.gpt]\nkind = 'tiny'\nsize = 'small'\n")
    context = tls_context(load(path))
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    before = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    cert, key = certificate(tmp_path, "next")
    cert.rename(tmp_path / "cert.pem")
    key.rename(tmp_path / "cert.key")
    load_certificate(context, load(path))
    after = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    assert before != after == (tmp_path / "cert.pem").read_text()
    server.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tls_cert = 'no.pem'", "gateway.tls_cert: there is no file"),
        ("tls_key = 'x.key'", "gateway.tls_key: tls_key needs tls_cert"),
        ("tls_cert = 'farthing.toml'", "gateway.tls_cert: no certificate chain"),
    ],
)
def test_a_certificate_that_cannot_be_used(tmp_path, text, says):
    path = tmp_path / "farthing.toml"
    path.write_text(f"[gateway]\n{text}\n[models.gpt]\nkind = 'tiny'\nsize = 'small'\n")
    with pytest.raises(ConfigError, match=says):
        tls_context(load(path))
