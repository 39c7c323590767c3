"""Chat requests that go well: single models, plans, plain and streamed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from openai import OpenAI

from farthing.core.money import Cost, Rates
from farthing.cost import Price, PriceBook

ASK: Any = [{"role": "user", "content": "hello"}]
GPT_COST = "0.0000574"  # 7 input at $1, 4 cached at $0.10 and 5 output tokens at $10 a million
PARROT_COST = "0.00003"


async def test_a_single_model_is_bytes_in_and_bytes_out(gateway: Any) -> None:
    status, headers, body = await gateway.chat(model="gpt", new_field={"x": [1.50]}, seed=7)
    assert status == 200
    assert body == gateway.upstream.sent[0]
    sent = gateway.upstream.requests[0]
    assert sent == {"model": "gpt-fake", "messages": ASK, "new_field": {"x": [1.5]}, "seed": 7}
    assert headers["x-farthing-cost-usd"] == GPT_COST
    assert headers["x-farthing-answered-by"] == "gpt"
    assert headers["x-farthing-attempts"] == "1"
    assert headers["x-farthing-operation"] == gateway.ledger.operations[0].id
    assert "x-farthing-plan" not in headers
    assert "Authorization" not in gateway.upstream.headers[0]


async def test_all_of_it_is_booked(gateway: Any) -> None:
    async with gateway.http.post(
        "/v1/chat/completions",
        json={"model": "gpt", "messages": ASK},
        headers={"x-farthing-question": "q7", "x-farthing-tags": "team=search, env=prod"},
    ) as response:
        assert response.status == 200
    (operation,) = gateway.ledger.operations
    (attempt,) = gateway.ledger.attempts
    (outcome,) = gateway.ledger.outcomes
    assert (operation.question, operation.prompt, operation.requested) == ("q7", "hello", "gpt")
    assert operation.tags == {"team": "search", "env": "prod"}
    assert operation.plan is None
    assert str(attempt.cost) == GPT_COST
    assert (attempt.status, attempt.upstream_id) == ("ok", "chatcmpl-fake")
    assert (outcome.status, outcome.answered_by, outcome.answer) == (
        "ok",
        "gpt",
        "the answer is 42",
    )


async def test_prompts_can_be_kept_out(start: Any) -> None:
    gateway = await start(store_prompts=False)
    await gateway.chat(model="gpt")
    assert gateway.ledger.operations[0].prompt is None


async def test_the_openai_client_with_a_single_model(gateway: Any) -> None:
    client = gateway.client()
    answer = await client.chat.completions.create(model="gpt", messages=ASK)
    assert answer.choices[0].message.content == "The answer is 42."
    assert answer.usage.total_tokens == 16
    stream = await client.chat.completions.create(
        model="gpt",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "The answer is 42."
    assert chunks[-1].usage.total_tokens == 16
    assert [attempt.status for attempt in gateway.ledger.attempts] == ["ok", "ok"]
    assert [attempt.upstream_id for attempt in gateway.ledger.attempts] == ["chatcmpl-fake"] * 2
    assert len(gateway.ledger.outcomes) == 2


async def test_the_openai_client_with_a_plan(gateway: Any) -> None:
    client = gateway.client()
    raw = await client.chat.completions.with_raw_response.create(model="cheap", messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content == "hello"
    assert answer.model == "cheap"
    assert answer.usage.prompt_tokens == 20
    assert answer.farthing["answered_by"] == "parrot"
    assert answer.farthing["cost_usd"] == raw.headers["x-farthing-cost-usd"] == "0.00006"
    assert answer.farthing["cost_basis"] == "exact"
    assert answer.farthing["attempts"] == 2
    assert raw.headers["x-farthing-plan"] == answer.farthing["plan"] == "cheap"
    (outcome,) = gateway.ledger.outcomes
    assert outcome.signal == 1.0
    assert (str(outcome.budget), outcome.alpha) == ("0.1", 0.1)
    (operation,) = gateway.ledger.operations
    assert (operation.plan, operation.strongest) == ("cheap", "gpt")


async def test_the_openai_client_streams_a_plan(gateway: Any) -> None:
    client = gateway.client()
    stream = await client.chat.completions.create(
        model="strict",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "The answer is 42."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].farthing["answered_by"] == "gpt"
    assert chunks[-2].farthing["attempts"] == 2
    assert chunks[-1].usage.completion_tokens == 7
    assert chunks[-1].choices == []
    stream = await client.chat.completions.create(
        model="cheap", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].farthing["cost_usd"] == "0.00006"
    assert all(chunk.choices for chunk in chunks)


async def test_the_synchronous_client(gateway: Any) -> None:
    def ask() -> str | None:
        with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
            stream = client.chat.completions.create(
                model="cheap", messages=[{"role": "user", "content": "hello"}], stream=True
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            answer = client.chat.completions.create(model="gpt", messages=ASK)
            return text + (answer.choices[0].message.content or "")

    assert await asyncio.to_thread(ask) == "helloThe answer is 42."


async def test_a_stream_of_a_single_model_is_its_bytes(gateway: Any) -> None:
    options = {"include_usage": True}
    _, headers, body = await gateway.chat(model="gpt", stream=True, stream_options=options)
    assert body == gateway.upstream.sent[0]
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["x-farthing-answered-by"] == "gpt"
    assert str(gateway.ledger.attempts[0].cost) == GPT_COST


async def test_usage_that_the_client_did_not_ask_for_is_booked_all_the_same(gateway: Any) -> None:
    _, _, body = await gateway.chat(model="gpt", stream=True)
    assert b"prompt_tokens" not in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert str(gateway.ledger.attempts[0].cost) == GPT_COST


async def test_a_stream_is_booked_before_it_ends(gateway: Any, monkeypatch: Any) -> None:
    order = []
    finish = gateway.ledger.finish

    async def slow(row: Any) -> None:
        await asyncio.sleep(0.05)
        order.append("booked")
        await finish(row)

    monkeypatch.setattr(gateway.ledger, "finish", slow)
    for model in ("gpt", "parrot", "cheap"):
        ask = {"model": model, "messages": ASK, "stream": True}
        async with gateway.http.post("/v1/chat/completions", json=ask) as response:
            async for line in response.content:
                if b"[DONE]" in line:
                    order.append("done")
    assert order == ["booked", "done"] * 3


async def test_a_model_of_this_process(gateway: Any) -> None:
    _, headers, body = await gateway.chat(model="parrot", n=2)
    answer = json.loads(body)
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["hello", "hello"]
    assert answer["farthing"]["cost_usd"] == headers["x-farthing-cost-usd"] == PARROT_COST
    _, _, body = await gateway.chat(model="parrot", stream=True)
    events = [line[6:] for line in body.decode().split("\n\n") if line]
    assert events[-1] == "[DONE]"
    first, last = json.loads(events[0]), json.loads(events[-2])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "hello"}
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["farthing"]["cost_usd"] == PARROT_COST


async def test_settings_reach_the_models_of_a_plan(gateway: Any) -> None:
    settings = {"temperature": 0.5, "max_tokens": 9, "seed": 3, "top_p": 0.9, "stop": ["x"]}
    await gateway.chat(model="lone", **settings, response_format={"type": "json_object"})
    (sent,) = gateway.upstream.requests
    assert {key: sent[key] for key in settings} == settings
    assert sent["response_format"] == {"type": "json_object"}
    await gateway.chat(model="lone", stream=True, stream_options={"include_obfuscation": True})
    assert gateway.upstream.requests[1]["stream_options"] == {"include_usage": True}


async def test_a_plan_shows_signs_of_life(start: Any) -> None:
    gateway = await start(keepalive_s=0.02)
    gateway.upstream.delay_s = 0.2
    _, headers, body = await gateway.chat(model="lone", stream=True)
    assert body.count(b": farthing is deciding\n\n") >= 3
    assert body.endswith(b"data: [DONE]\n\n")
    assert "x-farthing-cost-usd" not in headers
    assert headers["x-farthing-plan"] == "lone"


async def test_usage_that_is_not_told_is_estimated(gateway: Any) -> None:
    gateway.upstream.usage = False
    _, headers, body = await gateway.chat(model="strict")
    told = json.loads(body)["farthing"]
    assert told["cost_basis"] == "estimated"
    assert float(told["cost_usd"]) > 0.00003
    assert headers["x-farthing-cost-usd"] == told["cost_usd"]
    assert headers["x-farthing-attempts"] == "2"


async def test_fifty_at_once(gateway: Any) -> None:
    gateway.upstream.delay_s = 0.05

    async def ask(number: int) -> int:
        models = ("gpt", "cheap", "parrot", "strict", "lone")
        status, _, _ = await gateway.chat(model=models[number % 5], stream=number % 2 == 0)
        return int(status)

    statuses = await asyncio.gather(*(ask(number) for number in range(50)))
    assert statuses == [200] * 50
    assert len(gateway.ledger.outcomes) == 50
    assert len(gateway.ledger.attempts) == 10 * (1 + 2 + 1 + 2 + 1)
    billed = sum(a.usage.output_tokens for a in gateway.ledger.attempts if a.model == "gpt")
    assert billed == gateway.upstream.billed_output


async def test_the_list_of_models(gateway: Any) -> None:
    listed = [model async for model in gateway.client().models.list()]
    plans = ["cheap", "strict", "lone", "voting", "doomed"]
    assert [m.id for m in listed] == [*plans, "gpt", "claude", "parrot", "down"]
    assert listed[0].farthing == {"kind": "plan", "models": ["parrot", "gpt"]}
    assert (await gateway.client().models.retrieve("gpt")).id == "gpt"


async def test_health(gateway: Any) -> None:
    async with gateway.http.get("/healthz") as response:
        assert (await response.json())["status"] == "ok"


@pytest.mark.parametrize("stream", [False, True])
async def test_contents_in_parts_and_other_fields_of_messages(gateway: Any, stream: bool) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}], "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
    ]
    for model in ("gpt", "lone"):
        status, _, _ = await gateway.chat(model=model, messages=messages, stream=stream)
        assert status == 200
        assert gateway.upstream.requests[-1]["messages"] == messages
    assert gateway.ledger.operations[0].prompt == "hello"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("calls", "cost", "source"),
    [
        ((), None, "test; no price for web_search"),
        ((("web_search", 10**10),), Cost.from_usd("0.0200574"), "test"),
    ],
)
async def test_searches_are_charged_or_leave_the_cost_unknown(
    gateway: Any, stream: bool, calls: Any, cost: Cost | None, source: str
) -> None:
    model = gateway.service.models["gpt"]
    model.card = replace(model.card, rates=None)
    price = Price(Rates.per_million("1", "10", cache_read="0.1"), "test", calls=calls)
    gateway.service.prices = PriceBook({"gpt": price})
    gateway.upstream.more_usage = {"server_tool_use": {"web_search_requests": 2}}
    asked = await gateway.client().chat.completions.create(
        model="gpt", messages=[{"role": "user", "content": "hello"}], stream=stream
    )
    if stream:
        assert [chunk async for chunk in asked]
    (row,) = gateway.ledger.attempts
    assert (row.cost, row.price_source, row.usage_basis) == (cost, source, "exact")
