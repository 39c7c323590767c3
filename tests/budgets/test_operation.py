import asyncio
from dataclasses import replace

import pytest

from farthing.budgets import Drains, Operation, refuse
from farthing.core.errors import CapError, LedgerError, UnknownModelError, UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.protocols import Operation as OperationProtocol
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage
from farthing.cost import Price, PriceBook, SampleShare
from farthing.ledger import Ledger, MemoryLedger

ASK = Request.ask("2+2?", temperature=0.5)
USAGE = Usage(input=100, output=10)
PRICE = 100 * 3 + 10 * 5


class Fake:
    """A model that answers with `response`, fails with `error`, or waits for `gate`."""

    def __init__(self, response=None, error=None, gate=None, **card):
        self.card = ModelCard("m", **({"rates": Rates(3, 5), "price_source": "test"} | card))
        self.response = response or answered()
        self.error, self.gate, self.calls, self.aborted = error, gate, 0, False

    async def complete(self, request):
        self.calls += 1
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.aborted = True
                raise
        if self.error is not None:
            raise self.error
        return self.response


def answered(*texts, **fields):
    samples = tuple(Sample(text) for text in texts or ("so 4",))
    return Response("m", samples, **({"usage": USAGE, "usage_basis": "exact"} | fields))


def operation(model, ledger=None, **fields):
    return Operation({"m": model}, prices=PriceBook(), ledger=ledger, **fields)


def last_word(text):
    return text.split()[-1] if text else None


async def test_a_call_is_priced_read_and_booked():
    ledger = MemoryLedger()
    op = operation(Fake(), ledger, reader=last_word, reader_name="last word", question="q")
    response = await op.call("m", ASK, node="single")
    await op.finish("ok", response, signal=0.75)
    assert response.cost == Cost(PRICE) == op.spent
    assert response.samples[0] == Sample("so 4", "4", read=True)
    assert response.latency_s >= 0
    (begun,), (row,), (outcome,) = ledger.operations, ledger.attempts, ledger.outcomes
    assert (begun.id, begun.question, begun.answer_reader) == (op.id, "q", "last word")
    assert (row.id, row.operation_id, row.number) == (f"{op.id}.0", op.id, 0)
    assert (row.status, row.usage, row.usage_basis, row.cost) == ("ok", USAGE, "exact", Cost(PRICE))
    assert (row.price_source, row.temperature, row.node) == ("test", 0.5, "single")
    assert row.samples == response.samples
    assert row.shares == (SampleShare(10, Cost(PRICE), "exact"),)
    assert (outcome.status, outcome.answered_by, outcome.answer) == ("ok", "m", "4")
    assert outcome.signal == 0.75


async def test_without_a_ledger_it_is_counted_all_the_same():
    op = operation(Fake())
    response = await op.call("m", ASK, node="single")
    await op.finish("ok", response)
    assert op.spent == Cost(PRICE)
    assert op.usage == USAGE
    assert [attempt.response for attempt in op.attempts] == [response]


async def test_what_a_recording_states_stands():
    stated = answered(cost=Cost(1), latency_s=2.5)
    stated = replace(stated, samples=(Sample("x", "y", read=True),))
    ledger = MemoryLedger()
    op = operation(Fake(stated, price_source="recording"), ledger, reader=last_word)
    assert await op.call("m", ASK, node="n") == stated
    (row,) = ledger.attempts
    assert (row.cost, row.price_source, row.latency_s) == (Cost(1), "recording", 2.5)


async def test_several_samples_are_shared_out():
    ledger = MemoryLedger()
    op = operation(Fake(answered("aaaa", "a")), ledger)
    await op.call("m", ASK, node="n")
    (row,) = ledger.attempts
    assert [part.output_tokens for part in row.shares] == [7, 3]
    assert [part.cost for part in row.shares] == [Cost(335), Cost(315)]


async def test_an_unknown_price_is_unknown():
    ledger = MemoryLedger()
    op = operation(Fake(rates=None, price_source=None), ledger, cap=Cost(1))
    assert (await op.call("m", ASK, node="n")).cost is None
    assert (op.spent, op.unknown_attempts, op.remaining) == (Cost(0), 1, Cost(1))
    assert (ledger.attempts[0].cost, ledger.attempts[0].price_source) == (None, None)


@pytest.mark.parametrize(("kind", "cost"), [("timeout", None), ("unreachable", Cost(0))])
async def test_a_failure_is_booked(kind, cost):
    ledger = MemoryLedger()
    op = operation(Fake(error=UpstreamError("no luck", model="m", kind=kind)), ledger)
    with pytest.raises(UpstreamError):
        await op.call("m", ASK, node="n")
    await op.finish("failed", error="no luck")
    (row,) = ledger.attempts
    assert (row.status, row.error, row.cost) == ("failed", "UpstreamError: no luck", cost)
    assert (row.usage, row.samples) == (None, ())
    assert op.unknown_attempts == (cost is None)
    assert ledger.outcomes[0].error == "no luck"


