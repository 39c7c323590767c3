"""An operation whose calls wait for room, for what makes its calls as it pleases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from farthing.core.protocols import Kind, Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.nested import Part
from farthing.policies.ttc.spending import Spending, most_tokens, worst_cost


@dataclass(eq=False, slots=True)
class _Seat:
    """A call in flight: the most that it can cost and have; None if nothing limits it."""

    samples: int
    pico: int | None
    tokens: int | None


class Gated(Part):
    """The operation as part of it sees it that calls at any time, from any number of tasks.

    A call goes out as soon as those in flight, at their dearest, cannot use up what is left: so
    one sample at most is paid beyond what was allowed. A call of several samples has as many as
    there is room for, at least one. Raises CapError once the spending is used up.
    """

    def __init__(self, operation: Operation, node: str, spending: Spending) -> None:
        super().__init__(operation, node, final=False)
        self._spending, self._begun = spending, spending.begin(operation)
        self._seats: list[_Seat] = []
        self._freed = asyncio.Event()

    def limit(self) -> asyncio.Timeout:
        """What breaks off with TimeoutError at the end of the spending's seconds."""
        return self._spending.limit(self._operation, self._begun)

    async def call(
        self,
        model: str,
        request: Request,
        *,
        node: str,
        kind: Kind = "sample",
        final: bool = False,
    ) -> Response:
        seat = await self._seat(model, request)
        try:
            if seat.samples != request.n:
                request = replace(request, n=seat.samples, raw=None)
            return await super().call(model, request, node=node, kind=kind, final=final)
        finally:
            self._seats.remove(seat)
            self._freed.set()

    async def _seat(self, model: str, request: Request) -> _Seat:
        worst = worst_cost(self._operation, model, request)
        pico = None if worst is None else worst.pico
        tokens = most_tokens(self._operation, model, request)
        while True:
            self._spending.check(self._operation, self._begun)
            left = self._spending.left(self._operation, self._begun)
            cost = None if left.cost is None else left.cost.pico
            samples = min(
                _room(cost, pico, [seat.pico for seat in self._seats], request.n),
                _room(left.tokens, tokens, [seat.tokens for seat in self._seats], request.n),
            )
            if samples:
                seat = _Seat(samples, _times(pico, samples), _times(tokens, samples))
                self._seats.append(seat)
                return seat
            self._freed.clear()
            await self._freed.wait()


def _room(left: int | None, worst: int | None, flying: Sequence[int | None], wanted: int) -> int:
    """How many samples of at most `worst` may go out beside what is in flight; 0 to wait."""
    if left is None:
        return wanted
    free = left
    for one in flying:
        if one is None:
            return 0
        free -= one
    if free <= 0:
        return 0
    if worst is None:
        return 1
    return min(wanted, 1 + (free - 1) // worst) if worst else wanted


def _times(worst: int | None, samples: int) -> int | None:
    return None if worst is None else worst * samples
