"""Chat requests told to Anthropic-shaped upstreams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_formats import messages_answer, messages_events, named
from fakes import fake_upstream

from farthing.core.errors import RequestError, UpstreamError
from farthing.core.request import Message, Request
from farthing.core.usage import Usage
from farthing.gateway.messages import MESSAGES, translate_messages
from farthing.gateway.wire import read_chat
from farthing.models._messages import messages_fields
from farthing.models.http import HttpModel

PNG = "data:image/png;base64,aGVsbG8="
USER = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def told(*messages: Any, **fields: Any) -> dict[str, Any]:
    request = read_chat({"messages": list(messages or [USER]), **fields})
    return messages_fields(request, "claude", max_tokens=4096)


def test_settings() -> None:
    fields = told(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        USER,
        max_completion_tokens=7,
        temperature=0.5,
        top_p=0.9,
        stop="x",
        user="u1",
        reasoning_effort="low",
        presence_penalty=0,
        store=False,
        tool_choice=None,
    )
    assert fields == {
        "model": "claude",
        "max_tokens": 7,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["x"],
        "metadata": {"user_id": "u1"},
        "output_config": {"effort": "low"},
    }
    assert told()["max_tokens"] == 4096
    assert told(stop=["a", "b"])["stop_sequences"] == ["a", "b"]


def test_images_become_blocks() -> None:
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
    ]
    (message,) = told({"role": "user", "content": parts})["messages"]
    assert [block.get("source") for block in message["content"]] == [
        None,
        {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="},
        {"type": "url", "url": "https://x.test/a.png"},
    ]


def test_tool_results_join_the_next_turn() -> None:
    assistant = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    results = [{"role": "tool", "tool_call_id": id, "content": "rain"} for id in ("c1", "c2")]
    messages = told(USER, assistant, *results, {"role": "user", "content": "and?"})["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"][0] == {
        "type": "tool_use",
        "id": "c1",
        "name": "f",
        "input": {"a": 1},
    }
    kinds = [block["type"] for block in messages[2]["content"]]
    assert kinds == ["tool_result", "tool_result", "text"]


@pytest.mark.parametrize(
    ("choice", "parallel", "wanted"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("required", None, {"type": "any"}),
        ("none", False, {"type": "none"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"type": "function", "function": {"name": "f"}}, None, {"type": "tool", "name": "f"}),
    ],
)
def test_choices_of_tools(choice: Any, parallel: Any, wanted: Any) -> None:
    tool = {"type": "function", "function": {"name": "f", "strict": True}}
    fields = told(tools=[tool], tool_choice=choice, parallel_tool_calls=parallel)
    assert fields.get("tool_choice") == wanted
    schema = {"type": "object", "properties": {}}
    assert fields["tools"] == [{"name": "f", "input_schema": schema, "strict": True}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 1}, "seed"),
        ({"temperature": 1.5}, "temperature"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"never_heard_of": 1}, "never_heard_of"),
        ({"tools": [{"type": "custom"}]}, "tools[0]"),
        ({"tools": [3]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}], "tool_choice": 3}, "tool_choice"),
        ({"messages": [USER, {"role": "system", "content": "x"}]}, "messages[1]"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{**USER, "name": "bob"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, None),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None),
        ({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": 1}]}]}, None),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "["}}]}]},
            None,
        ),
    ],
    ids=repr,
)
def test_what_cannot_be_said_is_refused(fields: Any, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        told(*fields.pop("messages", [USER]), **fields)
    assert caught.value.param is not None
    if param is not None:
        assert caught.value.param == param


async def test_nothing_is_sent_then() -> None:
    async with fake_upstream() as fake:
        model = HttpModel("claude", api="anthropic", base_url=fake.base_url)
        with pytest.raises(RequestError):
            await model.complete(Request.ask("x", seed=3))
        with pytest.raises(RequestError):
            model.check(Request.ask("x", logprobs=True))
        await model.aclose()
        assert not fake.bodies


PDF: Any = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "aGVsbG8="},
}
URL_PDF: Any = {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}


def test_there_and_back() -> None:
    body = {
        "model": "x",
        "max_tokens": 9,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?", "cache_control": {"type": "x"}},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="},
                    },
                    {**PDF, "title": "report.pdf"},
                    PDF,
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "let me see"},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "text", "text": "rain"}],
                    },
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["x"],
        "temperature": 0.5,
        "top_k": 3,
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"a": 1}}},
    }
    request = translate_messages(body)
    assert [message.role for message in request.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    back = messages_fields(request, "x", max_tokens=1)
    body["system"] = [{"type": "text", "text": "Be brief."}]
    messages: Any = body["messages"]
    del messages[0]["content"][0]["cache_control"]
    del messages[1]["content"][0]
    assert back == body


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (
            {"source": {"type": "text", "media_type": "text/plain", "data": "It rains."}},
            [{"type": "text", "text": "It rains."}],
        ),
        (
            {"title": "Weather", "source": {"type": "content", "content": "It rains."}},
            [{"type": "text", "text": "Weather\n\n"}, {"type": "text", "text": "It rains."}],
        ),
        (
            {
                "source": {"type": "content", "content": [{"type": "text", "text": "a"}]},
                "citations": {"enabled": False},
            },
            [{"type": "text", "text": "a"}],
        ),
    ],
)
def test_documents_that_are_texts(block: Any, parts: Any) -> None:
    content = [{"type": "document", **block}, {"type": "text", "text": "Does it?"}]
    asked: Any = {"max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    (message,) = translate_messages(asked).messages
    assert message.content == [*parts, {"type": "text", "text": "Does it?"}]


def test_thinking_as_the_model_wants_is_chats_own_way() -> None:
    asked: Any = {"max_tokens": 9, "messages": [USER], "thinking": {"type": "adaptive"}}
    assert translate_messages(asked).extra == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"container": "x"},
        {"mcp_servers": []},
        {"service_tier": "fast"},
        {"max_tokens": None},
        {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
        {"messages": [{"role": "user", "content": [{**PDF, "citations": {"enabled": True}}]}]},
        {"messages": [{"role": "user", "content": [{**PDF, "context": "of last year"}]}]},
        {"messages": [{"role": "user", "content": [{**PDF, "title": 3}]}]},
        {"messages": [{"role": "user", "content": [URL_PDF]}]},
        {"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "hm"}]}]},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": []},
        {"tool_choice": {"type": "x"}, "tools": [{"name": "f"}]},
        {"output_config": {"format": {"type": "x"}}},
        {"output_config": {"effort": "max"}},
    ],
    ids=repr,
)
def test_what_chat_cannot_say_is_refused(fields: Any) -> None:
    with pytest.raises(RequestError) as caught:
        translate_messages({"model": "x", "max_tokens": 9, "messages": [USER], **fields})
    assert caught.value.param is not None
    assert MESSAGES.translate is translate_messages


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ],
)
async def test_reasons_and_usage(stream: bool, reason: str, finish: str) -> None:
    async with fake_upstream() as fake:
        model = HttpModel("claude", api="anthropic", base_url=fake.base_url)
        ask = Request((Message("user", "x"),))
        if stream:
            fake.split = 11
            events = messages_events(fake.words, fake._messages_usage(), None)
            events[-2]["delta"]["stop_reason"] = reason
            fake.events = named(events)
            chunks = [chunk async for chunk in model.stream(ask)]
            assert "".join(chunk.text for chunk in chunks) == "The answer is 42."
            assert [c.finish_reason for c in chunks if c.finish_reason] == [finish]
            assert {chunk.raw for chunk in chunks} == {None}
            usage, id = chunks[-1].usage, chunks[0].upstream_id
            assert chunks[-1].last
        else:
            answer = messages_answer(fake.words, fake._messages_usage(), None)
            fake.malformed = json.dumps({**answer, "stop_reason": reason}).encode()
            response = await model.complete(ask)
            assert (response.text, response.raw) == ("The answer is 42.", None)
            assert response.samples[0].finish_reason == finish
            usage, id = response.usage, response.upstream_id
        await model.aclose()
    assert usage == Usage(5, cache_read=4, cache_write=2, output=5)
    assert id == "msg_fake"


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"malformed": b"{}"}, "malformed"),
        ({"malformed": b'{"content": [3]}'}, "malformed"),
        ({"events": b"event: x\ndata: [1]\n\n"}, "malformed"),
        (
            {"events": b'data: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'},
            "status",
        ),
        ({"events": b'data: {"type": "message_start", "message": 3}\n\n'}, "cut"),
    ],
    ids=repr,
)
async def test_answers_that_are_wrong(settings: Any, kind: str) -> None:
    async with fake_upstream(**settings) as fake:
        model = HttpModel("claude", api="anthropic", base_url=fake.base_url)

        async def ask() -> None:
            if "events" not in settings:
                await model.complete(Request.ask("x"))
            async for _ in model.stream(Request.ask("x")):
                pass

        with pytest.raises(UpstreamError) as caught:
            await ask()
        await model.aclose()
    assert caught.value.kind == kind


async def test_its_key_goes_in_its_own_header(monkeypatch: Any) -> None:
    monkeypatch.setenv("THE_KEY", "sk-secret")
    async with fake_upstream(status=401, error={"error": {"message": "sk-secret"}}) as fake:
        model = HttpModel("c", api="anthropic", base_url=fake.base_url, key_env="THE_KEY")
        with pytest.raises(UpstreamError) as caught:
            await model.complete(Request.ask("x"))
        await model.aclose()
    assert fake.headers[0]["x-api-key"] == "sk-secret"
    assert fake.headers[0]["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in fake.headers[0]
    assert "sk-secret" not in str(caught.value)
