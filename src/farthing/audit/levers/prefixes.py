"""Which beginnings of prompts come again, and how soon."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from farthing.audit.levers.memory import Seen, beginnings

TTL_S, LONG_TTL_S = 300.0, 3600.0
"""Lifetimes of a vendor's cache, in seconds: the usual one, and the one that is paid for."""

OFTEN = 10
"""How often a beginning or an end must have been seen before to be boilerplate."""

_BITS = 20
_LIFETIMES = (TTL_S, LONG_TTL_S)


@dataclass(frozen=True, slots=True)
class Repeated:
    """What was seen before of a text, in bytes.

    Attributes:
        held: of its beginning, by lifetime of the cache.
        written: the part of that which was put into the cache for this text, and not for one
            before it, by lifetime.
        common: the longer beginning of those seen often.
    """

    held: tuple[int, int] = (0, 0)
    written: tuple[int, int] = (0, 0)
    common: int = 0


class Beginnings:
    """Remembers the beginnings of up to a million texts; see `Seen` for what is forgotten.

    Lines without a time have no lifetime, and hold nothing for each other but `common`.
    """

    def __init__(self) -> None:
        self._seen = Seen(_BITS)
        self._last = array("d", bytes(8 << _BITS))
        self._count = array("I", bytes(4 << _BITS))
        self._paid = bytearray(1 << _BITS)

    @property
    def forgotten(self) -> int:
        """Beginnings that lost their place."""
        return self._seen.forgotten

    def see(self, model: bytes, text: bytes, at: float | None) -> Repeated:
        """What of `text` was seen before, asked of the same model; it is from now on.

        `at` is in seconds; texts come in the order of time, or in its reverse.
        """
        held, written, common, before = [0, 0], [0, 0], 0, 0
        alive, count = [at is not None] * 2, self._count
        for end, digest in beginnings(model, text):
            slot, known = self._seen.slot(digest)
            if known and count[slot] >= OFTEN:
                common = end
            count[slot] = count[slot] + 1 if known else 1
            if at is not None:
                paid = self._paid[slot] if known else 0
                age = abs(at - self._last[slot])
                for which, lifetime in enumerate(_LIFETIMES):
                    alive[which] = alive[which] and known and age <= lifetime
                    if not alive[which]:
                        paid &= ~(1 << which)
                        continue
                    held[which] = end
                    if not paid >> which & 1:
                        written[which] += end - before
                        paid |= 1 << which
                self._paid[slot] = paid
                self._last[slot] = at
            before = end
        return Repeated(_pair(held), _pair(written), common)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    short, long = values
    return short, long
