"""Rows as the values of the ledger's columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from farthing.core.money import Cost
from farthing.core.response import Sample
from farthing.cost.shares import SampleShare
from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)
from farthing.ledger.schema import LEAVES_OF_VERSION_2

_MOMENT = "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ"


def timestamp(moment: datetime) -> str:
    """A moment as the ledger writes it; one without a time zone is in UTC."""
    if moment.tzinfo is not UTC:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return _MOMENT % (  # isoformat takes twice as long
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
    )


_told = lru_cache(maxsize=64)(timestamp)  # of moments that several rows in succession share


def operation_values(row: OperationRow, *, texts: bool = True) -> dict[str, Any]:
    """The columns of an operation; without `texts` the prompt is left out."""
    return {
        "id": row.id,
        "started_at": timestamp(row.started_at),
        "question": row.question,
        "prompt": row.prompt if texts else None,
        "requested": row.requested,
        "plan": row.plan,
        "strongest": row.strongest,
        "key": row.key,
        "tags": json.dumps(dict(row.tags), ensure_ascii=False, sort_keys=True)
        if row.tags
        else "{}",
        "answer_reader": row.answer_reader,
        "stream": int(row.stream),
        "gateway": row.gateway,
    }


def attempt_values(row: AttemptRow) -> dict[str, Any]:
    """The columns of an attempt."""
    usage = row.usage
    return {
        "id": row.id,
        "operation_id": row.operation_id,
        "number": row.number,
        "node": row.node,
        "model": row.model,
        "started_at": timestamp(row.started_at),
        "status": row.status,
        "error": row.error,
        "input": usage and usage.input,
        "cache_read": usage and usage.cache_read,
        "cache_write": usage and usage.cache_write,
        "output": usage and usage.output,
        "reasoning": usage and usage.reasoning,
        "usage_basis": row.usage_basis,
        "cost_pico": _pico(row.cost),
        "price_source": row.price_source,
        "price_date": row.price_date,
        "latency_s": row.latency_s,
        "ttft_s": row.ttft_s,
        "temperature": row.temperature,
        "upstream_id": row.upstream_id,
        **{leaf: None if usage is None else getattr(usage, leaf) for leaf in LEAVES_OF_VERSION_2},
        "service_tier": row.service_tier,
        "kind": row.kind,
    }


def sample_values(row: AttemptRow, *, texts: bool = True) -> list[dict[str, Any]]:
    """The columns of each of an attempt's samples; without `texts` the text is left out."""
    unknown = SampleShare(None, None, "unknown")
    shares = row.shares or (unknown,) * len(row.samples)
    return [
        _sample(row.id, number, sample, part, texts)
        for number, (sample, part) in enumerate(zip(row.samples, shares, strict=True))
    ]


def _sample(
    attempt_id: str, number: int, sample: Sample, part: SampleShare, texts: bool
) -> dict[str, Any]:
    return {
        "attempt_id": attempt_id,
        "number": number,
        "text": sample.text if texts else None,
        "answer": sample.answer,
        "finish_reason": sample.finish_reason,
        "mean_logprob": sample.mean_logprob,
        "min_logprob": sample.min_logprob,
        "output_tokens": part.output_tokens,
        "cost_pico": _pico(part.cost),
        "basis": part.basis,
    }


def outcome_values(row: OutcomeRow) -> dict[str, Any]:
    """The columns of an outcome."""
    return {
        "operation_id": row.operation_id,
        "finished_at": timestamp(row.finished_at),
        "status": row.status,
        "answered_by": row.answered_by,
        "answer": row.answer,
        "signal": row.signal,
        "budget_pico": _pico(row.budget),
        "alpha": row.alpha,
        "error": row.error,
        "stopped": row.stopped,
        "certificate": row.certificate,
        "calls": row.calls,
    }


def reservation_values(row: ReservationRow) -> dict[str, Any]:
    """The columns of a reservation."""
    return {
        "operation_id": row.operation_id,
        "budget": row.budget,
        "counted_as": row.counted_as,
        "held_pico": row.held.pico,
        "at": _told(row.at),
        "gateway": row.gateway,
    }


def charge_values(row: ChargeRow) -> dict[str, Any]:
    """The columns of a charge."""
    return {
        "operation_id": row.operation_id,
        "budget": row.budget,
        "counted_as": row.counted_as,
        "pico": row.cost.pico,
        "held_pico": row.held.pico,
        "at": _told(row.at),
        "basis": row.basis,
        "gateway": row.gateway,
        "since": _told(row.since),
    }


def _pico(cost: Cost | None) -> int | None:
    return None if cost is None else cost.pico
