"""The hop to an upstream, against servers that write their replies byte by byte."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from certificates import certificate
from fakes import fake_upstream
from yarl import URL

from farthing.core.request import Request
from farthing.models import _connection, _pool
from farthing.models._connection import MAX_UNREAD_BYTES
from farthing.models._hop import HopError
from farthing.models._pool import Pool
from farthing.models._proxied import Proxied
from farthing.models.http import HttpModel

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def asked(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


@asynccontextmanager
async def serving(handler: Handler, **settings: Any) -> AsyncIterator[tuple[Pool, URL]]:
    """A pool for a server that treats each connection by `handler`."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0, **settings)
    scheme = "https" if "ssl" in settings else "http"
    url = URL(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x")
    pool = Pool(url, {"X-Own": "1"}, connect_timeout_s=5)
    try:
        yield pool, url
    finally:
        await pool.aclose()
        server.close()


def replying(*replies: bytes, close: bool = False) -> Handler:
    """Gives the replies in turn, one to each request, to whoever asks."""
    left = list(replies)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left:
            await asked(reader)
            writer.write(left.pop(0))
            if close:
                return
        await reader.read()

    return handler


async def ask(pool: Pool, url: URL, body: bytes = b"{}", **limits: Any) -> bytes:
    reply = await pool.post(url, {}, body, **(limits or {"total_s": 5.0}))
    try:
        return await reply.read()
    finally:
        reply.release()


async def fault(pool: Pool, url: URL, **limits: Any) -> HopError:
    with pytest.raises(HopError) as caught:
        await ask(pool, url, **limits)
    return caught.value


@pytest.mark.parametrize("read_s", [None, 5.0])
@pytest.mark.parametrize(
    "reply",
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
        CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n",
        CHUNKED + b"2;a=b\r\nok\r\n0\r\n\r\n",
    ],
)
async def test_replies_however_they_are_split(reply: bytes, read_s: float | None) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in (1, 7, 10_000):
            await asked(reader)
            for start in range(0, len(reply), size):
                writer.write(reply[start : start + size])
                await writer.drain()
                await asyncio.sleep(0)

    async with serving(handler) as (pool, url):
        limits = {"total_s": 5.0} if read_s is None else {"read_s": read_s}
        for _ in range(3):
            assert await ask(pool, url, **limits) == b"ok"
            assert len(pool.idle) == 1


async def test_what_is_sent() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await asked(reader))
            writer.write(OK)

    async with serving(handler) as (pool, url):
        for headers in ({}, {"x-own": "2", "X-More": "é"}):
            reply = await pool.post(url, headers, b"body", total_s=5)
            await reply.read()
            reply.release()
        for headers in ({"a": "b\r\nc: d"}, {"a\r\nb": "c"}, {"a b": "c"}, {"a": "\0"}, {"": "x"}):
            with pytest.raises(ValueError, match="cannot be sent"):
                await pool.post(url, headers, b"", total_s=5)
    (first, body), (second, _) = seen
    assert first.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"Host: 127.0.0.1:%d\r\n" % url.port in first  # type: ignore[operator]
    assert (first.count(b"X-Own: 1"), body) == (1, b"body")
    assert second.lower().count(b"x-own") == 1
    assert b"x-own: 2\r\n" in second
    assert "X-More: é\r\n".encode() in second


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com/v1", b"example.com"),
        ("https://example.com:443/v1", b"example.com"),
        ("https://example.com:80/v1", b"example.com:80"),
        ("http://[::1]:8080/v1", b"[::1]:8080"),
        ("http://bücher.example/v1", b"xn--bcher-kva.example"),
    ],
)
def test_the_host_that_is_told(url: str, host: bytes) -> None:
    assert b"\r\nHost: " + host + b"\r\n" in _pool._head(URL(url), {})


def test_the_framing_is_not_for_settings() -> None:
    framing = {"content-length": "9", "Transfer-Encoding": "chunked", "connection": "close"}
    head = _pool._head(URL("http://x/v1"), framing).lower()
    assert head.endswith(b"content-length: ")
    assert head.count(b"content-length") == 1
    assert b"chunked" not in head


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, identity\r\n\r\nok",
    ],
)
async def test_replies_after_which_a_connection_is_not_used_again(reply: bytes) -> None:
    async with serving(replying(reply, close=True)) as (pool, url):
        assert await ask(pool, url) == b"ok"
        assert not pool.idle


