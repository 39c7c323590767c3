"""Connections of clients: how many there may be, and how slow."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

logger = logging.getLogger("farthing.gateway")

LOOK_S = 0.5
"""Seconds between looks at all connections; limits on time are kept as exactly as that."""
KEEPALIVE_S = 75.0
_BACKLOG = 1024
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
)
_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
)


def _raw(head: bytes, message: str) -> bytes:
    told = b'{"error":{"message":"%s","type":"server_error","param":null,"code":null}}'
    body = told % message.encode()
    return head % (len(body), body)


class Connections:
    """The connections of one server; each is closed when it keeps the server waiting.

    Args:
        most: how many there may be; a client beyond is told to come later.
        read_timeout_s: seconds for a request's head, and between two pieces of its body.
        write_timeout_s: seconds within which a client must have taken something of what it is
            sent.
        rest_s: seconds for which a connection is kept between requests.
    """

    def __init__(
        self,
        most: int,
        read_timeout_s: float,
        write_timeout_s: float,
        rest_s: float = KEEPALIVE_S,
    ) -> None:
        self.most, self.rest_s = most, rest_s
        self.read_timeout_s, self.write_timeout_s = read_timeout_s, write_timeout_s
        self.refused = 0
        self._open: dict[asyncio.BaseTransport, _Connection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def factory(self, inner: Callable[[], Any]) -> Callable[[], asyncio.Protocol]:
        """Makes a protocol for each connection, around one that `inner` makes."""
        return lambda: _Connection(self, inner())

    async def listen(
        self,
        inner: Callable[[], Any],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        shared: bool = False,
    ) -> asyncio.Server:
        """Open the port for connections that `inner` makes the protocols of.

        Args:
            shared: whether other processes open it too.

        Raises OSError if it cannot be opened.
        """
        settings: dict[str, Any] = {"reuse_port": True} if shared else {}
        if tls is not None:
            settings |= {"ssl": tls, "ssl_handshake_timeout": self.read_timeout_s}
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            self.factory(inner), host, port, backlog=_BACKLOG, **settings
        )

    def begin(self, transport: asyncio.BaseTransport | None, is_read: Callable[[], bool]) -> None:
        """A request's head has come in; `is_read` says whether all of its body has."""
        connection = None if transport is None else self._open.get(transport)
        if connection is not None:
            connection.is_read, connection.since, connection.rested = is_read, None, None

    def end(self, transport: asyncio.BaseTransport | None) -> None:
        """A request was answered."""
        connection = None if transport is None else self._open.get(transport)
        if connection is not None:
            connection.is_read, connection.since = None, None
            connection.rested = monotonic()

    async def keep(self) -> None:
        """Look at the connections again and again."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look(monotonic())

    def look(self, now: float) -> None:
        """Close the connections that have kept the server waiting, as of `now`."""
        for connection in list(self._open.values()):
            connection.look(now)

    def opened(self, connection: _Connection, transport: asyncio.Transport) -> bool:
        """Count a connection; False if there are too many."""
        if len(self._open) >= self.most:
            self.refused += 1
            transport.write(_raw(_BUSY, "too many connections; try again"))
            transport.close()
            return False
        self._open[transport] = connection
        return True

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""
        self._open.pop(transport, None)


class _Connection(asyncio.Protocol):
    """Hands everything on to the server's own protocol, and keeps the time.

    Attributes:
        is_read: whether all of the request's body has come; None between requests.
        since: when the first byte of a head came that is not complete; None while idle.
        rested: when the last request was answered; None before it.
    """

    def __init__(self, connections: Connections, inner: Any) -> None:
        self._connections, self._inner = connections, inner
        self._transport: asyncio.Transport | None = None
        self.is_read: Callable[[], bool] | None = None
        self.since: float | None = None
        self.rested: float | None = None
        self._heard = 0.0
        self._stuck: tuple[float, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened = cast(asyncio.Transport, transport)
        if self._connections.opened(self, opened):
            self._transport = opened
            self.since = monotonic()
            self._inner.connection_made(opened)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._heard = monotonic()
        if self.is_read is None and self.since is None:
            self.since = self._heard
        self._inner.data_received(data)

    def eof_received(self) -> Any:
        return self._inner.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._stuck = (monotonic(), self._transport.get_write_buffer_size())
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._stuck = None
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connections.closed(self._transport)
            self._inner.connection_lost(exc)

    def look(self, now: float) -> None:
        """Close the connection if it has kept the server waiting, as of `now`."""
        transport, limits = self._transport, self._connections
        if transport is None or transport.is_closing():
            return
        if self.since is not None and now - self.since >= limits.read_timeout_s:
            self._end(f"no request came within {limits.read_timeout_s:g} s")
        elif (
            self.is_read is not None
            and not self.is_read()
            and transport.is_reading()
            and now - self._heard >= limits.read_timeout_s
        ):
            self._end(f"nothing of the body came for {limits.read_timeout_s:g} s")
        elif self.since is None and self.rested and now - self.rested >= limits.rest_s:
            transport.close()
        elif self._stuck is not None:
            at, size = self._stuck
            left = transport.get_write_buffer_size()
            if left != size:
                self._stuck = (now, left)
            elif now - at >= limits.write_timeout_s:
                logger.warning("a client took nothing for %g s: closed", limits.write_timeout_s)
                transport.abort()

    def _end(self, message: str) -> None:
        assert self._transport is not None
        self.since = None
        if self._heard:
            self._transport.write(_raw(_SLOW, message))
        self._transport.close()
