"""What a fake upstream answers in formats other than chat."""

from __future__ import annotations

import json
from typing import Any

CALL_ID = "call_1"


def messages_answer(words: tuple[str, ...], usage: dict[str, Any], call: Any) -> dict[str, Any]:
    """An answer of Anthropic's messages; `call` are the name and arguments of a tool call."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "".join(words)}]
    if call:
        told = {"type": "tool_use", "id": CALL_ID, "name": call[0], "input": json.loads(call[1])}
        content.append(told)
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": "claude-fake",
        "content": content,
        "stop_reason": "tool_use" if call else "end_turn",
        "stop_sequence": None,
        "usage": usage,
        "a_new_field": {"kept": True},
    }


def messages_events(words: tuple[str, ...], usage: dict[str, Any], call: Any) -> list[Any]:
    """The events of the same answer, streamed."""
    whole = messages_answer(words, usage, call)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[Any] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    for word in words:
        delta = {"type": "text_delta", "text": word}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "content_block_stop", "index": 0})
    if call:
        block = {**whole["content"][1], "input": {}}
        events.append({"type": "content_block_start", "index": 1, "content_block": block})
        for piece in (call[1][:3], call[1][3:]):
            delta = {"type": "input_json_delta", "partial_json": piece}
            events.append({"type": "content_block_delta", "index": 1, "delta": delta})
        events.append({"type": "content_block_stop", "index": 1})
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    tokens = {"output_tokens": usage["output_tokens"]}
    events.append({"type": "message_delta", "delta": stop, "usage": tokens})
    return [*events, {"type": "message_stop"}]


def responses_answer(words: tuple[str, ...], usage: dict[str, Any], call: Any) -> dict[str, Any]:
    """An answer of OpenAI's responses."""
    part = {"type": "output_text", "text": "".join(words), "annotations": []}
    output: list[dict[str, Any]] = [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }
    ]
    if call:
        told = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": CALL_ID}
        output.append({**told, "name": call[0], "arguments": call[1]})
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-fake",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
        "a_new_field": {"kept": True},
    }


def responses_events(words: tuple[str, ...], usage: dict[str, Any], call: Any) -> list[Any]:
    """The events of the same answer, streamed."""
    whole = responses_answer(words, usage, call)
    item = {**whole["output"][0], "status": "in_progress", "content": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[Any] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": part},
    ]
    for word in words:
        events.append({"type": "response.output_text.delta", **place, "delta": word})
    events.append({"type": "response.output_text.done", **place, "text": "".join(words)})
    for index, done in enumerate(whole["output"]):
        events.append({"type": "response.output_item.done", "output_index": index, "item": done})
    events.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def named(events: list[Any]) -> bytes:
    """Events with names, as both formats send them."""
    lines = (f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return "".join(lines).encode()
