"""Expressions that the ledger's queries share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from farthing.ledger.schema import attempts, operations, samples, timestamp

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

input_tokens = attempts.c.input + attempts.c.cache_read + attempts.c.cache_write
"""An attempt's prompt tokens, cached ones included."""


def started_within(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    """Conditions on operations: started in [since, until)."""
    conditions = []
    if since is not None:
        conditions.append(operations.c.started_at >= timestamp(since))
    if until is not None:
        conditions.append(operations.c.started_at < timestamp(until))
    return conditions
