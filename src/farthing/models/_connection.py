"""A connection to an upstream: one request after the other, each answered as its reply comes in."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict

from farthing.models._hop import MAX_HEAD_BYTES, HopError

MAX_UNREAD_BYTES = 256 * 2**10
MAX_INFLATED_BYTES = 256 * 2**20
"""The most that a reply may hold which is compressed though it was not to be."""
PIECE_BYTES = 256 * 2**10
STALE_S = 1.0
"""An upstream that closes a connection that was idle for so long, within this time of a request,
has closed it for its idleness. Any other may have worked on the request, and bills it."""
_WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # in bits, as zlib wants them told


class Connection(asyncio.Protocol):
    """A connection, which also is the reply to its latest request; see `Reply`.

    Args:
        kept: is told of the connection when it can be used again.
        lost: is told of it when it is closed.
    """

    def __init__(
        self, kept: Callable[[Connection], None], lost: Callable[[Connection], None]
    ) -> None:
        self._kept, self._lost = kept, lost
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable = True
        self.idle_since: float | None = None
        self.complete = True
        self._start(0.0, None)

    def _start(self, deadline: float, read_s: float | None) -> None:
        self.status = 0
        self._fields: dict[bytes, bytes] = {}
        self._deadline, self._read_s = deadline, read_s
        self._pieces: list[bytes] = []
        self._unread = self._head_bytes = self._inflated = 0
        self._headed = self._interim = self._keep = self._until_close = False
        self._is_sent = self._is_read_whole = self._paused = self._heard = False
        self._inflate: zlib._Decompress | None = None
        self._error: HopError | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def headers(self) -> CIMultiDict[str]:
        """See `Reply`."""
        return CIMultiDict(
            (name.decode("latin-1"), value.decode("utf-8", "replace"))
            for name, value in self._fields.items()
        )

    @property
    def content_type(self) -> str:
        """See `Reply`."""
        told = self._fields.get(b"content-type", b"")
        return told.partition(b";")[0].strip().lower().decode("latin-1")

    async def ask(self, head: bytes, body: bytes, deadline: float, read_s: float | None) -> None:
        """Send a request, and wait for the head of its reply.

        Args:
            deadline: on the loop's clock, for the whole reply; with `read_s` for its first piece.
            read_s: seconds between two pieces of it.

        Raises HopError.
        """
        if not self.is_open:
            raise HopError("cut", stale=True)
        assert self._transport is not None
        now = self._loop.time()
        rested = 0.0 if self.idle_since is None else now - self.idle_since
        self._sent, self._is_rested = now, rested >= STALE_S
        self.idle_since, self.complete = None, False
        self._start(deadline, read_s)
        self._arm()
        if len(body) <= PIECE_BYTES:
            self._transport.write(head + body)
            self._is_sent = True
        else:
            await self._send(head, memoryview(body))
        while not self._headed:
            await self._wait()

    async def _send(self, head: bytes, body: memoryview) -> None:
        """A large body, no faster than the upstream takes it; it may reply in the middle."""
        assert self._transport is not None
        self._transport.write(head)
        for start in range(0, len(body), PIECE_BYTES):
            while not (self._writable or self._headed):
                await self._wait()
            if self._error is not None:
                raise self._error
            if self._headed:
                return
            self._transport.write(body[start : start + PIECE_BYTES])
        self._is_sent = True

    async def read(self) -> bytes:
        """See `Reply`."""
        self._is_read_whole = True
        self._resume()
        while not self.complete:
            await self._wait()
        return self._take()

    async def read_some(self) -> bytes:
        """See `Reply`."""
        while not self._pieces and not self.complete:
            await self._wait()
        data = self._take()
        self._resume()
        return data

    def release(self) -> None:
        """See `Reply`."""
        if self.complete and self._keep and self._is_sent and self.is_open:
            self._resume()
            self._pieces.clear()
            self.idle_since = self._loop.time()
            self._kept(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> bytes:
        pieces = self._pieces
        self._pieces, self._unread = [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            if self._read_s is not None:
                self._deadline = self._loop.time() + self._read_s
            self._transport.resume_reading()

    def _fail(self, error: HopError) -> None:
        """End the reply with an error, unless it has one or is complete."""
        if not self.complete and self._error is None:
            self._error = error
        self._keep = False
        self.abort()
        self._wake()

    def _arm(self) -> None:
        """Look at the deadline no later than it is; it may have moved on by then."""
        if self._timer is not None and self._timer.when() <= self._deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self.complete or self._error is not None:
            return
        now = self._loop.time()
        if self._paused and self._read_s is not None:
            self._deadline = now + self._read_s
        if now < self._deadline:
            self._arm()
        else:
            self._fail(HopError("timeout"))

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.complete:
            return self._fail(HopError("malformed"))  # nobody asked for it
        self._heard = True
        if self._read_s is not None:
            self._deadline = self._loop.time() + self._read_s
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(HopError("malformed", "it changes the protocol"))
        except HttpParserError as error:
            self._fail(HopError("malformed", str(error)))
        if not self._headed and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(HopError("malformed", f"its headers are longer than {MAX_HEAD_BYTES} bytes"))
        if self._unread > MAX_UNREAD_BYTES and not (self._is_read_whole or self.complete):
            assert self._transport is not None
            self._paused = True
            self._transport.pause_reading()
        if self.complete or not self._is_read_whole:
            self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = None
        self._keep = False
        if self._headed and self._until_close and exc is None and self._error is None:
            self.complete = True
        elif not self.complete and self._error is None:
            is_early = not self._heard and self._loop.time() - self._sent < STALE_S
            self._error = HopError("cut", stale=is_early and self._is_rested)
        self._wake()
        self._lost(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("a reply that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:
            return  # a trailer
        self._fields.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim = True
            return
        self.status, self._headed = status, True
        fields = self._fields
        coding = fields.get(b"content-encoding", b"").strip().lower()
        if coding in _WINDOWS:
            self._inflate = zlib.decompressobj(_WINDOWS[coding])
        elif coding not in (b"", b"identity"):
            told = coding[:40].decode("latin-1")
            self._error = HopError("malformed", f"it is compressed in a way ({told}) not asked for")
            raise ValueError("encoding")
        self._until_close = b"content-length" not in fields and not fields.get(
            b"transfer-encoding", b""
        ).strip().lower().endswith(b"chunked")

    def on_body(self, data: bytes) -> None:
        if self._inflate is not None:
            data = self._inflated_of(data)
        self._pieces.append(data)
        self._unread += len(data)

    def _inflated_of(self, data: bytes) -> bytes:
        assert self._inflate is not None
        try:
            most = MAX_INFLATED_BYTES - self._inflated + 1
            found = self._inflate.decompress(data, most)
        except zlib.error:
            self._error = HopError("malformed", "it is not compressed as told")
            raise
        self._inflated += len(found)
        if self._inflated > MAX_INFLATED_BYTES:
            self._error = HopError("malformed", f"it unpacks to over {MAX_INFLATED_BYTES} bytes")
            raise ValueError("size")
        return found

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._fields.clear()
            return
        self.complete = True
        self._keep = self._parser.should_keep_alive()
