"""HttpModel against a real server on loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import FakeUpstream, fake_upstream
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import ConfigError, RequestError, UpstreamError
from farthing.core.request import Message, Request
from farthing.core.response import Chunk
from farthing.core.usage import Usage
from farthing.models._pool import Pool
from farthing.models._sse import EventParser
from farthing.models.http import HttpModel

ASK = Request.ask("What is 6 * 7?")
USAGE = Usage(input=7, cache_read=4, output=5)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as fake:
        yield fake


def connect(fake: FakeUpstream, **settings: Any) -> HttpModel:
    return HttpModel("gpt", base_url=fake.base_url, model="gpt-fake", **settings)


async def chunks(model: HttpModel, request: Request = ASK) -> list[Chunk]:
    try:
        return [chunk async for chunk in model.stream(request)]
    finally:
        await model.aclose()


def joined(pieces: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in pieces)


async def test_a_whole_answer(upstream: FakeUpstream) -> None:
    model = connect(upstream)
    response = await model.complete(ASK)
    await model.aclose()
    assert response.text == "The answer is 42."
    assert response.usage == USAGE
    assert response.usage_basis == "exact"
    assert response.samples[0].finish_reason == "stop"
    assert response.samples[0].output_tokens == 5
    assert response.upstream_id == "chatcmpl-fake"
    assert response.raw == upstream.sent[0]
    assert upstream.requests == [
        {"model": "gpt-fake", "messages": [{"role": "user", "content": ASK.prompt}]}
    ]


async def test_settings_and_extra_fields_are_passed_on(upstream: FakeUpstream) -> None:
    model = connect(upstream)
    message = Message("user", "hi", {"name": "ada"})
    request = Request(
        (message,), n=2, temperature=0.5, max_tokens=9, seed=1, logprobs=True, extra={"top_p": 0.9}
    )
    response = await model.complete(request)
    await model.aclose()
    assert upstream.requests[0] == {
        "model": "gpt-fake",
        "messages": [{"role": "user", "content": "hi", "name": "ada"}],
        "n": 2,
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 1,
        "logprobs": True,
        "top_p": 0.9,
    }
    first, second = response.samples
    assert first == second
    assert first.mean_logprob == pytest.approx(-0.2)
    assert first.min_logprob == pytest.approx(-0.4)


async def test_a_limit_is_sent_under_one_name_only(upstream: FakeUpstream) -> None:
    model = connect(upstream)
    await model.complete(Request.ask("x", max_tokens=9, extra={"max_completion_tokens": 9}))
    await model.aclose()
    assert "max_tokens" not in upstream.requests[0]


async def test_raw_bytes_only_have_their_model_changed(upstream: FakeUpstream) -> None:
    raw = b'{"model" : "gpt", "messages":[ {"role":"user","content":"h\\u0069"}],  "new": 1.50}'
    model = connect(upstream)
    await model.complete(Request.ask("hi", raw=raw))
    await model.aclose()
    body = upstream.bodies[0]
    assert b'[ {"role":"user","content":"h\\u0069"}]' in body
    assert b"1.50" in body
    assert json.loads(body) == {**json.loads(raw), "model": "gpt-fake"}


@pytest.mark.parametrize("split", [None, 1, 7])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
async def test_a_stream_split_anywhere(split: int | None, newline: str) -> None:
    async with fake_upstream(split=split, newline=newline, comments=True) as fake:
        pieces = await chunks(connect(fake), Request.ask("x", logprobs=True))
        assert joined(pieces) == "The answer is 42."
        assert pieces[-1].usage == USAGE
        assert [chunk.finish_reason for chunk in pieces if chunk.finish_reason] == ["stop"]
        assert next(c for c in pieces if c.finish_reason).mean_logprob == pytest.approx(-0.2)
        assert fake.requests[0]["stream_options"] == {"include_usage": True}


async def test_stream_bytes_are_those_of_the_upstream(upstream: FakeUpstream) -> None:
    raw = (
        b'{"model":"gpt","messages":[],"stream":true,"stream_options":{"include_usage":true,"x":1}}'
    )
    pieces = await chunks(connect(upstream), Request.ask("x", raw=raw))
    assert b"".join(chunk.raw or b"" for chunk in pieces) == upstream.sent[0]
    assert upstream.requests[0]["stream_options"] == {"include_usage": True, "x": 1}


async def test_a_usage_event_that_only_we_asked_for_is_not_passed_on(
    upstream: FakeUpstream,
) -> None:
    raw = b'{"model":"gpt","messages":[],"stream":true}'
    pieces = await chunks(connect(upstream), Request.ask("x", raw=raw))
    events = upstream.sent[0].split(b"\n\n")
    shown = [event for event in events if b"prompt_tokens" not in event]
    assert len(shown) == len(events) - 1
    assert b"".join(chunk.raw or b"" for chunk in pieces) == b"\n\n".join(shown)
    assert pieces[-1].usage == USAGE


async def test_usage_beside_choices_is_read() -> None:
    async with fake_upstream(usage_with_choices=True) as fake:
        assert (await chunks(connect(fake)))[-1].usage == USAGE


async def test_usage_that_is_not_told_is_unknown() -> None:
    async with fake_upstream(usage=False) as fake:
        last = (await chunks(connect(fake)))[-1]
        assert (last.usage, last.usage_basis) == (None, "unknown")
        model = connect(fake)
        response = await model.complete(ASK)
        await model.aclose()
        assert (response.usage, response.usage_basis) == (None, "unknown")


async def test_contradictory_usage_is_unknown_and_the_answer_stands() -> None:
    async with fake_upstream(cached_tokens=99) as fake:
        model = connect(fake)
        response = await model.complete(ASK)
        await model.aclose()
        assert response.text == "The answer is 42."
        assert response.usage is None


async def test_streams_are_not_asked_for_usage_where_the_upstream_cannot(
    upstream: FakeUpstream,
) -> None:
    await chunks(connect(upstream, stream_usage=False))
    assert "stream_options" not in upstream.requests[0]


async def test_connections_are_reused(upstream: FakeUpstream) -> None:
    model = connect(upstream)
    for _ in range(3):
        await model.complete(ASK)
        assert [chunk async for chunk in model.stream(ASK)]
    assert isinstance(model._hop, Pool)
    assert len(model._hop.idle) == 1
    await model.aclose()


async def failure(fake: FakeUpstream, stream: bool, **settings: Any) -> UpstreamError:
    model = connect(fake, **settings)
    with pytest.raises(UpstreamError, match="model 'gpt'") as caught:
        await (chunks(model) if stream else model.complete(ASK))
    await model.aclose()
    return caught.value


both = pytest.mark.parametrize("stream", [False, True])


@both
async def test_unreachable(stream: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        fake = FakeUpstream(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        error = await failure(fake, stream)
    assert error.kind == "unreachable"
    assert "check base_url" in str(error)


@both
async def test_slow(stream: bool) -> None:
    async with fake_upstream(delay_s=5) as fake:
        error = await failure(fake, stream, timeout_s=0.1)
    assert error.kind == "timeout"
    assert "timeout_s" in str(error)


async def test_slow_between_chunks() -> None:
    async with fake_upstream(chunk_delay_s=5) as fake:
        assert (await failure(fake, True, timeout_s=0.2)).kind == "timeout"


@both
@pytest.mark.parametrize("cut_at", [0, 30, 200])
async def test_cut(stream: bool, cut_at: int) -> None:
    async with fake_upstream(cut_at=cut_at) as fake:
        assert (await failure(fake, stream)).kind == "cut"


async def test_a_stream_without_done_is_whole_once_finished() -> None:
    async with fake_upstream(done=False) as fake:
        pieces = await chunks(connect(fake))
        assert joined(pieces) == "The answer is 42."
        assert pieces[-1].usage == USAGE


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"choices":[]}', b'{"choices":[{}]}', b"\xff"]
)
async def test_malformed(body: bytes) -> None:
    async with fake_upstream(malformed=body) as fake:
        assert (await failure(fake, False)).kind == "malformed"
        assert (await failure(fake, True)).kind == "malformed"


async def test_samples_of_one_stream_are_kept_apart() -> None:
    events = b"".join(
        b'data: {"choices":[{"index":%d,"delta":{"content":"%d"},"finish_reason":%b}]}\n\n'
        % (index, index, b'"stop"' if last else b"null")
        for last in (False, True)
        for index in (0, 1, 1, 0)
    )
    async with fake_upstream(events=events) as fake:
        pieces = await chunks(connect(fake), Request.ask("x", n=2))
    texts = ["".join(c.text for c in pieces if c.index == index) for index in (0, 1)]
    assert texts == ["0000", "1111"]
    assert b"".join(chunk.raw or b"" for chunk in pieces) == events


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (b'data: {"error": {"message": "overloaded"}}\n\n', "status"),
        (b"data: {\n\n", "malformed"),
        (b"data: 3\n\n", "malformed"),
        (b'data: {"choices": 3}\n\n', "malformed"),
        (b'data: {"choices": [3]}\n\n', "malformed"),
        (b"", "cut"),
        (b": only a comment\n\n", "cut"),
    ],
)
async def test_streams_that_cannot_be_read(events: bytes, kind: str) -> None:
    async with fake_upstream(events=events) as fake:
        error = await failure(fake, True)
    assert error.kind == kind
    if kind == "status":
        assert error.body == {"error": {"message": "overloaded"}}


@both
@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
async def test_errors_of_the_upstream_are_passed_on(stream: bool, status: int) -> None:
    sent = {"error": {"message": "no such thing", "type": "t", "param": None, "code": "c"}}
    async with fake_upstream(status=status, error=sent) as fake:
        error = await failure(fake, stream)
    assert (error.kind, error.status, error.body) == ("status", status, sent)


@both
async def test_a_refused_key_is_never_shown(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    sent = {"error": {"message": "Incorrect API key provided: sk-very-secret"}}
    async with fake_upstream(status=401, error=sent) as fake:
        error = await failure(fake, stream, key_env="SOME_KEY")
        assert fake.headers[0]["Authorization"] == "Bearer sk-very-secret"
        assert "SOME_KEY" in str(error)
        assert "secret" not in str(error) + repr(error.body)
        fake.status = 400
        error = await failure(fake, stream, key_env="SOME_KEY")
        assert error.body == {"error": {"message": "Incorrect API key provided: ***"}}


async def test_redirects_are_not_followed(upstream: FakeUpstream) -> None:
    async with fake_upstream(status=307, error={}) as fake:
        error = await failure(fake, False)
    assert error.status == 307
    assert "redirect" in str(error)


async def test_several_samples_of_a_model_that_gives_one(upstream: FakeUpstream) -> None:
    model = connect(upstream, n=False)
    with pytest.raises(RequestError, match="one sample"):
        await model.complete(Request.ask("x", n=2))
    assert not upstream.bodies


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"base_url": "api.openai.com/v1"}, "base_url"),
        ({"base_url": "ftp://example.com"}, "base_url"),
        ({"base_url": "https://user:pass@example.com/v1"}, "base_url"),
        ({"base_url": "https://example.com", "key_env": "NOT_SET_ANYWHERE"}, "key_env"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HttpModel("gpt", **settings)
    assert caught.value.key == key
    assert "pass@" not in str(caught.value)


BLOCKS = st.lists(
    st.sampled_from([b"data: a", b"data:b", b": note", b"event: x", b"data: c\ndata: d", b""]),
    max_size=8,
)


@given(BLOCKS, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_events_do_not_depend_on_where_bytes_are_split(
    blocks: list[bytes], newline: bytes, data: st.DataObject
) -> None:
    stream = b"".join(b.replace(b"\n", newline) + newline * 2 for b in blocks)
    whole = EventParser()
    events = whole.feed(stream) + whole.close()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parser, split = EventParser(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        split += parser.feed(stream[start:stop])
    split += parser.close()
    assert b"".join(raw for _, raw in split) == stream
    told = [data for data, _ in split if data is not None]
    assert told == [data for data, _ in events if data is not None]
    assert told == [b"\n".join(lines) for block in blocks if (lines := _data(block))]


def _data(block: bytes) -> list[bytes]:
    lines = (line for line in block.split(b"\n") if line.startswith(b"data:"))
    return [line.removeprefix(b"data:").removeprefix(b" ") for line in lines]
