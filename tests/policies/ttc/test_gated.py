"""Calls that come as they please wait for room: one sample at most is paid beyond it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from ttc_worlds import Scripted, chains, operation, tiny

from farthing.core.errors import CapError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.policies.ttc.gated import Gated
from farthing.policies.ttc.spending import Spending, worst_cost


async def at_once(gated: Gated, requests: list[Request], model: str = "m") -> list[Any]:
    calls = [gated.call(model, one, node="x") for one in requests]
    return await asyncio.gather(*calls, return_exceptions=True)


def flying(model: Scripted, spending: Spending, calls: int) -> tuple[int, int]:
    """How many of so many calls at once were in flight at the same time, and how many made."""
    most = now = 0
    complete = model.complete

    async def watched(request: Request) -> Any:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        try:
            return await complete(request)
        finally:
            now -= 1

    model.complete = watched  # type: ignore[method-assign]
    op = operation(model)
    asyncio.run(at_once(Gated(op, "part", spending), [Request.ask("?")] * calls))
    assert {attempt.node for attempt in op.attempts} == {"part/x"}
    return most, len(op.attempts)


@pytest.mark.parametrize(
    ("spending", "window", "most", "made"),
    [
        (Spending(), 100, 6, 6),
        (Spending(tokens=300), 100, 3, 6),
        (Spending(tokens=301), 100, 4, 6),
        (Spending(tokens=4), 100, 1, 4),  # each has a token in fact
        (Spending(tokens=300), None, 1, 6),  # nothing limits a call: one by one
        (Spending(usd="0.00000001"), 100, 3, 6),  # 4170 picodollars at most, 140 in fact
        (Spending(usd="0.0000000002"), 100, 1, 2),
    ],
)
def test_as_many_are_in_flight_as_fit_but_one(
    spending: Spending, window: int | None, most: int, made: int
) -> None:
    assert flying(Scripted("m", ["1"], window=window), spending, 6) == (most, made)


def test_what_finds_nothing_left_is_refused() -> None:
    op = operation(Scripted("m", ["1 2"]))
    done = asyncio.run(at_once(Gated(op, "part", Spending(tokens=3)), [Request.ask("?")] * 4))
    assert [isinstance(one, CapError) for one in done] == [False, False, True, True]


def test_a_call_of_several_samples_has_those_that_fit() -> None:
    op = operation(tiny("small"))
    [(request, _)] = chains(1)
    gated = Gated(op, "part", Spending(tokens=70))
    asked = Request(request.messages, n=8, max_tokens=30)
    response = asyncio.run(gated.call("tiny-small", asked, node="x"))
    assert len(response.samples) == 3


def test_a_call_that_fails_or_is_left_gives_its_room_back() -> None:
    model = Scripted("m", ["1", "2"], seconds=[30.0, 0.0], window=None)
    op = operation(model)
    gated = Gated(op, "part", Spending(tokens=10))

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gated.call("m", Request.ask("?"), node="x"), 0.05)
        await asyncio.wait_for(gated.call("m", Request.ask("?"), node="x"), 5)

    asyncio.run(run())


def test_no_operation_exceeds_its_budget_by_more_than_a_sample() -> None:
    """Calls of one and of several samples, of two models, at once and one after the other."""
    rng = random.Random(0)
    asked = chains(50, steps=1)
    exceeded = waited = 0

    async def run() -> None:
        nonlocal exceeded, waited
        for number in range(400):
            budget = Cost(rng.randrange(1, 2_000_000))
            capped = bool(number % 2)
            op = operation(tiny("small"), tiny("mid"), cap=budget if capped else None)
            gated = Gated(op, "part", Spending() if capped else Spending(usd=str(budget)))

            async def one(gated: Gated = gated) -> None:
                request, _ = rng.choice(asked)
                model = rng.choice(("tiny-small", "tiny-mid"))
                sized = Request(request.messages, n=rng.randrange(1, 4), max_tokens=3)
                await asyncio.sleep(rng.choice((0, 0.001)))
                await gated.call(model, sized, node="x")

            done = await asyncio.gather(*(one() for _ in range(6)), return_exceptions=True)
            waited += any(isinstance(told, CapError) for told in done)
            assert all(told is None or isinstance(told, CapError) for told in done)
            request, _ = asked[0]
            dearest = worst_cost(op, "tiny-mid", Request(request.messages, max_tokens=3))
            assert dearest is not None
            assert op.spent - budget < dearest
            exceeded += op.spent > budget

    asyncio.run(run())
    assert exceeded > 50
    assert waited > 50