@pytest.mark.parametrize("more", [b"x", OK, b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
@pytest.mark.parametrize("later", [False, True])
async def test_what_nobody_asked_for_is_no_reply_to_the_next_request(
    more: bytes, later: bool
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(OK if later else OK + more)
        if later:
            await asyncio.sleep(0.05)
            writer.write(more)
        await reader.read()

    async with serving(handler) as (pool, url):
        assert await ask(pool, url) == b"ok"
        assert len(pool.idle) == later
        await asyncio.sleep(0.2)
        assert not any(connection.is_open for connection in pool.idle)
        assert await ask(pool, url) == b"ok"


@pytest.mark.parametrize(
    "reply",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"z\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=lambda reply: repr(reply[:60]),
)
async def test_what_is_no_reply(reply: bytes) -> None:
    async with serving(replying(reply)) as (pool, url):
        assert (await fault(pool, url)).fault == "malformed"
        assert not pool.idle


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        CHUNKED + b"2\r\nok\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_replies_that_are_cut(reply: bytes) -> None:
    async with serving(replying(reply, close=True)) as (pool, url):
        error = await fault(pool, url)
    assert (error.fault, error.stale) == ("cut", False)


@pytest.mark.parametrize("coding", ["gzip", "X-GZIP", "deflate"])
async def test_a_reply_that_is_compressed_all_the_same(coding: str) -> None:
    text = b"abc" * 1000
    packed = zlib.compress(text) if coding == "deflate" else gzip.compress(text)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(packed)}\r\n\r\n"
    async with serving(replying(head.encode() + packed)) as (pool, url):
        assert await ask(pool, url) == text


async def test_a_reply_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "MAX_INFLATED_BYTES", 2**20)
    packed = gzip.compress(bytes(2**24))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    async with serving(replying(head.encode() + packed)) as (pool, url):
        error = await fault(pool, url)
    assert "unpacks" in error.reason


async def test_time_for_a_whole_reply_and_between_two_pieces() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        await reader.read()

    async with serving(handler) as (pool, url):
        assert (await fault(pool, url, total_s=0.2)).fault == "timeout"
        assert await ask(pool, url, read_s=0.4) == b"x" * 10
        assert (await fault(pool, url, read_s=0.02)).fault == "timeout"


async def test_a_time_limit_counts_from_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(replying(*[OK] * 4)) as (pool, url):
        for _ in range(4):
            assert await ask(pool, url, total_s=0.3) == b"ok"
            await asyncio.sleep(0.15)
        assert (await fault(pool, url, total_s=0.1)).fault == "timeout"


async def test_a_connection_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(9)

    monkeypatch.setattr(_pool, "start_connection", never)
    pool = Pool(URL("http://127.0.0.1:9"), {}, connect_timeout_s=0.1)
    url = URL("http://127.0.0.1:9/x")
    assert (await fault(pool, url, total_s=5.0)).fault == "no connection in time"
    assert (await fault(pool, url, read_s=0.01)).fault == "no connection in time"
    assert (await fault(pool, url, total_s=0.01)).fault == "timeout"


async def test_no_name_and_no_port() -> None:
    for url, reason in (("http://no.invalid/", "not known"), ("http://127.0.0.1:9/", "refused")):
        pool = Pool(URL(url), {}, connect_timeout_s=5)
        error = await fault(pool, URL(url))
        assert error.fault == "unreachable"
        assert reason in error.reason or error.reason


async def test_a_slow_reader_holds_the_upstream_back() -> None:
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**26)
        for _ in range(2**26 // 2**16):
            writer.write(bytes(2**16))
            await writer.drain()
            sent += 2**16
        await reader.read()

    async with serving(handler) as (pool, url):
        reply = await pool.post(url, {}, b"", read_s=0.3)
        await asyncio.sleep(0.7)
        assert sent < 2**24
        assert reply._unread < MAX_UNREAD_BYTES + 2**20
        got = 0
        while data := await reply.read_some():
            got += len(data)
        assert got == 2**26
        reply.release()
        assert len(pool.idle) == 1


async def test_who_stops_waiting_closes_the_connection() -> None:
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"x")
        try:
            await reader.read()
        finally:
            ended.set()

    async with serving(handler) as (pool, url):
        for seconds in (0.05, 0.3):  # before a piece of the body, and after it
            ended.clear()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ask(pool, url)
            await asyncio.wait_for(ended.wait(), 5)
            assert not pool.idle


