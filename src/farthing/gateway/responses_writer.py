"""Answers in OpenAI's responses format."""

from __future__ import annotations

import time
from typing import Any

from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.gateway.endpoint import Call, named_event, pieces
from farthing.gateway.fields import Fields, encode

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def responses_usage(usage: Usage | None) -> dict[str, Any] | None:
    """Token counts in OpenAI's sense: the input includes cached, the output reasoning."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


class ResponseWriter:
    """Writes an answer that is not the upstream's own."""

    def __init__(self, call: Call, operation: str) -> None:
        self._operation = operation
        asked = call.fields
        self._base: dict[str, Any] = {
            "id": f"resp_{operation}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "model": call.model,
            "output": [],
            "parallel_tool_calls": asked.get("parallel_tool_calls", True),
            "store": False,
            "temperature": asked.get("temperature"),
            "text": asked.get("text") or {"format": {"type": "text"}},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tools": asked.get("tools") or [],
            "top_p": asked.get("top_p"),
            "metadata": {},
            "usage": None,
        }
        self._number = 0
        self._done: list[dict[str, Any]] = []
        self._item: dict[str, Any] | None = None
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish = "stop"

    def whole(self, response: Response, usage: Usage | None, farthing: Fields) -> bytes:
        """The whole answer."""
        sample: Sample = response.samples[0]
        for piece in pieces(sample):
            self.chunk(piece)
        self._close()
        return encode(self._finished(usage, farthing))

    def chunk(self, chunk: Chunk) -> bytes:
        """A piece of the first sample."""
        data = b"" if self._number else self._start()
        if chunk.finish_reason is not None:
            self._finish = chunk.finish_reason
        if chunk.text:
            if self._item is None or self._item["type"] != "message":
                data += self._close() + self._open_message()
            assert self._item is not None
            self._item["content"][0]["text"] += chunk.text
            told = {"content_index": 0, "delta": chunk.text, "logprobs": []}
            data += self._about("response.output_text.delta", **told)
        for piece in chunk.tool_calls:
            place = int(piece.get("index") or 0)
            function = piece.get("function") or {}
            if place not in self._calls:
                data += self._close() + self._open_call(place, piece)
            item, arguments = self._calls[place], function.get("arguments")
            if arguments:
                item["arguments"] += arguments
                if item is self._item:
                    kind = "response.function_call_arguments.delta"
                    data += self._about(kind, delta=arguments)
        return data

    def end(self, usage: Usage | None, farthing: Fields) -> bytes:
        """The end of the last item, and the whole answer with what it cost."""
        data = b"" if self._number else self._start()
        data += self._close()
        whole = self._finished(usage, farthing)
        return data + self._event(f"response.{whole['status']}", response=whole)

    def _finished(self, usage: Usage | None, farthing: Fields) -> dict[str, Any]:
        why = _INCOMPLETE.get(self._finish)
        return {
            **self._base,
            "status": "incomplete" if why else "completed",
            "incomplete_details": {"reason": why} if why else None,
            "output": self._done,
            "usage": responses_usage(usage),
            "farthing": farthing,
        }

    def _start(self) -> bytes:
        return b"".join(
            self._event(f"response.{name}", response=self._base)
            for name in ("created", "in_progress")
        )

    def _open_message(self) -> bytes:
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._item = {
            "id": f"msg_{self._operation}_{len(self._done)}",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        data = self._added()
        self._item["content"] = [part]
        return data + self._about("response.content_part.added", content_index=0, part=part)

    def _open_call(self, place: int, piece: Fields) -> bytes:
        self._item = self._calls[place] = {
            "id": f"fc_{self._operation}_{place}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": piece.get("id") or f"call_{self._operation}_{place}",
            "name": (piece.get("function") or {}).get("name"),
            "arguments": "",
        }
        return self._added()

    def _close(self) -> bytes:
        """End the item at hand."""
        item = self._item
        if item is None:
            return b""
        if item["type"] == "message":
            part = item["content"][0]
            told = {"content_index": 0, "text": part["text"], "logprobs": []}
            data = self._about("response.output_text.done", **told)
            data += self._about("response.content_part.done", content_index=0, part=part)
        else:
            kind, told = "response.function_call_arguments.done", {"arguments": item["arguments"]}
            data = self._about(kind, name=item["name"], **told)
        item["status"] = "incomplete" if self._finish in _INCOMPLETE else "completed"
        place = len(self._done)
        self._done.append(item)
        self._item = None
        return data + self._event("response.output_item.done", output_index=place, item=item)

    def _added(self) -> bytes:
        place = len(self._done)
        return self._event("response.output_item.added", output_index=place, item=self._item)

    def _about(self, type: str, **told: Any) -> bytes:
        """An event about the item at hand."""
        assert self._item is not None
        return self._event(type, item_id=self._item["id"], output_index=len(self._done), **told)

    def _event(self, type: str, **told: Any) -> bytes:
        number = self._number
        self._number += 1
        return named_event({"type": type, "sequence_number": number, **told})
