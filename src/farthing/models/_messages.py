"""A chat request in Anthropic's messages format. What that format cannot say is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from farthing.core.errors import RequestError
from farthing.core.request import Message, Request

MAX_TOKENS = 4096
"""The limit on the answer where the client set none: Anthropic's format has to have one."""

EFFORTS = ("low", "medium", "high", "xhigh")
_DATA_URL = re.compile(r"data:(?P<type>image/[\w.+-]+);base64,(?P<data>[\w+/=-]+)", re.ASCII)
_PDF_URL = re.compile(r"data:application/pdf;base64,(?P<data>[\w+/=-]+)", re.ASCII)
PDF = "document.pdf"
"""The name of a file that has none."""
_AS_THEY_ARE = ("top_p", "top_k", "thinking")
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "top_logprobs": (0,),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "modalities": (["text"],),
    "logit_bias": ({},),
    "functions": ([],),
}
_TRANSLATED = frozenset(
    {
        "max_completion_tokens",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "user",
    }
)
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_decode = msgspec.json.Decoder().decode


def messages_fields(request: Request, model: str, *, max_tokens: int) -> dict[str, Any]:
    """The fields of the request that asks `model`; RequestError for what cannot be said."""
    extra = request.extra
    _check(request)
    system, messages = _conversation(request.messages)
    fields: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens if request.max_tokens is None else request.max_tokens,
        "messages": messages,
    }
    if system:
        fields["system"] = system
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    fields |= {name: extra[name] for name in _AS_THEY_ARE if extra.get(name) is not None}
    stop = extra.get("stop")
    if stop:
        fields["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if extra.get("tools"):
        fields["tools"] = [_tool(place, tool) for place, tool in enumerate(extra["tools"])]
        choice = _choice(extra.get("tool_choice"), extra.get("parallel_tool_calls"))
        if choice is not None:
            fields["tool_choice"] = choice
    output = _output(extra)
    if output:
        fields["output_config"] = output
    if extra.get("user"):
        fields["metadata"] = {"user_id": extra["user"]}
    return fields


def _refused(param: str, why: str) -> RequestError:
    return RequestError(
        f"{param!r} {why}, which Anthropic's format cannot say; leave it out, or ask a model "
        "behind an OpenAI-shaped upstream",
        param=param,
        code="unsupported",
    )


def _check(request: Request) -> None:
    if request.n > 1:
        raise _refused("n", "asks for several answers")
    if request.logprobs:
        raise _refused("logprobs", "asks for log-probabilities")
    if request.seed is not None:
        raise _refused("seed", "fixes the sampling")
    if request.temperature is not None and request.temperature > 1:
        raise _refused("temperature", f"is {request.temperature:g}, above 1")
    for name, value in request.extra.items():
        if value is None or name in _TRANSLATED or name in _AS_THEY_ARE:
            continue
        if value not in _WITHOUT_EFFECT.get(name, ()):
            raise _refused(name, "is set")


def _conversation(
    messages: Iterable[Message],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The blocks of the system prompt, and the messages, in which roles take turns."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        _check_fields(where, message)
        if message.role in ("system", "developer"):
            if turns:
                raise _refused(where, "is a system message after others")
            system += _texts(where, message.content)
            continue
        role, blocks = _turn(where, message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return system, turns


_MESSAGE_FIELDS = {"assistant": ("tool_calls",), "tool": ("tool_call_id",)}


def _check_fields(where: str, message: Message) -> None:
    known = _MESSAGE_FIELDS.get(message.role, ())
    for name, value in message.fields.items():
        if value and name not in known:
            raise _refused(f"{where}.{name}", "is set")


def _turn(where: str, message: Message) -> tuple[str, list[dict[str, Any]]]:
    match message.role:
        case "user":
            return "user", _parts(where, message.content)
        case "assistant":
            blocks = _texts(where, message.content)
            calls = message.fields.get("tool_calls") or ()
            return "assistant", blocks + [_tool_use(where, call) for call in calls]
        case "tool":
            block: dict[str, Any] = {
                "type": "tool_result",
                "tool_use_id": message.fields.get("tool_call_id"),
                "content": _texts(where, message.content),
            }
            return "user", [block]
    raise _refused(f"{where}.role", f"is {message.role!r}")


def _texts(where: str, content: str | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    blocks = _parts(where, content)
    if any(block["type"] != "text" for block in blocks):
        raise _refused(f"{where}.content", "has more than text")
    return blocks


def _parts(where: str, content: str | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The blocks of a message's content; empty texts, which Anthropic refuses, are left out."""
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks = []
    for number, part in enumerate(content):
        kind, at = part.get("type", "text"), f"{where}.content[{number}]"
        if kind == "text" and isinstance(part.get("text"), str):
            if part["text"]:
                blocks.append({"type": "text", "text": part["text"]})
        elif kind == "image_url":
            blocks.append({"type": "image", "source": _image(at, part.get("image_url"))})
        elif kind == "file":
            blocks.append(_document(at, part.get("file")))
        else:
            raise _refused(at, f"is of type {kind!r}")
    return blocks


def _image(where: str, image: Any) -> dict[str, Any]:
    url = image.get("url") if isinstance(image, Mapping) else image
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    inline = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if inline is None:
        raise RequestError(
            f"{where} must be an https address or a base64 data URL of an image",
            param=where,
            code="invalid_value",
        )
    return {"type": "base64", "media_type": inline["type"], "data": inline["data"]}


def _document(where: str, file: Any) -> dict[str, Any]:
    told = file if isinstance(file, Mapping) else {}
    data, name = told.get("file_data"), told.get("filename")
    inline = _PDF_URL.fullmatch(data) if isinstance(data, str) else None
    if inline is None:
        raise _refused(where, "is a file that is no base64 data URL of a PDF")
    source = {"type": "base64", "media_type": "application/pdf", "data": inline["data"]}
    block: dict[str, Any] = {"type": "document", "source": source}
    return block | ({"title": name} if isinstance(name, str) and name != PDF else {})


def _tool_use(where: str, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise _refused(f"{where}.tool_calls", "has a call that is of no function")
    try:
        arguments = _decode(function.get("arguments") or "{}")
    except (msgspec.DecodeError, TypeError, RecursionError, UnicodeError):
        arguments = None
    if not isinstance(arguments, dict):
        raise _refused(f"{where}.tool_calls", "has arguments that are no JSON object")
    return {
        "type": "tool_use",
        "id": call.get("id"),
        "name": function.get("name"),
        "input": arguments,
    }


def _tool(place: int, tool: Any) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or tool.get("type") != "function":
        raise _refused(f"tools[{place}]", "is no function")
    told: dict[str, Any] = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    for name in ("description", "strict"):
        if function.get(name) is not None:
            told[name] = function[name]
    return told


def _choice(choice: Any, parallel: Any) -> dict[str, Any] | None:
    told: dict[str, Any] | None = None
    if isinstance(choice, str) and choice in _CHOICES:
        told = {"type": _CHOICES[choice]}
    elif isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        told = {"type": "tool", "name": choice["function"].get("name")}
    elif choice is not None:
        raise _refused("tool_choice", f"is {choice!r}")
    if parallel is False and (told is None or told["type"] != "none"):
        told = {**(told or {"type": "auto"}), "disable_parallel_tool_use": True}
    return told


def _output(extra: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    effort, wanted = extra.get("reasoning_effort"), extra.get("response_format")
    if effort is not None:
        if effort not in EFFORTS:
            raise _refused("reasoning_effort", f"is {effort!r}")
        told["effort"] = effort
    if wanted is not None and wanted != {"type": "text"}:
        schema = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
        if not isinstance(schema, Mapping) or wanted.get("type") != "json_schema":
            raise _refused("response_format", "is no json_schema")
        told["format"] = {"type": "json_schema", "schema": schema.get("schema")}
    return told
