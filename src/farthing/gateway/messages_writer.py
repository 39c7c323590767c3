"""Answers as Anthropic's messages."""

from __future__ import annotations

from typing import Any

import msgspec

from farthing.core.errors import UpstreamError
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.gateway.endpoint import Call, named_event
from farthing.gateway.fields import Fields, encode

_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_decode = msgspec.json.Decoder().decode


def messages_usage(usage: Usage | None) -> dict[str, Any]:
    """Token counts in Anthropic's sense: the input excludes what caches gave and took."""
    if usage is None:
        return {"input_tokens": None, "output_tokens": None}
    written = usage.cache_write + usage.cache_write_1h
    return {
        "input_tokens": usage.input_tokens - usage.cache_read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output_tokens,
    }


class MessageWriter:
    """Writes an answer that is not the upstream's own."""

    def __init__(self, call: Call, operation: str) -> None:
        self._operation = operation
        self._base: dict[str, Any] = {
            "id": f"msg_{operation}",
            "type": "message",
            "role": "assistant",
            "model": call.model,
        }
        self._begun = False
        self._blocks = 0
        self._open: int | str | None = None
        self._calls: set[int] = set()
        self._finish = "stop"

    def whole(self, response: Response, usage: Usage | None, farthing: Fields) -> bytes:
        """The whole answer."""
        sample = response.samples[0]
        content: list[dict[str, Any]] = []
        if sample.text or not sample.tool_calls:
            content.append({"type": "text", "text": sample.text})
        content += self._tool_uses(response.model, sample)
        told = {
            "content": content,
            "stop_reason": _STOP.get(sample.finish_reason or "stop", "end_turn"),
            "stop_sequence": None,
            "usage": messages_usage(usage),
            "farthing": farthing,
        }
        return encode({**self._base, **told})

    def _tool_uses(self, model: str, sample: Sample) -> list[dict[str, Any]]:
        """The calls of a sample; one that its limit on tokens cut off is left out."""
        blocks = []
        for place, call in enumerate(sample.tool_calls):
            function = call["function"]
            try:
                told = _decode(function.get("arguments") or "{}")
            except (msgspec.DecodeError, TypeError, RecursionError, UnicodeError):
                told = None
            if isinstance(told, dict):
                blocks.append({**self._tool_use(place, call), "input": told})
            elif sample.finish_reason != "length":
                name = function.get("name")
                raise _malformed(model, f"it called {name!r} with arguments that are no object")
        return blocks

    def _tool_use(self, place: int, call: Fields) -> dict[str, Any]:
        id = call.get("id") or f"toolu_{self._operation}_{place}"
        return {"type": "tool_use", "id": id, "name": (call.get("function") or {}).get("name")}

    def chunk(self, chunk: Chunk) -> bytes:
        """A piece of the first sample."""
        data = b""
        if chunk.finish_reason is not None:
            self._finish = chunk.finish_reason
        if chunk.text:
            data += self._turn_to("text", {"type": "text", "text": ""})
            data += self._delta({"type": "text_delta", "text": chunk.text})
        for piece in chunk.tool_calls:
            place = int(piece.get("index") or 0)
            if place != self._open:
                if place in self._calls:
                    raise _malformed(self._base["model"], "it mixed the pieces of two tool calls")
                self._calls.add(place)
                data += self._turn_to(place, {**self._tool_use(place, piece), "input": {}})
            arguments = (piece.get("function") or {}).get("arguments")
            if arguments:
                data += self._delta({"type": "input_json_delta", "partial_json": arguments})
        return data

    def end(self, usage: Usage | None, farthing: Fields) -> bytes:
        """The end of the last block, why the answer ended, and what it cost."""
        data = self._turn_to(None, None)
        delta = {"stop_reason": _STOP.get(self._finish, "end_turn"), "stop_sequence": None}
        told = {"delta": delta, "usage": messages_usage(usage), "farthing": farthing}
        return data + _event("message_delta", **told) + _event("message_stop")

    def _turn_to(self, key: int | str | None, block: Fields | None) -> bytes:
        """Close the block at hand if it is not `key`, and open that."""
        data = b"" if self._begun else self._start()
        if key == self._open and key is not None:
            return data
        if self._open is not None:
            data += _event("content_block_stop", index=self._blocks)
            self._blocks += 1
        self._open = key
        if block is not None:
            data += _event("content_block_start", index=self._blocks, content_block=block)
        return data

    def _start(self) -> bytes:
        """The beginning; clients want counts there, which are true only at the end."""
        self._begun = True
        usage = {"input_tokens": 0, "output_tokens": 0}
        message: dict[str, Any] = {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _event("message_start", message={**self._base, **message})

    def _delta(self, delta: Fields) -> bytes:
        return _event("content_block_delta", index=self._blocks, delta=delta)


def _event(type: str, **told: Any) -> bytes:
    return named_event({"type": type, **told})


def _malformed(model: str, what: str) -> UpstreamError:
    return UpstreamError(f"model {model!r}: {what}", model=model, kind="malformed")
