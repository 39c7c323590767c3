"""Bodies at random: whatever is sent, the gateway answers, and never with 500."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from fakes import fake_upstream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farthing.core.money import Rates
from farthing.gateway.app import create_app
from farthing.gateway.endpoints import ENDPOINTS
from farthing.gateway.sections import GatewayConfig
from farthing.gateway.service import ServedPlan, Service
from farthing.models.http import HttpModel
from farthing.models.tiny import load
from farthing.policies import Cascade, Single, Stage

CASES = 1000  # bodies, each for all endpoints
PATHS = [endpoint.path for endpoint in ENDPOINTS]
MODELS = ["gpt", "claude", "small", "lone", "voting", "nope", 3, None]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def table(required: Any, optional: Any) -> Any:
    return st.fixed_dictionaries(required, optional=optional)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Where something stands within `value`: its holder and the key or index."""
    found = []
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        found += [(value, key), *places(value[key])]
    return found


def spoilt(told: Any, spoils: list[tuple[int, Any]]) -> bytes:
    """`told` as JSON, with something else at a few places."""
    told = json.loads(json.dumps(told))
    for number, other in spoils:
        holder, key = (found := places(told))[number % len(found)]
        holder[key] = other
    return json.dumps(told).encode()


words = st.sampled_from(["hello", "", "ü", "\x00", "{", "\U0001f600"])
names = st.sampled_from(["f", "weather", ""])
function = table({"name": names}, {"parameters": table({}, {"type": words}), "arguments": words})
tool = table(
    {"type": st.sampled_from(["function", "custom", "web_search"])},
    {"function": function, "name": names, "input_schema": anything, "parameters": anything},
)
call = table({"id": words, "type": st.just("function"), "function": function}, {})
kinds = [
    "text",
    "image_url",
    "image",
    "tool_use",
    "tool_result",
    "thinking",
    "input_text",
    "input_image",
    "output_text",
    "refusal",
]
part = table(
    {"type": st.sampled_from(kinds)},
    {
        "text": words,
        "image_url": words | table({"url": words}, {}),
        "source": table(
            {"type": st.sampled_from(["url", "base64"])},
            {"url": words, "data": words, "media_type": words},
        ),
        "id": words,
        "name": names,
        "input": anything,
        "tool_use_id": words,
        "content": words,
    },
)
content = words | st.lists(part, max_size=3)
message = table(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "developer", "x"])},
    {
        "content": content,
        "tool_calls": st.lists(call, max_size=2),
        "tool_call_id": words,
        "name": words,
    },
)
item = table(
    {"type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning"])},
    {
        "role": st.sampled_from(["user", "assistant"]),
        "content": content,
        "call_id": words,
        "name": names,
        "arguments": words,
        "output": content,
    },
)
schema = st.sampled_from(["text", "json_object", "json_schema"])
body = table(
    {
        "model": st.sampled_from(MODELS),
        "messages": st.lists(message, min_size=1, max_size=3),
        "prompt": words | st.lists(words | st.integers(), max_size=3),
        "input": words | st.lists(item, max_size=3),
        "max_tokens": st.integers(1, 50),
    },
    {
        "stream": st.booleans(),
        "stream_options": table({}, {"include_usage": st.booleans()}),
        "n": st.integers(1, 3),
        "best_of": st.integers(1, 3),
        "seed": st.integers(),
        "temperature": st.floats(0, 2),
        "stop": words | st.lists(words, max_size=2),
        "stop_sequences": st.lists(words, max_size=2),
        "system": content,
        "instructions": words,
        "max_output_tokens": st.integers(1, 50),
        "tools": st.lists(tool, max_size=2),
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | tool,
        "parallel_tool_calls": st.booleans(),
        "response_format": table(
            {"type": schema}, {"json_schema": table({}, {"schema": anything})}
        ),
        "text": table({}, {"format": table({"type": schema}, {"schema": anything})}),
        "output_config": table({}, {"effort": words, "format": table({"type": schema}, {})}),
        "thinking": table({"type": words}, {}),
        "reasoning": table({}, {"effort": words}),
        "metadata": anything,
        "user": words,
        "logprobs": st.booleans(),
        "store": st.booleans(),
        "service_tier": words,
        "include": anything,
        "previous_response_id": words,
    },
)
spoils = st.lists(st.tuples(st.integers(0, 200), anything), max_size=2)
bytes_of = (
    st.builds(spoilt, body, spoils) | st.builds(spoilt, body, spoils) | st.binary(max_size=60)
)


class Stand:
    """A gateway that is asked on a loop of its own, since hypothesis is not asynchronous."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.upstream = fake_upstream(calls=(("f", "{}"),), cached_tokens=0)

    def start(self) -> None:
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        fake = await self.upstream.__aenter__()
        rates = Rates.per_million("1", "10")
        self.service = Service(
            msgspec.structs.replace(GatewayConfig(), answer="text"),
            {
                "gpt": HttpModel("gpt", base_url=fake.base_url, rates=rates),
                "claude": HttpModel("claude", api="anthropic", base_url=fake.base_url, rates=rates),
                "small": load("small"),
            },
            {
                "lone": ServedPlan("lone", ("gpt",), Single("gpt")),
                "voting": ServedPlan(
                    "voting",
                    ("gpt", "claude"),
                    Cascade((Stage("gpt", 2, 1.0), Stage("claude"))),
                ),
            },
        )
        self.runner = web.AppRunner(create_app(self.service), access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        self.http = aiohttp.ClientSession(url)

    def stop(self) -> None:
        self.loop.run_until_complete(self._stop())
        self.loop.close()

    async def _stop(self) -> None:
        await self.http.close()
        await self.runner.cleanup()
        await self.service.aclose(1)
        await self.upstream.__aexit__(None, None, None)

    def post(self, data: bytes) -> list[tuple[int, bytes]]:
        """What each endpoint answers to a body."""

        async def post(path: str) -> tuple[int, bytes]:
            async with self.http.post(path, data=data) as response:
                return response.status, await response.read()

        async def every() -> list[tuple[int, bytes]]:
            return await asyncio.gather(*map(post, PATHS))

        return self.loop.run_until_complete(every())


@pytest.fixture(scope="module")
def stand() -> Any:
    stand = Stand()
    stand.start()
    yield stand
    stand.stop()


def test_no_body_is_answered_with_500(stand: Any) -> None:
    seen: Counter[tuple[str, int]] = Counter()

    @settings(
        max_examples=CASES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(bytes_of)
    def ask(data: bytes) -> None:
        for path, (status, told) in zip(PATHS, stand.post(data), strict=True):
            seen[path, status] += 1
            assert status in (200, 400, 404, 502), (path, status, told)
            if status != 200:
                assert json.loads(told)["error"]["message"], path
            assert b"within the gateway" not in told, path

    ask()
    for path in PATHS:
        assert seen[path, 200] > CASES / 100, path
        assert seen[path, 400] > CASES / 100, path
