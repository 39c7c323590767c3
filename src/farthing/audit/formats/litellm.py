"""LiteLLM's spend logs: rows of `LiteLLM_SpendLogs`, as `/spend/logs` or the database gives them.

Its `prompt_tokens` hold the cached ones, for Anthropic's models too. Where they come from one of
its older versions, which left them out there, the counters contradict each other and the line is
not read.
"""

from __future__ import annotations

from collections.abc import Iterator
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

_PARTS = ("cache_read_input_tokens", "cache_creation_input_tokens")


def marks(record: Record) -> bool:
    return "spend" in record and "prompt_tokens" in record and "request_id" in record


def read(record: Record, line: int) -> Iterator[Line]:
    meta = inner(record, "metadata")
    model = first(record, "model", "model_group")
    if model is None:
        raise LineError("no model")
    failed = "fail" in str(first(record, "status") or meta.get("status") or "")
    status: Status = "failed" if failed else "ok"
    if flag(record.get("cache_hit")):
        status = "cached"
    begin, end = moment(record.get("startTime"), "startTime"), record.get("endTime")
    asked = inner(record, "proxy_server_request")
    tokens = _usage(record, meta, line)
    retries = whole(meta.get("attempted_retries"), "attempted_retries")
    read_tokens, basis = usage({"model": model, "usage": tokens})
    finish = moment(end, "endTime")
    yield Line(
        line,
        str(model),
        read_tokens,
        basis,
        amount(record.get("spend"), "spend"),
        begin,
        first(record, "custom_llm_provider"),
        _tier(record, meta, asked),
        status,
        bool(retries),
        flag(asked.get("stream")),
        messages(first(record, "messages")) or messages(asked),
        answer(inner(record, "response")),
        number(asked.get("temperature")),
        (finish - begin).total_seconds() if begin and finish else None,
        billed_calls({"usage": tokens}),
    )


def _usage(record: Record, meta: Record, line: int) -> dict[str, Any]:
    told = inner(meta, "usage_object")
    if told.get("prompt_tokens") is not None:
        return dict(told)
    tokens: dict[str, Any] = {
        name: whole(record.get(name), name)
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    more = inner(meta, "additional_usage_values")
    for name in _PARTS:
        if (count := whole(more.get(name), name)) is not None:
            tokens[name] = count
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if details := inner(more, name):
            tokens[name] = details
    return tokens


def _tier(record: Record, meta: Record, asked: Record) -> str | None:
    if str(record.get("call_type", "")).endswith("batch"):
        return "batch"
    for told in (inner(meta, "usage_object"), meta, inner(record, "response"), asked):
        if tier := standard_tier(told.get("service_tier")):
            return tier
    return None


FORMAT = Format("litellm", "LiteLLM spend logs", marks, read)
