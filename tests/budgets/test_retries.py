"""Operations that make failed calls again, before upstreams on loopback that fail as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest
from flaky import Fail, flaky_upstream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farthing.budgets import Drains, Operation, retrying
from farthing.core.errors import CapError, RestingError, UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.request import Request
from farthing.core.response import Chunk
from farthing.cost import PriceBook
from farthing.ledger import MemoryLedger
from farthing.models.breaker import BreakerRule
from farthing.models.http import HttpModel
from farthing.models.replicas import Upstreams

ASK = Request.ask("2 + 2?")
RATES = Rates.per_million("1", "10", cache_read="0.1")
STREAM = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_S", 0.002)


@asynccontextmanager
async def model_of(*fails: list[Fail], **card: Any) -> AsyncIterator[tuple[Upstreams, list[Any]]]:
    """A model with an upstream for each list of failures."""
    timeout_s = card.pop("timeout_s", 5)
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(flaky_upstream(each)) for each in fails]
        models = {
            f"u{number}": HttpModel("m", base_url=fake.base_url, rates=RATES, timeout_s=timeout_s)
            for number, fake in enumerate(fakes)
        }
        model = Upstreams(models, **card)
        try:
            yield model, fakes
        finally:
            await model.aclose()


def operation(model: Any, **fields: Any) -> tuple[Operation, MemoryLedger]:
    ledger = MemoryLedger()
    fields = {"ledger": ledger, "drains": Drains(), **fields}
    return Operation({"m": model}, prices=PriceBook(), **fields), ledger


async def ask(op: Operation, stream: bool) -> str:
    if not stream:
        return (await op.call("m", ASK, node="single")).text
    return "".join([c.text async for c in op.stream("m", ASK, node="single")])


async def draw(op: Operation, pieces: list[Chunk]) -> None:
    async for chunk in op.stream("m", ASK, node="single"):
        pieces.append(chunk)


def kinds(ledger: MemoryLedger) -> list[tuple[str, str]]:
    return [(row.kind, row.status) for row in ledger.attempts]


def billed(fakes: list[Any]) -> Cost:
    """The upstreams' own account: what they answered, at the model's price."""
    pico = 0
    for fake in fakes:
        for _ in fake.sent:
            cached = fake.cached_tokens
            pico += (fake.prompt_tokens - cached) * RATES.input + cached * (RATES.cache_read or 0)
        pico += fake.billed_output * RATES.output
    return Cost(pico)


@STREAM
@pytest.mark.parametrize(
    ("fail", "cost"),
    [
        (Fail(status=500), None),
        (Fail(status=429, headers={"Retry-After": "0"}), Cost(0)),
        (Fail(status=503), Cost(0)),
        (Fail(status=408), None),
        (Fail("close"), None),
    ],
)
async def test_a_failed_call_is_made_again(fail: Fail, cost: Cost | None, stream: bool) -> None:
    async with model_of([fail]) as (model, (fake,)):
        op, ledger = operation(model)
        assert await ask(op, stream) == "The answer is 42."
        assert kinds(ledger) == [("sample", "failed"), ("retry", "ok")]
        assert [row.number for row in ledger.attempts] == [0, 1]
        assert [row.node for row in ledger.attempts] == ["single"] * 2
        assert ledger.attempts[0].cost == cost
        assert (ledger.attempts[1].cost, op.spent) == (billed([fake]), billed([fake]))
        assert op.unknown_attempts == (cost is None)


async def test_a_whole_answer_that_is_cut_is_asked_for_again() -> None:
    async with model_of([Fail("cut")]) as (model, (_fake,)):
        op, ledger = operation(model)
        assert await ask(op, False) == "The answer is 42."
        assert kinds(ledger) == [("sample", "failed"), ("retry", "ok")]


@STREAM
@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_the_client_must_change_is_not_asked_again(status: int, stream: bool) -> None:
    async with model_of([Fail(status=status)] * 3) as (model, (fake,)):
        op, ledger = operation(model)
        with pytest.raises(UpstreamError):
            await ask(op, stream)
        assert (fake.calls, kinds(ledger)) == (1, [("sample", "failed")])


@STREAM
async def test_retries_end(stream: bool) -> None:
    async with model_of([Fail()] * 9, retries=3) as (model, (fake,)):
        op, ledger = operation(model)
        with pytest.raises(UpstreamError, match="status 500"):
            await ask(op, stream)
        assert fake.calls == 4
        assert kinds(ledger) == [("sample", "failed")] + [("retry", "failed")] * 3


@STREAM
async def test_an_answer_that_takes_too_long_is_not_asked_for_again(stream: bool) -> None:
    async with model_of([Fail("hang")], timeout_s=0.1) as (model, (fake,)):
        op, ledger = operation(model)
        with pytest.raises(UpstreamError) as caught:
            await ask(op, stream)
        assert (caught.value.kind, fake.calls, len(ledger.attempts)) == ("timeout", 1, 1)


async def test_nothing_is_asked_again_once_a_piece_has_been_passed_on() -> None:
    async with model_of([]) as (model, (fake,)):
        fake.cut_at = 400
        op, ledger = operation(model)
        pieces: list[Chunk] = []
        with pytest.raises(UpstreamError):
            await draw(op, pieces)
        assert pieces
        assert (fake.calls, kinds(ledger)) == (1, [("sample", "failed")])


@STREAM
async def test_unreachable_costs_nothing(stream: bool) -> None:
    model = Upstreams({"": HttpModel("m", base_url="http://127.0.0.1:9/v1", rates=RATES)})
    op, ledger = operation(model)
    with pytest.raises(UpstreamError):
        await ask(op, stream)
    await model.aclose()
    assert kinds(ledger) == [("sample", "failed"), ("retry", "failed"), ("retry", "failed")]
    assert [row.cost for row in ledger.attempts] == [Cost(0)] * 3
    assert op.unknown_attempts == 0


@STREAM
async def test_retry_after_is_kept_to_or_passed_on(stream: bool) -> None:
    soon = Fail(status=429, headers={"Retry-After": "0.2"})
    async with model_of([soon]) as (model, _):
        op, _ = operation(model)
        await ask(op, stream)
        first, second = op.attempts
        assert second.started - first.started >= 0.2
    late = Fail(status=503, headers={"Retry-After": "21"})
    async with model_of([late, late], retry_after_max_s=20) as (model, (fake,)):
        op, _ = operation(model)
        with pytest.raises(UpstreamError) as caught:
            await ask(op, stream)
        assert (fake.calls, caught.value.retry_after_s) == (1, 21)


@STREAM
async def test_another_upstream_is_not_waited_for(stream: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(retrying, "FIRST_S", 60.0)
    late = Fail(status=503, headers={"Retry-After": "600"})
    async with model_of([late], [late], [late], [late]) as (model, fakes):
        fakes[2].fails.clear()
        fakes[3].fails.clear()
        op, ledger = operation(model, drains=Drains())
        async with asyncio.timeout(5):
            assert await ask(op, stream) == "The answer is 42."
        assert all(fake.calls <= 1 for fake in fakes)
        assert [a.upstream for a in op.attempts] == list(
            dict.fromkeys(a.upstream for a in op.attempts)
        )
        for attempt, row in zip(op.attempts, ledger.attempts, strict=True):
            if row.status == "failed":
                assert row.error is not None
                assert f"(upstream {attempt.upstream})" in row.error
        assert op.spent == billed(fakes)


@STREAM
async def test_a_model_that_is_left_alone_fails_at_once_and_free(stream: bool) -> None:
    rule = BreakerRule(failures=1, pause_s=60)
    async with model_of([Fail()] * 5, breaker=rule, retries=0) as (model, (fake,)):
        op, ledger = operation(model)
        with pytest.raises(UpstreamError):
            await ask(op, stream)
        with pytest.raises(RestingError):
            await ask(op, stream)
        assert fake.calls == 1
        assert ledger.attempts[1].cost == Cost(0)
        assert ledger.attempts[1].price_source == "not billed"


async def test_the_cap_stops_retries() -> None:
    async with model_of([Fail(status=500, headers={"Retry-After": "0.2"})]) as (model, (fake,)):
        op, ledger = operation(model, cap=Cost(1))
        calling = asyncio.ensure_future(op.call("m", ASK, node="a"))
        await asyncio.sleep(0.1)
        assert len(ledger.attempts) == 1
        await op.call("m", ASK, node="b")
        with pytest.raises(CapError):
            await calling
        assert (fake.calls, len(op.attempts)) == (2, 2)


@STREAM
async def test_a_client_that_leaves_stops_retries(stream: bool) -> None:
    async with model_of([Fail(headers={"Retry-After": "0.2"})] * 3) as (model, (fake,)):
        op, ledger = operation(model)
        calling = asyncio.ensure_future(ask(op, stream))
        await asyncio.sleep(0.1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.sleep(0.3)
        assert (fake.calls, kinds(ledger), op.is_running) == (1, [("sample", "failed")], False)


@STREAM
@pytest.mark.parametrize("ledger", [True, False])
async def test_the_total_time_out(stream: bool, ledger: bool) -> None:
    async with model_of([], total_timeout_s=0.3) as (model, (fake,)):
        fake.delay_s = 0.7
        op, _rows = operation(model, **({} if ledger else {"ledger": None}))
        with pytest.raises(UpstreamError, match=r"total_timeout_s = 0.3") as caught:
            await ask(op, stream)
        assert caught.value.kind == "timeout"
        await op.idle()
        assert op.attempts[0].status == "cancelled"
        if ledger or stream:
            assert op.spent == billed([fake]), "it is read to its end, since it is paid for"
    fails = [Fail(headers={"Retry-After": "5"})] * 3
    async with model_of(fails, total_timeout_s=1) as (model, (fake,)):
        op, _ = operation(model)
        async with asyncio.timeout(0.9):
            with pytest.raises(UpstreamError, match="status 500"):
                await ask(op, stream)
        assert fake.calls == 1, "a retry that would come too late is not waited for"


async def test_a_stream_is_ended_by_the_total_time_out() -> None:
    async with model_of([], total_timeout_s=0.3) as (model, (fake,)):
        fake.chunk_delay_s = 0.12
        op, ledger = operation(model)
        pieces: list[Chunk] = []
        with pytest.raises(UpstreamError, match="total_timeout_s"):
            await draw(op, pieces)
        assert 1 <= len(pieces) < 5
        await op.idle()
        assert kinds(ledger) == [("sample", "cancelled")]
        assert op.spent == billed([fake])


@pytest.mark.parametrize(("kind", "again"), [("judge", "judge"), ("fallback", "retry")])
async def test_what_a_retry_is_for(kind: Any, again: str) -> None:
    async with model_of([Fail()]) as (model, _):
        op, ledger = operation(model)
        await op.call("m", ASK, node="x", kind=kind)
        assert [row.kind for row in ledger.attempts] == [kind, again]


async def test_clients_that_come_and_go_leave_nothing_behind() -> None:
    """Random failures, random departures: each call is booked, and no count or task is left."""
    random = Random(7)
    ways = [Fail(), Fail(status=429), Fail("close"), Fail("cut"), None, None, None]
    plans = [[random.choice(ways) for _ in range(60)] for _ in range(3)]
    fails = [[fail or Fail(status=400) for fail in plan] for plan in plans]
    rule = BreakerRule(failures=6, pause_s=0.05)
    before = len(asyncio.all_tasks())
    async with model_of(*fails, breaker=rule) as (model, fakes):
        for fake in fakes:
            fake.chunk_delay_s = 0.002
        drains, attempts, unbooked = Drains(), 0, 0

        async def client(number: int) -> None:
            nonlocal attempts, unbooked
            await asyncio.sleep(number * 0.002)
            op, ledger = operation(model, drains=drains)
            with suppress(UpstreamError, TimeoutError):
                async with asyncio.timeout(random.choice([0.001, 0.005, 0.02, 5])):
                    await ask(op, random.random() < 0.5)
            await op.idle()
            rested = sum("RestingError" in (row.error or "") for row in ledger.attempts)
            attempts += len(ledger.attempts) - rested
            unbooked += len(op.attempts) - len(ledger.attempts)

        await asyncio.gather(*(client(number) for number in range(300)))
        assert unbooked == 0
        assert len(drains) == 0
        health = model.health()
        assert [each.outstanding for each in health] == [0, 0, 0]
        assert sum(each.calls for each in health) == attempts
        assert attempts == sum(fake.calls for fake in fakes)
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) == before


FAILS = st.sampled_from([Fail(), Fail(status=429), Fail(status=400), Fail("close"), Fail("cut")])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(FAILS, max_size=4), min_size=1, max_size=3), st.booleans())
def test_the_ledger_is_the_upstreams_account(fails: list[list[Fail]], stream: bool) -> None:
    """Whatever fails: one attempt for each call, what was answered at its price, and once."""

    async def run() -> None:
        async with model_of(*fails) as (model, fakes):
            op, ledger = operation(model)
            for _ in range(4):
                with suppress(UpstreamError):
                    await ask(op, stream)
            assert len(ledger.attempts) == sum(fake.calls for fake in fakes)
            known = [row.cost for row in ledger.attempts if row.cost is not None]
            assert sum((cost.pico for cost in known), 0) == billed(fakes).pico == op.spent.pico
            assert op.unknown_attempts == len(ledger.attempts) - len(known)
            assert sum(map(bool, known)) == sum(fake.answered for fake in fakes)

    asyncio.run(run())
