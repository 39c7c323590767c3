"""Expressions that the ledger's queries share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from farthing.ledger.schema import attempts, operations, samples
from farthing.ledger.values import timestamp

_samples_of_attempt = samples.c.attempt_id == attempts.c.id

sample_count: ColumnElement[int] = (
    select(func.count()).where(_samples_of_attempt).correlate(attempts).scalar_subquery()
)
"""How many samples an attempt returned."""

alone_pico: ColumnElement[Any] = (
    select(func.avg(samples.c.cost_pico))
    .where(_samples_of_attempt)
    .correlate(attempts)
    .scalar_subquery()
)
"""What one of an attempt's samples would have cost alone, in the mean; picodollars."""


def _told(leaf: str) -> ColumnElement[int]:
    """A leaf that rows older than version 2 of the schema do not have."""
    return func.coalesce(attempts.c[leaf], 0)


input_tokens: ColumnElement[int] = (
    attempts.c.input
    + attempts.c.cache_read
    + attempts.c.cache_write
    + _told("cache_write_1h")
    + _told("input_audio")
    + _told("input_image")
)
"""An attempt's prompt tokens, cached ones, audio and images included; NULL if unknown."""

output_tokens: ColumnElement[int] = attempts.c.output + attempts.c.reasoning + _told("output_audio")
"""An attempt's generated tokens, reasoning and audio included; NULL if unknown."""


is_answer: ColumnElement[bool] = attempts.c.kind.in_(("sample", "retry", "fallback"))
"""Whether a model was called for an answer of its own, not for a judgement or out of a cache."""


def started_within(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    """Conditions on operations: started in [since, until)."""
    conditions = []
    if since is not None:
        conditions.append(operations.c.started_at >= timestamp(since))
    if until is not None:
        conditions.append(operations.c.started_at < timestamp(until))
    return conditions
