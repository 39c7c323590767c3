"""OpenAI's responses as clients ask for them, read, and translated to chat requests."""

from __future__ import annotations

from typing import Any

from farthing.core.errors import RequestError
from farthing.core.request import Message, Request
from farthing.gateway.endpoint import Endpoint, named_event
from farthing.gateway.fields import Fields, flag, mapping, number, objects, text, unsupported, wrong
from farthing.gateway.fields import whole as whole_number
from farthing.gateway.responses_writer import ResponseWriter

_SAME = ("top_p", "parallel_tool_calls", "service_tier", "user", "safety_identifier")
_SAME_TOO = ("prompt_cache_key", "prompt_cache_retention")
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "include": ([],),
    "metadata": ({},),
    "store": (False,),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
_TRANSLATED = frozenset(
    {
        "model",
        "input",
        "instructions",
        "max_output_tokens",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tools",
        "tool_choice",
        "reasoning",
        *_SAME,
        *_SAME_TOO,
    }
)


def read_responses(fields: Fields, **about: Any) -> Request:
    """What is known of a request that goes to an upstream of this format."""
    if flag(fields, "background"):
        raise RequestError(
            "an answer in the background cannot be booked: leave 'background' out",
            param="background",
            code="unsupported",
        )
    asked, value = [], fields.get("input")
    if isinstance(value, str):
        asked.append(Message("user", value))
    elif value is not None:
        for item in objects(value, "input"):
            role, content = item.get("role"), item.get("content")
            known = content if isinstance(content, str) else _dicts(content)
            asked.append(Message(role if isinstance(role, str) else "item", known))
    if isinstance(fields.get("instructions"), str):
        asked.insert(0, Message("system", fields["instructions"]))
    return Request(
        tuple(asked),
        max_tokens=whole_number(fields, "max_output_tokens", 1),
        extra={"tools": fields["tools"]} if fields.get("tools") else {},
        **about,
    )


def _dicts(content: Any) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else [{"type": "other"}]
    return [part for part in parts if isinstance(part, dict)]


def translate_responses(fields: Fields) -> Request:
    """The request as a chat request; RequestError for what cannot be said so."""
    for name, value in fields.items():
        if value is None or name in _TRANSLATED or value in _WITHOUT_EFFECT.get(name, ()):
            continue
        raise unsupported(name, "this field")
    messages: list[Message] = []
    if fields.get("instructions") is not None:
        messages.append(Message("system", text(fields, "instructions")))
    value = fields.get("input")
    if isinstance(value, str):
        messages.append(Message("user", value))
    else:
        for place, item in enumerate(objects(value, "input")):
            _add(f"input[{place}]", item, messages)
    if not any(message.role != "system" for message in messages):
        raise wrong("input", "a text or a list of at least one item")
    return Request(
        tuple(messages),
        temperature=number(fields, "temperature"),
        max_tokens=whole_number(fields, "max_output_tokens", 1),
        extra=_extra(fields),
    )


def _add(where: str, item: Fields, messages: list[Message]) -> None:
    """Add what `item` says to the conversation; calls in a row are one message's."""
    kind = item.get("type", "message")
    if kind == "message":
        role = text(item, "role", where)
        messages.append(Message(role, _parts(f"{where}.content", item.get("content"))))
    elif kind == "function_call":
        function = {"name": text(item, "name", where), "arguments": item.get("arguments")}
        call = {"id": text(item, "call_id", where), "type": "function", "function": function}
        last = messages[-1] if messages else None
        if last is not None and last.role == "assistant":
            calls = [*last.fields.get("tool_calls", ()), call]
            messages[-1] = Message("assistant", last.content, {"tool_calls": calls})
        else:
            messages.append(Message("assistant", None, {"tool_calls": [call]}))
    elif kind == "function_call_output":
        output = item.get("output")
        said = output if isinstance(output, str) else _parts(f"{where}.output", output)
        fields = {"tool_call_id": text(item, "call_id", where)}
        messages.append(Message("tool", said, fields))
    else:
        raise unsupported(where, f"an item of type {kind!r}")


def _parts(where: str, content: Any) -> str | list[dict[str, Any]]:
    """Content as chat's; a text alone as such, since not all upstreams take parts."""
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in objects(content, where):
        kind, url = part.get("type"), part.get("image_url")
        if kind in ("input_text", "output_text") and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "input_image" and isinstance(url, str):
            image = {"url": url}
            if part.get("detail") is not None:
                image["detail"] = part["detail"]
            parts.append({"type": "image_url", "image_url": image})
        else:
            raise unsupported(where, f"content of type {kind!r}")
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _extra(fields: Fields) -> dict[str, Any]:
    extra = {n: fields[n] for n in (*_SAME, *_SAME_TOO) if fields.get(n) is not None}
    tools = objects(fields.get("tools"), "tools")
    if tools:
        extra["tools"] = [_tool(place, tool) for place, tool in enumerate(tools)]
        choice = fields.get("tool_choice")
        if isinstance(choice, dict):
            if choice.get("type") != "function":
                raise unsupported("tool_choice", f"a choice of type {choice.get('type')!r}")
            choice = {"type": "function", "function": {"name": text(choice, "name")}}
        if choice is not None:
            extra["tool_choice"] = choice
    for name, value in mapping(fields, "reasoning").items():
        if name == "effort" and value is not None:
            extra["reasoning_effort"] = value
        elif value is not None:
            raise unsupported(f"reasoning.{name}", f"{value!r}")
    for name, value in mapping(fields, "text").items():
        if name == "verbosity" and value is not None:
            extra["verbosity"] = value
        elif name == "format" and value is not None:
            extra["response_format"] = _format(value)
        elif value is not None:
            raise unsupported(f"text.{name}", f"{value!r}")
    return extra


def _tool(place: int, tool: Fields) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise unsupported(f"tools[{place}]", f"a tool of type {tool.get('type')!r}")
    told = {"name": text(tool, "name", f"tools[{place}]")}
    for name in ("description", "parameters", "strict"):
        if tool.get(name) is not None:
            told[name] = tool[name]
    return {"type": "function", "function": told}


def _format(value: Any) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("text", "json_object"):
        return {"type": kind}
    if kind != "json_schema":
        raise wrong("text.format", "an object of type text, json_object or json_schema")
    schema = {name: item for name, item in value.items() if name != "type"}
    return {"type": kind, "json_schema": schema}


def _error_event(told: Fields) -> bytes:
    error = told["error"]
    names = ("code", "message", "param")
    return named_event({"type": "error", **{name: error.get(name) for name in names}})


RESPONSES = Endpoint(
    "responses",
    "/v1/responses",
    read_responses,
    translate=translate_responses,
    writer=ResponseWriter,
    unbounded=(
        b"image_url",
        b"file_id",
        b"file_url",
        b"file_data",
        b"previous_response_id",
        b"conversation",
        b'"prompt"',
        b"item_reference",
        b"_search",
        b"code_interpreter",
        b"image_generation",
        b'"mcp"',
    ),
    error_event=_error_event,
)
