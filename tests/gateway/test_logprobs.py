"""Log-probabilities of models in this process, and a plan that decides by an upstream's."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI

from farthing.core.protocols import Model
from farthing.core.request import Request
from farthing.gateway.app import create_app
from farthing.gateway.sections import GatewayConfig
from farthing.gateway.service import ServedPlan, Service
from farthing.ledger import MemoryLedger
from farthing.models import tiny
from farthing.models.http import HttpModel
from farthing.policies import Cascade, Stage

CHAIN = "7 * 8 - 2 * 3 + 4 - 9 ="


@asynccontextmanager
async def serving(
    models: Mapping[str, Model], plans: Mapping[str, ServedPlan] | None = None
) -> AsyncIterator[str]:
    service = Service(GatewayConfig(), models, plans or {}, MemoryLedger())  # type: ignore[arg-type]
    server = TestServer(create_app(service))
    await server.start_server()
    try:
        yield str(server.make_url("/v1"))
    finally:
        await server.close()


def ask(client: AsyncOpenAI, model: str, **settings):
    messages = [{"role": "user", "content": CHAIN}]
    return client.chat.completions.create(model=model, messages=messages, temperature=0, **settings)


async def test_tokens_of_a_tiny_model_plain_and_streamed():
    model = tiny.load("small")
    told = (await model.complete(Request.ask(CHAIN, logprobs=True))).samples[0]
    async with (
        serving({"small": model}) as url,
        AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        choice = (await ask(client, "small", logprobs=True)).choices[0]
        tokens = [(token.token, token.logprob) for token in choice.logprobs.content]
        assert tokens == list(told.tokens)
        assert "".join(text for text, _ in tokens) == choice.message.content
        assert min(value for _, value in tokens) == told.min_logprob
        streamed = []
        async for chunk in await ask(client, "small", logprobs=True, stream=True):
            for piece in chunk.choices:
                streamed += piece.logprobs.content if piece.logprobs else []
        assert [token.token for token in streamed] == [text for text, _ in tokens]
        assert (await ask(client, "small")).choices[0].logprobs is None


@pytest.mark.parametrize(("accept", "answered_by"), [(-math.inf, "small"), (0.0, "large")])
async def test_a_plan_decides_by_an_upstreams_log_probabilities(accept, answered_by):
    sizes = {name: tiny.load(name) for name in ("small", "large")}
    cascade = Cascade((Stage("small", 1, accept), Stage("large")), "min_logprob")
    plan = ServedPlan("plan", ("small", "large"), cascade, "last-number", None, None)
    async with serving(sizes) as upstream:
        models = {name: HttpModel(name, base_url=upstream, model=name) for name in sizes}
        async with (
            serving(models, {"plan": plan}) as url,
            AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
        ):
            answer = await ask(client, "plan")
            assert answer.farthing["answered_by"] == answered_by
            assert answer.choices[0].logprobs is None
        for model in models.values():
            await model.aclose()
