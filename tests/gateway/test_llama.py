"""A real language model behind a listening gateway, asked by the official client."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openai import AsyncOpenAI, BadRequestError
from smollm2 import PATH, needs_smollm2

from farthing.core.money import Rates
from farthing.core.usage import Usage
from farthing.gateway.app import create_app
from farthing.gateway.build import open_service
from farthing.gateway.config import load
from farthing.models.llama import LlamaModel

CONFIG = """\
[models.smol]
kind = "llama"
path = "{path}"
context = 256
threads = 1
price = {{ input = 1, output = 10, cache_read = 0.1 }}

[models.large]
kind = "tiny"
size = "large"

[plans.careful]
kind = "cascade"
signal = "min_logprob"
stages = [{{ model = "smol", samples = 1, accept = 0.5 }}, {{ model = "large" }}]
"""
RATES = Rates.per_million("1", "10", cache_read="0.1")
ASK: list[Any] = [{"role": "user", "content": "Work out left to right modulo 10: 3 + 4 ="}]

pytestmark = needs_smollm2


@dataclass
class Running:
    """A gateway with SmolLM2."""

    client: AsyncOpenAI
    model: LlamaModel
    ledger: Path

    def rows(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.ledger)) as ledger:
            return ledger.execute(sql).fetchall()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    config = tmp_path / "farthing.toml"
    config.write_text(CONFIG.format(path=PATH))
    service = open_service(load(config))
    await service.start()
    runner = web.AppRunner(
        create_app(service), access_log=None, handler_cancellation=True, shutdown_timeout=1
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    model = service.models["smol"]
    assert isinstance(model, LlamaModel)
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield Running(client, model, tmp_path / "farthing.db")
    await runner.cleanup()
    await service.aclose(1)


async def test_samples_with_logprobs_and_exact_cost(running: Running) -> None:
    raw = await running.client.chat.completions.with_raw_response.create(
        model="smol", messages=ASK, n=2, temperature=1, seed=1, max_tokens=8, logprobs=True
    )
    answer = raw.parse()
    assert len(answer.choices) == 2
    for choice in answer.choices:
        assert choice.logprobs is not None
        tokens = choice.logprobs.content or []
        assert "".join(token.token for token in tokens) == choice.message.content
        assert all(token.logprob <= 0 for token in tokens)
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    cached = usage.prompt_tokens_details.cached_tokens or 0
    split = Usage(usage.prompt_tokens - cached, cached, output=usage.completion_tokens)
    assert raw.headers["x-farthing-cost-usd"] == str(RATES.cost(split))


async def test_a_client_that_leaves_stops_the_engine(running: Running) -> None:
    stream = await running.client.chat.completions.create(
        model="smol", messages=ASK, temperature=0, max_tokens=200, stream=True
    )
    async for _ in stream:
        break
    await stream.close()
    booked: list[Any] = []
    for _ in range(500):
        booked = running.rows("SELECT status, output, cost_pico FROM attempts")
        if booked:
            break
        await asyncio.sleep(0.01)
    ((status, output, cost),) = booked
    assert status == "cancelled"
    assert 1 <= output < 150
    assert cost > 0
    counters = running.model.counters
    await asyncio.sleep(0.5)  # the engine counts an answer when it lets go of it
    made = (await asyncio.to_thread(counters))["tokens_predicted_total"]
    await asyncio.sleep(0.3)
    assert (await asyncio.to_thread(counters))["tokens_predicted_total"] == made


async def test_a_plan_goes_by_its_logprobs(running: Running) -> None:
    answer = await running.client.chat.completions.create(
        model="careful", messages=ASK, temperature=0, max_tokens=8
    )
    # No token has a log-probability above 0.5: the other model is asked.
    assert answer.choices[0].message.content == "7"
    assert running.rows("SELECT model FROM attempts ORDER BY number") == [("smol",), ("large",)]
    ((least,),) = running.rows(
        "SELECT min_logprob FROM samples JOIN attempts ON attempts.id = attempt_id "
        "WHERE model = 'smol'"
    )
    assert least < 0


async def test_a_prompt_that_does_not_fit_is_a_client_error(running: Running) -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 300}]
    with pytest.raises(BadRequestError) as refused:
        await running.client.chat.completions.create(model="smol", messages=long)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(BadRequestError, match="call tools"):
        await running.client.chat.completions.create(
            model="smol", messages=ASK, tools=[{"type": "function", "function": {"name": "f"}}]
        )
