"""Tiny models that work each token out once, for many operations on the same questions.

What they answer and bill is what a tiny model does that holds nothing when an operation begins.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import numpy as np

from farthing.core.request import Request
from farthing.core.response import Chunk, Response
from farthing.models.recording import Floats
from farthing.models.tiny import TinyModel
from farthing.models.tiny._decoding import Tally, cumulated, draws, log_softmax
from farthing.models.tiny._engine import Floats as Floats32
from farthing.models.tiny._heads import START, Heads, Running, Told, evidence, followed, shown
from farthing.models.tiny.model import Asked

_LIKELY = 0.01


class Place:
    """What may follow a sequence of tokens."""

    __slots__ = ("_cumulative", "_seen", "_told", "likeliest", "logprobs", "values")

    def __init__(self, logprobs: Floats, seen: Floats32) -> None:
        self.logprobs = logprobs
        self._seen, self._told = seen, dict[int, Told]()
        self.values: list[float] = logprobs.tolist()
        self.likeliest = int(logprobs.argmax())
        self._cumulative: dict[float, list[float]] = {}

    def choose(self, heat: float, draw: float) -> int:
        """The token that a uniform number stands for, the likeliest at temperature 0."""
        if not heat:
            return self.likeliest
        summed = self._cumulative.get(heat)
        if summed is None:
            summed = self._cumulative[heat] = cumulated(self.logprobs, heat).tolist()
        return bisect_right(summed, draw * summed[-1])

    def introspect(self, heads: Heads, token: int, running: Running, *, ends: bool) -> Told:
        """What the heads say after `token`, which is counted in `running`."""
        told = self._told.get(token)
        if told is None:
            seen = evidence(running, self.values[token], ends=ends)
            told = self._told[token] = shown(heads.tell(self._seen[None], [seen])[0])
        return told


class Remembered:
    """A tiny model, and what it has worked out so far."""

    def __init__(self, model: TinyModel) -> None:
        self.model = model
        self._places: dict[tuple[int, ...], Place] = {}

    def __getitem__(self, tokens: tuple[int, ...]) -> Place:
        place = self._places.get(tokens)
        if place is None:
            place = self._work_out([tokens])[0]
        return place

    def prepare(self, chain: str) -> None:
        """Work out at once what is likely to be needed of a chain."""
        level = {tuple(self.model.encode(chain)): 1.0}
        while level:
            places = self._work_out(list(level))
            following: dict[tuple[int, ...], float] = {}
            for (tokens, share), place in zip(level.items(), places, strict=True):
                if len(tokens) + 1 >= self.model.shape.positions:
                    continue
                likely = (share * np.exp(place.logprobs)).tolist()
                for token, chance in enumerate(likely):
                    if chance > _LIKELY and token != self.model.eos:
                        following[(*tokens, token)] = chance
            level = following

    def _work_out(self, sequences: list[tuple[int, ...]]) -> list[Place]:
        stream: list[Floats32] = []
        rows = log_softmax(self.model.read_all(sequences, stream=stream))
        seen = self.model.heads.see(np.concatenate(stream, -1))
        places = [Place(row, part) for row, part in zip(rows, seen, strict=True)]
        self._places.update(zip(sequences, places, strict=True))
        return places


@dataclass(slots=True)
class Called:
    """What one call came to.

    Attributes:
        read: tokens of prompt and prefix, of which `held` were held.
        rows: how many sequences each pass after the first went on with.
        output: tokens generated.
        cancelled: whether it was broken off.
        heads: of how many sequences the heads said something in the first pass.
    """

    read: int
    held: int
    rows: list[int] = field(default_factory=list)
    output: int = 0
    cancelled: bool = False
    heads: int = 0


class Session:
    """A remembered model in one operation.

    Calls at the same time advance by a token each in turn; one that is broken off is counted as
    far as it has come.

    Attributes:
        calls: in the order in which they began.
    """

    def __init__(self, remembered: Remembered) -> None:
        self.model = remembered.model
        self.card = replace(remembered.model.card, on_disconnect="cancel")
        self.calls: list[Called] = []
        self._remembered = remembered
        self._read: set[tuple[int, ...]] = set()
        self._whole: set[tuple[int, ...]] = set()
        self._written: set[tuple[int, ...]] = set()
        self._busy = 0

    async def complete(self, request: Request) -> Response:
        """As `TinyModel.complete`."""
        asked = self.model.read(request)
        tallies, call = asked.tallies(request.n, self._running(asked)), self._begin(asked)
        async for _ in self._decode(asked, request, tallies, call):
            pass
        return Response(
            self.card.name,
            tuple(tally.sample(logprobs=request.logprobs) for tally in tallies),
            usage=asked.usage(call.held, tallies),
            usage_basis="exact",
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """As `TinyModel.stream`."""
        asked = self.model.read(request)
        tallies, call = asked.tallies(request.n, self._running(asked)), self._begin(asked)
        async for advanced in self._decode(asked, request, tallies, call):
            for index in advanced:
                yield _chunk(tallies[index], index, logprobs=request.logprobs)
        yield Chunk(usage=asked.usage(call.held, tallies), usage_basis="exact")

    def _begin(self, asked: Asked) -> Called:
        known = asked.prefix and (not asked.heads or asked.tokens in self._written)
        call = Called(len(asked.tokens), self._held(asked.tokens) if known else 0)
        self.calls.append(call)
        return call

    def _running(self, asked: Asked) -> Running:
        """That of the working which is gone on from, where the heads need it."""
        running = START
        if asked.heads:
            for end in range(len(asked.tokens) - asked.prefix, len(asked.tokens)):
                place = self._remembered[asked.tokens[:end]]
                running = followed(running, place.values[asked.tokens[end]])
        return running

    def _held(self, tokens: tuple[int, ...]) -> int:
        if tokens in self._whole:
            return len(tokens)
        lengths = range(len(tokens) - 1, 0, -1)
        return next((n for n in lengths if tokens[:n] in self._read), 0)

    async def _decode(
        self, asked: Asked, request: Request, tallies: list[Tally], call: Called
    ) -> AsyncIterator[list[int]]:
        """The samples that each pass gave a token; counts what is done in `call`."""
        n, heat = request.n, request.temperature or 0.0
        whole = False
        self._busy += 1
        try:
            await asyncio.sleep(0)
            in_turn = self._busy > 1
            self._read.add(asked.tokens)
            self._whole.add(asked.tokens)
            drawn = draws(request.seed, n, asked.limit, asked.prefix).tolist() if heat else None
            going = list(range(n))
            heads = self.model.heads if asked.heads else None
            call.heads = (n if heat else 1) if heads else 0
            for position in range(asked.limit):
                if position:
                    call.rows.append(len(going) if heat else 1)
                    if in_turn:
                        await asyncio.sleep(0)
                call.output += len(going)
                left = []
                for index in going:
                    tally = tallies[index]
                    place = self._remembered[(*asked.tokens, *tally.tokens)]
                    token = place.choose(heat, drawn[index][position] if drawn else 0.0)
                    if asked.top:
                        tally.look(place.logprobs, asked.top)
                    full = position + 1 == asked.limit
                    ends = tally.add(token, place.values[token], full=full) is not None
                    if heads:
                        eos = token == self.model.eos
                        tally.heads.append(place.introspect(heads, token, tally.running, ends=eos))
                        self._written.add((*asked.tokens, *tally.tokens))
                    if not ends:
                        left.append(index)
                    elif position and token != self.model.eos:
                        self._read.add((*asked.tokens, *tally.tokens[:-1]))
                yield going
                going = left
                if not going:
                    break
            whole = True
        finally:
            self._busy -= 1
            call.cancelled = not whole


def _chunk(tally: Tally, index: int, *, logprobs: bool) -> Chunk:
    tokens = ((tally.pieces[-1], tally.logprobs[-1]),) if logprobs else None
    if tally.finish_reason is None:
        return Chunk(tally.fresh(), index, tokens=tokens)
    return Chunk(
        tally.fresh(),
        index,
        finish_reason=tally.finish_reason,
        mean_logprob=tally.mean_logprob,
        min_logprob=tally.min_logprob,
        output_tokens=len(tally.tokens),
        tokens=tokens,
    )
