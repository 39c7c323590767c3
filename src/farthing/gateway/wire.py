"""OpenAI's chat format as clients speak it, to and from requests and responses."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from farthing.core.errors import RequestError
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample, TokenLogprob
from farthing.core.usage import Usage

MAX_N = 128
PIECE_CHARACTERS, MOST_PIECES = 256, 16
_OWN = frozenset({"model", "messages", "n", "temperature", "seed", "logprobs", "max_tokens"})
_OWN_TOO = frozenset({"stream", "stream_options"})
_MESSAGE_OWN = frozenset({"role", "content"})

_decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ChatCall:
    """What a client asked of `POST /v1/chat/completions`.

    Attributes:
        model: the name of a model or plan.
        request: with the client's bytes as `raw`.
        stream: whether the answer is wanted piece by piece.
        include_usage: whether a streamed answer is to end with its usage.
    """

    model: str
    request: Request
    stream: bool
    include_usage: bool


def read_call(body: bytes, question: str = "") -> ChatCall:
    """The call in a request's body; RequestError, naming the field, for what is wrong."""
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise RequestError("the body is not a JSON object", code="invalid_json")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "the name of a model or plan")
    stream = _flag(fields, "stream")
    options = fields.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _wrong("stream_options", "an object")
    limit = "max_tokens" if fields.get("max_tokens") is not None else "max_completion_tokens"
    request = Request(
        _messages(fields.get("messages")),
        n=_whole(fields, "n", 1, MAX_N) or 1,
        temperature=_number(fields, "temperature"),
        max_tokens=_whole(fields, limit, 1),
        seed=_whole(fields, "seed"),
        logprobs=_flag(fields, "logprobs"),
        extra={k: v for k, v in fields.items() if k not in _OWN and k not in _OWN_TOO},
        question=question,
        raw=body,
    )
    return ChatCall(model, request, stream, stream and _flag(options, "include_usage"))


def check_plain_text(who: str, request: Request, *, samples: bool, logprobs: bool = False) -> None:
    """RequestError for what `who` cannot do; nothing has been spent by then.

    `who` is a plan, or a model that gives nothing but text; `samples` is whether it can give
    several, `logprobs` whether it shows those of the tokens it chose.
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
    for param in ("tools", "functions"):
        if extra.get(param):
            raise refused(param, "call tools")
    if extra.get("audio") or extra.get("modalities") not in (None, [], ["text"]):
        raise refused("audio" if extra.get("audio") else "modalities", "answer with more than text")


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _wrong("messages", "a list of at least one message")
    messages = []
    for place, fields in enumerate(value):
        role = fields.get("role") if isinstance(fields, dict) else None
        if not isinstance(role, str) or not role:
            raise _wrong(f"messages[{place}]", "an object with a role")
        content = fields.get("content")
        if isinstance(content, list):
            if not all(isinstance(part, dict) for part in content):
                raise _wrong(f"messages[{place}].content", "a text or a list of objects")
        elif content is not None and not isinstance(content, str):
            raise _wrong(f"messages[{place}].content", "a text or a list of objects")
        rest = {k: v for k, v in fields.items() if k not in _MESSAGE_OWN} if len(fields) > 2 else {}
        messages.append(Message(role, content, rest))
    return tuple(messages)


def _wrong(param: str, wanted: str) -> RequestError:
    return RequestError(f"{param!r} must be {wanted}", param=param, code="invalid_value")


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _wrong(name, "true or false")


def _whole(
    fields: Mapping[str, Any], name: str, least: int | None = None, most: int | None = None
) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, "a whole number")
    if (least is not None and value < least) or (most is not None and value > most):
        raise _wrong(name, f"at least {least}" + (f" and at most {most}" if most else ""))
    return value


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _wrong(name, "a number that is not negative")
    return value


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


def answer_json(
    call: ChatCall, response: Response, usage: Usage | None, farthing: Mapping[str, Any]
) -> bytes:
    """A whole answer that the gateway writes itself."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": sample.text, **sample.fields},
            "finish_reason": sample.finish_reason or "stop",
            "logprobs": _logprobs(sample.tokens if call.request.logprobs else None),
        }
        for index, sample in enumerate(response.samples)
    ]
    return encode(
        {
            "id": f"chatcmpl-{farthing['operation']}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": call.model,
            "choices": choices,
            "usage": usage_json(usage),
            "farthing": farthing,
        }
    )


def _logprobs(tokens: Iterable[TokenLogprob] | None) -> dict[str, Any] | None:
    if tokens is None:
        return None
    content = [
        {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
        for text, value in tokens
    ]
    return {"content": content, "refusal": None}


class StreamWriter:
    """Writes the events of a streamed answer that is not the upstream's own."""

    def __init__(self, call: ChatCall, operation: str) -> None:
        self._base = {
            "id": f"chatcmpl-{operation}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": call.model,
        }
        self._include_usage = call.include_usage
        self._begun: set[int] = set()

    def text(
        self, text: str, index: int = 0, tokens: Iterable[TokenLogprob] | None = None
    ) -> bytes:
        """A piece of sample `index`; `tokens` are its tokens with log-probabilities."""
        delta = {"content": text}
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", "content": text}
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
        if tokens is not None:
            choice["logprobs"] = _logprobs(tokens)
        return self._event([choice])

    def pieces(self, sample: Sample) -> Iterator[bytes]:
        """The whole text of the only sample, in a few pieces."""
        text = sample.text
        size = max(PIECE_CHARACTERS, len(text) // MOST_PIECES + 1)
        for start in range(0, len(text) or 1, size):
            yield self.text(text[start : start + size])

    def end(
        self, finished: Mapping[int, str], usage: Usage | None, farthing: Mapping[str, Any]
    ) -> bytes:
        """The end of the samples with their reasons, what it cost, and `[DONE]`."""
        choices = [
            {"index": index, "delta": {}, "finish_reason": reason}
            for index, reason in sorted(finished.items())
        ]
        data = self._event(choices, farthing=farthing)
        if self._include_usage:
            data += self._event([], usage=usage_json(usage), farthing=farthing)
        return data + b"data: [DONE]\n\n"

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + encode({**self._base, "choices": choices, **more}) + b"\n\n"
