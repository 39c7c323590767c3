"""What a gateway serves: models, plans, and the ledger in which it is booked."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from farthing.budgets import Drains, Operation
from farthing.core.money import Cost
from farthing.core.protocols import Model, Policy
from farthing.cost import PriceBook
from farthing.gateway.config import GatewayConfig
from farthing.gateway.errors import AccessError
from farthing.gateway.wire import ChatCall
from farthing.ledger import MemoryLedger, Store
from farthing.models.http import HttpModel
from farthing.signals import reader

Reader = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class ServedPlan:
    """A plan, ready to be called.

    Attributes:
        name: by which clients call it.
        models: all that it may call, the strongest last.
        answer: the name of the way in which it reads answers.
        budget, alpha: an operation costs more than `budget` with probability `alpha` at most.
    """

    name: str
    models: tuple[str, ...]
    policy: Policy
    answer: str = "text"
    budget: Cost | None = None
    alpha: float | None = None


@dataclass(slots=True)
class Service:
    """Everything that the gateway's handlers need.

    Attributes:
        config: how requests come in.
        models: by the name that clients and plans call them.
        plans: by name; no name is a model's too.
        ledger: where operations are booked.
        token: what clients must send; None lets everybody in.
        drains: the calls whose clients have left.
        started: seconds since 1970.
    """

    config: GatewayConfig
    models: Mapping[str, Model]
    plans: Mapping[str, ServedPlan] = field(default_factory=dict)
    ledger: Store = field(default_factory=MemoryLedger)
    prices: PriceBook = field(default_factory=PriceBook)
    token: str | None = None
    drains: Drains = field(default_factory=Drains)
    started: int = field(default_factory=lambda: int(time.time()))
    _readers: dict[str, Reader] = field(init=False, default_factory=dict)

    def admit(self, authorization: str | None) -> None:
        """AccessError unless the header `Authorization` holds the token, where there is one."""
        if self.token is None:
            return
        scheme, _, sent = (authorization or "").partition(" ")
        same = hmac.compare_digest(
            sent.strip().encode("utf-8", "surrogateescape"), self.token.encode()
        )
        if scheme.lower() != "bearer" or not same:
            raise AccessError(
                "send the gateway's token as `Authorization: Bearer TOKEN`", code="invalid_api_key"
            )

    def operation(self, call: ChatCall, tags: Mapping[str, str]) -> Operation:
        """A new operation for `call`, its start booked."""
        plan = self.plans.get(call.model)
        answer = plan.answer if plan else self.config.answer
        return Operation(
            self.models,
            prices=self.prices,
            ledger=self.ledger,
            reader=self._reader(answer),
            reader_name=answer,
            requested=call.model,
            plan=plan.name if plan else None,
            strongest=plan.models[-1] if plan else None,
            tags=tags,
            question=call.request.question_id(),
            prompt=call.request.prompt if self.config.store_prompts else None,
            stream=call.stream,
            budget=plan.budget if plan else None,
            alpha=plan.alpha if plan else None,
            drains=self.drains,
        )

    def _reader(self, name: str) -> Reader:
        if name not in self._readers:
            self._readers[name] = reader(name)
        return self._readers[name]

    def is_raw(self, model: str) -> bool:
        """Whether `model` takes and gives an upstream's own bytes."""
        return isinstance(self.models.get(model), HttpModel)

    async def aclose(self, seconds: float = 0) -> int:
        """Wait for calls whose clients have left, then close models and ledger.

        Returns how many calls were cut off after `seconds`. Raises LedgerError if rows are left
        that could not be written.
        """
        late = await self.drains.wait(seconds)
        for model in self.models.values():
            if isinstance(model, HttpModel):
                await model.aclose()
        await self.ledger.close()
        return late
