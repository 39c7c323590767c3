"""Calls within an answer that vendors bill one by one, beside the tokens, such as web searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.core.errors import UsageError

PRICED = ("web_search", "file_search")
"""The calls that can be given a price; others leave the cost unknown."""

FREE_COUNTERS = frozenset({"web_fetch_requests", "tool_search_requests"})
"""Anthropic's counters of what costs nothing but the tokens."""

ITEMS = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
}
"""What OpenAI's responses list among their output, and what it is billed as."""

SOURCES = "num_sources_used"
"""xAI's counter of the sources that a search read."""


def read_calls(payload: Mapping[str, Any]) -> dict[str, int]:
    """How many calls an answer tells that are billed each, by their names; none at zero.

    `payload` is as for `read_usage`. Raises UsageError for counters that are no whole numbers.
    """
    usage = payload.get("usage", payload)
    calls: dict[str, int] = {}
    if isinstance(usage, Mapping):
        told = usage.get("server_tool_use")
        for counter, count in told.items() if isinstance(told, Mapping) else ():
            if counter not in FREE_COUNTERS:
                _add(calls, counter.removesuffix("_requests"), counter, count)
        _add(calls, "search_source", SOURCES, usage.get(SOURCES))
    output = payload.get("output")
    for item in output if isinstance(output, list) else ():
        name = ITEMS.get(str(item.get("type"))) if isinstance(item, Mapping) else None
        if name is not None and _is_billed(item):
            calls[name] = calls.get(name, 0) + 1
    return calls


def _add(calls: dict[str, int], name: str, counter: str, count: Any) -> None:
    if count is None:
        return
    if type(count) is not int or count < 0:
        raise UsageError(f"usage counter {counter!r} is not a number of calls: {count!r}")
    if count:
        calls[name] = calls.get(name, 0) + count


def _is_billed(item: Mapping[str, Any]) -> bool:
    """Opening a page that a search has found, and looking something up in it, is not."""
    action = item.get("action")
    kind = action.get("type") if isinstance(action, Mapping) else None
    return kind is None or kind == "search"
