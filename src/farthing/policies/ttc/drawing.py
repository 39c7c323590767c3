"""Samples of one model, as many at once as the spending has room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, TypeVar

from farthing.core.errors import CapError, UpstreamError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Sample
from farthing.policies.ttc.spending import Begun, Spending

T = TypeVar("T")

Sampling = Literal["calls", "n"]
"""Samples that are asked for at once: in a call each, or in one call that bills the prompt once."""

CLIENTS = "client"
"""In a table of parameters: the temperature that the client asks with, which is None within."""


async def take(
    model: str,
    request: Request,
    operation: Operation,
    spending: Spending,
    begun: Begun,
    *,
    node: str,
    count: int,
    first: int = 0,
    sampling: Sampling | None = None,
) -> list[Sample]:
    """Up to `count` samples, in the order in which they were asked for.

    They come in one call where the model can give several at once, else in calls at the same
    time, unless `sampling` says which. A request's seed grows by one with each sample, from that
    of number `first`. Calls that are not done when the spending's seconds are over are broken
    off, and booked.

    Raises:
        CapError: the spending or the operation's cap has no room, or its seconds were over
            before a sample was there.
        UpstreamError: all calls failed.
    """
    room = spending.room(operation, begun, model, request, count)
    if not room:
        spending.check(operation, begun)
    together = operation.card(model).n if sampling is None else sampling == "n"
    one_call = room > 1 and together
    asked = [
        replace(request, seed=seed_of(request, first + i), n=room if one_call else 1, raw=None)
        for i in range(1 if one_call else room)
    ]
    samples: dict[int, Sequence[Sample]] = {}
    failed: list[UpstreamError | CapError] = []

    async def ask(one: Request) -> Sequence[Sample]:
        try:
            return (await operation.call(model, one, node=node)).samples
        except (UpstreamError, CapError) as error:
            failed.append(error)
            return ()

    try:
        async with (
            spending.limit(operation, begun),
            aclosing(as_finished([ask(one) for one in asked])) as finished,
        ):
            async for place, told in finished:
                samples[place] = told
    except TimeoutError:
        failed.append(CapError(f"the policy's spending of {spending} was used up in its calls"))
    given = [sample for place in sorted(samples) for sample in samples[place]]
    if not given:
        raise failed[0]
    return given[:count]


async def as_finished(
    works: Sequence[Coroutine[Any, Any, T]],
) -> AsyncGenerator[tuple[int, T], None]:
    """The place and the outcome of each of `works`, in the order in which they end.

    When it is closed, or one of them raises, those that still run are cancelled.
    """
    tasks = {asyncio.ensure_future(work): place for place, work in enumerate(works)}
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.__getitem__):
                yield tasks[task], task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def seed_of(request: Request, number: int) -> int | None:
    """The seed of sample 0, 1, ... of a request; None where it has none."""
    return None if request.seed is None else request.seed + number
