"""One call of one model, as an operation keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from farthing.core.money import Cost
from farthing.core.protocols import Kind, ModelCard
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.cost.prices import Price
from farthing.cost.shares import share
from farthing.ledger.rows import AttemptRow, Status


@dataclass(slots=True)
class Attempt:
    """One call of one model.

    Attributes:
        number: 0, 1, ... in the order in which the attempts began.
        request: what was asked.
        response: priced and read; None if the call returned nothing.
        cost: None if unknown.
        started: on the clock of `time.perf_counter`.
        started_at: in UTC; None in an operation without a ledger.
        upstream: which of the model's upstreams was called; None if it has only one.
    """

    number: int
    node: str
    model: str
    started: float
    started_at: datetime | None
    request: Request
    status: Status = "ok"
    response: Response | None = None
    cost: Cost | None = None
    error: str | None = None
    kind: Kind = "sample"
    upstream: str | None = None

    def row(self, operation_id: str, card: ModelCard, price: Price | None) -> AttemptRow:
        """The ledger's row; `price` is what the cost was reckoned by, if it was."""
        response = self.response
        if response is None:
            answered: dict[str, Any] = {"latency_s": perf_counter() - self.started}
        else:
            answered = {
                "usage": response.usage,
                "usage_basis": response.usage_basis,
                "latency_s": response.latency_s,
                "ttft_s": response.ttft_s,
                "samples": response.samples,
                "shares": () if self.kind == "cache" else share(response, price),
                "upstream_id": response.upstream_id,
                "service_tier": response.service_tier,
            }
        return AttemptRow(
            id=f"{operation_id}.{self.number}",
            operation_id=operation_id,
            number=self.number,
            node=self.node if self.upstream is None else f"{self.node}@{self.upstream}",
            model=self.model,
            started_at=self.started_at or datetime.now(UTC),
            status=self.status,
            error=self.error,
            cost=self.cost,
            price_source=self._price_source(card, price),
            price_date=price.date if price else None,
            temperature=self.request.temperature,
            kind=self.kind,
            **answered,
        )

    def _price_source(self, card: ModelCard, price: Price | None) -> str | None:
        if price is not None:
            unpriced = price.unpriced(self.response.billed_calls) if self.response else ()
            return (
                f"{price.source}; no price for {', '.join(unpriced)}" if unpriced else price.source
            )
        if self.cost is None:
            return None
        if self.kind == "cache":
            return "cache"
        return "not billed" if self.response is None else card.price_source or "model"
