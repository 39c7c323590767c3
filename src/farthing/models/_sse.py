"""Server-sent events, parsed as the bytes come in."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 32 * 2**20

# An event ends at an empty line. The groups are atomic, so that CRLF is never read as two ends.
_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One block of a stream.

    Attributes:
        data: the data lines joined by newlines; None for comments and blocks without data.
        raw: the block's own bytes with the empty line that ends it.
    """

    data: bytes | None
    raw: bytes


class EventParser:
    """Cuts a stream of bytes into events; the bytes may be split anywhere.

    The `raw` of all events, in order, are exactly the bytes fed.
    """

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = b""
        self._searched = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes; ValueError when one is larger than 32 MiB."""
        buffer = self._buffer + data if self._buffer else data
        events = []
        start, searched = 0, self._searched
        while (end := _END.search(buffer, searched)) is not None:
            stop = end.end()
            if stop == len(buffer) and buffer.endswith(b"\r"):
                break
            events.append(_event(buffer[start:stop]))
            start = searched = stop
        self._buffer = buffer[start:]
        self._searched = max(0, len(self._buffer) - 3)
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        return events

    def close(self) -> list[Event]:
        """What is left at the end of the stream, as an event even without its empty line."""
        rest, self._buffer, self._searched = self._buffer, b"", 0
        return [_event(rest)] if rest else []


def _event(raw: bytes) -> Event:
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return Event(raw[6:-2], raw)
    lines = []
    for line in _LINE_END.split(raw.removeprefix(_BOM)):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return Event(b"\n".join(lines) if lines else None, raw)