async def test_a_large_body_and_a_reply_in_its_middle() -> None:
    seen = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        head = await reader.readuntil(b"\r\n\r\n")
        if b"X-Refuse" in head:
            writer.write(OK)
            await asyncio.sleep(0.5)
            return
        seen = len(await reader.readexactly(2**25))
        writer.write(OK)
        await reader.read()

    async with serving(handler) as (pool, url):
        assert await ask(pool, url, bytes(2**25)) == b"ok"
        assert seen == 2**25
        assert len(pool.idle) == 1
        pool.idle.pop().abort()
        reply = await pool.post(url, {"X-Refuse": "1"}, bytes(2**25), total_s=5)
        assert await reply.read() == b"ok"
        reply.release()
        assert not pool.idle


def closing_on_reuse(calls: list[int]) -> Handler:
    """Replies to a connection's first request, and closes it at the second."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(0)
        await asked(reader)
        calls[-1] += 1
        writer.write(OK)
        await asked(reader)
        calls[-1] += 1

    return handler


async def test_a_connection_that_was_closed_for_its_idleness_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    async with serving(closing_on_reuse(calls)) as (pool, url):
        assert await ask(pool, url) == b"ok"
        assert (await fault(pool, url)).fault == "cut"  # it was in use a moment ago: maybe billed
        assert calls == [2]
        calls.clear()
        monkeypatch.setattr(_connection, "STALE_S", 0.2)
        assert await ask(pool, url) == b"ok"
        await asyncio.sleep(0.3)
        assert await ask(pool, url) == b"ok"
        assert calls == [2, 1]


async def test_a_call_on_a_rested_connection_that_ends_late_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_connection, "STALE_S", 0.1)
    calls = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        await asked(reader)
        writer.write(OK)
        await asked(reader)
        calls += 1
        await asyncio.sleep(0.3)

    async with serving(handler) as (pool, url):
        assert await ask(pool, url) == b"ok"
        await asyncio.sleep(0.2)
        assert (await fault(pool, url)).fault == "cut"
    assert calls == 1


async def test_idle_connections_are_closed_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "KEEP_S", 0.2)
    async with serving(replying(OK, OK, OK)) as (pool, url):
        first, second = await asyncio.gather(*(pool.post(url, {}, b"", total_s=5) for _ in "ab"))
        for reply in (first, second):
            await reply.read()
        first.release()
        await asyncio.sleep(0.12)
        second.release()
        await asyncio.sleep(0.12)
        assert pool.idle == [second]
        await asyncio.sleep(0.2)
        assert not pool.idle
        assert not first.is_open
        assert not second.is_open


async def test_closing_ends_what_is_under_way() -> None:
    async with serving(replying(b"")) as (pool, url):
        asking = asyncio.create_task(ask(pool, url))
        await asyncio.sleep(0.1)
        await pool.aclose()
        with pytest.raises(HopError) as caught:
            await asking
        assert caught.value.fault == "cut"


async def test_https_is_verified(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serving(replying(*[OK] * 3), ssl=context) as (pool, url):
        error = await fault(pool, url)
        assert error.fault == "unreachable"
        assert "CERTIFICATE_VERIFY_FAILED" in error.reason
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        trusting = Pool(url, {}, connect_timeout_s=5)
        for _ in range(2):
            assert await ask(trusting, url) == b"ok"
        assert len(trusting.idle) == 1
        await trusting.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_proxy_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    async with fake_upstream() as fake:  # it answers for whatever host it is asked
        monkeypatch.setenv("HTTP_PROXY", fake.base_url.removesuffix("/v1"))
        model = HttpModel("gpt", base_url="http://no.invalid/v1", env_proxy=True)
        ask = Request.ask("What is 6 * 7?")
        if stream:
            text = "".join([chunk.text async for chunk in model.stream(ask)])
        else:
            text = (await model.complete(ask)).text
        assert isinstance(model._hop, Proxied)
        await model.aclose()
    assert text == "The answer is 42."
    assert fake.headers[0]["Host"] == "no.invalid"
