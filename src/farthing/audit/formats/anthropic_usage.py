"""Anthropic's usage export: pages or buckets of `/v1/organizations/usage_report/messages`.

Also the console's CSV. A result adds up requests without saying how many.
"""

from __future__ import annotations

from collections.abc import Iterator

from farthing.audit.fields import Record, first, inner, moment, whole
from farthing.audit.formats.format import Format
from farthing.audit.line import Line, LineError, Skipped
from farthing.core.usage import Usage
from farthing.cost.usage import standard_tier

_CSV = "usage_input_tokens_no_cache"
_NAMES = {
    "input": ("uncached_input_tokens", _CSV),
    "cache_read": ("cache_read_input_tokens", "usage_input_tokens_cache_read"),
    "cache_write": ("cache_creation_5m_input_tokens", "usage_input_tokens_cache_write_5m"),
    "cache_write_1h": ("cache_creation_1h_input_tokens", "usage_input_tokens_cache_write_1h"),
    "output": ("output_tokens", "usage_output_tokens"),
}
_WITHIN = {
    "ephemeral_5m_input_tokens": "cache_write",
    "ephemeral_1h_input_tokens": "cache_write_1h",
}


def marks(record: Record) -> bool:
    if "uncached_input_tokens" in record or _CSV in record:
        return True
    results = record.get("results")
    if not isinstance(results, list) or "starting_at" not in record:
        return False
    return not results or "uncached_input_tokens" in results[0]


def read(record: Record, line: int) -> Iterator[Line | Skipped]:
    results = record.get("results")
    if not isinstance(results, list):
        yield _line(record, record, line)
        return
    if not results:
        yield Skipped(line, "a bucket without requests", fault=False)
    for result in results:
        if "uncached_input_tokens" not in result:
            yield Skipped(line, "a result that tells no tokens")
        else:
            yield _line(result, record, line)


def _line(result: Record, bucket: Record, line: int) -> Line:
    model = first(result, "model", "model_version")
    if model is None:
        raise LineError("no model: export the usage grouped by model")
    leaves = {leaf: whole(first(result, *names), names[0]) or 0 for leaf, names in _NAMES.items()}
    for name, leaf in _WITHIN.items():
        leaves[leaf] += whole(inner(result, "cache_creation").get(name), name) or 0
    used = inner(result, "server_tool_use")
    searches = whole(first(used, "web_search_requests"), "web_search_requests")
    if searches is None:
        searches = whole(result.get("web_search_count"), "web_search_count")
    tier = str(first(result, "service_tier", "usage_type") or "").lower()
    window = str(result.get("context_window") or "")
    return Line(
        line,
        str(model),
        Usage(**leaves),
        at=moment(first(bucket, "starting_at", "usage_date_utc"), "starting_at"),
        provider="anthropic",
        service_tier=None if tier == "message" else standard_tier(tier.removesuffix("_api")),
        calls={"web_search": searches} if searches else {},
        requests=0,
        long_context=window.startswith(("200", ">200")),
    )


FORMAT = Format("anthropic-usage", "Anthropic usage export", marks, read)
