"""Answers in OpenAI's responses format, whole and streamed, as chat's samples and chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from farthing.core.response import Chunk, Sample
from farthing.core.usage import Usage
from farthing.cost import UsageReader
from farthing.models._chunks import StreamedError
from farthing.models._sse import Event

_FINISH = {"completed": "stop", "incomplete": "length"}
_ENDS = frozenset({"response.completed", "response.incomplete"})
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def read_response(answer: Mapping[str, Any], usage: Usage | None) -> tuple[Sample, ...]:
    """The sample of a whole answer; ValueError when there is none to be read."""
    output = answer.get("output")
    if not isinstance(output, list):
        raise ValueError("it has no output")
    texts, calls = [], []
    for item in output:
        told = item if isinstance(item, Mapping) else {}
        if told.get("type") == "message" and isinstance(told.get("content"), list):
            parts = (part for part in told["content"] if isinstance(part, Mapping))
            texts += [part["text"] for part in parts if isinstance(part.get("text"), str)]
        elif told.get("type") == "function_call":
            function = {"name": told.get("name"), "arguments": told.get("arguments")}
            calls.append({"id": told.get("call_id"), "type": "function", "function": function})
    status = answer.get("status")
    finish = _FINISH.get(status) if isinstance(status, str) else None
    return (
        Sample(
            "".join(texts),
            finish_reason="tool_calls" if calls and finish == "stop" else finish,
            output_tokens=None if usage is None else usage.output_tokens,
            fields={"tool_calls": calls} if calls else {},
        ),
    )


class ResponseReader:
    """Reads the events of one streamed answer; as `ChunkReader`, but it ends by the whole one."""

    def __init__(self, *, show_usage: bool = True) -> None:
        self.usage = UsageReader()
        self.upstream_id: str | None = None
        self.done = False
        self.tail = b""

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
        end: Sample | None = None
        for data, raw in events:
            if data is not None:
                event = self._event(data)
                kind = event.get("type")
                if kind in _ENDS:
                    self.done, self.tail = True, raw
                    end = self._end(event)
                    break
                if kind == "response.output_text.delta" and isinstance(event.get("delta"), str):
                    texts.append(event["delta"])
            raws.append(raw)
        if not raws and end is None:
            return []
        chunk = Chunk("".join(texts), raw=b"".join(raws), upstream_id=self.upstream_id)
        if end is None:
            return [chunk]
        pieces = [{"index": place, **call} for place, call in enumerate(end.tool_calls)]
        finish = end.finish_reason or "stop"
        return [chunk, Chunk("", 0, finish, raw=b"", tool_calls=pieces)]

    def _event(self, data: bytes) -> dict[str, Any]:
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"an event is none of a response: {error}") from error
        kind, response = event.get("type"), event.get("response")
        if kind == "error":
            raise StreamedError(event.get("error") or event)
        if kind == "response.failed":
            told = response.get("error") if isinstance(response, Mapping) else None
            raise StreamedError(told or event)
        if self.upstream_id is None and isinstance(response, Mapping):
            id = response.get("id")
            self.upstream_id = id if isinstance(id, str) else None
        return event

    def _end(self, event: Mapping[str, Any]) -> Sample:
        response = event.get("response")
        if not isinstance(response, Mapping):
            raise ValueError("its last event holds no response")
        self.usage.add(event)
        return read_response(response, None)[0]
