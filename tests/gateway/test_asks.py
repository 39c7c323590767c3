"""What budgets are told before a call, and what is booked when its client leaves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from farthing.gateway.budgeting import ask
from farthing.gateway.calls import checked
from farthing.gateway.endpoint import Call, read
from farthing.gateway.endpoints import ENDPOINTS

BY_API = {endpoint.api: endpoint for endpoint in ENDPOINTS}
CHAT: Any = {"messages": [{"role": "user", "content": "hello"}]}
IMAGE: Any = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
FILE: Any = {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGVsbG8="}}
OWN_PDF: Any = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "aGVsbG8="},
}
OWN_IMAGE: Any = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}


def asked(gateway: Any, api: str, fields: dict[str, Any]) -> Any:
    body = json.dumps(fields).encode()
    call: Call = checked(gateway.service, read(BY_API[api], body))
    return len(body), ask(gateway.service, call, {}, body)


@pytest.mark.parametrize(
    ("api", "fields", "outputs"),
    [
        ("chat", {"model": "gpt", **CHAT, "max_tokens": 7}, 7),
        ("chat", {"model": "gpt", **CHAT, "max_completion_tokens": 7, "n": 3}, 21),
        ("chat", {"model": "claude", **CHAT, "max_tokens": 7}, 7),
        ("completions", {"model": "gpt", "prompt": ["a", "b"], "n": 2, "max_tokens": 7}, 28),
        ("completions", {"model": "gpt", "prompt": "a", "best_of": 5, "max_tokens": 7}, 35),
        ("embeddings", {"model": "gpt", "input": [[1, 2], [3]]}, 0),
        ("responses", {"model": "gpt", "input": "hello", "max_output_tokens": 7}, 7),
        ("responses", {"model": "parrot", "input": "hello", "max_output_tokens": 7}, 7),
        ("messages", {"model": "claude", **CHAT, "max_tokens": 7}, 7),
        ("messages", {"model": "lone", **CHAT, "max_tokens": 7}, 7),
    ],
    ids=repr,
)
async def test_what_bounds_a_call(gateway: Any, api: str, fields: Any, outputs: int) -> None:
    size, told = asked(gateway, api, fields)
    samples = max(1, outputs // 7)
    assert told.bound is not None
    assert told.bound.pico == samples * size * 10**6 + outputs * 10**7  # $1 and $10 a million
    assert told.typical.pico > 0


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("chat", {"model": "gpt", **CHAT}),
        ("chat", {"model": "gpt", "messages": [{"role": "user", "content": [IMAGE]}]}),
        ("responses", {"model": "gpt", "input": "hello"}),
        ("responses", {"model": "gpt", "input": "x", "previous_response_id": "resp_1"}),
        ("responses", {"model": "gpt", "input": "x", "tools": [{"type": "web_search"}]}),
        ("chat", {"model": "gpt", "messages": [{"role": "user", "content": [FILE]}]}),
        (
            "responses",
            {"model": "gpt", "input": [{"role": "user", "content": [{"file_data": "data:x"}]}]},
        ),
        ("messages", {"model": "claude", "messages": [{"role": "user", "content": [OWN_IMAGE]}]}),
        ("messages", {"model": "claude", "messages": [{"role": "user", "content": [OWN_PDF]}]}),
    ],
    ids=repr,
)
async def test_what_nothing_bounds(gateway: Any, api: str, fields: Any) -> None:
    limits = {"chat": "max_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}
    bare = len(fields) == 2 and "hello" in json.dumps(fields)
    limit = {} if bare else {limits[api]: 9}
    _, told = asked(gateway, api, {**fields, **limit})
    assert told.bound is None
    escaped = json.dumps({**fields, **limit}).replace("image_url", "image\\u005furl").encode()
    call = checked(gateway.service, read(BY_API[api], escaped))
    assert ask(gateway.service, call, {}, escaped).bound is None


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/messages", {"model": "claude", **CHAT, "max_tokens": 9}),
        ("/v1/messages", {"model": "gpt", **CHAT, "max_tokens": 9}),
        ("/v1/responses", {"model": "gpt", "input": "hello"}),
        ("/v1/chat/completions", {"model": "claude", **CHAT}),
        ("/v1/completions", {"model": "gpt", "prompt": "hello"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_is_booked_with_all_it_cost(
    gateway: Any, path: str, fields: Any, stream: bool
) -> None:
    gateway.upstream.chunk_delay_s = 0.02
    gateway.upstream.delay_s = 0.0 if stream else 0.3
    request = gateway.http.post(path, json={**fields, "stream": stream})
    if stream:
        async with request as response:
            await response.content.readline()
            response.close()
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(request, 0.1)
    (attempt,) = await gateway.attempts(1)
    assert attempt.status == "cancelled"
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (11, 5)
    assert [outcome.status for outcome in gateway.ledger.outcomes] == ["cancelled"]
