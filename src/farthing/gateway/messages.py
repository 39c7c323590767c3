"""Anthropic's messages as clients ask for them, read, and translated to chat requests.

What does not change the answer is left out of the translation: cache marks, the thinking of
earlier turns, and that a model thinks as much as it wants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from farthing.core.canonical import canonical
from farthing.core.request import Message, Request
from farthing.gateway.endpoint import Endpoint, named_event
from farthing.gateway.fields import Fields, flag, mapping, number, objects, text, unsupported, wrong
from farthing.gateway.fields import whole as whole_number
from farthing.gateway.messages_writer import MessageWriter
from farthing.models._messages import EFFORTS, PDF

_KNOWN = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "stream",
        "system",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "tools",
        "tool_choice",
        "metadata",
        "output_config",
        "thinking",
        "service_tier",
        "cache_control",
    }
)
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}
_FORGOTTEN = ("thinking", "redacted_thinking")
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


def read_messages(fields: Fields, **about: Any) -> Request:
    """What is known of a request that goes to an upstream of this format."""
    messages = objects(fields.get("messages"), "messages")
    if not messages:
        raise wrong("messages", "a list of at least one message")
    asked = [Message(text(m, "role", "messages"), _content(m.get("content"))) for m in messages]
    system = fields.get("system")
    if system is not None:
        asked.insert(0, Message("system", _content(system)))
    return Request(
        tuple(asked),
        max_tokens=whole_number(fields, "max_tokens", 1),
        extra={"tools": fields["tools"]} if fields.get("tools") else {},
        **about,
    )


def _content(value: Any) -> str | list[dict[str, Any]] | None:
    return value if value is None or isinstance(value, str) else objects(value, "content")


def translate_messages(fields: Fields) -> Request:
    """The request as a chat request; RequestError for what cannot be said so."""
    for name, value in fields.items():
        if value is not None and name not in _KNOWN:
            raise unsupported(name, "this field")
    if mapping(fields, "thinking").get("type") not in (None, "disabled", "adaptive"):
        raise unsupported("thinking", "a budget of thinking (unlike `output_config.effort`)")
    if fields.get("service_tier") not in (None, "auto", "standard_only"):
        raise wrong("service_tier", "'auto' or 'standard_only'")
    limit = whole_number(fields, "max_tokens", 1)
    if limit is None:
        raise wrong("max_tokens", "a whole number")
    messages = []
    if fields.get("system") is not None:
        parts = _parts("system", fields["system"])
        if any(part["type"] != "text" for part in parts):
            raise wrong("system", "a text or a list of texts")
        messages.append(Message("system", _joined(parts)))
    turns = objects(fields.get("messages"), "messages")
    if not turns:
        raise wrong("messages", "a list of at least one message")
    for place, turn in enumerate(turns):
        messages += _turn(f"messages[{place}]", turn)
    return Request(
        tuple(messages),
        temperature=number(fields, "temperature"),
        max_tokens=limit,
        extra=_extra(fields),
    )


def _turn(where: str, turn: Fields) -> Iterable[Message]:
    role, content = turn.get("role"), turn.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    blocks = objects(blocks, f"{where}.content")
    if role == "assistant":
        calls = [_call(where, block) for block in blocks if block.get("type") == "tool_use"]
        rest = [b for b in blocks if b.get("type") not in ("tool_use", *_FORGOTTEN)]
        said = _joined(_parts(f"{where}.content", rest))
        yield Message("assistant", said or None, {"tool_calls": calls} if calls else {})
    elif role == "user":
        for block in blocks:
            if block.get("type") == "tool_result":
                yield _result(where, block)
        rest = [block for block in blocks if block.get("type") != "tool_result"]
        if rest or not blocks:
            yield Message("user", _joined(_parts(f"{where}.content", rest)))
    else:
        raise wrong(f"{where}.role", "'user' or 'assistant'")


def _call(where: str, block: Fields) -> dict[str, Any]:
    arguments = canonical(block.get("input") or {})
    function = {"name": text(block, "name", where), "arguments": arguments}
    return {"id": text(block, "id", where), "type": "function", "function": function}


def _result(where: str, block: Fields) -> Message:
    content = block.get("content")
    parts = [] if content is None else _parts(f"{where}.content", content)
    if any(part["type"] != "text" for part in parts):
        raise unsupported(f"{where}.content", "a tool result with more than text")
    said = "".join(part["text"] for part in parts)
    return Message("tool", said, {"tool_call_id": text(block, "tool_use_id", where)})


def _parts(where: str, content: Any) -> list[dict[str, Any]]:
    """Content as chat's parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts: list[dict[str, Any]] = []
    for block in objects(content, where):
        kind = block.get("type")
        if kind == "text" and isinstance(block.get("text"), str):
            parts.append({"type": "text", "text": block["text"]})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": _image(where, block)}})
        elif kind == "document":
            parts += _document(where, block)
        else:
            raise unsupported(where, f"content of type {kind!r}")
    return parts


