"""A running gateway before a misbehaving upstream."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anthropic
import msgspec
import openai
import pytest
from aiohttp import web
from anthropic import AsyncAnthropic
from fakes import FakeUpstream, fake_upstream
from openai import AsyncOpenAI

from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.gateway.app import create_app
from farthing.gateway.door import Doors
from farthing.gateway.sections import GatewayConfig
from farthing.gateway.service import ServedPlan, Service
from farthing.ledger import AttemptRow, MemoryLedger
from farthing.models.http import HttpModel
from farthing.policies import Cascade, Single, Stage

UPSTREAM_TIMEOUT_S = 2.0  # long enough for a busy machine
TLS = ssl.create_default_context()  # reading all certificates for each client takes long
RATES = Rates.per_million("1", "10", cache_read="0.1")


class Parrot:
    """A model of this process, without bytes of an upstream."""

    def __init__(self, name: str = "parrot") -> None:
        self.card = ModelCard(name, rates=RATES, price_source="test", n=True)
        self.calls: list[Request] = []
        self.delay_s = 0.0

    async def complete(self, request: Request) -> Response:
        self.calls.append(request)
        await asyncio.sleep(self.delay_s)
        sample = Sample(request.prompt, finish_reason="stop")
        return Response(self.card.name, (sample,) * request.n, Usage(10, output=2), "exact")

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        self.calls.append(request)
        for word in request.prompt.split(" "):
            await asyncio.sleep(self.delay_s)
            yield Chunk(word)
        yield Chunk(finish_reason="length")
        yield Chunk(usage=Usage(10, output=2), usage_basis="exact")


@dataclass
class Gateway:
    """A gateway that is listening.

    Models: `gpt` and, of Anthropic's shape, `claude` on the upstream, `parrot` in this process,
    `down` that cannot be reached.
    Plans: `cheap` asks `parrot` and then `gpt`, `lone` only `gpt`, `doomed` only `down`, `voting`
    takes three samples of `gpt` and then asks `claude`.
    """

    url: str
    service: Service
    ledger: MemoryLedger
    upstream: FakeUpstream
    parrot: Parrot
    http: aiohttp.ClientSession
    doors: Doors
    clients: list[AsyncOpenAI | AsyncAnthropic] = field(default_factory=list)

    def anthropic(self, **settings: Any) -> AsyncAnthropic:
        http = anthropic.DefaultAsyncHttpxClient(verify=TLS)
        settings = {"api_key": "none", "max_retries": 0, "http_client": http, **settings}
        client = AsyncAnthropic(base_url=self.url, **settings)
        self.clients.append(client)
        return client

    def client(self, **settings: Any) -> AsyncOpenAI:
        http = openai.DefaultAsyncHttpxClient(verify=TLS)
        settings = {"api_key": "none", "max_retries": 0, "http_client": http, **settings}
        client = AsyncOpenAI(base_url=f"{self.url}/v1", **settings)
        self.clients.append(client)
        return client

    async def chat(self, **body: Any) -> tuple[int, dict[str, Any], bytes]:
        """Status, headers and body of a chat request."""
        body = {"messages": [{"role": "user", "content": "hello"}], **body}
        async with self.http.post("/v1/chat/completions", json=body) as response:
            return response.status, dict(response.headers), await response.read()

    async def attempts(self, count: int) -> list[AttemptRow]:
        """The ledger's attempts, once there are `count` of them, and as many outcomes."""
        for _ in range(500):
            if len(self.ledger.attempts) >= count and len(self.ledger.outcomes) >= count:
                break
            await asyncio.sleep(0.01)
        return self.ledger.attempts


def _service(upstream: FakeUpstream, config: GatewayConfig, token: str | None) -> Service:
    gpt = HttpModel(
        "gpt",
        base_url=upstream.base_url,
        model="gpt-fake",
        rates=RATES,
        timeout_s=UPSTREAM_TIMEOUT_S,
    )
    claude = HttpModel(
        "claude",
        api="anthropic",
        base_url=upstream.base_url,
        model="claude-fake",
        rates=RATES,
        timeout_s=UPSTREAM_TIMEOUT_S,
    )
    down = HttpModel("down", base_url="http://127.0.0.1:9/v1", rates=RATES)
    parrot = Parrot()
    cascade = Cascade((Stage("parrot", 2, 1.0), Stage("gpt")))
    voting = Cascade((Stage("gpt", 3, 0.6), Stage("claude")))
    never = Cascade((Stage("parrot", 2, 2.0), Stage("gpt")))
    plans = [
        ServedPlan("cheap", ("parrot", "gpt"), cascade, budget=Cost.from_usd("0.1"), alpha=0.1),
        ServedPlan("strict", ("parrot", "gpt"), never),
        ServedPlan("lone", ("gpt",), Single("gpt")),
        ServedPlan("voting", ("gpt", "claude"), voting),
        ServedPlan("doomed", ("down",), Single("down")),
    ]
    return Service(
        config,
        {"gpt": gpt, "claude": claude, "parrot": parrot, "down": down},
        {plan.name: plan for plan in plans},
        token=token,
    )


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as fake:
        yield fake


@pytest.fixture
async def start(upstream: FakeUpstream) -> AsyncIterator[Callable[..., Any]]:
    """Starts a gateway; `token` and the fields of GatewayConfig are its arguments."""
    running: list[tuple[web.AppRunner, Doors, asyncio.Server, Gateway]] = []

    async def start(token: str | None = None, **settings: Any) -> Gateway:
        config = msgspec.structs.replace(GatewayConfig(), **settings)
        service = _service(upstream, config, token)
        runner = web.AppRunner(
            create_app(service), access_log=None, handler_cancellation=True, shutdown_timeout=1
        )
        await runner.setup()
        assert runner.server is not None
        doors = Doors(service, runner.server)
        server = await asyncio.get_running_loop().create_server(doors, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert isinstance(service.ledger, MemoryLedger)
        parrot = service.models["parrot"]
        assert isinstance(parrot, Parrot)
        gateway = Gateway(
            url, service, service.ledger, upstream, parrot, aiohttp.ClientSession(url), doors
        )
        running.append((runner, doors, server, gateway))
        return gateway

    yield start
    for runner, doors, server, gateway in running:
        await asyncio.gather(*(client.close() for client in gateway.clients))
        await gateway.http.close()
        server.close()
        await doors.shutdown(1)
        await runner.cleanup()
        await gateway.service.aclose(1)


@pytest.fixture
async def gateway(start: Callable[..., Any]) -> Gateway:
    gateway: Gateway = await start()
    return gateway
