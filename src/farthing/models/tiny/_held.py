"""Keys and values that a tiny model still holds of what it read before."""

from __future__ import annotations

import threading
from collections import OrderedDict

from farthing.models.tiny._engine import Cache, Floats

Read = tuple[Floats, Floats]
"""Logits, shape (vocabulary,), and residual stream, (3 E,), of a last token."""


class Held:
    """The most recently used sequences, up to a number of bytes; safe among threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._held: OrderedDict[tuple[int, ...], tuple[Cache, Read | None]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def longest(self, tokens: tuple[int, ...]) -> tuple[int, Cache, Read | None] | None:
        """Of the longest beginning of `tokens` that is held: length, cache and last reading.

        The reading may be lacking; the whole of `tokens` is only found with it. The cache may be
        appended to, which leaves what is held as it is.
        """
        with self._lock:
            for length in range(len(tokens), 0, -1):
                found = self._held.get(tokens[:length])
                if found is None or (length == len(tokens) and found[1] is None):
                    continue
                self._held.move_to_end(tokens[:length])
                return length, found[0].share(), found[1]
        return None

    def keep(self, tokens: tuple[int, ...], cache: Cache, read: Read | None) -> None:
        """Hold the one sequence in `cache`; the least recently used ones make room for it."""
        with self._lock:
            old = self._held.get(tokens)
            if old is not None:
                if read is None:
                    return
                self._bytes -= old[0].reserved
            shared = cache.share()
            self._held[tokens] = (shared, read)
            self._held.move_to_end(tokens)
            self._bytes += shared.reserved
            while self._bytes > self._most and len(self._held) > 1:
                _, (dropped, _) = self._held.popitem(last=False)
                self._bytes -= dropped.reserved
