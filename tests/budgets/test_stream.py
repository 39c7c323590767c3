import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from farthing.budgets import Drains, Operation
from farthing.core.errors import UnknownModelError, UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Sample
from farthing.core.usage import Usage
from farthing.cost import PriceBook
from farthing.ledger import MemoryLedger

ASK = Request.ask("hi")
USAGE = Usage(input=10, output=3)
COST = Cost(10 * 3 + 3 * 5)
CHUNKS = (
    Chunk("one ", raw=b"data: 1\n\n"),
    Chunk("two"),
    Chunk("", finish_reason="stop", mean_logprob=-0.5, min_logprob=-1.0, output_tokens=3),
    Chunk(usage=USAGE, usage_basis="exact"),
)


class Streaming:
    """Yields `chunks`, waiting for `gate` before the second, then raises `error`."""

    card = ModelCard("m", Rates(3, 5), "test")

    def __init__(self, chunks=CHUNKS, error=None, gate=None):
        self.chunks, self.error, self.gate = chunks, error, gate
        self.sent, self.closed = 0, False

    async def complete(self, request):
        raise NotImplementedError

    async def stream(self, request):
        try:
            for chunk in self.chunks:
                if self.gate is not None and self.sent == 1:
                    await self.gate.wait()
                self.sent += 1
                yield chunk
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


@pytest.fixture
def drains():
    return Drains()


@pytest.fixture
def ledger():
    return MemoryLedger()


@pytest.fixture
def start(ledger, drains):
    def start(model):
        return Operation(
            {"m": model},
            prices=PriceBook(),
            ledger=ledger,
            drains=drains,
            reader=lambda text: text.split()[-1],
        )

    return start


async def test_chunks_pass_and_one_attempt_is_booked(start, ledger, drains):
    op = start(Streaming())
    seen = [chunk async for chunk in op.stream("m", ASK, node="single")]
    assert tuple(seen) == CHUNKS
    (row,) = ledger.attempts
    assert (row.status, row.usage, row.usage_basis, row.cost) == ("ok", USAGE, "exact", COST)
    assert row.samples == (Sample("one two", "two", True, "stop", -0.5, -1.0, 3),)
    assert 0 <= row.ttft_s <= row.latency_s
    assert op.spent == COST
    assert op.attempts[0].response.cost == COST
    assert await drains.wait() == 0
    assert len(drains) == 0


async def test_samples_are_told_apart_by_their_index(start, ledger):
    chunks = [Chunk("a"), Chunk("b", index=1), Chunk("a"), Chunk(index=1, finish_reason="length")]
    op = start(Streaming(chunks))
    assert len([chunk async for chunk in op.stream("m", ASK, node="n")]) == 4
    (row,) = ledger.attempts
    assert [(s.text, s.finish_reason) for s in row.samples] == [("aa", None), ("b", "length")]
    assert (row.usage, row.usage_basis) == (Usage(input=1, output=2), "estimated")


@pytest.mark.parametrize("how", ["break", "cancel"])
async def test_when_the_consumer_leaves_the_rest_is_read_and_booked(start, ledger, drains, how):
    gate = asyncio.Event()
    model = Streaming(gate=gate)
    op = start(model)

    async def consume():
        async with aclosing(op.stream("m", ASK, node="n")) as chunks:
            async for _ in chunks:
                if how == "break":
                    break

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0.01)
    if how == "cancel":
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
    else:
        await consumer
    await op.finish("cancelled")
    assert (ledger.attempts, len(drains), model.closed) == ([], 1, False)
    gate.set()
    assert await drains.wait() == 0
    (row,) = ledger.attempts
    assert (row.status, row.usage, row.cost) == ("cancelled", USAGE, COST)
    assert model.sent == len(CHUNKS)
    assert model.closed


async def test_a_generator_that_nobody_closes_is_drained_too(start, ledger, drains):
    gate = asyncio.Event()
    chunks = start(Streaming(gate=gate)).stream("m", ASK, node="n")
    await anext(chunks)
    del chunks
    await asyncio.sleep(0.01)
    gate.set()
    await drains.wait()
    assert [(row.status, row.cost) for row in ledger.attempts] == [("cancelled", COST)]


@pytest.mark.parametrize(
    ("card", "error"),
    [
        ({"on_disconnect": "cancel"}, None),
        ({"drain_timeout_s": 0.05}, "not read to its end within 0.05 s"),
    ],
)
async def test_a_stream_is_broken_off(start, ledger, drains, card, error):
    model = Streaming(gate=asyncio.Event())
    model.card = replace(model.card, **card)
    op = start(model)
    stream = op.stream("m", ASK, node="n", kind="fallback")
    await anext(stream)
    await stream.aclose()
    assert await drains.wait(5) == 0
    (row,) = ledger.attempts
    assert (row.status, row.error, row.kind) == ("cancelled", error, "fallback")
    assert (row.usage, row.cost, row.samples[0].text) == (None, None, "one ")
    assert model.closed
    assert (op.unknown_attempts, op.is_running) == (1, False)


async def test_what_was_told_before_it_was_broken_off_counts(start, ledger, drains):
    model = Streaming([CHUNKS[0], CHUNKS[-1], *[Chunk("x")] * 1000])
    model.card = replace(model.card, on_disconnect="cancel")
    stream = start(model).stream("m", ASK, node="n")
    await anext(stream)
    await asyncio.sleep(0.01)
    await stream.aclose()
    await drains.wait(5)
    (row,) = ledger.attempts
    assert (row.status, row.usage, row.cost) == ("cancelled", USAGE, COST)
    assert model.sent < 100


async def test_a_slow_consumer_holds_the_upstream_back_until_it_leaves(start, ledger, drains):
    model = Streaming([Chunk("x")] * 1000 + [Chunk(usage=USAGE, usage_basis="exact")])
    stream = start(model).stream("m", ASK, node="n")
    await anext(stream)
    await asyncio.sleep(0.01)
    assert model.sent < 100
    await stream.aclose()
    await drains.wait()
    assert model.sent == 1001
    assert [(row.status, row.cost) for row in ledger.attempts] == [("cancelled", COST)]


@pytest.mark.parametrize("chunks", [CHUNKS, CHUNKS[:2], ()])
async def test_a_cut_stream_fails_with_what_it_told(start, ledger, chunks):
    model = Streaming(chunks, UpstreamError("cut", model="m", kind="cut"))
    stream = start(model).stream("m", ASK, node="n")
    for chunk in chunks:
        assert await anext(stream) == chunk
    with pytest.raises(UpstreamError, match="cut"):
        await anext(stream)
    (row,) = ledger.attempts
    assert (row.status, row.error) == ("failed", "UpstreamError: cut")
    assert row.cost == (COST if chunks == CHUNKS else None)
    assert [sample.text for sample in row.samples] == (["one two"] if chunks else [])


async def test_a_shutdown_books_what_was_read(start, ledger, drains):
    model = Streaming(gate=asyncio.Event())
    stream = start(model).stream("m", ASK, node="n")
    await anext(stream)
    await stream.aclose()
    assert await drains.wait(0.01) == 1
    (row,) = ledger.attempts
    assert (row.status, row.cost, row.samples[0].text) == ("cancelled", None, "one ")
    assert model.closed


async def test_an_unknown_model(start, ledger):
    with pytest.raises(UnknownModelError):
        await anext(start(Streaming()).stream("nobody", ASK, node="n"))
    assert ledger.attempts == []
