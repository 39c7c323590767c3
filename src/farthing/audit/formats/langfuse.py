"""Langfuse's exports of observations, in JSON, JSON Lines or CSV.

Its `usageDetails` are meant not to overlap, but what sends them decides: where `total` tells that
the input holds the cached tokens, or the output the reasoning, they are taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from farthing.audit.fields import (
    Record,
    amount,
    content,
    first,
    inner,
    messages,
    moment,
    number,
    unpacked,
    whole,
)
from farthing.audit.formats.format import Format
from farthing.audit.line import Line, LineError, Skipped, Status
from farthing.core.response import Basis
from farthing.core.usage import Usage
from farthing.cost.usage import standard_tier

_CACHED = ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens", "cached_tokens")
_WRITTEN = ("input_cache_creation", "cache_creation_input_tokens")
_REASONING = ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens")
_ASKED = ("input", "prompt_tokens", "input_tokens", "promptTokens")
_TOLD = ("output", "completion_tokens", "output_tokens", "completionTokens")
_CALLS = frozenset(("GENERATION", "EMBEDDING"))


def marks(record: Record) -> bool:
    names = record.keys()
    if "type" not in names or not {"startTime", "start_time"} & names:
        return False
    return bool({"usageDetails", "usage_details", "calculatedTotalCost", "traceId"} & names)


def read(record: Record, line: int) -> Iterator[Line | Skipped]:
    kind = str(record.get("type")).upper()
    if kind not in _CALLS:
        yield Skipped(line, "an observation that calls no model", fault=False)
        return
    model = first(record, "model", "providedModelName", "provided_model_name")
    if model is None:
        raise LineError("no model")
    details = inner(record, "usageDetails") or inner(record, "usage_details")
    tokens = details or inner(record, "usage") or record
    usage, basis = _usage(tokens)
    costs = inner(record, "costDetails") or inner(record, "cost_details")
    claimed = first(record, "calculatedTotalCost", "totalCost", "total_cost") or costs.get("total")
    begin = moment(first(record, "startTime", "start_time"), "startTime")
    end = moment(first(record, "endTime", "end_time"), "endTime")
    failed = str(record.get("level")).upper() == "ERROR"
    status: Status = "failed" if failed else "ok"
    asked = inner(record, "modelParameters")
    told = inner(record, "metadata")
    yield Line(
        line,
        str(model),
        usage,
        basis,
        amount(claimed if claimed is not None else costs.get("total"), "total cost"),
        begin,
        service_tier=standard_tier(asked.get("service_tier") or told.get("service_tier")),
        status=status,
        prompt=messages(record.get("input")),
        answer=content(unpacked(record.get("output"))) or None,
        temperature=number(asked.get("temperature")),
        seconds=(end - begin).total_seconds() if begin and end else None,
    )


def _usage(told: Record) -> tuple[Usage | None, Basis]:
    asked, said = whole(first(told, *_ASKED), "input"), whole(first(told, *_TOLD), "output")
    if asked is None or said is None:
        return None, "unknown"
    cached = whole(first(told, *_CACHED), "cached tokens") or 0
    written = whole(first(told, *_WRITTEN), "cache writes") or 0
    thought = whole(first(told, *_REASONING), "reasoning") or 0
    total = whole(first(told, "total", "total_tokens", "totalTokens"), "total")
    parts = cached + written
    if total is None or not (parts or thought):
        if total is not None and total != asked + said:
            raise LineError("the total is not the sum of input and output")
        basis: Basis = "estimated" if parts or thought else "exact"
        return Usage(asked, cached, written, said, thought), basis
    fits = set()
    for within_input, within_output in product((False, True), repeat=2):
        if (within_input and not parts) or (within_output and not thought):
            continue
        whole_input = asked + (0 if within_input else parts)
        whole_output = said + (0 if within_output else thought)
        if whole_input + whole_output != total:
            continue
        text, plain = whole_input - parts, whole_output - thought
        if text >= 0 and plain >= 0:
            fits.add(Usage(text, cached, written, plain, thought))
    if len(fits) == 1:
        return fits.pop(), "exact"
    raise LineError("the total does not tell which count holds the cached or reasoning tokens")


FORMAT = Format("langfuse", "Langfuse observations", marks, read)
