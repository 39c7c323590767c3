"""Models and plans asked in this process: the gateway's door without HTTP."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeUpstream, fake_upstream

import farthing
from farthing.budgets.limits import Budget
from farthing.budgets.stored import Budgets
from farthing.client.events import events
from farthing.client.objects import Answer
from farthing.core.errors import (
    BudgetError,
    ConfigError,
    FarthingError,
    RequestError,
    UnknownModelError,
    UpstreamError,
)
from farthing.core.money import Cost
from farthing.gateway.bypass import NODE, SwitchEditor
from farthing.ledger.keys import Key, Keys
from farthing.models import tiny

QUESTION = "Work out left to right modulo 10: 3 + 4 * 2 - 5 ="
ASK: list[dict[str, Any]] = [{"role": "user", "content": QUESTION}]

TINY = """\
[gateway]
answer = "last-number"
request_timeout_s = 5
shutdown_s = 5
{gateway}
[models.small]
kind = "tiny"
size = "small"

[models.large]
kind = "tiny"
size = "large"

[plans.both]
kind = "fallback"
answer = "last-number"
models = ["large", "small"]
"""

HTTP = """\
[gateway]
request_timeout_s = {timeout_s}
shutdown_s = 5

[models.gpt]
kind = "http"
base_url = "{base_url}"
model = "gpt-fake"
retries = 0
price = {{ input = 1, output = 10, cache_read = 0.1 }}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "farthing.toml"
    path.write_text(TINY.format(gateway=""))
    return path


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path.parent / "farthing.db")) as ledger:
        return ledger.execute(sql).fetchall()


def http_config(tmp_path: Path, upstream: FakeUpstream, timeout_s: float = 5) -> Path:
    path = tmp_path / "farthing.toml"
    path.write_text(HTTP.format(base_url=upstream.base_url, timeout_s=timeout_s))
    return path


async def reached(upstream: FakeUpstream) -> None:
    for _ in range(500):
        if upstream.bodies:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was asked")


# Without an event loop.


def test_a_model_answers_and_is_booked(config: Path) -> None:
    with farthing.Client(config, tags={"team": "search"}) as client:
        answer = client.chat.completions.create(
            model="large", messages=ASK, temperature=0, tags={"run": "7"}
        )
        assert answer.choices[0].message.content == "7 4 9"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 9
        price = tiny.rates("large").cost(tiny.TinyModel("large").card and _usage(answer))
        assert answer.farthing.cost == price
        assert answer.farthing.attempts == 1
        # Booked before the answer is complete.
        booked = rows(config, "SELECT requested, tags FROM operations")
        assert [requested for requested, _ in booked] == ["large"]
        assert '"run"' in booked[0][1]
        assert '"search"' in booked[0][1]
        (cost,) = rows(config, "SELECT cost_pico FROM attempts")[0]
        assert Cost(cost) == answer.farthing.cost


def _usage(answer: Answer) -> farthing.Usage:
    assert answer.usage is not None
    return farthing.Usage(answer.usage.prompt_tokens, output=answer.usage.completion_tokens)


def test_a_plan_answers(config: Path) -> None:
    with farthing.Client(config) as client:
        answer = client.chat.completions.create(model="both", messages=ASK)
        assert answer.farthing.plan == "both"
        assert answer.farthing.answered_by == "large"
        assert rows(config, "SELECT plan, strongest FROM operations") == [("both", "large")]


