"""Recordings of Farthing: a row for each sample, its cost as if it had been asked for alone.

Its prompts are not looked at: all models and samples were asked the same on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

from farthing.audit.fields import Record, amount, number, whole
from farthing.audit.formats.format import Format
from farthing.audit.line import Line, LineError
from farthing.core.errors import UsageError
from farthing.core.usage import Usage


def marks(record: Record) -> bool:
    return {"question", "model", "answer", "cost_usd"} <= record.keys()


def read(record: Record, line: int) -> Iterator[Line]:
    asked = whole(record.get("input_tokens"), "input_tokens")
    told = whole(record.get("output_tokens"), "output_tokens")
    cached = whole(record.get("cached_tokens"), "cached_tokens")
    reasoning = whole(record.get("reasoning_tokens"), "reasoning_tokens")
    usage = None
    if asked is not None and told is not None:
        try:
            usage = Usage.from_inclusive(
                asked, told, cached_tokens=cached or 0, reasoning_tokens=reasoning or 0
            )
        except UsageError as error:
            raise LineError("parts of the tokens are more than the whole") from error
    parts_told = cached is not None and reasoning is not None
    yield Line(
        line,
        str(record["model"]),
        usage,
        "unknown" if usage is None else "exact" if parts_told else "estimated",
        amount(record.get("cost_usd"), "cost_usd"),
        answer=record.get("answer"),
        seconds=number(record.get("latency_s")),
    )


FORMAT = Format("recording", "recording of Farthing", marks, read)
