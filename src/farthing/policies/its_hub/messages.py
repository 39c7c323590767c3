"""Messages in its_hub's form and in ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farthing.core.request import Message
from farthing.core.response import Sample
from farthing.policies.its_hub import _api

_FIELDS = ("tool_calls", "tool_call_id")


def to_theirs(messages: Sequence[Message]) -> list[_api.ChatMessage]:
    """As its_hub has them; fields that it does not know, such as `name`, are left out."""
    known = [{key: one.fields[key] for key in _FIELDS if key in one.fields} for one in messages]
    return [
        _api.ChatMessage(one.role, one.content, **fields)
        for one, fields in zip(messages, known, strict=True)
    ]


def to_ours(messages: Sequence[_api.ChatMessage]) -> tuple[Message, ...]:
    """As a request has them."""
    told = [{key: getattr(one, key) for key in _FIELDS} for one in messages]
    return tuple(
        Message(one.role, one.content, {k: v for k, v in fields.items() if v is not None})
        for one, fields in zip(messages, told, strict=True)
    )


def to_answer(sample: Sample) -> dict[str, Any]:
    """A sample as the message that its_hub takes for an answer."""
    calls = {"tool_calls": list(sample.tool_calls)} if sample.tool_calls else {}
    return {"role": "assistant", "content": sample.text, **calls}


def to_sample(answer: dict[str, Any]) -> Sample:
    """An answer of its_hub's as a sample; what is not text is left out of its text."""
    content = answer.get("content")
    if not isinstance(content, str):
        parts = [part for part in content or () if part.get("type") == "text"]
        content = "".join(str(part.get("text", "")) for part in parts)
    calls = answer.get("tool_calls")
    end = "tool_calls" if calls else "stop"
    return Sample(content, finish_reason=end, fields={"tool_calls": calls} if calls else {})
