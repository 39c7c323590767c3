"""Pairs of a request and its response, a line each, as OpenAI's clients and batches write them.

`request` or `body` and `response` hold the two, as objects or as JSON text; a batch's output has
the response's body one level deeper. Anthropic's messages are read in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

from farthing.audit.fields import (
    Record,
    answer,
    billed_calls,
    first,
    flag,
    inner,
    messages,
    number,
    usage,
)
from farthing.audit.formats.format import Format
from farthing.audit.formats.generic import claimed, started, succeeded
from farthing.audit.line import Line, LineError, Status
from farthing.cost import read_service_tier


def marks(record: Record) -> bool:
    if "response" not in record or "spend" in record:
        return False
    response = inner(record, "response")
    told = inner(response, "body") or response
    if {"usage", "choices", "output", "content", "error"} & told.keys():
        return True
    return bool(inner(record, "request")) and "response" in record


def read(record: Record, line: int) -> Iterator[Line]:
    asked = inner(record, "request") or inner(record, "body")
    asked = inner(asked, "body") or asked
    outer = inner(record, "response")
    response = inner(outer, "body") or outer
    model = first(response, "model") or first(asked, "model") or first(record, "model")
    if model is None:
        raise LineError("no model")
    tokens, basis = usage({**response, "model": model, "usage": response.get("usage")})
    tier = read_service_tier(response)
    if "custom_id" in record and tier is None:
        tier = "batch"
    code = outer.get("status_code", record.get("status_code"))
    failed = not succeeded(record, code) or bool(response.get("error"))
    status: Status = "failed" if failed else "ok"
    yield Line(
        line,
        str(model),
        tokens,
        basis,
        claimed(record, response),
        started(record, response),
        first(record, "provider"),
        tier or read_service_tier(record),
        status,
        bool(first(record, "retry", "retries")),
        flag(asked.get("stream")),
        messages(asked),
        answer(response),
        number(asked.get("temperature")),
        number(first(record, "latency_s", "duration_s", "seconds")),
        billed_calls({**response, "usage": response.get("usage")}),
    )


FORMAT = Format("openai", "requests and responses in OpenAI's form", marks, read)
