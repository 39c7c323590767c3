"""Which requests were asked before, word for word."""

from __future__ import annotations

from array import array
from typing import Literal

from farthing.audit.levers.memory import Seen, digest
from farthing.audit.line import Line

_BITS = 22

Again = Literal["", "surely", "likely", "differs"]


class Requests:
    """Remembers up to four million requests; see `Seen` for what is forgotten."""

    def __init__(self) -> None:
        self._seen = Seen(_BITS)
        self._answers = array("Q", bytes(8 << _BITS))

    @property
    def forgotten(self) -> int:
        """Requests that lost their place."""
        return self._seen.forgotten

    def see(self, line: Line, model: bytes, text: bytes) -> Again:
        """Whether the request `text` was seen before, and what speaks for the same answer.

        "surely": asked at temperature 0, or answered in the same words. "differs": answered in
        others. "likely": neither is told. Empty: it is new.
        """
        slot, known = self._seen.slot(digest(model + b"\0" + text))
        said = digest(line.answer.encode("utf-8", "replace")) if line.answer else 0
        before, self._answers[slot] = self._answers[slot] if known else 0, said
        if not known:
            return ""
        if line.temperature == 0 or (said and said == before):
            return "surely"
        return "differs" if said and before else "likely"
