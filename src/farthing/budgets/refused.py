"""Requests that were refused: nothing was called, and that is booked too."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from farthing.budgets.drains import Drains, drains
from farthing.core.errors import LedgerError
from farthing.ledger.rows import OperationRow, OutcomeRow, new_id
from farthing.ledger.store import Store

logger = logging.getLogger(__name__)


def refuse(
    ledger: Store,
    error: str,
    *,
    requested: str,
    plan: str | None = None,
    strongest: str | None = None,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
    question: str = "",
    prompt: str | None = None,
    stream: bool = False,
    id: str | None = None,
    drains: Drains = drains,
) -> str:
    """Book a request that `error`, the refusal's message, kept from being called.

    Does not wait for the ledger: a refusal loses no money if its row is lost. What goes wrong is
    logged. The other arguments are those of `Operation`. Returns the operation's identifier.
    """
    now = datetime.now(UTC)
    operation = OperationRow(
        id=id or new_id(),
        started_at=now,
        question=question,
        prompt=prompt,
        requested=requested,
        plan=plan,
        strongest=strongest,
        key=key,
        tags=tags or {},
        stream=stream,
    )
    ledger.begin(operation)
    drains.spawn(_finish(ledger, OutcomeRow(operation.id, now, "refused", error=error)))
    return operation.id


async def _finish(ledger: Store, row: OutcomeRow) -> None:
    try:
        await ledger.finish(row)
    except LedgerError as unbooked:
        logger.error("operation %s: %s", row.operation_id, unbooked)
