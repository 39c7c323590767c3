"""Any table, with a mapping that says which column tells what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from farthing.audit.fields import Record, amount, flag, messages, moment, number, whole
from farthing.audit.formats.format import Format
from farthing.audit.line import Line, LineError, Status
from farthing.core.errors import DataError, UsageError
from farthing.core.usage import Usage
from farthing.cost.usage import standard_tier

FIELDS = (
    "model",
    "provider",
    "time",
    "input",
    "cached",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "cost",
    "service_tier",
    "status",
    "retry",
    "stream",
    "prompt",
    "answer",
    "seconds",
    "uncached",
)
"""What a column can tell. `input` and `output` hold their parts; `uncached` is input without."""

NEEDED = ("model", "output")


def with_mapping(mapping: Mapping[str, str]) -> Format:
    """The format in which the column `mapping[field]` tells a field; DataError for a wrong one."""
    for name in mapping:
        if name not in FIELDS:
            raise DataError(f"--map {name}=...: no such field; there are {', '.join(FIELDS)}")
    if missing := [name for name in NEEDED if name not in mapping]:
        raise DataError(f"--map: {missing[0]}=COLUMN is needed")
    if ("input" in mapping) == ("uncached" in mapping):
        raise DataError("--map: one of input=COLUMN and uncached=COLUMN is needed")

    def marks(record: Record) -> bool:
        return all(column in record for column in mapping.values())

    def read(record: Record, line: int) -> Iterator[Line]:
        told = {name: record.get(column) for name, column in mapping.items()}
        yield _line({name: value for name, value in told.items() if value != ""}, line)

    return Format("columns", "columns as mapped", marks, read)


def _line(told: Record, line: int) -> Line:
    model = told.get("model")
    if not model:
        raise LineError("no model")
    status: Status = "ok"
    if str(told.get("status") or "ok").lower() not in ("ok", "success", "succeeded", "200"):
        status = "cached" if str(told["status"]).lower() == "cached" else "failed"
    usage = _usage(told)
    return Line(
        line,
        str(model),
        usage,
        "unknown" if usage is None else "exact",
        amount(told.get("cost"), "cost"),
        moment(told.get("time"), "time"),
        told.get("provider"),
        standard_tier(told.get("service_tier")),
        status,
        bool(flag(told.get("retry"))),
        flag(told.get("stream")),
        messages(told.get("prompt")),
        told.get("answer"),
        seconds=number(told.get("seconds")),
    )


def _usage(told: Record) -> Usage | None:
    count = {
        name: whole(told.get(name), name)
        for name in (
            "input",
            "uncached",
            "cached",
            "cache_write",
            "cache_write_1h",
            "output",
            "reasoning",
        )
    }
    parts = {name: count[name] or 0 for name in ("cached", "cache_write", "cache_write_1h")}
    asked, output = count["input"], count["output"]
    if count["uncached"] is not None:
        asked = count["uncached"] + sum(parts.values())
    if asked is None or output is None:
        return None
    try:
        return Usage.from_inclusive(
            asked,
            output,
            cached_tokens=parts["cached"],
            cache_write_tokens=parts["cache_write"],
            cache_write_1h_tokens=parts["cache_write_1h"],
            reasoning_tokens=count["reasoning"] or 0,
        )
    except UsageError as error:
        raise LineError("parts of the tokens are more than the whole") from error


FORMAT = Format("columns", "columns as mapped by --map", lambda record: False, lambda r, n: ())
