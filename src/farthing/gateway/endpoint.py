"""What an endpoint is: a format in which clients ask and are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.gateway.fields import Fields, encode, flag, mapping, read_object, wrong

PIECE_CHARACTERS, MOST_PIECES = 256, 16


class Writer(Protocol):
    """Writes one answer that is not an upstream's own bytes."""

    def whole(self, response: Response, usage: Usage | None, farthing: Fields) -> bytes:
        """The whole answer, with the tokens of all that was called for it."""
        ...

    def chunk(self, chunk: Chunk) -> bytes:
        """The events for a piece of the answer; empty where there is nothing to tell yet."""
        ...

    def end(self, usage: Usage | None, farthing: Fields) -> bytes:
        """The events that end the answer."""
        ...


def openai_error(error: Fields, status: int) -> dict[str, Any]:
    """An error as OpenAI's endpoints tell it."""
    return {"error": dict(error)}


def data_event(told: Fields) -> bytes:
    """An event without a name."""
    return b"data: " + encode(told) + b"\n\n"


def named_event(told: Fields) -> bytes:
    """An event with the name that its `type` is."""
    return b"event: " + str(told.get("type")).encode() + b"\n" + data_event(told)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A format, and where it is asked.

    Attributes:
        api: its name; see `Request.api`.
        path: the address.
        read: what ledger and budgets need to know of a request; further arguments are fields of
            it that the body does not tell.
        translate: the request as a chat request, for models and plans that do not speak this
            format; None if there is none.
        writer: of the answers of such models and plans.
        unbounded: bytes in a body which say that nobody knows how many tokens its input has.
        headers: the client's headers that an upstream of this format gets.
        error: the body that tells an error.
        error_event: the event that tells an error in a stream, of such a body.
        streams: whether answers can be streamed.
    """

    api: str
    path: str
    read: Callable[..., Request]
    translate: Callable[[Fields], Request] | None = None
    writer: Callable[[Call, str], Writer] | None = None
    unbounded: tuple[bytes, ...] = ()
    headers: tuple[str, ...] = ()
    error: Callable[[Fields, int], dict[str, Any]] = openai_error
    error_event: Callable[[Fields], bytes] = data_event
    streams: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asked of an endpoint.

    Attributes:
        model: the name of a model or plan.
        request: with the client's bytes as `raw`, or translated for who cannot take those.
        stream: whether the answer is wanted piece by piece.
        include_usage: whether a streamed answer is to end with its usage.
        fields: the body's.
    """

    model: str
    request: Request
    stream: bool
    include_usage: bool
    endpoint: Endpoint
    fields: Fields = field(default_factory=dict)

    @property
    def is_bounded(self) -> bool:
        """Whether the bytes of the body are the most tokens that its input can have."""
        unbounded, body = self.endpoint.unbounded, self.request.raw
        if body is not None and b"\\u" not in body and not any(map(body.__contains__, unbounded)):
            return True  # its texts stand in it as they are
        body = encode(self.fields)
        return not any(map(body.__contains__, unbounded))


def read(endpoint: Endpoint, body: bytes, **about: Any) -> Call:
    """The call in a request's body; RequestError, naming the field, for what is wrong.

    `about` are fields of the request that are not told by the body.
    """
    fields = read_object(body)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise wrong("model", "the name of a model or plan")
    stream = flag(fields, "stream")
    if stream and not endpoint.streams:
        raise wrong("stream", f"left out: {endpoint.path} has no streams")
    options = mapping(fields, "stream_options") if fields.get("stream_options") else {}
    request = endpoint.read(fields, raw=body, api=endpoint.api, **about)
    include_usage = stream and flag(options, "include_usage")
    return Call(model, request, stream, include_usage, endpoint, fields)


def pieces(sample: Sample) -> Iterator[Chunk]:
    """A whole sample in a few pieces."""
    text = sample.text
    size = max(PIECE_CHARACTERS, len(text) // MOST_PIECES + 1)
    for start in range(0, len(text), size):
        yield Chunk(text[start : start + size])
    calls = [{"index": place, **call} for place, call in enumerate(sample.tool_calls)]
    yield Chunk(finish_reason=sample.finish_reason or "stop", tool_calls=calls)
