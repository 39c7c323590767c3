"""What the tests of these policies share: scripted models, chains for the tiny ones, running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from farthing.budgets import Operation
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.cost import PriceBook
from farthing.ledger import MemoryLedger
from farthing.models.tiny import TinyModel, load, problem, prompt, solve
from farthing.policies.ttc.stops import Stop
from farthing.signals import reader
from farthing.signals.vote import Vote

PRICES = PriceBook()
RATES = Rates(10, 40)


class Scripted:
    """Answers with texts in their order, or by a function of the request; a token a word.

    `seconds` is how long each answer takes, one after the other.
    """

    def __init__(
        self,
        name: str,
        texts: Sequence[str] | Callable[[Request], str],
        *,
        seconds: Sequence[float] = (),
        logprobs: Sequence[float] = (),
        window: int | None = 100,
        rates: Rates | None = RATES,
    ) -> None:
        self.card = ModelCard(name, rates=rates, context_window=window, on_disconnect="cancel")
        self.texts, self.seconds, self.logprobs = texts, seconds, logprobs
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Response:
        place = len(self.asked)
        self.asked.append(request)
        texts = self.texts
        text = texts(request) if callable(texts) else texts[place % len(texts)]
        if self.seconds:
            await asyncio.sleep(self.seconds[place % len(self.seconds)])
        logprob = self.logprobs[place % len(self.logprobs)] if self.logprobs else None
        words = len(text.split())
        sample = Sample(text, finish_reason="stop", mean_logprob=logprob, output_tokens=words)
        usage = Usage(input=10, output=words)
        return Response(self.card.name, (sample,), usage=usage, usage_basis="exact")

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        response = await self.complete(request)
        yield Chunk(response.text, finish_reason="stop")
        yield Chunk(usage=response.usage, usage_basis="exact")


def operation(*models: Any, cap: Cost | None = None, answer: str = "last-number") -> Operation:
    """One of these models, with a ledger of its own."""
    names = {model.card.name: model for model in models}
    return Operation(names, prices=PRICES, ledger=MemoryLedger(), cap=cap, reader=reader(answer))


def answered(policy: Any, op: Operation, request: Request | None = None) -> Response:
    """What the policy answers, once all that it left is booked."""

    async def run() -> Response:
        response = await policy.answer(request or Request.ask("?", seed=0), op)
        await op.idle()
        return response

    return asyncio.run(run())


@cache
def tiny(size: str) -> TinyModel:
    """A shipped model, loaded once."""
    return load(size)


def chains(count: int, steps: int = 4, seed: int = 0) -> list[tuple[Request, str]]:
    """Chains of arithmetic, each with its value."""
    rng = np.random.default_rng(seed)
    drawn = [problem(rng, steps) for _ in range(count)]
    asked = [Request.ask(prompt(one), seed=place) for place, one in enumerate(drawn)]
    return list(zip(asked, [str(solve(one)[-1]) for one in drawn], strict=True))


def stopped(rule: Stop, answers: Sequence[str | None]) -> Vote:
    """The vote as it stands when the rule stops, of samples that come in this order."""
    vote, seen = Vote(len(answers)), list[str | None]()
    while more := rule.more(vote, seen):
        for answer in answers[vote.cast : vote.cast + more]:
            seen.append(answer)
            vote.add(answer)
    return vote
