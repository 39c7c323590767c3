"""Server-sent events, parsed as the bytes come in."""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_EVENT_BYTES = 32 * 2**20

Event = tuple[bytes | None, bytes]
"""The data lines of a block joined by newlines (None without any), and the block's own bytes with
the empty line that ends it."""

# An event ends at an empty line. The groups are atomic, so that CRLF is never read as two ends.
_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventParser:
    """Cuts a stream of bytes into events; the bytes may be split anywhere.

    The own bytes of all events, in order, are exactly the bytes fed.
    """

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = b""
        self._searched = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes; ValueError when one is larger than 32 MiB."""
        buffer = self._buffer + data if self._buffer else data
        find_end = _end_of_any if b"\r" in buffer else _end_of_newlines
        events, start = _cut(buffer, self._searched, find_end)
        self._buffer = buffer[start:]
        self._searched = max(0, len(self._buffer) - 3)
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        return events

    def close(self) -> list[Event]:
        """What is left at the end of the stream, as an event even without its empty line."""
        rest, self._buffer, self._searched = self._buffer, b"", 0
        return [_event(rest)] if rest else []


def _cut(
    buffer: bytes, searched: int, find_end: Callable[[bytes, int], int]
) -> tuple[list[Event], int]:
    """The whole events in `buffer`, and where the rest begins."""
    events, start = [], 0
    while (stop := find_end(buffer, searched)) > 0:
        events.append(_event(buffer[start:stop]))
        start = searched = stop
    return events, start


def _end_of_newlines(buffer: bytes, searched: int) -> int:
    found = buffer.find(b"\n\n", searched)
    return found + 2 if found >= 0 else 0


def _end_of_any(buffer: bytes, searched: int) -> int:
    found = _END.search(buffer, searched)
    if found is None or (found.end() == len(buffer) and buffer.endswith(b"\r")):
        return 0  # a newline may follow the last carriage return
    return found.end()


def _event(raw: bytes) -> Event:
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return raw[6:-2], raw
    lines = []
    for line in _LINE_END.split(raw.removeprefix(_BOM)):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return (b"\n".join(lines) if lines else None), raw
