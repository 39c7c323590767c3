"""Plans that vote on tool calls and JSON, and plans whose last call is streamed live."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

ASK: Any = [{"role": "user", "content": "hello"}]
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
JSON: Any = {"type": "json_object"}
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


async def test_calls_agree_by_name_and_arguments(gateway: Any) -> None:
    gateway.upstream.calls = (("f", '{"a":1,"b":[2]}'), ("f", '{ "b": [2.0], "a": 1 }'))
    status, headers, body = await gateway.chat(model="voting", tools=[TOOL])
    assert status == 200
    assert (headers["x-farthing-answered-by"], headers["x-farthing-attempts"]) == ("gpt", "2")
    (choice,) = json.loads(body)["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1,"b":[2]}'
    assert choice["finish_reason"] == "tool_calls"
    assert gateway.ledger.outcomes[0].answer == '[["f",{"a":1,"b":[2]}]]'


@pytest.mark.parametrize(
    "calls",
    [
        (("f", '{"a":1}'), ("f", '{"a":2}'), ("f", '{"a":3}')),
        (("f", "{}"), ("g", "{}"), ("h", "{}")),
    ],
)
async def test_calls_that_differ_are_passed_up(gateway: Any, calls: Any) -> None:
    gateway.upstream.calls = calls
    status, headers, body = await gateway.chat(model="voting", tools=[TOOL])
    assert (status, headers["x-farthing-answered-by"]) == (200, "claude")
    assert json.loads(body)["choices"][0]["message"]["tool_calls"]
    assert [sent["model"] for sent in gateway.upstream.requests][-1] == "claude-fake"


@pytest.mark.parametrize(("wanted", "words"), [(JSON, '{"a": 1}'), (SCHEMA, '{ "a" :1.0}')])
async def test_json_agrees_by_its_value(gateway: Any, wanted: Any, words: str) -> None:
    model = "voting" if wanted is SCHEMA else "lone"
    gateway.upstream.words = (words,)
    status, headers, body = await gateway.chat(model=model, response_format=wanted)
    assert (status, headers["x-farthing-answered-by"]) == (200, "gpt")
    assert json.loads(body)["choices"][0]["message"]["content"] == words
    assert gateway.ledger.outcomes[0].answer == '{"a":1}'
    assert gateway.ledger.operations[0].answer_reader == "json"


async def test_what_is_no_json_votes_for_nothing(gateway: Any) -> None:
    gateway.upstream.words = ("no JSON",)
    _, headers, _ = await gateway.chat(model="voting", response_format=SCHEMA)
    assert headers["x-farthing-answered-by"] == "claude"
    assert {sample.answer for a in gateway.ledger.attempts for sample in a.samples} == {None}


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("voting", {"response_format": JSON}),  # claude cannot be told
        ("voting", {"seed": 7}),
        ("voting", {"tools": [{"type": "custom", "custom": {}}]}),
        ("cheap", {"tools": [TOOL]}),  # parrot gives text alone
        ("voting", {"functions": [{"name": "f"}]}),
    ],
    ids=repr,
)
async def test_what_one_model_of_a_plan_cannot_do_costs_nothing(
    gateway: Any, model: str, field: Any
) -> None:
    status, _, body = await gateway.chat(model=model, **field)
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (400, "unsupported")
    assert error["param"].startswith(next(iter(field)))
    assert not gateway.upstream.bodies
    assert not gateway.ledger.operations


async def _arrivals(gateway: Any, path: str, body: Any) -> list[tuple[float, bytes]]:
    """The blocks of a streamed answer and when they came."""
    clock = asyncio.get_running_loop().time
    began, found = clock(), []
    async with gateway.http.post(path, json={**body, "stream": True}) as response:
        async for line in response.content:
            if line.strip():
                found.append((clock() - began, line))
    return found


@pytest.mark.parametrize("model", ["lone", "strict"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_last_call_is_streamed_live(start: Any, model: str, path: str) -> None:
    gateway = await start(keepalive_s=0.05)
    gateway.upstream.chunk_delay_s = 0.1
    gateway.upstream.delay_s = 0.2
    body = {"model": model, "messages": ASK, "max_tokens": 9, "input": "hello"}
    if path == "/v1/responses":
        del body["messages"], body["max_tokens"]
    else:
        del body["input"]
    found = await _arrivals(gateway, path, body)
    alive = [at for at, line in found if line.startswith(b":")]
    words = [at for at, line in found if b"answer " in line or b"42" in line]
    assert alive
    assert alive[-1] < words[0]
    assert words[-1] < found[-1][0] + 1e-9
    assert found[-1][0] - words[0] > 0.2  # five pieces, 0.1 s apart, did not come at once
    await gateway.attempts(1)
    (outcome,) = gateway.ledger.outcomes
    assert (outcome.status, outcome.answered_by) == ("ok", "gpt")
    attempt = gateway.ledger.attempts[-1]
    assert (attempt.status, attempt.usage.output_tokens) == ("ok", 5)
    assert b'"farthing"' in b"".join(line for _, line in found)


async def test_tool_calls_are_streamed_live(gateway: Any) -> None:
    gateway.upstream.calls = (("f", '{"a": 1}'),)
    stream = gateway.client().chat.completions.stream(model="lone", messages=ASK, tools=[TOOL])
    async with stream as events:
        final = await events.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("f", '{"a": 1}')
    assert gateway.ledger.outcomes[0].answer == '[["f",{"a":1}]]'


async def test_a_live_stream_that_is_cut_ends_with_an_error(gateway: Any) -> None:
    gateway.upstream.cut_at = 500
    _, _, body = await gateway.chat(model="lone", stream=True)
    assert b"upstream_cut" in body
    assert b"[DONE]" not in body
    (outcome,) = gateway.ledger.outcomes
    assert outcome.status == "failed"
    assert len(gateway.upstream.bodies) == 1  # what was shown is not asked for again


async def test_a_client_that_leaves_a_live_stream_is_booked_with_all_it_cost(start: Any) -> None:
    gateway = await start()
    gateway.upstream.chunk_delay_s = 0.05
    ask = {"model": "lone", "messages": ASK, "stream": True}
    async with gateway.http.post("/v1/chat/completions", json=ask) as response:
        await response.content.readline()
        response.close()
    (attempt,) = await gateway.attempts(1)
    assert (attempt.status, attempt.usage.output_tokens) == ("cancelled", 5)
    assert gateway.ledger.outcomes[0].status == "cancelled"


async def test_a_vote_is_not_streamed_before_it_is_decided(gateway: Any) -> None:
    _, headers, body = await gateway.chat(model="cheap", stream=True)
    assert headers["x-farthing-cost-usd"] == "0.00006"
    assert body.count(b'"content":"hello"') == 1