def _image(where: str, block: Fields) -> str:
    source = block.get("source")
    match source:
        case {"type": "url", "url": str(url)}:
            return url
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"data:{kind};base64,{data}"
    raise unsupported(where, "an image that is no address and no data")


def _document(where: str, block: Fields) -> list[dict[str, Any]]:
    """A document as chat's parts: a PDF as a file, a text after its title."""
    title = block.get("title")
    if title is not None and not isinstance(title, str):
        raise wrong(f"{where}.title", "a text")
    if mapping(block, "citations").get("enabled"):
        raise unsupported(where, "that a document is to be cited")
    if block.get("context"):
        raise unsupported(where, "the context of a document")
    match block.get("source"):
        case {"type": "base64", "media_type": "application/pdf", "data": str(data)}:
            told = {"filename": title or PDF, "file_data": f"data:application/pdf;base64,{data}"}
            return [{"type": "file", "file": told}]
        case {"type": "text", "data": str(said)}:
            parts = [{"type": "text", "text": said}]
        case {"type": "content", "content": content}:
            parts = _parts(f"{where}.source", content)
        case _:
            raise unsupported(where, "a document that is no PDF's data and no text")
    return [{"type": "text", "text": f"{title}\n\n"}, *parts] if title else parts


def _joined(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A text alone as such, since not all upstreams take parts."""
    if all(part["type"] == "text" for part in parts) and len(parts) < 2:
        return "".join(part["text"] for part in parts)
    return parts


def _extra(fields: Fields) -> dict[str, Any]:
    extra = {name: fields[name] for name in ("top_p", "top_k") if fields.get(name) is not None}
    if fields.get("stop_sequences"):
        extra["stop"] = fields["stop_sequences"]
    tools = objects(fields.get("tools"), "tools")
    if tools:
        extra["tools"] = [_tool(place, tool) for place, tool in enumerate(tools)]
        extra |= _choice(mapping(fields, "tool_choice"))
    user = mapping(fields, "metadata").get("user_id")
    if user is not None:
        extra["user"] = user
    output = mapping(fields, "output_config")
    for name, value in output.items():
        if name == "effort" and value in EFFORTS:
            extra["reasoning_effort"] = value
        elif name == "format":
            extra["response_format"] = _format(value)
        elif value is not None:
            raise unsupported(f"output_config.{name}", f"{value!r}")
    return extra


def _tool(place: int, tool: Fields) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise unsupported(f"tools[{place}]", f"a tool of type {tool['type']!r}")
    function: dict[str, Any] = {"name": text(tool, "name", f"tools[{place}]")}
    for name, chats in (
        ("description", "description"),
        ("input_schema", "parameters"),
        ("strict", "strict"),
    ):
        if tool.get(name) is not None:
            function[chats] = tool[name]
    return {"type": "function", "function": function}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    if not choice:
        return {}
    kind = choice.get("type")
    told: dict[str, Any] = {}
    if kind == "tool":
        function = {"name": text(choice, "name", "tool_choice")}
        told["tool_choice"] = {"type": "function", "function": function}
    elif isinstance(kind, str) and kind in _CHOICES:
        told["tool_choice"] = _CHOICES[kind]
    else:
        raise wrong("tool_choice.type", "'auto', 'any', 'none' or 'tool'")
    if flag(choice, "disable_parallel_tool_use"):
        told["parallel_tool_calls"] = False
    return told


def _format(value: Any) -> dict[str, Any]:
    match value:
        case {"type": "json_schema", "schema": dict(schema)}:
            told = {"name": "answer", "schema": schema, "strict": True}
            return {"type": "json_schema", "json_schema": told}
    raise unsupported("output_config.format", "a format that is no json_schema")


def anthropic_error(error: Fields, status: int) -> dict[str, Any]:
    """An error as Anthropic's endpoint tells it."""
    kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    told = {"type": kind, "message": error.get("message")}
    more = {name: error[name] for name in ("param", "code") if error.get(name) is not None}
    return {"type": "error", "error": {**told, **more}}


MESSAGES = Endpoint(
    "messages",
    "/v1/messages",
    read_messages,
    translate=translate_messages,
    writer=MessageWriter,
    unbounded=(
        b'"image"',
        b'"document"',
        b"file_id",
        b"container",
        b"web_",
        b"mcp_",
    ),
    headers=("anthropic-version", "anthropic-beta"),
    error=anthropic_error,
    error_event=named_event,
)
