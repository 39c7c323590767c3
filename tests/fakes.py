"""An upstream that speaks OpenAI's chat format on loopback, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


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
        body = await request.read()
        self.bodies.append(body)
        self.headers.append(request.headers.copy())
        asked = json.loads(body)
        await asyncio.sleep(self.delay_s)
        if self.malformed is not None:
            return web.Response(body=self.malformed, content_type="application/json")
        if self.status != 200:
            return web.json_response(self.error, status=self.status)
        if asked.get("stream"):
            return await self._stream(request, asked)
        self.answered += 1
        answer = json.dumps(self._answer(asked), indent=1).encode()
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
        for index in range(n):
            choice: dict[str, Any] = {
                "index": index,
                "message": {"role": "assistant", "content": "".join(self.words)},
                "finish_reason": "stop",
            }
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
        end = {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
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

    async def _stream(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        data = self.stream_bytes(asked) if self.events is None else self.events
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
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()
