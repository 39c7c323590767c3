"""Reading the fields of a log's records: numbers, amounts, moments, messages, usage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from farthing.audit.line import LineError
from farthing.core.errors import UsageError
from farthing.core.response import Basis
from farthing.core.usage import Usage
from farthing.cost import read_calls, read_usage

Record = Mapping[str, Any]

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_PLAIN = frozenset(
    (
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    )
)
_NONE: dict[str, Any] = {}


def decode(text: str | bytes) -> Any:
    """JSON, with decimals as they are written; LineError if it is none."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LineError("not JSON") from error


def first(record: Record, *names: str) -> Any:
    """The first of these fields that tells something."""
    for name in names:
        value = record.get(name)
        if value is not None and value != "":
            return value
    return None


def inner(record: Record, name: str) -> Record:
    """An object within, also one that is written as JSON text; an empty one if there is none."""
    value = record.get(name)
    if value is None or type(value) is dict:
        return value or _NONE
    if isinstance(value, str) and value[:1] in "{[":
        try:
            value = decode(value)
        except LineError:
            return _NONE
    return value if isinstance(value, Mapping) else _NONE


def unpacked(value: Any) -> Any:
    """What a text that holds JSON says; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return decode(value)
        except LineError:
            return value
    return value


def whole(value: Any, name: str) -> int | None:
    """A count; LineError if it is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = Decimal(value)
        except InvalidOperation:
            raise LineError(f"{name} is not a number") from None
    if isinstance(value, Decimal | float) and value == int(value):
        value = int(value)
    if type(value) is not int or value < 0:
        raise LineError(f"{name} is not a whole number that is not negative")
    return value


def amount(value: Any, name: str) -> Decimal | None:
    """An amount of money, as written; LineError if it is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = value.strip().removeprefix("$")
    if isinstance(value, float):
        value = repr(value)
    if isinstance(value, bool):
        raise LineError(f"{name} is not an amount")
    try:
        read = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise LineError(f"{name} is not an amount") from None
    if not read.is_finite():
        raise LineError(f"{name} is not an amount")
    return read


def number(value: Any) -> float | None:
    """A measurement; None if it is none."""
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def moment(value: Any, name: str) -> datetime | None:
    """A time in UTC, from ISO text or seconds (or milliseconds) since 1970; LineError if none."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
            read = datetime.fromisoformat(value.removesuffix(" UTC"))
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        seconds = float(value)
        return datetime.fromtimestamp(seconds / 1e3 if seconds > 1e11 else seconds, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        raise LineError(f"{name} is not a time") from None


def flag(value: Any) -> bool | None:
    """Yes or no, also as text."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def content(value: Any) -> str:
    """The text of a message's content."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = (part.get("text") if isinstance(part, Mapping) else part for part in value)
        return "\n".join(part for part in parts if isinstance(part, str))
    if isinstance(value, Mapping):
        return content(value.get("content", value.get("text")))
    return ""


def messages(value: Any) -> str | None:
    """All of a request's messages as one text, with their roles; None if there is none."""
    if value is None:
        return None
    value = unpacked(value)
    if isinstance(value, str):
        return value or None
    if isinstance(value, Mapping):
        return messages(value.get("messages", value.get("input", value.get("prompt"))))
    if not isinstance(value, list) or not value:
        return None
    told = [
        f"{m.get('role') or ''}\n{content(m.get('content'))}" if isinstance(m, dict) else str(m)
        for m in value
    ]
    return "\n".join(told) or None


def answer(response: Record) -> str | None:
    """The text of a response of OpenAI's chat or Responses, or Anthropic's messages."""
    choices = response.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        said = choices[0].get("message") or choices[0]
        return content(said) or None if isinstance(said, Mapping) else None
    parts = response.get("output", response.get("content"))
    if isinstance(parts, str):
        return parts or None
    if isinstance(parts, list):
        return "\n".join(filter(None, map(content, parts))) or None
    return None


def usage(payload: Record) -> tuple[Usage | None, Basis]:
    """`farthing.cost.read_usage`, with a shorter way for what most lines have; LineError."""
    told = payload.get("usage")
    if (
        isinstance(told, dict)
        and told.keys() <= _PLAIN
        and "gemini" not in str(payload.get("model"))
    ):
        read = _plain(told)
        if read is not None:
            return read, "exact"
    try:
        return read_usage(payload)
    except UsageError as error:
        raise LineError(f"usage contradicts itself: {_without_numbers(str(error))}") from error


def billed_calls(payload: Record) -> dict[str, int]:
    """`farthing.cost.read_calls`, with a LineError for counters that are none."""
    try:
        return read_calls(payload)
    except UsageError as error:
        raise LineError("a count of searches is not a number") from error


def _plain(told: dict[str, Any]) -> Usage | None:
    """Counters of OpenAI's chat that have no other parts; None where there is any doubt."""
    asked, said = told.get("prompt_tokens"), told.get("completion_tokens")
    total = told.get("total_tokens")
    if type(asked) is not int or type(said) is not int or total not in (None, asked + said):
        return None
    cached = reasoning = 0
    details = told.get("prompt_tokens_details")
    if details:
        if any(v for k, v in details.items() if k != "cached_tokens"):
            return None
        cached = details.get("cached_tokens") or 0
    details = told.get("completion_tokens_details")
    if details:
        if any(v for k, v in details.items() if k != "reasoning_tokens"):
            return None
        reasoning = details.get("reasoning_tokens") or 0
    if type(cached) is not int or type(reasoning) is not int:
        return None
    if not (0 <= cached <= asked and 0 <= reasoning <= said):
        return None
    return Usage(asked - cached, cached, 0, said - reasoning, reasoning)


def _without_numbers(text: str) -> str:
    return "".join("N" if c.isdigit() else c for c in text)
