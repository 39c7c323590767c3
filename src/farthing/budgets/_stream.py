"""Reads a streamed answer in one task and hands it on in another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from time import perf_counter

from farthing.core.money import Cost
from farthing.core.pieces import Pieces
from farthing.core.response import Basis, Chunk, Response
from farthing.core.usage import Usage

_AHEAD = 64  # chunks that are read before the consumer has asked for them


class StreamReader:
    """One streamed answer, between the task that reads it and the consumer of its chunks."""

    def __init__(self, model: str, started: float) -> None:
        self._model, self._started = model, started
        self._ahead: list[Chunk] = []
        self._taken = 0  # chunks that the consumer is at
        self._news: asyncio.Future[None] | None = None  # what the consumer waits for
        self._room: asyncio.Future[None] | None = None  # what the reading task waits for
        self._left = self._ended = False
        self._pieces = {0: Pieces()}  # by the index of the sample
        self._usage: Usage | None = None
        self._basis: Basis = "unknown"
        self._tier: str | None = None
        self._upstream_id: str | None = None
        self._calls: Mapping[str, int] = {}
        self._cost: Cost | None = None
        self._ttft: float | None = None

    async def read(self, upstream: AsyncIterator[Chunk]) -> None:
        """Read to the end, no faster than the consumer unless it has left."""
        try:
            async for chunk in upstream:
                self._add(chunk)
                while self._taken + len(self._ahead) >= _AHEAD:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                if not self._left:
                    self._ahead.append(chunk)
                    _wake(self._news)
        finally:
            close = getattr(upstream, "aclose", None)
            if close is not None:
                await close()

    async def take(self) -> list[Chunk]:
        """What `read` has read since the last time, at least one; none after the `end`."""
        self._taken = 0
        _wake(self._room)
        while not self._ahead and not self._ended:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        taken, self._ahead = self._ahead, []
        self._taken = len(taken)
        return taken

    def leave(self) -> None:
        """The consumer is gone: read on without it."""
        self._left = True
        self._ahead, self._taken = [], 0
        _wake(self._room)

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        _wake(self._news)

    def response(self) -> Response:
        """The answer as far as it has been read; without usage unless the model told it."""
        return Response(
            self._model,
            tuple(self._pieces[index].sample() for index in sorted(self._pieces)),
            usage=self._usage,
            usage_basis=self._basis,
            cost=self._cost,
            ttft_s=self._ttft,
            upstream_id=self._upstream_id,
            service_tier=self._tier,
            billed_calls=self._calls,
        )

    def _add(self, chunk: Chunk) -> None:
        pieces = self._pieces.get(chunk.index)
        if pieces is None:
            pieces = self._pieces[chunk.index] = Pieces()
        pieces.add(chunk)
        if self._ttft is None and (chunk.text or chunk.tool_calls):
            self._ttft = perf_counter() - self._started
        if chunk.usage is not None:
            self._usage, self._basis = chunk.usage, chunk.usage_basis
        if chunk.cost is not None:
            self._cost = chunk.cost
        if chunk.billed_calls:
            self._calls = chunk.billed_calls
        if chunk.service_tier is not None:
            self._tier = chunk.service_tier
        if chunk.upstream_id is not None:
            self._upstream_id = chunk.upstream_id


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


class StreamLimit:
    """Ends the reading of a stream after some time, if any is set."""

    def __init__(self, seconds: float | None) -> None:
        self.reader: StreamReader | None = None
        self.is_over = False
        self._timer: asyncio.TimerHandle | None = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def cancel(self) -> None:
        """Let the stream take as long as it takes."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        if self.reader is not None:
            self.reader.end()
