"""A configured gateway before upstreams that fail: what clients see, and what is booked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from flaky import Fail, flaky_upstream
from openai import AsyncOpenAI

from farthing.budgets import retrying
from farthing.core.errors import ConfigError
from farthing.core.money import Cost, Rates
from farthing.gateway.app import create_app
from farthing.gateway.build import build_models, open_service
from farthing.gateway.config import load
from farthing.gateway.metrics import Metrics
from farthing.ledger import AttemptRow, MemoryLedger
from farthing.models.replicas import Upstreams

ASK: Any = [{"role": "user", "content": "hello"}]
PRICE = 'price = {input = "1", output = "10", cache_read = "0.1"}\n'
RATES = Rates.per_million("1", "10", cache_read="0.1")
STREAM = pytest.mark.parametrize("stream", [False, True])
FEW = "retries = 1\n"


class Gateway:
    """A gateway made from a configuration, whose `UP0`, `UP1`, ... are upstreams."""

    def __init__(self, client: AsyncOpenAI, service: Any, ledger: MemoryLedger, fakes: list[Any]):
        self.client, self.service, self.ledger, self.fakes = client, service, ledger, fakes

    async def ask(self, model: str, stream: bool = False, **fields: Any) -> str:
        fields = {"messages": ASK, **fields}
        answer: Any = await self.client.chat.completions.create(
            model=model, stream=stream, **fields
        )
        if not stream:
            return str(answer.choices[0].message.content)
        chunks = [chunk async for chunk in answer]
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    @property
    def attempts(self) -> list[AttemptRow]:
        return self.ledger.attempts

    def billed(self) -> Cost:
        """The upstreams' own account, at the model's price."""
        pico = 0
        for fake in self.fakes:
            plain = fake.prompt_tokens - fake.cached_tokens
            each = plain * RATES.input + fake.cached_tokens * (RATES.cache_read or 0)
            pico += each * len(fake.sent) + fake.billed_output * RATES.output
        return Cost(pico)


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: Any) -> AsyncIterator[Callable[..., Any]]:
    monkeypatch.setattr(retrying, "FIRST_S", 0.002)
    async with AsyncExitStack() as stack:

        async def start(text: str, *fails: list[Fail], **fake: Any) -> Gateway:
            fakes = [
                await stack.enter_async_context(flaky_upstream(each, **fake)) for each in fails
            ]
            for number, each in enumerate(fakes):
                text = text.replace(f"UP{number}", each.base_url)
            path = tmp_path / "farthing.toml"
            path.write_text(text)
            service = open_service(load(path))
            await service.ledger.close()
            service.ledger = ledger = MemoryLedger()
            service.budgets = None
            runner = web.AppRunner(create_app(service), handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
            stack.push_async_callback(service.aclose, 1)
            stack.push_async_callback(runner.cleanup)
            stack.push_async_callback(client.close)
            return Gateway(client, service, ledger, fakes)

        yield start


def model(name: str, base_url: str, more: str = "") -> str:
    head = f'[models.{name}]\nkind = "http"\nbase_url = "{base_url}"\nmodel = "gpt-fake"\n'
    return head + PRICE + more


REPLICAS = (
    '[models.gpt]\nkind = "http"\nmodel = "gpt-fake"\n'
    + PRICE
    + "".join(f'[[models.gpt.replicas]]\nbase_url = "UP{n}"\nlabel = "u{n}"\n' for n in range(3))
)


@STREAM
async def test_retries_are_seen_in_the_ledger_alone(start: Any, stream: bool) -> None:
    gateway = await start(model("gpt", "UP0"), [Fail(), Fail(status=429)])
    assert await gateway.ask("gpt", stream) == "The answer is 42."
    kinds = [(row.kind, row.status) for row in gateway.attempts]
    assert kinds == [("sample", "failed"), ("retry", "failed"), ("retry", "ok")]
    assert [row.cost for row in gateway.attempts] == [None, Cost(0), gateway.billed()]
    assert len(gateway.ledger.outcomes) == len(gateway.ledger.operations) == 1


async def test_what_came_before_is_unknown_in_the_answer_s_cost(start: Any) -> None:
    gateway = await start(model("gpt", "UP0"), [Fail()])
    raw = await gateway.client.chat.completions.with_raw_response.create(model="gpt", messages=ASK)
    assert raw.headers["x-farthing-attempts"] == "2"
    assert "x-farthing-cost-usd" not in raw.headers
    assert raw.content == gateway.fakes[0].sent[0]


@STREAM
async def test_clients_are_told_when_to_come_back(start: Any, stream: bool) -> None:
    fail = Fail(status=429, headers={"Retry-After": "37"})
    gateway = await start(model("gpt", "UP0"), [fail, fail])
    with pytest.raises(openai.RateLimitError) as caught:
        await gateway.ask("gpt", stream)
    assert caught.value.response.headers["Retry-After"] == "37"
    assert "x-should-retry" not in caught.value.response.headers
    assert gateway.fakes[0].calls == 1
    late = Fail(status=503, headers={"Retry-After": "3600"})
    gateway.fakes[0].fails.clear()
    gateway.fakes[0].fails.append(late)
    with pytest.raises(openai.InternalServerError) as refused:
        await gateway.ask("gpt", stream)
    headers = refused.value.response.headers
    assert (headers["Retry-After"], headers["x-should-retry"]) == ("3600", "false")


async def test_openai_s_client_comes_back_by_itself(start: Any) -> None:
    gateway = await start(
        model("gpt", "UP0", "retries = 0\n"), [Fail(status=429, headers={"Retry-After": "1"})]
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    client = gateway.client.with_options(max_retries=1)
    await client.chat.completions.create(model="gpt", messages=ASK)
    assert loop.time() - began >= 1
    assert [row.status for row in gateway.attempts] == ["failed", "ok"]
    assert len(gateway.ledger.operations) == 2


async def test_a_model_that_is_left_alone_says_until_when(start: Any) -> None:
    breaker = "breaker = {failures = 2, pause_s = 30}\nretries = 0\n"
    gateway = await start(model("gpt", "UP0", breaker), [Fail()] * 9)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await gateway.ask("gpt")
    with pytest.raises(openai.InternalServerError) as caught:
        await gateway.ask("gpt")
    assert caught.value.response.headers["Retry-After"] == "30"
    assert caught.value.body["code"] == "upstream_unreachable"
    assert "it is tried again in" in caught.value.body["message"]
    assert gateway.fakes[0].calls == 2
    assert gateway.attempts[-1].cost == Cost(0)
    (health,) = gateway.service.models["gpt"].health()
    assert (health.state, health.calls, health.failures) == ("open", 2, 2)


@STREAM
async def test_replicas_take_over_for_each_other(start: Any, stream: bool) -> None:
    rule = "[models.gpt.breaker]\nfailures = 3\n"
    gateway = await start(REPLICAS + rule, [Fail()] * 99, [], [])
    for number in range(20):
        messages = [{"role": "user", "content": str(number)}]
        assert await gateway.ask("gpt", stream, messages=messages) == "The answer is 42."
    sick, *well = gateway.service.models["gpt"].health()
    assert (sick.upstream, sick.state, sick.calls) == ("u0", "open", 3)
    assert sum(health.calls for health in well) == 20
    failed = [row for row in gateway.attempts if row.status == "failed"]
    assert len(failed) == 3
    assert all(row.error.endswith("(upstream u0)") for row in failed)
    assert {row.node for row in failed} == {"single@u0"}
    for name, health in (("u1", well[0]), ("u2", well[1])):
        answered = [row for row in gateway.attempts if row.node == f"single@{name}"]
        assert len(answered) == health.calls
    assert sum(row.cost.pico for row in gateway.attempts if row.cost) == gateway.billed().pico
    metrics = Metrics()
    metrics.show(gateway.service.picture())
    told = metrics.text().decode().splitlines()
    assert 'farthing_upstream_state{model="gpt",state="open",upstream="u0"} 1.0' in told
    assert 'farthing_upstream_state{model="gpt",state="open",upstream="u1"} 0.0' in told
    assert 'farthing_upstream_failures_total{model="gpt",upstream="u0"} 3.0' in told


async def test_a_conversation_keeps_to_its_replica(start: Any) -> None:
    gateway = await start(REPLICAS, [], [], [])
    for _ in range(6):
        messages = list(ASK)
        for turn in range(3):
            await gateway.ask("gpt", messages=messages)
            messages += [
                {"role": "assistant", "content": "yes"},
                {"role": "user", "content": f"and {turn}?"},
            ]
    assert sorted(fake.calls for fake in gateway.fakes) == [0, 0, 18]


async def test_many_at_once_are_spread_and_each_is_booked_once(start: Any) -> None:
    gateway = await start(REPLICAS, [Fail()] * 3, [Fail("close")] * 3, [], delay_s=0.05)
    answers = await asyncio.gather(*(gateway.ask("gpt") for _ in range(60)))
    assert set(answers) == {"The answer is 42."}
    assert all(fake.calls > 5 for fake in gateway.fakes)
    assert len(gateway.attempts) == sum(fake.calls for fake in gateway.fakes)
    assert sum(row.cost.pico for row in gateway.attempts if row.cost) == gateway.billed().pico
    counts = Counter(row.kind for row in gateway.attempts)
    assert counts["retry"] == 6
    assert counts["sample"] == 60


FALLBACK = (
    model("a", "UP0", FEW)
    + model("b", "UP1", FEW)
    + '[plans.safe]\nkind = "fallback"\nmodels = ["a", "b"]\n'
)


@STREAM
async def test_a_fallback_without_a_file(start: Any, stream: bool) -> None:
    gateway = await start(FALLBACK, [Fail()] * 2, [])
    assert await gateway.ask("safe", stream) == "The answer is 42."
    told = [(row.model, row.kind, row.status) for row in gateway.attempts]
    assert told == [
        ("a", "sample", "failed"),
        ("a", "retry", "failed"),
        ("b", "fallback", "ok"),
    ]
    assert sum(row.cost.pico for row in gateway.attempts if row.cost) == gateway.billed().pico
    (operation,), (outcome,) = gateway.ledger.operations, gateway.ledger.outcomes
    assert (operation.plan, operation.strongest) == ("safe", "a")
    assert (outcome.status, outcome.answered_by) == ("ok", "b")


async def test_if_all_fail_the_client_hears_of_the_last(start: Any) -> None:
    last = Fail(status=503, headers={"Retry-After": "50"})
    gateway = await start(FALLBACK, [Fail()] * 2, [last])
    with pytest.raises(openai.InternalServerError) as caught:
        await gateway.ask("safe")
    assert caught.value.response.headers["Retry-After"] == "50"
    assert "model 'b'" in caught.value.body["message"]
    assert len(gateway.attempts) == 3


CASCADE = """\
[plans.thrifty]
kind = "cascade"
answer = "last-number"
sticky = "STICKY"
[[plans.thrifty.stages]]
model = "a"
samples = 2
accept = 2.0
[[plans.thrifty.stages]]
model = "b"
"""


@pytest.mark.parametrize("sticky", ["escalate", "off"])
async def test_a_conversation_that_escalated_begins_there(start: Any, sticky: str) -> None:
    plan = CASCADE.replace("STICKY", sticky)
    gateway = await start(model("a", "UP0") + model("b", "UP1") + plan, [], [])
    await gateway.ask("thrifty")
    told = [{"role": "assistant", "content": "42"}, {"role": "user", "content": "sure?"}]
    await gateway.ask("thrifty", messages=[*ASK, *told])
    asked = [row.model for row in gateway.attempts]
    assert asked == (["a", "b", "b"] if sticky == "escalate" else ["a", "b", "a", "b"])


async def test_a_client_names_its_session(start: Any) -> None:
    plan = CASCADE.replace("STICKY", "escalate")
    gateway = await start(model("a", "UP0") + model("b", "UP1") + plan, [], [])
    for session in ("one", "one", "two"):
        await gateway.ask("thrifty", extra_headers={"x-farthing-session": session})
    assert [row.model for row in gateway.attempts] == ["a", "b", "b", "a", "b"]


@pytest.mark.parametrize(
    ("text", "key", "line", "message"),
    [
        ("retries = -1\n", "models.m.retries", 4, ">= 0"),
        ("retrys = 1\n", "models.m.retrys", 4, "did you mean 'retries'?"),
        ("breaker = {failure = 1}\n", "models.m.breaker.failure", 4, "did you mean 'failures'"),
        ("breaker = {share = 0}\n", "models.m.breaker.share", 4, "> 0"),
        ('[[models.m.replicas]]\nurl = "x"\n', "models.m.replicas.url", 5, "unknown key"),
        (
            '[[models.m.replicas]]\n[[models.m.replicas]]\nkey_env = "NO_SUCH"\n',
            "models.m.replicas.key_env",
            6,
            "NO_SUCH is not set",
        ),
        (
            '[[models.m.replicas]]\nbase_url = "ftp://x"\n',
            "models.m.replicas.base_url",
            5,
            "not an http",
        ),
        ('[plans.p]\nmodel = "m"\n', "plans.p", 4, "missing key kind"),
        ('[plans.p]\nkind = "sngle"\n', "plans.p.kind", 5, "no policy is called 'sngle'"),
        ('[plans.p]\nkind = "single"\nmodl = "m"\n', "plans.p.modl", 6, "did you mean 'model'?"),
        ('[plans.p]\nkind = "single"\nmodel = "x"\n', "plans.p", 4, "'x' is not configured"),
        ('[plans.m]\nkind = "single"\nmodel = "m"\n', "plans.m", 4, "the name of a model"),
        ('[plans.p]\nkind = "single"\nmodel = "m"\nsticky = "no"\n', "plans.p.sticky", 7, "no"),
        ('[plans.p]\nkind = "single"\nmodel = "m"\nanswer = "x"\n', "plans.p.answer", 7, "x"),
        ('[plans."a b"]\nkind = "single"\nmodel = "m"\n', "plans.a b", 4, "is made of letters"),
        ('[plans]\nsticky = "no"\n', "plans.sticky", 5, "no"),
        ('[plans]\nfile = "no"\n', "plans.file", 5, "did you mean 'files'?"),
        (
            '[plans.p]\nkind = "cascade"\n[[plans.p.stages]]\nmodel = "m"\naccpt = 0.5\n',
            "plans.p.stages.accpt",
            8,
            "did you mean 'accept'?",
        ),
    ],
)
def test_where_a_mistake_is(tmp_path: Path, text: str, key: str, line: int, message: str) -> None:
    path = tmp_path / "farthing.toml"
    head = '[models.m]\nkind = "http"\nbase_url = "http://127.0.0.1:9/v1"\n'
    path.write_text(head + text)
    with pytest.raises(ConfigError) as caught:
        open_service(load(path))
    assert (caught.value.key, caught.value.line) == (key, line)
    assert message in str(caught.value)


def test_replicas_need_an_address(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text('[models.m]\nkind = "http"\n')
    with pytest.raises(ConfigError, match="missing key base_url"):
        load(path)
    path.write_text('[models.m]\nkind = "http"\n[[models.m.replicas]]\nmodel = "x"\n')
    with pytest.raises(ConfigError, match="entry 1 of replicas: missing key base_url"):
        load(path)


def test_what_replicas_leave_out_is_as_the_model_says(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ONE", "key-1")
    monkeypatch.setenv("TWO", "key-2")
    path = tmp_path / "farthing.toml"
    path.write_text(
        '[models.m]\nkind = "http"\nbase_url = "http://one/v1"\nmodel = "x"\nkey_env = "ONE"\n'
        "retries = 5\naffinity = 0\n[models.m.price]\ninput = 1\noutput = 2\n"
        '[[models.m.replicas]]\n[[models.m.replicas]]\nkey_env = "TWO"\n'
        '[[models.m.replicas]]\nbase_url = "http://two:81/v1"\nmodel = "y"\nlabel = "second"\n'
    )
    config = load(path)
    m = build_models(config)["m"]
    assert isinstance(m, Upstreams)
    assert [health.upstream for health in m.health()] == ["one:80", "one:80#2", "second"]
    assert [(u.base_url, u.model, u.key_env) for u in config.models["m"].upstreams] == [
        ("http://one/v1", "x", "ONE"),
        ("http://one/v1", "x", "TWO"),
        ("http://two:81/v1", "y", "ONE"),
    ]
    assert (m.card.name, m.card.retries, m.card.upstream_name) == ("m", 5, "x")
    assert m.card.rates == Rates.per_million(Decimal(1), Decimal(2))
