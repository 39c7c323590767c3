"""Anthropic's answers, whole and streamed, as chat's samples and chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from farthing.core.response import Chunk, Sample
from farthing.core.usage import Usage
from farthing.cost import UsageReader
from farthing.models._chunks import StreamedError
from farthing.models._sse import Event

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Why an answer ended, in Anthropic's words and in chat's."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def read_message(answer: Mapping[str, Any], usage: Usage | None) -> tuple[Sample, ...]:
    """The sample of a whole answer; ValueError when there is none to be read."""
    content = answer.get("content")
    if not isinstance(content, list):
        raise ValueError("it has no content")
    texts, calls = [], []
    for block in content:
        if not isinstance(block, Mapping):
            raise ValueError("a block of its content is no object")
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif block.get("type") == "tool_use":
            calls.append(_call(block, _encode(block.get("input") or {}).decode()))
    return (
        Sample(
            "".join(texts),
            finish_reason=_finish(answer.get("stop_reason")),
            output_tokens=None if usage is None else usage.output_tokens,
            fields={"tool_calls": calls} if calls else {},
        ),
    )


def _call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _finish(reason: Any) -> str | None:
    return FINISH.get(reason, reason) if isinstance(reason, str) else None


class MessageReader:
    """Reads the events of one streamed answer; as `ChunkReader`, but it ends by `message_stop`."""

    def __init__(self, *, show_usage: bool = True) -> None:
        self.usage = UsageReader()
        self.upstream_id: str | None = None
        self.done = False
        self.tail = b""
        self._calls: dict[int, int] = {}

    @property
    def complete(self) -> bool:
        """Whether the answer has come to its end."""
        return self.done

    def read(self, events: Iterable[Event]) -> list[Chunk]:
        """The chunks of `events`, as few as may be; nothing after the end.

        Raises ValueError for an event that is none of this format, StreamedError for an error.
        """
        texts: list[str] = []
        raws: list[bytes] = []
        calls: list[dict[str, Any]] = []
        finish: str | None = None
        for data, raw in events:
            if data is not None:
                event = self._event(data)
                kind = event.get("type")
                if kind == "message_stop":
                    self.done, self.tail = True, raw
                    break
                text, call = self._piece(kind, event)
                texts.append(text)
                calls += call
                finish = self._noted(kind, event) or finish
            raws.append(raw)
        if not raws:
            return []
        chunk = Chunk(
            "".join(texts),
            finish_reason=finish,
            raw=b"".join(raws),
            tool_calls=calls,
            upstream_id=self.upstream_id,
        )
        return [chunk]

    def _event(self, data: bytes) -> dict[str, Any]:
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"an event is none of a message: {error}") from error
        if event.get("type") == "error":
            raise StreamedError(event.get("error"))
        return event

    def _noted(self, kind: Any, event: Mapping[str, Any]) -> str | None:
        """The reason for the end, if `event` tells it; notes usage and identifier."""
        if kind == "message_start":
            self.usage.add(event)
            message = event.get("message")
            if isinstance(message, Mapping) and isinstance(message.get("id"), str):
                self.upstream_id = message["id"]
        elif kind == "message_delta":
            self.usage.add(event)
            delta = event.get("delta")
            if isinstance(delta, Mapping):
                return _finish(delta.get("stop_reason"))
        return None

    def _piece(self, kind: Any, event: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """The text and the pieces of tool calls in `event`."""
        index = event.get("index")
        if kind == "content_block_delta":
            delta = event.get("delta")
            told = delta if isinstance(delta, Mapping) else {}
            text, arguments = told.get("text"), told.get("partial_json")
            if told.get("type") == "text_delta" and isinstance(text, str):
                return text, []
            if isinstance(arguments, str) and index in self._calls:
                function = {"arguments": arguments}
                return "", [{"index": self._calls[index], "function": function}]
        elif kind == "content_block_start":
            block = event.get("content_block")
            told = block if isinstance(block, Mapping) else {}
            if told.get("type") == "tool_use" and isinstance(index, int):
                number = self._calls.setdefault(index, len(self._calls))
                return "", [{"index": number, **_call(told, "")}]
            if told.get("type") == "text" and isinstance(told.get("text"), str):
                return told["text"], []
        return "", []
