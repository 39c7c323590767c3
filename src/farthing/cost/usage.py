"""Vendors' overlapping token counters, read into disjoint leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.core.errors import UsageError
from farthing.core.response import Basis
from farthing.core.usage import Usage

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")


def read_usage(payload: Mapping[str, Any]) -> tuple[Usage | None, Basis]:
    """The token counts that an OpenAI-shaped answer tells, split into disjoint leaves.

    `payload` is a response, the last chunk of a stream, or the `usage` object itself. A count
    of zero is a count; one that is absent or null is unknown, unless the total tells it. The
    result is `(None, "unknown")` when the input or the output is not told.

    Raises:
        UsageError: counters that are not whole numbers, or that contradict each other.
    """
    told = payload.get("usage", payload)
    if told is None:
        return None, "unknown"
    if not isinstance(told, Mapping):
        raise UsageError(f"usage is not an object: {told!r}")
    input_tokens, output_tokens = _either(told, _INPUT), _either(told, _OUTPUT)
    total = _count(told, "total_tokens")
    if output_tokens is None and None not in (input_tokens, total):
        output_tokens = _rest(total, input_tokens)
    if input_tokens is None and None not in (output_tokens, total):
        input_tokens = _rest(total, output_tokens)
    if input_tokens is None or output_tokens is None:
        return None, "unknown"
    cached = _detail(told, _INPUT, "cached_tokens") or 0
    reasoning = _detail(told, _OUTPUT, "reasoning_tokens") or 0
    if total is not None and total != input_tokens + output_tokens:
        if total != input_tokens + output_tokens + reasoning:
            raise UsageError(
                f"{input_tokens} input and {output_tokens} output tokens do not add up to "
                f"{total} in all"
            )
        output_tokens += reasoning  # a vendor that counts reasoning beside the completion
    usage = Usage.from_inclusive(
        input_tokens, output_tokens, cached_tokens=cached, reasoning_tokens=reasoning
    )
    return usage, "exact"


def _rest(total: int | None, part: int | None) -> int:
    rest = (total or 0) - (part or 0)
    if rest < 0:
        raise UsageError(f"a part of {part} tokens does not fit into {total} in all")
    return rest


def _count(counters: Mapping[str, Any], name: str) -> int | None:
    count = counters.get(name)
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UsageError(f"usage counter {name!r} is not a number of tokens: {count!r}")
    return count


def _either(counters: Mapping[str, Any], names: tuple[str, str]) -> int | None:
    """The count told under either spelling."""
    told = {count for name in names if (count := _count(counters, name)) is not None}
    if len(told) > 1:
        raise UsageError(f"usage tells {names[0]!r} and {names[1]!r}, and they differ: {told}")
    return told.pop() if told else None


def _detail(counters: Mapping[str, Any], names: tuple[str, str], part: str) -> int | None:
    """A part of a count, from `<name>_details`."""
    details = [counters.get(f"{name}_details") for name in names]
    told = {
        count
        for detail in details
        if isinstance(detail, Mapping) and (count := _count(detail, part)) is not None
    }
    if len(told) > 1:
        raise UsageError(f"usage tells {part!r} twice, and they differ: {told}")
    return told.pop() if told else None
