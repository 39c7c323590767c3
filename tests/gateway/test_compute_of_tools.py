"""Policies that buy quality, over HTTP: tools, JSON and streams reach the model and come back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes import FakeUpstream, fake_upstream
from openai import AsyncOpenAI, InternalServerError

from farthing.gateway.app import create_app
from farthing.gateway.build import open_service
from farthing.gateway.config import load

TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
ASK: Any = [{"role": "user", "content": "hello"}]
CONFIG = """\
[models.gpt]
kind = "http"
base_url = "{url}"
model = "gpt-fake"
price = {{input = 1.0, output = 10.0}}

[plans.theirs]
kind = "its-hub"
model = "gpt"
algorithm = "self-consistency"
budget = 3

[plans.both]
kind = "chain"
[[plans.both.links]]
ask = {{kind = "vote", model = "gpt", samples = 3}}
accept = 0.9
[[plans.both.links]]
ask = "gpt"
"""
PLANS = ("vote-3", "best-of-2", "short-1-of-2", "short-2-of-3", "theirs", "both")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[AsyncOpenAI, FakeUpstream]]:
    """A client of a gateway with these plans, and the upstream of its model."""
    async with fake_upstream() as fake:
        (tmp_path / "farthing.toml").write_text(CONFIG.format(url=fake.base_url))
        service = open_service(load(tmp_path / "farthing.toml"))
        runner = web.AppRunner(create_app(service), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            yield client, fake
        await runner.cleanup()
        await service.aclose(1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("plan", PLANS)
async def test_calls_of_tools_come_back(served: Any, plan: str, stream: bool) -> None:
    client, fake = served
    fake.calls = (("f", '{"a": 1}'), ("f", '{"a":1}'))
    chat, asked = client.chat.completions, {"model": plan, "messages": ASK, "tools": [TOOL]}
    if stream:
        async with chat.stream(**asked) as events:
            told = await events.get_final_completion()
    else:
        told = await chat.create(**asked)
    [choice] = told.choices
    [call] = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("f", {"a": 1})
    assert choice.finish_reason == "tool_calls"
    given = [one for one in fake.requests if "tools" in one]
    assert len(given) >= len(fake.requests) - 1  # a judge is given none


@pytest.mark.parametrize("plan", PLANS)
async def test_texts_come_back_whole_and_streamed(served: Any, plan: str) -> None:
    client, fake = served
    fake.words = ('{"a": ', "1}")
    wanted: Any = {"type": "json_object"}
    told = await client.chat.completions.create(
        model=plan, messages=ASK, response_format=wanted, max_tokens=50, user="u"
    )
    assert json.loads(told.choices[0].message.content) == {"a": 1}
    first = fake.requests[0]
    assert (first["response_format"], first["max_tokens"], first["user"]) == (wanted, 50, "u")
    pieces = await client.chat.completions.create(
        model=plan, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in pieces]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert json.loads(text) == {"a": 1}
    assert chunks[-1].usage.completion_tokens >= 2


@pytest.mark.parametrize("plan", PLANS)
async def test_an_upstream_that_fails_is_told(served: Any, plan: str) -> None:
    client, fake = served
    fake.status = 500
    with pytest.raises(InternalServerError):
        await client.chat.completions.create(model=plan, messages=ASK)
