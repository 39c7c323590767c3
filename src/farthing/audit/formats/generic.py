"""Logs shaped like OpenAI's: a response or its usage on each line, as vLLM's users keep them.

The counters stand in `usage` or in the record itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from farthing.audit.fields import (
    Record,
    amount,
    answer,
    billed_calls,
    first,
    flag,
    inner,
    messages,
    moment,
    number,
    usage,
    whole,
)
from farthing.audit.formats.format import Format
from farthing.audit.line import Line, LineError, Status
from farthing.cost.usage import standard_tier

COSTS = ("cost_usd", "cost", "spend", "total_cost", "response_cost", "price_usd")
TIMES = ("timestamp", "time", "created_at", "started_at", "created", "date", "ts", "start_time")
_FLAT = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_DETAILS = {
    "cached_tokens": "prompt_tokens_details",
    "reasoning_tokens": "completion_tokens_details",
}


def marks(record: Record) -> bool:
    if "model" not in record:
        return False
    if inner(record, "usage"):
        return True
    return {"prompt_tokens", "completion_tokens"} <= record.keys() or {
        "input_tokens",
        "output_tokens",
    } <= record.keys()


def read(record: Record, line: int) -> Iterator[Line]:
    model = first(record, "model")
    if model is None:
        raise LineError("no model")
    told = inner(record, "usage") or _flat(record)
    tokens, basis = usage({**record, "model": model, "usage": told})
    failed = not succeeded(record, first(record, "status_code", "http_status"))
    status: Status = "failed" if failed or record.get("error") else "ok"
    if flag(record.get("cache_hit")):
        status = "cached"
    tier = standard_tier(told.get("service_tier")) or standard_tier(record.get("service_tier"))
    yield Line(
        line,
        str(model),
        tokens,
        basis,
        claimed(record, {}),
        started(record, {}),
        first(record, "provider"),
        tier,
        status,
        bool(first(record, "retry", "retries")),
        flag(record.get("stream")),
        messages(first(record, "messages", "prompt", "input")),
        answer(record) if "choices" in record else first(record, "completion", "answer"),
        number(record.get("temperature")),
        number(first(record, "latency_s", "duration_s", "seconds")),
        billed_calls({"usage": told, "output": record.get("output")}),
    )


def claimed(record: Record, response: Record) -> Decimal | None:
    """The cost that a record tells, or the usage of its response, as OpenRouter does."""
    told: Any = first(record, *COSTS)
    if told is None:
        told = first(response, *COSTS)
    if told is None:
        told = inner(response or record, "usage").get("cost")
    return amount(told, "cost")


def started(record: Record, response: Record) -> datetime | None:
    """When the call began, as far as it is told."""
    told = first(record, *TIMES)
    return moment(told if told is not None else first(response, *TIMES), "time")


def succeeded(record: Record, code: Any) -> bool:
    """Whether nothing says that the call failed."""
    if code is not None and not str(code).startswith("2"):
        return False
    status = record.get("status")
    return not (isinstance(status, str) and status.lower() in ("failed", "failure", "error"))


def _flat(record: Record) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in _FLAT:
        if (count := whole(record.get(name), name)) is not None:
            told[name] = count
    for name, details in _DETAILS.items():
        if (count := whole(record.get(name), name)) is not None:
            told[details] = {name: count}
    if "input_tokens" in told and "prompt_tokens" not in told:
        for name in list(told):
            if name.startswith(("prompt", "completion")):
                told[name.replace("prompt", "input").replace("completion", "output")] = told.pop(
                    name
                )
    return told


FORMAT = Format("generic", "log shaped like OpenAI's", marks, read)
