"""The way to an upstream that needs no proxy: connections that are kept and used again."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohappyeyeballs import start_connection
from multidict import CIMultiDict
from yarl import URL

from farthing.models._connection import Connection
from farthing.models._hop import KEEP_S, HopError

_ADDRESSES_S = 60.0
_ATTEMPT_S = 0.25
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_TEXT = re.compile(r"[\x00\r\n]")
_FRAMING = ("Content-Length", "Transfer-Encoding", "Connection")


class Pool:
    """Connections to one upstream, in one event loop; as many as there are calls at a time.

    Args:
        headers: sent with every call.
        connect_timeout_s: seconds to open a connection, TLS and all.

    Attributes:
        idle: those that can be used again, the latest last.
    """

    def __init__(self, base: URL, headers: Mapping[str, str], *, connect_timeout_s: float) -> None:
        self._host, self._port = base.raw_host or "", base.port
        self._tls = _tls() if base.scheme == "https" else None
        self._headers, self._connect_timeout_s = headers, connect_timeout_s
        self._heads: dict[URL, bytes] = {}
        self._addresses: tuple[float, list[Any]] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._open: set[Connection] = set()
        self.idle: list[Connection] = []

    async def post(
        self,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        *,
        total_s: float | None = None,
        read_s: float | None = None,
    ) -> Connection:
        """See `Hop`; a connection that the upstream has closed for its idleness is made anew."""
        seconds = total_s if total_s is not None else read_s
        assert seconds is not None
        deadline = asyncio.get_running_loop().time() + seconds
        head = b"%s%d\r\n\r\n" % (self._head(url, headers), len(body))
        while self.idle:
            connection = self.idle.pop()
            try:
                return await self._asked(connection, head, body, deadline, read_s)
            except HopError as error:
                if not error.stale:
                    raise
        connection = await self._connected(deadline if total_s is not None else None)
        return await self._asked(connection, head, body, deadline, read_s)

    async def aclose(self) -> None:
        """See `Hop`."""
        for connection in list(self._open):
            connection.abort()
        self.idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    async def _asked(
        self,
        connection: Connection,
        head: bytes,
        body: bytes,
        deadline: float,
        read_s: float | None,
    ) -> Connection:
        try:
            await connection.ask(head, body, deadline, read_s)
        except BaseException:
            connection.abort()
            raise
        return connection

    def _head(self, url: URL, headers: Mapping[str, str]) -> bytes:
        """The head of a request, up to the length of its body."""
        if headers:
            return _head(url, self._headers, headers)
        known = self._heads.get(url)
        if known is None:
            known = self._heads[url] = _head(url, self._headers)
        return known

    async def _connected(self, deadline: float | None) -> Connection:
        """A new connection; it counts against `deadline` as well, if there is one."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._connect_timeout_s
        try:
            async with asyncio.timeout_at(latest if deadline is None else min(latest, deadline)):
                return await self._connect(loop)
        except TimeoutError:
            is_total = deadline is not None and deadline < latest
            raise HopError("timeout" if is_total else "no connection in time") from None
        except OSError as error:
            self._addresses = None
            raise HopError("unreachable", error.strerror or type(error).__name__) from error

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        opened = await start_connection(
            await self._resolved(loop), happy_eyeballs_delay=_ATTEMPT_S, interleave=1
        )
        made = partial(Connection, self._keep, self._open.discard)
        name = self._host.rstrip(".") if self._tls else None
        try:
            _, connection = await loop.create_connection(
                made, sock=opened, ssl=self._tls, server_hostname=name
            )
        except BaseException:
            opened.close()
            raise
        self._open.add(connection)
        return connection

    async def _resolved(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        """The upstream's addresses, asked for again after a minute."""
        now = loop.time()
        if self._addresses is None or now - self._addresses[0] > _ADDRESSES_S:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses = now, found
        return self._addresses[1]

    def _keep(self, connection: Connection) -> None:
        self.idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(KEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long; the earliest come first."""
        loop = asyncio.get_running_loop()
        now, self._sweeper = loop.time(), None
        for place, connection in enumerate(self.idle):
            since = connection.idle_since or 0.0
            if connection.is_open and now - since < KEEP_S:
                del self.idle[:place]
                self._sweeper = loop.call_at(since + KEEP_S, self._sweep)
                return
            connection.abort()
        self.idle.clear()


def _head(url: URL, *headers: Mapping[str, str]) -> bytes:
    """Later headers take the place of earlier ones; ValueError for what cannot be sent."""
    host = url.raw_host or ""
    shown = f"[{host}]" if ":" in host else host
    told = CIMultiDict({"Host": shown if url.is_default_port() else f"{shown}:{url.port}"})
    told["Accept"] = "*/*"
    for more in headers:
        told.update(more)
    for name in _FRAMING:
        told.popall(name, None)
    for name, value in told.items():
        if not _TOKEN.fullmatch(name) or _NO_TEXT.search(value):
            raise ValueError(f"the header {name!r} cannot be sent")
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {url.raw_path_qs} HTTP/1.1\r\n{lines}Content-Length: ".encode()


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
