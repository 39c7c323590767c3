"""OpenAI's usage export: pages, buckets or results of `/v1/organization/usage/completions`.

Also the CSV of the usage page, which has the same fields. A result adds up many requests.
"""

from __future__ import annotations

from collections.abc import Iterator

from farthing.audit.fields import Record, first, flag, moment, whole
from farthing.audit.formats.format import Format
from farthing.audit.line import Line, LineError, Skipped
from farthing.core.errors import UsageError
from farthing.core.usage import Usage
from farthing.cost.usage import standard_tier

RESULT = "organization.usage.completions.result"


def marks(record: Record) -> bool:
    if record.get("object") == "bucket":
        return True
    if str(record.get("object", "")).startswith("organization."):
        return True
    return {"input_tokens", "output_tokens", "num_model_requests"} <= record.keys()


def read(record: Record, line: int) -> Iterator[Line | Skipped]:
    results = record.get("results")
    if record.get("object") != "bucket" or not isinstance(results, list):
        yield _line(record, record, line)
        return
    if not results:
        yield Skipped(line, "a bucket without requests", fault=False)
    for result in results:
        if str(result.get("object", RESULT)) != RESULT:
            yield Skipped(line, f"a result of {result['object']}, which tells no tokens of calls")
        else:
            yield _line(result, record, line)


def _line(result: Record, bucket: Record, line: int) -> Line:
    if str(result.get("object", RESULT)) != RESULT:
        raise LineError("an object that tells no tokens of calls")
    model = first(result, "model")
    if model is None:
        raise LineError("no model: export the usage grouped by model")
    count = {
        name: whole(result.get(name), name) or 0
        for name in (
            "input_tokens",
            "output_tokens",
            "input_cached_tokens",
            "input_cache_write_tokens",
            "input_audio_tokens",
            "output_audio_tokens",
        )
    }
    try:
        usage = Usage.from_inclusive(
            count["input_tokens"],
            count["output_tokens"],
            cached_tokens=count["input_cached_tokens"],
            cache_write_tokens=count["input_cache_write_tokens"],
            input_audio_tokens=count["input_audio_tokens"],
            output_audio_tokens=count["output_audio_tokens"],
        )
    except UsageError as error:
        raise LineError("parts of the tokens are more than the whole") from error
    tier = "batch" if flag(result.get("batch")) else standard_tier(result.get("service_tier"))
    requests = whole(result.get("num_model_requests"), "num_model_requests")
    when = first(bucket, "start_time", "start_time_iso", "date")
    return Line(
        line,
        str(model),
        usage,
        at=moment(when, "start_time"),
        provider="openai",
        service_tier=tier,
        requests=0 if requests is None else requests,
    )


FORMAT = Format("openai-usage", "OpenAI usage export", marks, read)
