"""A common script of calls through the official `openai` and `anthropic` packages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import openai
import pytest

ASK: Any = [{"role": "user", "content": "hello"}]
TEXT = "The answer is 42."
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "of a city", "parameters": SCHEMA},
}
OWN_TOOL: Any = {"name": "weather", "description": "of a city", "input_schema": SCHEMA}
FLAT_TOOL: Any = {"type": "function", **TOOL["function"], "strict": False}
PDF: Any = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "aGVsbG8="},
}
FILE: Any = {
    "type": "file",
    "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGVsbG8="},
}
CALL = ("weather", '{"city": "Oslo"}')

MODELS = ("gpt", "claude", "lone")
"""An OpenAI-shaped upstream, an Anthropic-shaped one, and a plan: each client asks all three."""


@pytest.mark.parametrize("model", MODELS)
async def test_chat_plain_and_streamed(gateway: Any, model: str) -> None:
    client = gateway.client()
    answer = await client.chat.completions.create(model=model, messages=ASK, max_tokens=50)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 11
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    stream = await client.chat.completions.create(
        model=model, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(texts) == TEXT
    assert chunks[-1].usage.total_tokens == 16
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert [attempt.usage.output_tokens for attempt in gateway.ledger.attempts] == [5, 5]
    assert len(gateway.ledger.outcomes) == 2


@pytest.mark.parametrize("model", MODELS)
async def test_chat_tools_plain_and_streamed(gateway: Any, model: str) -> None:
    gateway.upstream.calls = (CALL,)
    client = gateway.client()
    answer = await client.chat.completions.create(model=model, messages=ASK, tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Oslo"},
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    stream = client.chat.completions.stream(model=model, messages=ASK, tools=[TOOL])
    async with stream as events:
        final = await events.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert (call.id, json.loads(call.function.arguments)) == ("call_1", {"city": "Oslo"})
    history = [*ASK, answer.choices[0].message, {"role": "tool", "tool_call_id": "call_1"}]
    history[-1]["content"] = "rain"
    gateway.upstream.calls = ()
    answer = await client.chat.completions.create(model=model, messages=history, tools=[TOOL])
    assert answer.choices[0].message.content == TEXT


@pytest.mark.parametrize("model", MODELS)
async def test_chat_with_a_json_schema(gateway: Any, model: str) -> None:
    gateway.upstream.words = ('{"city":', ' "Oslo"}')
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    answer = await gateway.client().chat.completions.create(
        model=model, messages=ASK, response_format=wanted
    )
    assert json.loads(answer.choices[0].message.content) == {"city": "Oslo"}
    assert gateway.ledger.outcomes[0].answer == '{"city":"Oslo"}'
    (sent,) = gateway.upstream.requests
    if model == "claude":
        assert sent["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    else:
        assert sent["response_format"] == wanted


@pytest.mark.parametrize("model", MODELS)
async def test_messages_plain_and_streamed(gateway: Any, model: str) -> None:
    client = gateway.anthropic()
    answer = await client.messages.create(model=model, max_tokens=50, messages=ASK, system="Be.")
    assert answer.content[0].text == TEXT
    assert (answer.stop_reason, answer.role, answer.type) == ("end_turn", "assistant", "message")
    told = answer.usage.input_tokens, answer.usage.cache_read_input_tokens
    assert told == ((5, 4) if model == "claude" else (7, 4))
    async with client.messages.stream(model=model, max_tokens=50, messages=ASK) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == final.content[0].text == TEXT
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 5
    assert [attempt.usage.output_tokens for attempt in gateway.ledger.attempts] == [5, 5]
    assert gateway.ledger.operations[0].prompt == "hello"


@pytest.mark.parametrize("model", MODELS)
async def test_messages_tools_plain_and_streamed(gateway: Any, model: str) -> None:
    gateway.upstream.calls = (CALL,)
    client = gateway.anthropic()
    ask: Any = {"model": model, "max_tokens": 50, "tools": [OWN_TOOL]}
    answer = await client.messages.create(**ask, messages=ASK)
    block = answer.content[-1]
    assert (block.type, block.name, block.input) == ("tool_use", "weather", {"city": "Oslo"})
    assert answer.stop_reason == "tool_use"
    async with client.messages.stream(**ask, messages=ASK) as stream:
        final = await stream.get_final_message()
    assert final.content[-1].input == {"city": "Oslo"}
    assert final.stop_reason == "tool_use"
    gateway.upstream.calls = ()
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "rain"}
    history: Any = [
        *ASK,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    answer = await client.messages.create(**ask, messages=history)
    assert answer.content[0].text == TEXT


@pytest.mark.parametrize("model", MODELS)
async def test_responses_plain_and_streamed(gateway: Any, model: str) -> None:
    client = gateway.client()
    answer = await client.responses.create(model=model, input="hello", instructions="Be brief.")
    assert answer.output_text == TEXT
    assert (answer.status, answer.usage.input_tokens) == ("completed", 11)
    assert answer.usage.input_tokens_details.cached_tokens == 4
    async with client.responses.stream(model=model, input="hello") as stream:
        texts = [
            event.delta async for event in stream if event.type == "response.output_text.delta"
        ]
        final = await stream.get_final_response()
    assert "".join(texts) == final.output_text == TEXT
    assert final.usage.output_tokens == 5
    assert [attempt.usage.output_tokens for attempt in gateway.ledger.attempts] == [5, 5]
    assert gateway.ledger.operations[0].prompt == "hello"


@pytest.mark.parametrize("model", MODELS)
async def test_responses_tools_plain_and_streamed(gateway: Any, model: str) -> None:
    gateway.upstream.calls = (CALL,)
    client = gateway.client()
    ask: Any = {"model": model, "tools": [FLAT_TOOL]}
    answer = await client.responses.create(**ask, input="hello")
    call = answer.output[-1]
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "weather",
        {"city": "Oslo"},
    )
    async with client.responses.stream(**ask, input="hello") as stream:
        final = await stream.get_final_response()
    assert json.loads(final.output[-1].arguments) == {"city": "Oslo"}
    gateway.upstream.calls = ()
    history: Any = [
        {"role": "user", "content": "hello"},
        *[item.model_dump(exclude_none=True) for item in answer.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]
    answer = await client.responses.create(**ask, input=history)
    assert answer.output_text == TEXT


@pytest.mark.parametrize("model", ["gpt", "lone"])
async def test_responses_with_a_json_schema(gateway: Any, model: str) -> None:
    gateway.upstream.words = ('{"city":', ' "Oslo"}')
    wanted: Any = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA}}
    answer = await gateway.client().responses.create(model=model, input="x", text=wanted)
    assert json.loads(answer.output_text) == {"city": "Oslo"}


@pytest.mark.parametrize("model", MODELS)
async def test_messages_with_a_document(gateway: Any, model: str) -> None:
    content = [PDF, {"type": "text", "text": "what is this?"}]
    asked: Any = [{"role": "user", "content": content}]
    answer = await gateway.anthropic().messages.create(model=model, max_tokens=9, messages=asked)
    assert answer.content[0].text == TEXT
    (sent,) = gateway.upstream.requests
    if model == "claude":
        assert sent["messages"] == asked
    else:
        assert sent["messages"][0]["content"] == [FILE, content[1]]


async def test_a_file_of_chat_is_a_document(gateway: Any) -> None:
    content: Any = [FILE, {"type": "text", "text": "what is this?"}]
    await gateway.client().chat.completions.create(
        model="claude", messages=[{"role": "user", "content": content}]
    )
    (sent,) = gateway.upstream.requests
    assert sent["messages"][0]["content"] == [PDF, content[1]]


@pytest.mark.parametrize("model", ["gpt", "lone", "voting"])
async def test_documents_that_chat_cannot_tell_cost_nothing(gateway: Any, model: str) -> None:
    source = {"type": "url", "url": "https://x.test/a.pdf"}
    asked: Any = [{"role": "user", "content": [{"type": "document", "source": source}]}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        await gateway.anthropic().messages.create(model=model, max_tokens=9, messages=asked)
    assert caught.value.body["error"]["param"] == "messages[0].content"  # type: ignore[index]
    assert not gateway.upstream.bodies
    assert not gateway.ledger.operations


@pytest.mark.parametrize("part", ["image", "document"])
async def test_models_of_text_take_nothing_else(gateway: Any, part: str) -> None:
    kind = "image/png" if part == "image" else "application/pdf"
    source = {"type": "base64", "media_type": kind, "data": "aGVsbG8="}
    asked: Any = [{"role": "user", "content": [{"type": part, "source": source}]}]
    for model in ("parrot", "cheap"):
        with pytest.raises(anthropic.BadRequestError) as caught:
            await gateway.anthropic().messages.create(model=model, max_tokens=9, messages=asked)
        assert "takes text only" in caught.value.body["error"]["message"]  # type: ignore[index]
    assert not gateway.ledger.operations


@pytest.mark.parametrize("model", MODELS)
async def test_messages_that_think(gateway: Any, model: str) -> None:
    """A budget of thinking goes to its own format only; what the model chose to think, to all."""
    ask = gateway.anthropic().messages.create
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    said = [{"role": "assistant", "content": [thought, {"type": "text", "text": "Hello."}]}]
    asked: Any = {"model": model, "max_tokens": 2000, "messages": [*ASK, *said, *ASK]}
    await ask(**asked, thinking={"type": "adaptive"})
    (sent,) = gateway.upstream.requests
    if model == "claude":
        assert (sent["thinking"], sent["messages"]) == ({"type": "adaptive"}, asked["messages"])
    else:
        assert "thinking" not in sent
        assert sent["messages"][1] == {"role": "assistant", "content": "Hello."}
    budget: Any = {"type": "enabled", "budget_tokens": 1024}
    if model == "claude":
        await ask(**asked, thinking=budget)
        assert gateway.upstream.requests[1]["thinking"] == budget
        return
    with pytest.raises(anthropic.BadRequestError) as caught:
        await ask(**asked, thinking=budget)
    assert caught.value.body["error"]["param"] == "thinking"  # type: ignore[index]
    assert len(gateway.upstream.bodies) == len(gateway.ledger.operations) == 1


async def test_embeddings_cost_their_input_alone(gateway: Any) -> None:
    client = gateway.client()
    answer = await client.embeddings.create(model="gpt", input=["one", "two"])
    assert [item.embedding for item in answer.data] == [[0.25, -0.5]] * 2
    (attempt,) = gateway.ledger.attempts
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (11, 0)
    assert str(attempt.cost) == "0.000011"
    assert gateway.upstream.requests[0]["model"] == "gpt-fake"
    for model in ("claude", "lone", "parrot"):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(model=model, input="one")
        assert "/v1/embeddings" in caught.value.message
    assert len(gateway.ledger.operations) == 1


async def test_completions_plain_and_streamed(gateway: Any) -> None:
    client = gateway.client()
    answer = await client.completions.create(model="gpt", prompt=["a", "b"], max_tokens=9)
    assert [choice.text for choice in answer.choices] == [TEXT, TEXT]
    stream = await client.completions.create(model="gpt", prompt="a", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT
    assert [attempt.usage.output_tokens for attempt in gateway.ledger.attempts] == [10, 5]


@pytest.mark.parametrize("model", MODELS)
async def test_time_outs(gateway: Any, model: str) -> None:
    gateway.upstream.delay_s = 5
    late, also, too = await asyncio.gather(
        gateway.client().chat.completions.create(model=model, messages=ASK),
        gateway.anthropic().messages.create(model=model, messages=ASK, max_tokens=9),
        gateway.client().responses.create(model=model, input="x"),
        return_exceptions=True,
    )
    assert isinstance(late, openai.APIStatusError)
    assert isinstance(also, anthropic.APIStatusError)
    assert isinstance(too, openai.APIStatusError)
    assert [error.status_code for error in (late, also, too)] == [504] * 3
    assert also.body["error"]["type"] == "timeout_error"
    assert [attempt.status for attempt in gateway.ledger.attempts] == ["failed"] * 3


async def test_errors_have_the_shape_of_the_endpoint(gateway: Any) -> None:
    with pytest.raises(anthropic.NotFoundError) as lost:
        await gateway.anthropic().messages.create(model="nope", messages=ASK, max_tokens=9)
    assert lost.value.body["type"] == "error"
    assert lost.value.body["error"]["type"] == "not_found_error"
    gateway.upstream.status = 429
    own = {"type": "rate_limit_error", "message": "slow down"}
    gateway.upstream.error = {"type": "error", "error": own}
    with pytest.raises(anthropic.RateLimitError) as limited:
        await gateway.anthropic().messages.create(model="claude", messages=ASK, max_tokens=9)
    assert limited.value.body == {"type": "error", "error": own}
    with pytest.raises(openai.RateLimitError) as too:
        await gateway.client().chat.completions.create(model="claude", messages=ASK)
    assert "slow down" in too.value.message


async def test_keys_may_come_as_x_api_key(start: Any) -> None:
    gateway = await start(token="right-token")
    client = gateway.anthropic(api_key="right-token")
    answer = await client.messages.create(model="claude", messages=ASK, max_tokens=9)
    assert answer.content[0].text == TEXT
    assert "right-token" not in str(gateway.upstream.headers)
    assert gateway.upstream.headers[0]["anthropic-version"] == str(
        client.default_headers["anthropic-version"]
    )
    with pytest.raises(anthropic.AuthenticationError) as caught:
        await gateway.anthropic(api_key="wrong").messages.create(
            model="claude", messages=ASK, max_tokens=9
        )
    assert caught.value.body["error"]["type"] == "authentication_error"


async def test_an_errors_event_in_the_middle_of_a_stream(gateway: Any) -> None:
    gateway.upstream.cut_at = 900
    with pytest.raises(anthropic.APIStatusError):
        async with gateway.anthropic().messages.stream(
            model="claude", max_tokens=9, messages=ASK
        ) as stream:
            await stream.get_final_message()
    stream = await gateway.client().responses.create(model="gpt", input="x", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "error"
    assert "closed the connection" in events[-1].message
    assert [attempt.status for attempt in gateway.ledger.attempts] == ["failed", "failed"]