async def test_an_error_that_nobody_foresaw_is_booked_too():
    ledger = MemoryLedger()
    op = operation(Fake(error=ZeroDivisionError("oops")), ledger)
    with pytest.raises(ZeroDivisionError):
        await op.call("m", ASK, node="n")
    assert ledger.attempts[0].error == "ZeroDivisionError: oops"


async def test_unknown_models_are_no_attempts():
    ledger = MemoryLedger()
    op = operation(Fake(), ledger)
    with pytest.raises(UnknownModelError, match="known are: m"):
        await op.call("nobody", ASK, node="n")
    with pytest.raises(UnknownModelError):
        op.card("nobody")
    assert op.card("m").name == "m"
    assert ledger.attempts == op.attempts == []


async def test_a_cap_that_is_used_up_calls_nothing():
    model = Fake()
    op = operation(model, cap=Cost(PRICE + 1))
    await op.call("m", ASK, node="n")
    assert op.remaining == Cost(1)
    await op.call("m", ASK, node="n")
    assert op.remaining == Cost(0)
    with pytest.raises(CapError, match="2 attempts"):
        await op.call("m", ASK, node="n")
    assert (model.calls, len(op.attempts)) == (2, 2)


async def test_a_cancelled_call_is_billed_and_booked():
    ledger, drains, gate = MemoryLedger(), Drains(), asyncio.Event()
    model = Fake(gate=gate)
    op = operation(model, ledger, drains=drains)
    call = asyncio.create_task(op.call("m", ASK, node="n"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await op.finish("cancelled")
    assert (len(drains), ledger.attempts) == (1, [])
    gate.set()
    assert await drains.wait() == 0
    (row,) = ledger.attempts
    assert (row.status, row.cost, model.aborted) == ("cancelled", Cost(PRICE), False)
    assert op.spent == Cost(PRICE)


async def test_a_shutdown_books_what_it_cuts():
    ledger, drains = MemoryLedger(), Drains()
    model = Fake(gate=asyncio.Event())
    op = operation(model, ledger, drains=drains)
    call = asyncio.create_task(op.call("m", ASK, node="n"))
    await asyncio.sleep(0.01)
    call.cancel()
    assert await drains.wait(seconds=0.01) == 1
    (row,) = ledger.attempts
    assert (row.status, row.cost, model.aborted) == ("cancelled", None, True)


async def test_a_call_whose_caller_left_is_broken_off_where_that_is_cheaper():
    ledger, drains = MemoryLedger(), Drains()
    model = Fake(gate=asyncio.Event(), on_disconnect="cancel")
    op = operation(model, ledger, drains=drains)
    call = asyncio.create_task(op.call("m", ASK, node="n"))
    await asyncio.sleep(0.01)
    call.cancel()
    assert await drains.wait(1) == 0
    (row,) = ledger.attempts
    assert (row.status, row.cost, row.usage, model.aborted) == ("cancelled", None, None, True)
    assert op.unknown_attempts == 1
    assert not op.is_running


async def test_a_call_that_is_broken_off_before_it_begins_is_booked_too():
    ledger, drains = MemoryLedger(), Drains()
    op = operation(Fake(gate=asyncio.Event(), on_disconnect="cancel"), ledger, drains=drains)
    call = asyncio.create_task(op.call("m", ASK, node="n"))
    await asyncio.sleep(0)
    call.cancel()
    assert await drains.wait(1) == 0
    assert [row.status for row in ledger.attempts] == ["cancelled"]


async def test_a_drain_takes_no_longer_than_it_may():
    ledger, drains = MemoryLedger(), Drains()
    model = Fake(gate=asyncio.Event(), drain_timeout_s=0.05)
    op = operation(model, ledger, drains=drains)
    call = asyncio.create_task(op.call("m", ASK, node="n"))
    await asyncio.sleep(0.01)
    call.cancel()
    assert await drains.wait(5) == 0
    (row,) = ledger.attempts
    assert (row.status, row.cost, model.aborted) == ("cancelled", None, True)
    assert row.error == "not read to its end within 0.05 s"


@pytest.mark.parametrize("kind", ["cut", "unreachable"])
async def test_seconds_are_paid_for_whatever_came_of_them(kind):
    book = PriceBook({"m": Price(Rates(0, 0), "own GPU", per_second=10**9)})
    ledger, drains = MemoryLedger(), Drains()
    error = UpstreamError("no luck", model="m", kind=kind)
    model = Fake(error=error, rates=None, on_disconnect="cancel")
    op = Operation({"m": model}, prices=book, ledger=ledger, drains=drains)
    with pytest.raises(UpstreamError):
        await op.call("m", ASK, node="n")
    model.gate = asyncio.Event()
    call = asyncio.create_task(op.call("m", ASK, node="n"))
    await asyncio.sleep(0.02)
    call.cancel()
    await drains.wait(1)
    failed, cancelled = ledger.attempts
    assert (failed.status, cancelled.status) == ("failed", "cancelled")
    assert (failed.cost == Cost(0)) == (kind == "unreachable")
    assert Cost(2 * 10**7) <= cancelled.cost < Cost(10**9)
    assert (cancelled.price_source, cancelled.usage, op.unknown_attempts) == ("own GPU", None, 0)


@pytest.mark.parametrize("kind", ["sample", "retry", "fallback", "judge"])
async def test_what_a_call_is_for_is_booked(kind):
    ledger = MemoryLedger()
    op = operation(Fake(), ledger)
    await op.call("m", ASK, node="n", kind=kind)
    assert (ledger.attempts[0].kind, op.attempts[0].kind) == (kind, kind)


async def test_an_answer_from_a_cache_costs_nothing_and_is_booked():
    ledger = MemoryLedger()
    model = Fake()
    op = operation(model, ledger, reader=last_word, cap=Cost(0))
    response = op.book_cached("m", ASK, answered(cost=Cost(5), ttft_s=1.0), node="cache")
    await op.finish("ok", response)
    assert (model.calls, op.spent, op.usage) == (0, Cost(0), Usage())
    assert response.samples[0].answer == "4"
    (row,) = ledger.attempts
    assert (row.kind, row.cost, row.price_source) == ("cache", Cost(0), "cache")
    assert (row.status, row.usage, row.usage_basis, row.ttft_s) == ("ok", Usage(), "exact", None)
    assert row.shares == ()  # what the sample would have cost alone is not zero, but unknown
    with pytest.raises(UnknownModelError):
        op.book_cached("nobody", ASK, answered(), node="cache")


async def test_a_refusal_is_booked_without_waiting():
    ledger, drains = MemoryLedger(), Drains()
    id = refuse(ledger, "too dear", requested="m", key="alice", tags={"a": "b"}, drains=drains)
    assert [row.id for row in ledger.operations] == [id]
    assert ledger.outcomes == []
    await drains.wait(1)
    (begun,), (outcome,) = ledger.operations, ledger.outcomes
    assert (begun.requested, begun.key, begun.tags) == ("m", "alice", {"a": "b"})
    assert (outcome.operation_id, outcome.status, outcome.error) == (id, "refused", "too dear")
    assert ledger.attempts == []


async def test_a_refusal_that_cannot_be_booked_is_logged(caplog):
    class Full(MemoryLedger):
        async def finish(self, row):
            raise LedgerError("the disk is full")

    drains = Drains()
    id = refuse(Full(), "too dear", requested="m", drains=drains)
    await drains.wait(1)
    assert [record.getMessage() for record in caplog.records] == [
        f"operation {id}: the disk is full"
    ]


async def test_cancelling_without_a_ledger_aborts_the_call():
    model = Fake(gate=asyncio.Event())
    op = operation(model)
    call = asyncio.create_task(op.call("m", ASK, node="n"))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert model.aborted
    assert (op.attempts[0].status, op.unknown_attempts) == ("cancelled", 1)


async def test_concurrent_calls_are_numbered_and_summed():
    ledger = MemoryLedger()
    op = operation(Fake(), ledger)
    await asyncio.gather(*(op.call("m", ASK, node=f"vote/{i}") for i in range(7)))
    assert [row.number for row in ledger.attempts] == list(range(7))
    assert op.spent == Cost(7 * PRICE)
    assert op.usage == Usage(input=700, output=70)


async def test_it_keeps_the_contract_and_the_file(tmp_path):
    async with Ledger.open(tmp_path / "l.db") as ledger:
        op: OperationProtocol = operation(Fake(), ledger, tags={"a": "b"})
        await op.call("m", ASK, node="n")
        await op.finish("ok")


async def test_the_tier_and_the_time_decide_the_price():
    flex = Price(Rates(1, 2), "flex price", None, service_tier="flex")
    book = PriceBook({"m": [Price(Rates(3, 5), "plain", None), flex]})
    ledger = MemoryLedger()
    model = Fake(answered(service_tier="flex"), rates=None, price_source=None)
    op = Operation({"m": model}, prices=book, ledger=ledger)
    assert (await op.call("m", ASK, node="n")).cost == Cost(100 * 1 + 10 * 2)
    (row,) = ledger.attempts
    assert (row.service_tier, row.price_source) == ("flex", "flex price")


async def test_usage_that_is_not_told_is_estimated_and_marked():
    ledger = MemoryLedger()
    untold = answered("so 4", usage=None, usage_basis="unknown")
    op = operation(Fake(untold), ledger)
    response = await op.call("m", ASK, node="n")
    (row,) = ledger.attempts
    assert row.usage_basis == "estimated"
    assert response.cost == row.cost == Rates(3, 5).cost(row.usage)
    assert row.usage.input == len("2+2?") // 4