@pytest.mark.parametrize("model", ["large", "both"])
def test_streams(config: Path, model: str) -> None:
    with farthing.Client(config) as client:
        stream = client.chat.completions.create(
            model=model, messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "7 4 9"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 4
        assert stream.farthing is not None
        assert stream.farthing.cost == chunks[-1].farthing.cost
        assert rows(config, "SELECT status FROM outcomes") == [("ok",)]


def test_models_are_listed(config: Path) -> None:
    with farthing.Client(config) as client:
        told = {model.id: model.farthing.kind for model in client.models.list().data}
        assert told == {"both": "plan", "small": "model", "large": "model"}
        assert client.models.retrieve("both").farthing.models == ["small", "large"]
        with pytest.raises(UnknownModelError):
            client.models.retrieve("none")


def test_errors_are_those_of_the_gateway(config: Path) -> None:
    with farthing.Client(config) as client:
        create = client.chat.completions.create
        with pytest.raises(UnknownModelError, match="this gateway has both, small, large"):
            create(model="none", messages=ASK)
        with pytest.raises(UnknownModelError):
            create(model="none", messages=ASK, stream=True)
        with pytest.raises(RequestError, match="'temperature' must be") as wrong:
            create(model="small", messages=ASK, temperature="hot")
        assert wrong.value.param == "temperature"
        with pytest.raises(RequestError, match="not JSON"):
            create(model="small", messages=ASK, metadata=object())
        with pytest.raises(RequestError, match="no readable chain"):
            create(model="small", messages=[{"role": "user", "content": "hello"}])
        with pytest.raises(RequestError, match="no readable chain"):
            create(model="small", messages=[{"role": "user", "content": "hello"}], stream=True)
        assert rows(config, "SELECT status FROM outcomes") == [("failed",)] * 2


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        farthing.Client(tmp_path / "none.toml")
    before = threading.active_count()
    (tmp_path / "farthing.toml").write_text("[models.x]\nkind = 'tiny'\nsize = 'huge'\n")
    with pytest.raises(ConfigError, match=r"farthing\.toml:3: models\.x\.size"):
        farthing.Client(tmp_path / "farthing.toml")
    assert threading.active_count() == before


def test_many_threads_ask_one_client(config: Path) -> None:
    with farthing.Client(config) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:

        def one(n: int) -> tuple[str | None, Cost | None]:
            question = f"Work out left to right modulo 10: {n % 10} + 1 ="
            answer = client.chat.completions.create(
                model="large", messages=[{"role": "user", "content": question}]
            )
            return answer.choices[0].message.content, answer.farthing.cost

        answers = list(pool.map(one, range(40)))
    assert [text for text, _ in answers] == [str((n % 10 + 1) % 10) for n in range(40)]
    (booked,) = rows(config, "SELECT sum(cost_pico) FROM attempts")[0]
    assert booked == sum(cost.pico for _, cost in answers if cost is not None)


def test_a_closed_client_says_so(config: Path) -> None:
    client = farthing.Client(config)
    client.close()
    client.close()
    with pytest.raises(FarthingError, match="closed"):
        client.chat.completions.create(model="small", messages=ASK)
    assert not [t for t in threading.enumerate() if t.name == "farthing-client"]


def test_keys_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text(TINY.format(gateway="keys = true"))
    with Keys(tmp_path / "farthing.db") as keys:
        secret = keys.create(Key("alice", "al", "search", {}, models=("small",)))
    with farthing.Client(path) as client, pytest.raises(RequestError, match="key"):
        client.models.list()
    with farthing.Client(path, key=secret) as client:
        assert [model.id for model in client.models.list().data] == ["small"]
        client.chat.completions.create(model="small", messages=ASK, tags={"team": "forged"})
        with pytest.raises(UnknownModelError):
            client.chat.completions.create(model="large", messages=ASK)
    ((key, tags),) = rows(path, "SELECT key, tags FROM operations")
    assert key == "alice"
    assert "forged" not in tags


def test_budgets_hold(config: Path) -> None:
    limit = Cost.from_usd("0.00004")
    with Budgets(config.parent / "farthing.db") as budgets:
        budgets.set(Budget("most", limit))
    answered: list[Answer] = []

    def spend(client: farthing.Client) -> None:
        for _ in range(40):
            asked = client.chat.completions.create(model="large", messages=ASK, max_tokens=6)
            answered.append(asked)

    with farthing.Client(config) as client, pytest.raises(BudgetError, match="most"):
        spend(client)
    assert answered
    (spent,) = rows(config, "SELECT sum(cost_pico) FROM attempts")[0]
    assert Cost(spent) <= limit


def test_plans_can_be_switched_off(config: Path) -> None:
    with farthing.Client(config) as client:
        client.chat.completions.create(model="both", messages=ASK)
        with SwitchEditor(config.parent / "farthing.db") as switch:
            switch.set(True)
        for _ in range(100):
            client.chat.completions.create(model="both", messages=ASK)
            nodes = [node for (node,) in rows(config, "SELECT node FROM attempts ORDER BY id")]
            if nodes[-1] == NODE:
                break
            time.sleep(0.1)
    assert nodes[0] != NODE
    assert nodes[-1] == NODE


def test_answers_are_light_objects(config: Path) -> None:
    with farthing.Client(config) as client:
        answer = client.chat.completions.create(model="large", messages=ASK, n=2)
    dumped = answer.model_dump()
    assert dumped["choices"][1]["message"]["content"] == "7 4 9"
    dumped["choices"].clear()
    assert len(answer.choices) == 2
    assert Answer(answer.model_dump()) == answer
    assert answer.choices[0].message.tool_calls is None
    assert "7 4 9" in repr(answer)
    assert pickle.loads(pickle.dumps(answer)) == answer
    with pytest.raises(AttributeError, match="no field 'colour'"):
        _ = answer.colour


# With an event loop, before an upstream.


async def test_an_upstreams_own_fields_are_kept(tmp_path: Path) -> None:
    async with (
        fake_upstream() as upstream,
        farthing.AsyncClient(http_config(tmp_path, upstream)) as client,
    ):
        answer = await client.chat.completions.create(model="gpt", messages=ASK, seed=3)
        assert answer.a_new_field.kept is True
        assert answer.choices[0].message.content == "The answer is 42."
        assert answer.farthing.cost == Cost.from_usd("0.0000574")
        assert upstream.requests[0]["seed"] == 3
        stream = await client.chat.completions.create(model="gpt", messages=ASK, stream=True)
        texts = [c.choices[0].delta.content async for c in stream if c.choices]
        assert "".join(text or "" for text in texts) == "The answer is 42."
        assert stream.farthing is not None
        assert stream.farthing.cost == answer.farthing.cost


async def test_a_stream_that_is_left_is_still_booked(tmp_path: Path) -> None:
    async with fake_upstream(words=("word ",) * 40, chunk_delay_s=0.01) as upstream:
        config = http_config(tmp_path, upstream)
        async with farthing.AsyncClient(config) as client:
            stream = await client.chat.completions.create(model="gpt", messages=ASK, stream=True)
            async with stream:
                await anext(stream)
            left = await client.chat.completions.create(model="gpt", messages=ASK, stream=True)
            await anext(left)  # closing the client gives this one up
        assert upstream.answered == 2  # read to the end, because it is billed
    booked = rows(config, "SELECT status, output FROM attempts")
    assert booked == [("cancelled", 40)] * 2
    assert rows(config, "SELECT status FROM outcomes") == [("cancelled",)] * 2


async def test_a_call_that_is_cancelled_is_still_booked(tmp_path: Path) -> None:
    async with fake_upstream(delay_s=0.2) as upstream:
        config = http_config(tmp_path, upstream)
        async with farthing.AsyncClient(config) as client:
            call = asyncio.create_task(
                client.chat.completions.create(model="gpt", messages=ASK)  # type: ignore[arg-type]
            )
            await reached(upstream)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    assert rows(config, "SELECT status, cost_pico FROM attempts") == [("cancelled", 57_400_000)]


async def test_time_is_limited(tmp_path: Path) -> None:
    async with (
        fake_upstream(delay_s=0.4) as upstream,
        farthing.AsyncClient(http_config(tmp_path, upstream, timeout_s=0.1)) as client,
    ):
        for stream in (None, True):
            with pytest.raises(UpstreamError, match="request_timeout_s") as late:
                await client.chat.completions.create(model="gpt", messages=ASK, stream=stream)  # type: ignore[call-overload]
            assert late.value.kind == "timeout"


async def test_an_upstreams_refusal_is_an_error(tmp_path: Path) -> None:
    error = {"error": {"message": "slow down", "type": "rate_limit_error"}}
    async with (
        fake_upstream(status=429, error=error) as upstream,
        farthing.AsyncClient(http_config(tmp_path, upstream)) as client,
    ):
        for stream in (None, True):
            with pytest.raises(UpstreamError) as refused:
                await client.chat.completions.create(model="gpt", messages=ASK, stream=stream)  # type: ignore[call-overload]
            assert refused.value.status == 429


async def test_a_stream_that_breaks_raises_where_it_breaks(tmp_path: Path) -> None:
    async with (
        fake_upstream(cut_at=400) as upstream,
        farthing.AsyncClient(http_config(tmp_path, upstream)) as client,
    ):
        stream = await client.chat.completions.create(model="gpt", messages=ASK, stream=True)
        with pytest.raises(UpstreamError) as cut:
            _ = [chunk async for chunk in stream]
        assert cut.value.kind == "cut"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_events(newline: bytes) -> None:
    data = b': alive\n\nevent: x\ndata: {"a":\ndata: 1}\n\ndata:{"b": 2}\n\ndata: [DONE]\n\n'
    assert list(events(data.replace(b"\n", newline))) == [{"a": 1}, {"b": 2}]
