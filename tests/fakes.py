"""An upstream of all formats on loopback, which misbehaves when told to."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from fake_formats import (
    CALL_ID,
    messages_answer,
    messages_events,
    named,
    responses_answer,
    responses_events,
)


@dataclass
class FakeUpstream:
    """What the upstream does, and what it has seen."""

    words: tuple[str, ...] = ("The ", "answer ", "is ", "42", ".")
    prompt_tokens: int = 11
    cached_tokens: int = 4
    status: int = 200
    error: Any = None
    malformed: bytes | None = None
    events: bytes | None = None
    delay_s: float = 0
    chunk_delay_s: float = 0
    cut_at: int | None = None
    split: int | None = None
    newline: str = "\n"
    comments: bool = False
    usage: bool = True
    more_usage: dict[str, Any] = field(default_factory=dict)
    usage_with_choices: bool = False
    done: bool = True
    calls: tuple[tuple[str, str], ...] = ()
    """Tool calls, name and arguments, of one answer after the other, to requests with tools."""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    answered: int = 0
    billed_output: int = 0
    base_url: str = ""

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, self._answer, self.stream_bytes)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        def answer(asked: dict[str, Any]) -> dict[str, Any]:
            prompts = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
            texts = [{"index": i, "text": "".join(self.words)} for i in range(len(prompts))]
            choices = [{**text, "finish_reason": "stop", "logprobs": None} for text in texts]
            told = {"id": "cmpl-fake", "object": "text_completion", "created": 1}
            told["model"] = asked["model"]
            return {**told, "choices": choices, "usage": self._usage(len(prompts))}

        def stream(asked: dict[str, Any]) -> bytes:
            base = {"id": "cmpl-fake", "object": "text_completion", "created": 1}
            base["model"] = asked["model"]
            events: list[Any] = [
                {**base, "choices": [{"index": 0, "text": word, "finish_reason": None}]}
                for word in self.words
            ]
            end = {"index": 0, "text": "", "finish_reason": "stop"}
            events.append({**base, "choices": [end]})
            if (asked.get("stream_options") or {}).get("include_usage"):
                events.append({**base, "choices": [], "usage": self._usage(1)})
            data = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
            return (data + "data: [DONE]\n\n").encode()

        return await self._serve(request, answer, stream)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        def answer(asked: dict[str, Any]) -> dict[str, Any]:
            vectors = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            vector: Any = [0.25, -0.5]
            if asked.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
            data = [
                {"object": "embedding", "index": i, "embedding": vector}
                for i in range(len(vectors))
            ]
            tokens = self.prompt_tokens
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            return {"object": "list", "data": data, "model": asked["model"], "usage": usage}

        return await self._serve(request, answer, None)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        def answer(asked: dict[str, Any]) -> dict[str, Any]:
            return messages_answer(self.words, self._messages_usage(), self._call(asked))

        def stream(asked: dict[str, Any]) -> bytes:
            return named(messages_events(self.words, self._messages_usage(), self._call(asked)))

        return await self._serve(request, answer, stream)

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, lambda _: {"input_tokens": self.prompt_tokens}, None)

    async def responses(self, request: web.Request) -> web.StreamResponse:
        def answer(asked: dict[str, Any]) -> dict[str, Any]:
            return responses_answer(self.words, self._responses_usage(), self._call(asked))

        def stream(asked: dict[str, Any]) -> bytes:
            return named(responses_events(self.words, self._responses_usage(), self._call(asked)))

        return await self._serve(request, answer, stream)

    def _call(self, asked: dict[str, Any]) -> tuple[str, str] | None:
        if not asked.get("tools") or not self.calls:
            return None
        return self.calls[asked["_number"] % len(self.calls)]

    def _messages_usage(self) -> dict[str, Any]:
        self.billed_output += len(self.words)
        return {
            "input_tokens": self.prompt_tokens - self.cached_tokens - 2,
            "cache_read_input_tokens": self.cached_tokens,
            "cache_creation_input_tokens": 2,
            "output_tokens": len(self.words),
        }

    def _responses_usage(self) -> dict[str, Any]:
        output = len(self.words)
        self.billed_output += output
        return {
            "input_tokens": self.prompt_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.prompt_tokens + output,
        }

    async def _serve(
        self,
        request: web.Request,
        whole: Callable[[dict[str, Any]], dict[str, Any]],
        stream: Callable[[dict[str, Any]], bytes] | None,
    ) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append(request.headers.copy())
        asked = {**json.loads(body), "_number": len(self.bodies) - 1}
        await asyncio.sleep(self.delay_s)
        if self.malformed is not None:
            return web.Response(body=self.malformed, content_type="application/json")
        if self.status != 200:
            return web.json_response(self.error, status=self.status)
        if asked.get("stream") and stream is not None:
            return await self._stream(request, stream(asked))
        self.answered += 1
        answer = json.dumps(whole(asked), indent=1).encode()
        self.sent.append(answer)
        if self.cut_at is not None:
            response = web.StreamResponse(headers={"Content-Length": str(len(answer))})
            await response.prepare(request)
            await response.write(answer[: self.cut_at])
            assert request.transport is not None
            request.transport.close()
            return response
        return web.Response(body=answer, content_type="application/json")

    def _usage(self, samples: int) -> dict[str, Any]:
        output = len(self.words) * samples
        self.billed_output += output
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self.prompt_tokens + output,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            **self.more_usage,
        }

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        n = asked.get("n") or 1
        choices = []
        call = self._call(asked)
        for index in range(n):
            choice: dict[str, Any] = {
                "index": index,
                "message": {"role": "assistant", "content": "".join(self.words)},
                "finish_reason": "tool_calls" if call else "stop",
            }
            if call:
                function = {"name": call[0], "arguments": call[1]}
                told = {"id": CALL_ID, "type": "function", "function": function}
                choice["message"] |= {"content": None, "tool_calls": [told]}
            if asked.get("logprobs"):
                content = [
                    {"token": word, "logprob": -0.1 * i} for i, word in enumerate(self.words)
                ]
                choice["logprobs"] = {"content": content}
            choices.append(choice)
        answer = {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": choices,
            "a_new_field": {"kept": True},
        }
        usage = self._usage(n)
        return {**answer, "usage": usage} if self.usage else answer

    def stream_bytes(self, asked: dict[str, Any]) -> bytes:
        """The whole stream that answers `asked`."""
        wanted = self.usage and (asked.get("stream_options") or {}).get("include_usage")
        base = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1}
        base["model"] = asked["model"]
        usage = self._usage(1)
        events: list[Any] = []
        for number, word in enumerate(self.words):
            delta: dict[str, Any] = {"content": word}
            if number == 0:
                delta["role"] = "assistant"
            choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
            if asked.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": word, "logprob": -0.1 * number}]}
            events.append({**base, "choices": [choice]})
        if call := self._call(asked):
            pieces: list[dict[str, Any]] = [
                {"id": CALL_ID, "type": "function", "function": {"name": call[0], "arguments": ""}},
                {"function": {"arguments": call[1][:3]}},
                {"function": {"arguments": call[1][3:]}},
            ]
            for piece in pieces:
                delta = {"tool_calls": [{"index": 0, **piece}]}
                choice = {"index": 0, "delta": delta, "finish_reason": None}
                events.append({**base, "choices": [choice]})
        reason = "tool_calls" if call else "stop"
        end = {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
        if wanted and self.usage_with_choices:
            end["usage"] = usage
        events.append(end)
        if wanted and not self.usage_with_choices:
            events.append({**base, "choices": [], "usage": usage})
        nl = self.newline
        blocks = [f"data: {json.dumps(event)}{nl}{nl}" for event in events]
        if self.comments:
            blocks = [f": ping{nl}{nl}{block}" for block in blocks]
        if self.done:
            blocks.append(f"data: [DONE]{nl}{nl}")
        return "".join(blocks).encode()

    async def _stream(self, request: web.Request, events: bytes) -> web.StreamResponse:
        data = events if self.events is None else self.events
        self.sent.append(data)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        pieces = [data]
        if self.split:
            pieces = [data[i : i + self.split] for i in range(0, len(data), self.split)]
        elif self.chunk_delay_s:
            pieces = [block + b"\n\n" for block in data.split(b"\n\n") if block]
        if self.cut_at is not None:
            await response.write(data[: self.cut_at])
            await asyncio.sleep(0.01)
            assert request.transport is not None
            request.transport.close()
            return response
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(self.chunk_delay_s)
        self.answered += 1
        return response


@asynccontextmanager
async def fake_upstream(**settings: Any) -> AsyncIterator[FakeUpstream]:
    """A FakeUpstream that is listening; `base_url` says where."""
    fake = FakeUpstream(**settings)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", fake.chat)
    app.router.add_post("/v1/completions", fake.completions)
    app.router.add_post("/v1/embeddings", fake.embeddings)
    app.router.add_post("/v1/messages", fake.messages)
    app.router.add_post("/v1/messages/count_tokens", fake.count_tokens)
    app.router.add_post("/v1/responses", fake.responses)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()
