"""The attempts of a Farthing ledger, as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import exists, func, select

from farthing.audit.line import Line, Status
from farthing.core.money import Cost
from farthing.core.usage import LEAVES, Usage
from farthing.ledger.address import Where
from farthing.ledger.engines import reading
from farthing.ledger.schema import attempts, operations, samples

_BATCH = 4096
_STATUS: dict[str, Status] = {"ok": "ok", "failed": "failed", "cancelled": "failed"}


def ledger_lines(
    where: Where, progress: Callable[[int, int], object] = lambda done, total: None
) -> Iterator[Line]:
    """One line an attempt, in the order of time; `progress` is told those read and their total.

    A ledger keeps the last message of a request alone, so that no prompt is told; and several
    samples of one model for one operation are no repetition.

    Raises LedgerError if the ledger cannot be read.
    """
    text = (
        select(samples.c.text)
        .where(samples.c.attempt_id == attempts.c.id, samples.c.number == 0)
        .scalar_subquery()
    )
    before = attempts.alias()
    again = exists().where(
        before.c.operation_id == attempts.c.operation_id,
        before.c.number < attempts.c.number,
        before.c.model == attempts.c.model,
    )
    query = (
        select(
            attempts,
            operations.c.question,
            operations.c.stream,
            text.label("text"),
            again.label("again"),
        )
        .join_from(attempts, operations)
        .order_by(attempts.c.started_at, attempts.c.id)
    )
    with reading(where) as connection:
        total = connection.execute(select(func.count()).select_from(attempts)).scalar_one()
        rows = connection.execution_options(yield_per=_BATCH).execute(query).mappings()
        for number, row in enumerate(rows, 1):
            if not number & 0x3FF or number == total:
                progress(number, total)
            told = row["input"] is not None and row["output"] is not None
            pico, kind = row["cost_pico"], row["kind"]
            yield Line(
                number,
                row["model"],
                Usage(**{leaf: row[leaf] or 0 for leaf in LEAVES}) if told else None,
                row["usage_basis"],
                None if pico is None else Cost(pico).usd,
                datetime.fromisoformat(row["started_at"]),
                service_tier=row["service_tier"],
                status="cached" if kind == "cache" else _STATUS[row["status"]],
                retry=kind == "retry",
                stream=bool(row["stream"]),
                answer=row["text"],
                temperature=row["temperature"],
                seconds=row["latency_s"],
                question=None if row["again"] else row["question"],
            )
