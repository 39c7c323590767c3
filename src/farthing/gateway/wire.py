"""OpenAI's chat format as clients speak it, to and from requests and responses."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from farthing.core.errors import RequestError
from farthing.core.request import Message, Request
from farthing.core.response import Chunk, Response, Sample, TokenLogprob
from farthing.core.usage import Usage
from farthing.gateway.endpoint import Call, Endpoint, data_event
from farthing.gateway.fields import Fields, encode, flag, number, whole, wrong

MAX_N = 128
_OWN = frozenset({"model", "messages", "n", "temperature", "seed", "logprobs", "max_tokens"})
_OWN_TOO = frozenset({"stream", "stream_options"})
_MESSAGE_OWN = frozenset({"role", "content"})


def read_chat(fields: Fields, **about: Any) -> Request:
    """The request that `fields` are; `about` are fields of it that they do not tell."""
    limit = "max_tokens" if fields.get("max_tokens") is not None else "max_completion_tokens"
    return Request(
        _messages(fields.get("messages")),
        n=whole(fields, "n", 1, MAX_N) or 1,
        temperature=number(fields, "temperature"),
        max_tokens=whole(fields, limit, 1),
        seed=whole(fields, "seed"),
        logprobs=flag(fields, "logprobs"),
        extra={k: v for k, v in fields.items() if k not in _OWN and k not in _OWN_TOO},
        **about,
    )


def check_can(
    who: str, request: Request, *, samples: bool, logprobs: bool = False, tools: bool = False
) -> None:
    """RequestError for what `who` cannot do; nothing has been spent by then.

    `who` is a plan, or a model without bytes of an upstream; `samples` is whether it can give
    several, `logprobs` whether it shows those of the tokens it chose, `tools` whether it can
    call functions.
    """
    extra = request.extra

    def refused(param: str, what: str) -> RequestError:
        return RequestError(
            f"{who} cannot {what}: leave {param!r} out, or ask a model that can",
            param=param,
            code="unsupported",
        )

    if request.n > 1 and not samples:
        raise refused("n", "give several answers")
    if request.logprobs and not logprobs:
        raise refused("logprobs", "show log-probabilities")
    if extra.get("top_logprobs"):
        raise refused("top_logprobs", "show the log-probabilities of other tokens")
    if extra.get("tools") and not tools:
        raise refused("tools", "call tools")
    if extra.get("functions"):
        raise refused("functions", "call functions by their older name")
    if extra.get("audio") or extra.get("modalities") not in (None, [], ["text"]):
        raise refused("audio" if extra.get("audio") else "modalities", "answer with more than text")


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise wrong("messages", "a list of at least one message")
    messages = []
    for place, fields in enumerate(value):
        role = fields.get("role") if isinstance(fields, dict) else None
        if not isinstance(role, str) or not role:
            raise wrong(f"messages[{place}]", "an object with a role")
        content = fields.get("content")
        if isinstance(content, list):
            if not all(isinstance(part, dict) for part in content):
                raise wrong(f"messages[{place}].content", "a text or a list of objects")
        elif content is not None and not isinstance(content, str):
            raise wrong(f"messages[{place}].content", "a text or a list of objects")
        own = len(fields) == 2 and "content" in fields
        rest = {} if own else {k: v for k, v in fields.items() if k not in _MESSAGE_OWN}
        messages.append(Message(role, content, rest))
    return tuple(messages)


def usage_json(usage: Usage | None) -> dict[str, Any] | None:
    """Token counts in OpenAI's sense: the prompt includes cached, the completion reasoning."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _logprobs(tokens: Iterable[TokenLogprob] | None) -> dict[str, Any] | None:
    if tokens is None:
        return None
    content = [
        {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
        for text, value in tokens
    ]
    return {"content": content, "refusal": None}


def message_json(sample: Sample) -> dict[str, Any]:
    """The message of a sample; without content where it only calls tools."""
    content = None if sample.tool_calls and not sample.text else sample.text
    return {"role": "assistant", "content": content, **sample.fields}


class ChatWriter:
    """Writes an answer that is not the upstream's own."""

    def __init__(self, call: Call, operation: str) -> None:
        self._call = call
        self._base = {
            "id": f"chatcmpl-{operation}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": call.model,
        }
        self._begun: set[int] = set()
        self._finished: dict[int, str] = {}

    def whole(self, response: Response, usage: Usage | None, farthing: Fields) -> bytes:
        """The whole answer."""
        logprobs = self._call.request.logprobs
        choices = [
            {
                "index": index,
                "message": message_json(sample),
                "finish_reason": sample.finish_reason or "stop",
                "logprobs": _logprobs(sample.tokens if logprobs else None),
            }
            for index, sample in enumerate(response.samples)
        ]
        told = {"choices": choices, "usage": usage_json(usage), "farthing": farthing}
        return encode({**self._base, "object": "chat.completion", **told})

    def chunk(self, chunk: Chunk) -> bytes:
        """A piece of a sample; why it ended is told at the end of all."""
        index = chunk.index
        if chunk.finish_reason is not None:
            self._finished[index] = chunk.finish_reason
        if not (chunk.text or chunk.tokens or chunk.tool_calls):
            return b""
        delta: dict[str, Any] = {"content": chunk.text}
        if chunk.tool_calls:
            delta = {"content": chunk.text or None, "tool_calls": chunk.tool_calls}
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
        if chunk.tokens is not None:
            choice["logprobs"] = _logprobs(chunk.tokens)
        return self._event([choice])

    def end(self, usage: Usage | None, farthing: Fields) -> bytes:
        """The end of the samples with their reasons, what it cost, and `[DONE]`."""
        choices = [
            {"index": index, "delta": {}, "finish_reason": reason}
            for index, reason in sorted((self._finished or {0: "stop"}).items())
        ]
        data = self._event(choices, farthing=farthing)
        if self._call.include_usage:
            data += self._event([], usage=usage_json(usage), farthing=farthing)
        return data + b"data: [DONE]\n\n"

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return data_event({**self._base, "choices": choices, **more})


CHAT = Endpoint(
    "chat",
    "/v1/chat/completions",
    read_chat,
    translate=read_chat,
    writer=ChatWriter,
    unbounded=(b"image_url", b"file_id", b"file_data", b"web_search"),
)
