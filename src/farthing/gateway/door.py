"""The door for clients: what asks an endpoint plainly is answered here, all else by aiohttp.

A connection is read here as long as what comes in is the plainest there is: `POST` of HTTP/1.1 to
an endpoint, its head in one piece, with one `Content-Length` and nothing that asks for more.
Anything else, refusals too, is aiohttp's: it gets the bytes as they came and keeps the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from time import perf_counter, time
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from farthing.gateway.asking import CLIENT_LEFT, MEGABYTE, ask
from farthing.gateway.endpoint import Endpoint
from farthing.gateway.endpoints import ENDPOINTS
from farthing.gateway.exchange import Told
from farthing.gateway.service import Service
from farthing.gateway.visits import current as visit
from farthing.gateway.visits import visit_of

MAX_HEAD_BYTES = 8_000
LINGER_S = 10.0
"""Seconds for the rest of a body whose request was answered before it had come."""
_COPIED_BYTES = 64 * 2**10
_PLAIN = {f"POST {endpoint.path} HTTP/1.1".encode(): endpoint for endpoint in ENDPOINTS}
_ONCE = ("host", "content-length", "connection")
_MORE = ("transfer-encoding", "content-encoding", "expect", "upgrade", "te", "trailer")
_NO_TEXT = ("\r", "\n", "\0")
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Doors:
    """Makes the protocol of each connection.

    Args:
        inner: makes a protocol of aiohttp's server.
    """

    def __init__(self, service: Service, inner: Callable[[], Any]) -> None:
        self.service, self.inner = service, inner
        self.open: set[Door] = set()
        self.is_closing = False

    def __call__(self) -> Door:
        """A protocol for a new connection."""
        return Door(self)

    async def shutdown(self, seconds: float) -> None:
        """Close the connections; answers that are being made get so many seconds, then the rest."""
        self.is_closing = True
        for door in list(self.open):
            door.close_if_idle()
        tasks = [door.task for door in self.open if door.task is not None]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for door in list(self.open):
                door.abort()


class Door(asyncio.Protocol):
    """One connection, and the request on it that is being answered, an `Exchange`.

    Attributes:
        task: answers the request; None between requests.
    """

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._inner: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self.task: asyncio.Task[None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._fields: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._left = 0  # bytes of the body
        self._early = b""
        self._is_headed = self._is_answered = False
        self._keep = True
        self._head = b""

    @property
    def is_read(self) -> bool:
        """See `Exchange`."""
        return self._is_headed and not self._left

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._doors.open.add(self)
        opened = transport.get_extra_info("socket")
        if opened is not None:
            with suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
        elif self._is_headed:
            self._feed(data)
        else:
            self._begin(data)

    def eof_received(self) -> Any:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        self._is_paused = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._inner is not None:
            self._inner.resume_writing()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._doors.open.discard(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)
        if self.task is not None:
            self.task.cancel()
        self._transport = None

    # Requests.

    def _begin(self, data: bytes) -> None:
        """A request's head, which `data` must hold whole; the body may come later."""
        endpoint = _PLAIN.get(data[: max(0, data.find(b"\r\n"))])
        end = data.find(b"\r\n\r\n") + 4
        if endpoint is None or not 4 <= end < MAX_HEAD_BYTES or not self._reads(data[:end]):
            return self._hand_over(data)
        arrived, service = perf_counter(), self._doors.service
        if service.connections is not None:
            service.connections.begin(self._transport, self._has_read)
        if len(data) > end:
            self._feed(data[end:])
        self.task = self._loop.create_task(self._serve(service, endpoint, arrived))

    def _reads(self, head: bytes) -> bool:
        """Read a head; False if it is not of the plainest."""
        try:
            HttpRequestParser(self).feed_data(head)
        except (HttpParserError, HttpParserUpgrade):
            self._reset()
            return False
        fields = self._fields
        length, keeps = fields.get("content-length", ""), fields.get("connection", "keep-alive")
        most = self._doors.service.config.max_body_mb * MEGABYTE
        if (
            "host" not in fields
            or b"\r\n " in head
            or b"\r\n\t" in head
            or not (length.isascii() and length.isdigit() and len(length) < 16)
            or int(length) > most
            or keeps.lower() not in ("keep-alive", "close")
            or any(name in fields for name in _MORE)
        ):
            self._reset()
            return False
        self._is_headed, self._left = True, int(length)
        self._keep = keeps.lower() != "close"
        return True

    def _has_read(self) -> bool:
        return self.is_read

    def _feed(self, data: bytes) -> None:
        """More of the body, and what comes after it before it is answered: aiohttp reads that."""
        if self._left:
            body, data = data[: self._left], data[self._left :]
            self._left -= len(body)
            if not self._is_answered:
                self._pieces.append(body)
            elif not self._left:
                return self._finish()
            if not self._left:
                self._wake()
        if data:
            assert self._transport is not None
            self._early += data
            self._transport.pause_reading()

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp read the connection from here on."""
        self._doors.open.discard(self)
        self._inner = self._doors.inner()
        self._inner.connection_made(self._transport)
        if self._is_paused:
            self._inner.pause_writing()
        self._inner.data_received(data)

    async def _serve(self, service: Service, endpoint: Endpoint, arrived: float) -> None:
        visit.set(visit_of(self._fields, arrived))
        try:
            told = await ask(self, service, endpoint)
            if told is not None and told.status == CLIENT_LEFT:
                self.abort()
            elif told is not None:
                self._tell(told)
            if service.metrics is not None:
                service.metrics.responded(200 if told is None else told.status)
        except BaseException:
            self.abort()
            raise
        finally:
            self._is_answered, self.task = True, None
            if self.is_read:
                self._finish()
            else:
                self._pieces.clear()
                self._loop.call_later(LINGER_S, self.abort)

    def _finish(self) -> None:
        """A request has been read and answered; go on with the next, if there may be one."""
        transport, connections = self._transport, self._doors.service.connections
        if transport is None or transport.is_closing():
            return
        if connections is not None:
            connections.end(transport)
        if not self._keep or self._doors.is_closing:
            return transport.close()
        early = self._early
        self._reset()
        if early:
            transport.resume_reading()
            self._hand_over(early)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        if key not in self._fields:
            self._fields[key] = value.decode("utf-8", "surrogateescape").strip(" \t")
        elif key in _ONCE:
            raise ValueError("sent twice")

    # The exchange.

    @property
    def headers(self) -> Mapping[str, str]:
        """See `Exchange`."""
        return self._fields

    async def body(self, most: int) -> bytes:
        """See `Exchange`; that it is not too large was looked at before."""
        while self._left:
            await self._wait()
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def open(self, headers: Mapping[str, str]) -> None:
        """See `Exchange`; the head is sent with the first piece."""
        self._head = self._head_of(200, headers) + b"Transfer-Encoding: chunked\r\n\r\n"

    async def write(self, data: bytes) -> None:
        """See `Exchange`."""
        if data:
            await self._send(b"%s%x\r\n%s\r\n" % (self._head, len(data), data))

    async def close(self, data: bytes) -> None:
        """See `Exchange`."""
        last = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
        await self._send(b"%s%s0\r\n\r\n" % (self._head, last))

    def abort(self) -> None:
        """See `Exchange`."""
        if self._transport is not None:
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Close the connection unless something is being answered."""
        if self.task is None and self._transport is not None:
            self._transport.close()

    async def _send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._head = b""
        self._transport.write(data)
        while self._is_paused:
            await self._wait()

    def _tell(self, told: Told) -> None:
        """Send a whole answer."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if told.close or not self.is_read or self._doors.is_closing:
            self._keep = False
        headers = {"Content-Type": "application/json", **told.headers}
        head = self._head_of(told.status, headers)
        head += b"Content-Length: %d\r\n\r\n" % len(told.body)
        if len(told.body) < _COPIED_BYTES:
            transport.write(head + told.body)
        else:
            transport.writelines((head, told.body))

    def _head_of(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}", f"Date: {_date()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not self._keep:
            lines.append("Connection: close")
        for line in lines:
            if any(map(line.__contains__, _NO_TEXT)):
                raise ValueError("a header that cannot be sent")
        return ("\r\n".join(lines) + "\r\n").encode()

    async def _wait(self) -> None:
        if self._transport is None:
            raise ConnectionResetError("the client is gone")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


_dated = (0, "")


def _date() -> str:
    """Now, as HTTP tells it."""
    global _dated
    now = int(time())
    if now != _dated[0]:
        _dated = now, formatdate(now, usegmt=True)
    return _dated[1]
