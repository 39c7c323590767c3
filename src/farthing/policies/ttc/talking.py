"""What models are told of each other's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from farthing.core.errors import CapError, UpstreamError
from farthing.core.protocols import Operation, Policy
from farthing.core.request import Message, Request
from farthing.core.response import Response
from farthing.policies.nested import ask, models_in
from farthing.policies.ttc.drawing import as_finished, seed_of
from farthing.policies.ttc.spending import Begun, Spending, worst_cost


def shown(request: Request, instruction: str, answers: Sequence[str]) -> Request:
    """The request with numbered `answers` and an instruction behind its last message.

    They are a message of the user's own: what is asked stays as it is, and with it its cache.
    """
    numbered = "\n\n".join(f"[{n}] {text}" for n, text in enumerate(answers, 1))
    message = Message("user", f"{numbered}\n\n{instruction}")
    return replace(
        request,
        messages=(*request.messages, message),
        question=request.question_id(),
        n=1,
        raw=None,
    )


@dataclass(frozen=True, slots=True)
class Panel:
    """Several models or policies that are asked the same, within one spending."""

    members: tuple[str | Policy, ...]
    operation: Operation
    spending: Spending
    begun: Begun

    async def round(self, requests: Sequence[Request], node: str) -> list[Response | None]:
        """Each member's answer to its request; None of those that failed or had no room.

        A request's seed grows by one with each member, so that a model named twice answers anew.
        They are asked at once where nothing limits dollars and tokens, or they surely fit in,
        else one by one. Raises CapError if none had room, UpstreamError if all failed.
        """
        self.spending.check(self.operation, self.begun)
        answers: list[Response | None] = [None] * len(self.members)
        failed: list[UpstreamError | CapError] = []

        async def one(place: int) -> None:
            try:
                seed = seed_of(requests[place], place)
                asked = replace(requests[place], seed=seed, raw=None)
                member, name = self.members[place], f"{node}/{place}"
                answers[place] = await ask(member, asked, self.operation, name, within=self.begun)
            except (UpstreamError, CapError) as error:
                failed.append(error)

        places = range(len(self.members))
        try:
            async with self.spending.limit(self.operation, self.begun):
                if self._fit(requests):
                    async for _ in as_finished([one(place) for place in places]):
                        pass
                else:
                    for place in places:
                        if self.spending.over(self.operation, self.begun):
                            break
                        await one(place)
        except TimeoutError:
            failed.append(CapError(f"the policy's spending of {self.spending} was used up"))
        if not any(answers):
            raise failed[0]
        return answers

    def _fit(self, requests: Sequence[Request]) -> bool:
        """Whether all but one surely fit into what is left."""
        left = self.spending.left(self.operation, self.begun)
        if left.cost is None and left.tokens is None:
            return True
        if left.tokens is not None or any(not isinstance(m, str) for m in self.members):
            return False
        assert left.cost is not None
        total = 0
        for model, request in zip(self.members, requests, strict=True):
            worst = worst_cost(self.operation, str(model), request)
            if worst is None:
                return False
            total += worst.pico
        return total <= left.cost.pico

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that may be called."""
        return models_in(self.members)
