"""Answers that are known beforehand, streamed side by side as if they took their time."""

from __future__ import annotations

import asyncio

_QUIET = 48
"""Rounds of the event loop in which nobody began to wait, before the clock moves on: enough for
whoever was told of a moment to begin more, or to break off what still runs."""


class Pace:
    """A clock that jumps to the next moment that somebody waits for.

    No real time passes: it moves on when the event loop has nothing else to do. So what runs
    side by side ends in the order of its lengths, and at each end all know how far they are.

    Attributes:
        now: what the clock says.
    """

    def __init__(self) -> None:
        self.now = 0
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._quiet = 0

    async def moment(self, until: int) -> int:
        """Wait until the clock moves, to `until` at most; what it then says."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._tick, loop)
        self._quiet = 0
        waiter = loop.create_future()
        self._waiting[waiter] = until
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)
        return self.now

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        self._quiet += 1
        if self._waiting and self._quiet < _QUIET:
            loop.call_soon(self._tick, loop)
            return
        self._loop = None
        if self._waiting:
            self.now = max(self.now, min(self._waiting.values()))
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
