"""What texts were seen before, and when, in memory that does not grow."""

from __future__ import annotations

from array import array
from hashlib import blake2b

_BYTES = 8


class Seen:
    """A table of texts by their digests, each in the one slot that its digest names.

    A text that falls on another's slot takes its place. What was forgotten so counts as new:
    repetitions are missed then, never made up but by equal digests of 64 bits.

    Attributes:
        forgotten: how many texts have lost their slots.
    """

    def __init__(self, bits: int) -> None:
        size = 1 << bits
        self._mask = size - 1
        self._digests = array("Q", bytes(_BYTES * size))
        self.forgotten = 0

    def slot(self, digest: int) -> tuple[int, bool]:
        """The slot of `digest`, and whether it was seen before; it is from now on."""
        slot = digest & self._mask
        held = self._digests[slot]
        if held == digest:
            return slot, True
        if held:
            self.forgotten += 1
        self._digests[slot] = digest
        return slot, False


def digest(data: bytes) -> int:
    """64 bits of a digest; never zero."""
    return int.from_bytes(blake2b(data, digest_size=_BYTES).digest(), "little") or 1


_FINE = (64, 128, 256, 512, 768)
_STEP, _EVEN, _GROWTH, _LONGEST = 512, 8192, 1.25, 4_000_000


def _ends() -> tuple[int, ...]:
    ends = [*_FINE, *range(1024, _EVEN + 1, _STEP)]
    while ends[-1] < _LONGEST:
        ends.append(int(ends[-1] * _GROWTH))
    return tuple(ends)


ENDS = _ends()
"""Lengths in bytes at which beginnings of texts are compared, finer where they are short."""


def beginnings(seed: bytes, text: bytes) -> list[tuple[int, int]]:
    """(length, digest) of each beginning of `text` that is compared, the shortest first.

    Texts of different `seed`s have nothing in common.
    """
    running, at, found = blake2b(seed, digest_size=_BYTES), 0, []
    for end in ENDS:
        if end > len(text):
            break
        running.update(text[at:end])
        at = end
        found.append((end, int.from_bytes(running.digest(), "little") or 1))
    return found
