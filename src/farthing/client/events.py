"""From the bytes of a streamed answer to its events, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

_AHEAD = 64
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Pipe:
    """Hands the pieces of a streamed answer on to whoever reads them, no faster than that.

    Attributes:
        headers: `x-farthing-*`, as far as they are known.
    """

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)

    async def write(self, data: bytes) -> None:
        """Hand on `data`, which holds whole events."""
        await self._pieces.put(data)

    async def close(self, data: bytes) -> None:
        """Hand on `data`, the last."""
        await self._pieces.put(data)

    async def read(self, writer: asyncio.Task[Any]) -> bytes | None:
        """The next piece; None after the last. Raises what `writer` ended with."""
        while self._pieces.empty():
            if writer.done():
                writer.result()
                return None
            piece = asyncio.ensure_future(self._pieces.get())
            try:
                await asyncio.wait({piece, writer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not piece.done():
                    piece.cancel()
            if piece.done() and not piece.cancelled():
                return piece.result()
        return self._pieces.get_nowait()


def events(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of the events in `data`; comments and `[DONE]` are left out."""
    lines: list[bytes] = []
    for line in (*data.splitlines(), b""):
        if line.startswith(b"data:"):
            lines.append(line[5:].strip())
        elif not line and lines:
            text = b"\n".join(lines)
            lines.clear()
            if text != b"[DONE]":
                yield _decode(text)
