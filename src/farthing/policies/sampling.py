"""Several answers of one model to one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from farthing.core.errors import CapError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Sample
from farthing.core.together import together


async def ask_samples(
    model: str,
    request: Request,
    operation: Operation,
    *,
    node: str,
    count: int,
    first: int = 0,
    one_call: bool = False,
    final: bool = False,
) -> Sequence[Sample]:
    """Up to `count` samples, fewer where the operation's cap lets no more calls through.

    Calls are made at once, or as one call for all with `one_call`. A request's seed grows by one
    with each sample, from that of number `first`. `final` counts for a single sample only: its
    answer is the policy's, see `Operation.call`.

    Raises CapError if the cap refuses all of them, else what the first failed call raises.
    """
    if one_call and count > 1:
        asked = replace(request, n=count, raw=None)
        return (await operation.call(model, asked, node=node)).samples
    requests = [
        request if request.seed is None else replace(request, seed=request.seed + first + i)
        for i in range(count)
    ]
    if count == 1:
        return (await operation.call(model, requests[0], node=node, final=final)).samples
    refused: list[CapError] = []

    async def ask(one: Request) -> Sequence[Sample]:
        try:
            return (await operation.call(model, one, node=node)).samples[:1]
        except CapError as error:  # those that were let through are waited for
            refused.append(error)
            return ()

    samples = [sample for told in await together(map(ask, requests)) for sample in told]
    if not samples:
        raise refused[0]
    return samples
