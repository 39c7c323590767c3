"""The formats in which an upstream is asked and answers, one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from farthing.core.request import Request
from farthing.core.response import Chunk, Sample
from farthing.core.usage import Usage
from farthing.cost import UsageReader
from farthing.models._chat import chat_fields, read_samples, read_texts
from farthing.models._chunks import ChunkReader
from farthing.models._messages import messages_fields
from farthing.models._messages_answer import MessageReader, read_message
from farthing.models._responses import ResponseReader, read_response
from farthing.models._sse import Event


class Reader(Protocol):
    """Reads the events of one streamed answer; see `ChunkReader`."""

    usage: UsageReader
    upstream_id: str | None
    done: bool
    tail: bytes

    @property
    def complete(self) -> bool:
        """Whether the answer has come to its end."""
        ...

    def read(self, events: Iterable[Event]) -> list[Chunk]:
        """The chunks of `events`."""
        ...


@dataclass(frozen=True, slots=True)
class Wire:
    """A format.

    Attributes:
        path: where it is asked, after the upstream's address.
        read: the samples of a whole answer.
        reader: of a streamed answer; None if there are none.
        asks_usage: whether streams tell usage only if `stream_options` ask for it.
        fields: a chat request in this format; None if it only takes a client's own bytes.
    """

    path: str
    read: Callable[[Mapping[str, Any], Usage | None], tuple[Sample, ...]]
    reader: Callable[..., Reader] | None = None
    asks_usage: bool = False
    fields: Callable[..., dict[str, Any]] | None = None


def _read_vectors(answer: Mapping[str, Any], usage: Usage | None) -> tuple[Sample, ...]:
    if not isinstance(answer.get("data"), list):
        raise ValueError("it has no data")
    return (Sample("", read=True),)


def _read_count(answer: Mapping[str, Any], usage: Usage | None) -> tuple[Sample, ...]:
    if type(answer.get("input_tokens")) is not int:
        raise ValueError("it has no input_tokens")
    return (Sample("", read=True),)


WIRES = {
    "chat": Wire("/chat/completions", read_samples, ChunkReader, True, chat_fields),
    "completions": Wire("/completions", read_texts, ChunkReader, True),
    "embeddings": Wire("/embeddings", _read_vectors),
    "responses": Wire("/responses", read_response, ResponseReader),
    "messages": Wire("/messages", read_message, MessageReader, False, messages_fields),
    "count_tokens": Wire("/messages/count_tokens", _read_count),
}

SPOKEN = {
    "openai": ("chat", "completions", "embeddings", "responses"),
    "anthropic": ("messages", "count_tokens"),
}
"""The formats that an upstream of each shape takes; chat requests are told in the first."""

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_options = msgspec.json.Decoder(dict[str, Any] | None).decode
_encode = msgspec.json.Encoder().encode


def raw_fields(raw: bytes, model: str) -> dict[str, Any]:
    """The fields of a client's own bytes, but for the model; of keys sent twice, the last."""
    fields: dict[str, Any] = dict(_decode_fields(raw))
    fields["model"] = model
    return fields


def plain_body(fields: dict[str, Any]) -> bytes:
    """The bytes that ask for a whole answer."""
    return _encode(fields)


def stream_body(fields: dict[str, Any], *, ask_usage: bool) -> tuple[bytes, bool]:
    """The bytes that ask for a stream, and whether the client itself asked for usage."""
    told = fields.get("stream_options")
    options = _decode_options(told) if isinstance(told, msgspec.Raw) else told
    asked = bool(options and options.get("include_usage"))
    fields["stream"] = True
    if ask_usage and not asked:
        fields["stream_options"] = {**(options or {}), "include_usage": True}
    return _encode(fields), asked


def request_fields(request: Request, wire: Wire, model: str, **settings: Any) -> dict[str, Any]:
    """The fields that ask `model` in the format `wire`; RequestError for what it cannot say."""
    if request.raw is not None and WIRES[request.api] is wire:
        return raw_fields(request.raw, model)
    assert wire.fields is not None
    return wire.fields(request, model, **settings)
