"""Rows for ledgers in tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from farthing.core.money import Cost
from farthing.core.response import Sample
from farthing.core.usage import Usage
from farthing.cost import SampleShare
from farthing.ledger import AttemptRow, OperationRow, OutcomeRow, Store

START = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)


def op_id(number: int) -> str:
    return f"op_{number:032x}"


def operation(number: int, **fields: Any) -> OperationRow:
    fields = {"question": f"q{number}", "started_at": START + timedelta(seconds=number)} | fields
    return OperationRow(id=op_id(number), **fields)


def attempt(
    number: int,
    nth: int = 0,
    *,
    model: str = "small",
    cost: int | None = None,
    tokens: tuple[int, int] | None = (100, 10),
    answer: str = "a",
    **fields: Any,
) -> AttemptRow:
    """An attempt that returned one sample, unless `fields` say otherwise."""
    usage = None if tokens is None else Usage(input=tokens[0], output=tokens[1])
    price = None if cost is None else Cost(cost)
    standard = {
        "node": "cascade/0",
        "started_at": START + timedelta(seconds=number, milliseconds=nth),
        "status": "ok",
        "usage": usage,
        "usage_basis": "unknown" if usage is None else "exact",
        "cost": price,
        "price_source": None if cost is None else "config",
        "latency_s": 0.5,
        "samples": (Sample(f"text {answer}", answer=answer, read=True),),
        "shares": (SampleShare(usage and usage.output_tokens, price, "exact"),),
    }
    return AttemptRow(
        id=f"{op_id(number)}.{nth}",
        operation_id=op_id(number),
        number=nth,
        model=model,
        **(standard | fields),
    )


def outcome(number: int, status: str = "ok", **fields: Any) -> OutcomeRow:
    finished = START + timedelta(seconds=number + 1)
    return OutcomeRow(op_id(number), finished, status, **fields)


async def book(ledger: Store, *rows: OperationRow | AttemptRow | OutcomeRow) -> None:
    for row in rows:
        if isinstance(row, OperationRow):
            ledger.begin(row)
        elif isinstance(row, AttemptRow):
            ledger.attempt(row)
        else:
            await ledger.finish(row)
    await ledger.flush()
