"""The door: what is read there, what aiohttp gets, and that clients cannot tell which it was."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from farthing.gateway import door
from farthing.gateway.connections import Connections
from farthing.gateway.door import Doors
from farthing.gateway.endpoints import ENDPOINTS

PATHS = [endpoint.path for endpoint in ENDPOINTS]
ASK = {"model": "gpt", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
BODY = json.dumps({**ASK, "input": "x", "prompt": "x"}).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
PACKED = gzip.compress(BODY, mtime=0)
CHAT = "/v1/chat/completions"


def head(path: str = CHAT, length: int | None = len(BODY), *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), headers, body


class Client:
    """A connection; `doors` made its protocol, and counts what aiohttp gets."""

    def __init__(self, doors: Doors, handed: list[Any], reader: Any, writer: Any) -> None:
        self.doors, self.handed, self.reader, self.writer = doors, handed, reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        return await asyncio.wait_for(answer(self.reader), 5)

    async def end(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)


@asynccontextmanager
async def client(gateway: Any, limits: Connections | None = None) -> AsyncIterator[Client]:
    handed: list[Any] = []

    def inner() -> Any:
        handed.append(gateway.doors.inner())
        return handed[-1]

    doors = Doors(gateway.service, inner)
    made = doors if limits is None else limits.factory(doors)
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        yield Client(doors, handed, reader, writer)
    finally:
        writer.close()
        server.close()
        await doors.shutdown(1)


@pytest.mark.parametrize("path", PATHS)
async def test_plain_requests_are_answered_at_the_door(gateway: Any, path: str) -> None:
    body = BODY.replace(b'"gpt"', b'"claude"') if path == "/v1/messages" else BODY
    async with client(gateway) as one:
        for size in (10**6, 17, 1):
            one.send(head(path, len(body)))
            for start in range(0, len(body), size):
                one.send(body[start : start + size])
                await asyncio.sleep(0)
            status, headers, told = await one.answer()
            assert (status, headers["content-type"]) == (200, "application/json")
            assert told == gateway.upstream.sent[-1]
        one.send(head(path, len(body)) + body)
        assert (await one.answer())[0] == 200
        assert not one.handed


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (head() .replace(b"1.1", b"1.0") + BODY, (200,)),
        (head(CHAT + "?a=b") + BODY, (200,)),
        (head("/v1/nothing") + BODY, (404,)),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", (200,)),
        (b"PUT /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", (405,)),
        (head(CHAT, None, "Transfer-Encoding: chunked") + CHUNKED, (200,)),
        (head(CHAT, len(PACKED), "Content-Encoding: gzip") + PACKED, (200,)),
        (head(CHAT, len(BODY), "TE: trailers") + BODY, (200,)),
        (head(CHAT, len(BODY), "Connection: keep-alive, TE") + BODY, (200,)),
        (head(CHAT, len(BODY), "X-Long: " + "y" * 8_000) + BODY, (200,)),
        (head(CHAT, 10**9), (413,)),
        (head(CHAT, None) + BODY, (400, 411)),
        (head(CHAT, len(BODY), f"Content-Length: {len(BODY)}") + BODY, (400,)),
        (head(CHAT, len(BODY), "Transfer-Encoding: chunked") + BODY, (400,)),
        (head(CHAT, None, "Content-Length: +5") + BODY, (400,)),
        (head(CHAT, len(BODY), "X-Folded: a", " b") + BODY, (400,)),
        (head(CHAT, len(BODY), "Spaced : a") + BODY, (400,)),
        (head().replace(b"Host: x\r\n", b"Host: x\n") + BODY, (400,)),
        (head(CHAT, len(BODY), "X-Nul: \0") + BODY, (400,)),
        (head(CHAT, len(BODY), "Host: y") + BODY, (200, 400)),
    ],
    ids=lambda value: repr(value[:120]) if isinstance(value, bytes) else "",
)  # fmt: skip
async def test_all_else_is_aiohttps(gateway: Any, sent: bytes, statuses: tuple[int, ...]) -> None:
    for before in (b"", head() + BODY):  # at first, and after a request that was plain
        async with client(gateway) as one:
            if before:
                one.send(before)
                assert (await one.answer())[0] == 200
            one.send(sent)
            assert (await one.answer())[0] in statuses
            assert len(one.handed) == 1


async def test_a_head_in_pieces_is_aiohttps(gateway: Any) -> None:
    async with client(gateway) as one:
        sent = head() + BODY
        for start in range(0, len(sent), 20):
            one.send(sent[start : start + 20])
            await asyncio.sleep(0.002)
        assert (await one.answer())[0] == 200
        assert len(one.handed) == 1


@pytest.mark.parametrize("wait_s", [0, 0.05])
async def test_requests_before_the_last_is_answered_are_answered_in_turn(
    gateway: Any, wait_s: float
) -> None:
    gateway.upstream.delay_s = 0.1
    async with client(gateway) as one:
        one.send(head() + BODY[:-5])
        await asyncio.sleep(wait_s)
        one.send(BODY[-5:] + head() + BODY)
        await asyncio.sleep(wait_s)
        one.send(b"GET /v1/models/gpt HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = [await one.answer() for _ in range(3)]
    assert [status for status, *_ in answers] == [200, 200, 200]
    assert b"choices" in answers[1][2]
    assert json.loads(answers[2][2])["id"] == "gpt"
    assert len(gateway.upstream.bodies) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": True},
        {"model": "cheap"},
        {"model": "cheap", "stream": True},
        {"model": "nope"},
        {"model": "down"},
        {"model": "down", "stream": True},
        {"n": "x"},
    ],
)
async def test_clients_cannot_tell_who_answered(gateway: Any, fields: dict[str, Any]) -> None:
    body = json.dumps({**ASK, **fields}).encode()
    async with client(gateway) as one:
        one.send(head(CHAT, len(body)) + body)
        here = await one.answer()
        assert not one.handed
        one.send(head(CHAT, len(body), "TE: trailers") + body)
        there = await one.answer()
        assert one.handed
    varying = {"date", "server", "x-farthing-operation", "content-length"}
    assert here[0] == there[0]
    assert {k: v for k, v in here[1].items() if k not in varying} == {
        k: v for k, v in there[1].items() if k not in varying
    }
    assert set(here[1]) | {"server"} == set(there[1])
    assert len(here[2]) == pytest.approx(len(there[2]), abs=4)


async def test_connections_that_are_to_be_closed(gateway: Any) -> None:
    async with client(gateway) as one:
        one.send(head(CHAT, len(BODY), "Connection: close") + BODY)
        status, headers, _ = await one.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await one.end() == b""
        assert not one.handed


async def test_who_may_not_come_in_is_told_before_its_body_has_come(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LINGER_S", 0.3)
    gateway = await start(token="secret")
    for is_sent in (True, False):
        async with client(gateway) as one:
            one.send(head() + BODY[:9])
            status, headers, _ = await one.answer()
            assert (status, headers["connection"]) == (401, "close")
            if is_sent:
                one.send(BODY[9:])
            assert await one.end() == b""
            assert not one.handed
    assert not gateway.upstream.bodies


async def test_idle_connections_are_closed_after_a_time(gateway: Any) -> None:
    limits = Connections(9, 5, 5, rest_s=0.2)
    gateway.service.connections = limits
    async with client(gateway, limits) as one:
        one.send(head() + BODY)
        await one.answer()
        limits.look(asyncio.get_running_loop().time())
        assert len(limits) == 1
        await asyncio.sleep(0.3)
        limits.look(asyncio.get_running_loop().time())
        assert await one.end() == b""


async def test_shutting_down(gateway: Any) -> None:
    gateway.upstream.delay_s = 0.3
    async with client(gateway) as idle, client(gateway) as busy, client(gateway) as late:
        idle.send(head() + BODY)
        await idle.answer()
        busy.send(head() + BODY)
        late.send(head() + BODY)
        await asyncio.sleep(0.1)
        await asyncio.gather(*(doors.shutdown(s) for doors, s in (
            (idle.doors, 5), (busy.doors, 5), (late.doors, 0.05)
        )))  # fmt: skip
        assert await idle.end() == b""
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await busy.end() == b""
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await late.answer()
    await gateway.attempts(3)
    assert sorted(row.status for row in gateway.ledger.attempts) == ["cancelled", "ok", "ok"]
