"""Budgets at the door: what a request could cost, whether it may begin, what it did cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields

from farthing.budgets import Drains, Operation
from farthing.budgets.book import BudgetBook
from farthing.budgets.limits import scopes
from farthing.budgets.reservations import Ask, Refusal, Reservation
from farthing.core.errors import LedgerError
from farthing.core.money import Cost, Rates
from farthing.cost.prices import Price
from farthing.gateway.endpoint import Call
from farthing.gateway.errors import BudgetRefusedError
from farthing.gateway.service import Service
from farthing.ledger.rows import new_id
from farthing.policies import Cascade, Single
from farthing.policies.stickiness import unstick

BYTES_PER_TOKEN = 4  # of a typical prompt; a token is at least one byte
_OUTPUTS = ("output", "reasoning", "output_audio")
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of all requests to a model or plan, within one minute.

    Attributes:
        minute: since 1970.
        models: all that can be called.
        calls: rates of those with a price, and the most samples of each.
        dearest: the same at the highest rates of all tiers; None if it bounds nothing.
        scopes: of requests without tags, by the name of their key.
    """

    minute: int
    models: tuple[str, ...]
    calls: tuple[tuple[Rates, int], ...]
    dearest: tuple[tuple[Rates, int], ...] | None
    scopes: dict[str | None, frozenset[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Admitted:
    """A request that its budgets let begin."""

    book: BudgetBook
    reservation: Reservation
    drains: Drains

    @property
    def headers(self) -> dict[str, str]:
        """Names the soft budgets that it does not fit."""
        names = ", ".join(refusal.name for refusal in self.reservation.warnings)
        return {"x-farthing-budget-warning": names} if names else {}

    def begin(self) -> None:
        """Book the reservation, after the operation itself."""
        self.book.admission.book(self.reservation)

    def cancel(self) -> None:
        """Release a request that never became an operation."""
        self.book.cancel(self.reservation)

    def settle(self, operation: Operation) -> None:
        """Charge what `operation` cost; if calls go on in the background, when they are booked.

        Where a part is unknown, the reservation is charged, or what is known if that is more.
        An operation that called nothing, or whose calls were free, is charged nothing and tells
        nothing about what others will cost.
        """
        if operation.is_running:
            self.drains.spawn(self._settle_late(operation))
        else:
            self._charge(operation)

    async def _settle_late(self, operation: Operation) -> None:
        try:
            await operation.idle()
            if operation.ledger is not None:
                with suppress(LedgerError):
                    await operation.ledger.flush()
        finally:
            self._charge(operation)

    def _charge(self, operation: Operation) -> None:
        spent, used = operation.spent, operation.usage
        tokens = None if used is None else used.input_tokens + used.output_tokens
        if operation.unknown_attempts and spent < self.reservation.reserved:
            self.book.settle(self.reservation, None, tokens=tokens)
        elif spent or tokens:
            parts = _by_model(operation)
            self.book.settle(self.reservation, spent, tokens=tokens, parts=parts)
        else:
            self.book.cancel(self.reservation)


def _by_model(operation: Operation) -> dict[str, Cost]:
    """What each model's calls cost, by the scope of the model."""
    parts: dict[str, Cost] = {}
    for attempt in operation.attempts:
        scope = f"model:{attempt.model}"
        parts[scope] = parts.get(scope, Cost(0)) + (attempt.cost or Cost(0))
    return parts


async def admit(
    service: Service, call: Call, tags: Mapping[str, str], body: bytes
) -> Admitted | None:
    """Reserve for `call`; None where there are no budgets.

    Raises BudgetRefusedError if it does not fit, LedgerError if the budgets cannot be read.
    """
    book = service.budgets
    if book is None or not await book.has_limits():
        return None
    answered = await book.admit(ask(service, call, tags, body), id=new_id())
    if isinstance(answered, Refusal):
        service.refuse(call, tags, answered)
        raise BudgetRefusedError(answered)
    for warning in answered.warnings:
        service.alerts.exceeded(warning, service.drains)
    return Admitted(book, answered, service.drains)


def ask(service: Service, call: Call, tags: Mapping[str, str], body: bytes) -> Ask:
    """What is known of a request before it begins."""
    known = _known(service, call)
    return Ask.of(
        _scopes(service, call, tags, known),
        call.model,
        input_tokens=len(body) // BYTES_PER_TOKEN,
        most_input_tokens=len(body),
        max_tokens=call.request.max_tokens,
        calls=known.calls,
        dearest=known.dearest,
        bounded=known.dearest is not None and call.is_bounded,
    )


def _scopes(service: Service, call: Call, tags: Mapping[str, str], known: Known) -> frozenset[str]:
    """Whose request it is; those without tags are kept by the name of their key."""
    key = service.caller.name if service.caller else None
    found = None if tags else known.scopes.get(key)
    if found is None:
        found = scopes(
            key=key,
            user=tags.get("user"),
            team=tags.get("team"),
            models=known.models,
            plan=call.model if call.model in service.plans else None,
            tags=tags,
        )
        if not tags:
            known.scopes[key] = found
    return found


def _known(service: Service, call: Call) -> Known:
    """What is known of `call` but for its length, until the minute ends: no price changes in it."""
    key, minute = (call.model, call.request.n, service.skips(call.model)), int(time.time()) // 60
    known = service.known.get(key)
    if known is None or known.minute != minute:
        if len(service.known) >= _KEPT:
            service.known.clear()
        known = service.known[key] = _reckoned(service, call, minute)
    return known


def _reckoned(service: Service, call: Call, minute: int) -> Known:
    calls, bounded = _calls(service, call)
    prices = [(service.prices.price(service.models[name].card), samples) for name, samples in calls]
    known = [(price, samples) for price, samples in prices if price]
    dearest: tuple[tuple[Rates, int], ...] | None = None
    open_ended = any(price.per_second or price.calls for price, _ in known)
    if bounded and not open_ended and len(known) == len(calls):
        dearest = tuple(
            (_dearest(service.prices.prices(service.models[name].card)), samples)
            for name, samples in calls
        )
    return Known(
        minute,
        tuple(name for name, _ in calls),
        tuple((price.rates, samples) for price, samples in known),
        dearest,
    )


def _calls(service: Service, call: Call) -> tuple[list[tuple[str, int]], bool]:
    """The models that `call` can reach with the most samples of each; whether that is all."""
    plan = service.plans.get(call.model)
    if plan is None:
        return [(call.model, call.request.n)], True
    match unstick(plan.policy):
        case Single(model=model):
            return [(model, 1)], True
        case Cascade(stages=stages, signal_attempt=bought):
            return [(s.model, s.samples) for s in stages if s.accept != "skip"], not bought
    return [(model, 1) for model in plan.models], False


def _dearest(prices: tuple[Price, ...]) -> Rates:
    """The highest rates of all tiers, whatever the tokens are."""
    rates = [r for price in prices for r in (price.rates, *(tier for _, tier in price.tiers))]
    inputs = [f.name for f in fields(Rates) if f.name not in (*_OUTPUTS, "request")]
    return Rates(
        max(getattr(r, name) or 0 for r in rates for name in inputs),
        max(getattr(r, name) or 0 for r in rates for name in _OUTPUTS),
        request=max(r.request for r in rates),
    )
