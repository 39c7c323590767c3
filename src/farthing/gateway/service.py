"""What a gateway serves: models, plans, and the ledger in which it is booked."""

from __future__ import annotations

import copy
import hmac
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from farthing.budgets import Drains, Operation
from farthing.budgets.book import BudgetBook
from farthing.budgets.refused import refuse
from farthing.budgets.reservations import Refusal
from farthing.core.errors import LedgerError, RequestError
from farthing.core.money import Cost
from farthing.core.protocols import Model, Policy
from farthing.core.request import Request
from farthing.cost import PriceBook
from farthing.gateway.alerts import Alerts
from farthing.gateway.bypass import BypassedOperation, SwitchReader, straightened
from farthing.gateway.certificates import Alarm, Certificates, kind_of, with_alarms
from farthing.gateway.connections import Connections
from farthing.gateway.endpoint import Call
from farthing.gateway.errors import AccessError, ForbiddenError
from farthing.gateway.health import healths
from farthing.gateway.metrics import Metrics, Picture
from farthing.gateway.sections import GatewayConfig, OnAlarm
from farthing.gateway.visits import BYPASS
from farthing.gateway.visits import current as visit
from farthing.gateway.watching import WatchedLedger
from farthing.ledger import MemoryLedger, Store
from farthing.ledger.keyring import KeyRefusedError, KeyRing
from farthing.ledger.keys import Key
from farthing.models.closing import close_models
from farthing.models.http import HttpModel
from farthing.models.replicas import Upstreams
from farthing.signals import reader

if TYPE_CHECKING:
    from farthing.gateway.budgeting import Known
    from farthing.ledger.watches import Watched

Reader = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class ServedPlan:
    """A plan, ready to be called.

    Attributes:
        name: by which clients call it.
        models: all that it may call, the strongest last.
        answer: the name of the way in which it reads answers.
        budget, alpha: an operation costs more than `budget` with probability `alpha` at most.
        watched: that promise, as it is watched on live traffic; None if it is not.
        on_alarm: what to do when it is found not to hold.
        alarm: what was done; None if it holds, as far as is known.
        by_name: whether its name alone describes it: it is then for whoever may ask its models.
    """

    name: str
    models: tuple[str, ...]
    policy: Policy
    answer: str = "text"
    budget: Cost | None = None
    alpha: float | None = None
    watched: Watched | None = None
    on_alarm: OnAlarm = "widen"
    alarm: Alarm | None = None
    by_name: bool = False

    @property
    def certificate(self) -> str | None:
        """The digest of the file that promises something of a request; None if nothing does."""
        return None if self.watched is None or self.budget is None else self.watched.digest


class Models(dict[str, Model]):
    """Models by name, which can be watched for their last use."""


_SHARED = (
    "ledger",
    "keys",
    "budgets",
    "drains",
    "switch",
    "certificates",
    "metrics",
    "connections",
    "started",
)


@dataclass(slots=True)
class Service:
    """Everything that the gateway's handlers need.

    Attributes:
        config: how requests come in.
        models: by the name that clients and plans call them.
        plans: by name; no name is a model's too.
        ledger: where operations are booked.
        token: what clients may send to use everything; None, without `keys`, lets everybody in.
        keys: whose secrets clients may send; None if the gateway knows no keys.
        budgets: what clients may spend; None if the gateway knows no budgets.
        caller: the key of the client at hand, None for one that may use everything.
        drains: the calls whose clients have left.
        alerts: tells of soft budgets that are exceeded.
        started: seconds since 1970.
        switch: whether plans are switched off; None if the gateway cannot be told.
        certificates: what is known of plans' promises; None if they are not watched.
        metrics: what is counted; None if nothing is.
        connections: those of the clients; None if nothing limits them.
        bypassing: whether plans are switched off for the client at hand.
        current: what is served in place of this one, see `front`.
        known: of requests by model or plan, number of answers and whether it `skips` the plan.
    """

    config: GatewayConfig
    models: Mapping[str, Model]
    plans: Mapping[str, ServedPlan] = field(default_factory=dict)
    ledger: Store = field(default_factory=MemoryLedger)
    prices: PriceBook = field(default_factory=PriceBook)
    token: str | None = None
    keys: KeyRing | None = None
    budgets: BudgetBook | None = None
    caller: Key | None = None
    drains: Drains = field(default_factory=Drains)
    alerts: Alerts = field(default_factory=Alerts)
    started: int = field(default_factory=lambda: int(time.time()))
    switch: SwitchReader | None = None
    certificates: Certificates | None = None
    metrics: Metrics | None = None
    connections: Connections | None = None
    bypassing: bool = False
    current: Service | None = None
    known: dict[tuple[str, int, bool], Known] = field(init=False, default_factory=dict)
    _readers: dict[str, Reader] = field(init=False, default_factory=dict)
    _straight: dict[str, ServedPlan] | None = field(init=False, default=None)
    _alarmed: tuple[frozenset[tuple[str, str]], dict[str, ServedPlan]] | None = field(
        init=False, default=None
    )
    _seen: dict[str, Service] = field(init=False, default_factory=dict)  # by the key's name

    async def start(self) -> None:
        """Take part in the budgets: charge what a gateway that was killed had in flight."""
        if self.budgets is not None:
            with suppress(LedgerError):  # the first request tells
                await self.budgets.has_limits()
        if self.switch is not None:
            await self.switch.read()
        if self.certificates is not None:
            await self.certificates.tell(self)

    def front(self) -> Service:
        """What hands all requests on to this service, until it is exchanged for another."""
        front = copy.copy(self)
        front.current = self
        return front

    def exchange(self, new: Service) -> Service:
        """Let whoever comes in from now on be served by `new`; returns who served before.

        Raises ValueError if this service is no `front`.
        """
        old = self.current
        if old is None:
            raise ValueError("this service serves by itself")
        for place in fields(self):
            setattr(self, place.name, getattr(new, place.name))
        self.current = new
        return old

    def share(self, other: Service) -> None:
        """Go on with what `other` has that outlives a configuration."""
        for name in _SHARED:
            setattr(self, name, getattr(other, name))

    def picture(self) -> Picture:
        """What is in flight now."""
        ledger, book, switch = self.ledger, self.budgets, self.switch
        plans = self.plans.values()
        return Picture(
            in_flight=ledger.in_flight if isinstance(ledger, WatchedLedger) else 0,
            drains=len(self.drains),
            connections=0 if self.connections is None else len(self.connections),
            ledger=ledger.state,
            bypass=switch is not None and switch.on,
            alphas={plan.name: plan.alpha for plan in plans if plan.alpha is not None},
            amounts={} if book is None else book.admission.amounts(),
            health=healths(self.models),
            watches={} if self.certificates is None else self.certificates.picture(self.plans),
        )

    async def admit(self, authorization: str | None) -> Service:
        """What the client that sent the header `Authorization` sees of this service.

        Raises:
            AccessError: it sent neither the token nor the secret of a key that is in force,
                where there are any.
            ForbiddenError: it asks for what only an admin may.
            LedgerError: the keys cannot be read.
        """
        if self.current is not None:
            return await self.current.admit(authorization)
        seen = await self._authenticated(authorization)
        asked = visit.get()
        if asked is not None and asked.bypass is not None and seen.wants_bypass(asked.bypass):
            return seen.bypassed()
        if self.switch is not None and self.switch.on:
            return seen.bypassed()
        return seen.with_alarms()

    def wants_bypass(self, header: str) -> bool:
        """Whether the client at hand switches plans off for its request.

        Raises ForbiddenError if it may not, RequestError if it says neither 0 nor 1.
        """
        if header.strip() not in ("0", "1"):
            raise RequestError(
                f"the header {BYPASS} must be 0 or 1", param=BYPASS, code="invalid_value"
            )
        if header.strip() == "0":
            return False
        if self.caller is not None and not self.caller.is_admin:
            raise ForbiddenError(
                f"the key {self.caller.name!r} may not switch plans off: {BYPASS} is for keys made "
                "with `farthing keys create --admin`",
                param=BYPASS,
                code="forbidden",
            )
        return True

    def bypassed(self) -> Service:
        """The same service, whose plans are each answered by their strongest model."""
        if self._straight is None:
            self._straight = straightened(self.plans)
        seen = copy.copy(self)
        seen.plans, seen.bypassing = self._straight, True
        return seen

    def with_alarms(self) -> Service:
        """The same service, with what alarms have made of its plans."""
        if self.certificates is None or not self.certificates.alarmed:
            return self
        alarmed = self.certificates.alarmed
        if self._alarmed is None or self._alarmed[0] is not alarmed:
            has_alarm = self.certificates.has_alarm
            names = [name for name, plan in self.plans.items() if has_alarm(plan.watched)]
            self._alarmed = alarmed, with_alarms(self.plans, names)
        seen = copy.copy(self)
        seen.plans = self._alarmed[1]
        return seen

    async def _authenticated(self, authorization: str | None) -> Service:
        if self.token is None and self.keys is None:
            return self
        scheme, _, sent = (authorization or "").partition(" ")
        sent = sent.strip() if scheme.lower() == "bearer" else ""
        if self.token is not None and hmac.compare_digest(
            sent.encode("utf-8", "surrogateescape"), self.token.encode()
        ):
            return self
        if self.keys is None:
            raise AccessError(
                "send the gateway's token as `Authorization: Bearer TOKEN`", code="invalid_api_key"
            )
        try:
            return self.seen_by(await self.keys.find(sent))
        except KeyRefusedError as error:
            raise AccessError(str(error), code="invalid_api_key") from None

    def seen_by(self, key: Key) -> Service:
        """The same service, for a client with `key`: its names are fewer, its bookings labelled."""
        seen = self._seen.get(key.name)
        if seen is None or seen.caller is not key:
            seen = copy.copy(self)
            seen.caller, seen._seen = key, {}
            self._seen[key.name] = seen
        return seen

    def may_use(self, name: str) -> bool:
        """Whether there is a model or plan of that name, and the client at hand may ask for it."""
        plan = self.plans.get(name)
        if plan is None and name not in self.models:
            return False
        if self.caller is None:
            return True
        if plan is not None and plan.by_name:
            return all(self.caller.may_use(model, plan=False) for model in plan.models)
        return self.caller.may_use(name, plan=plan is not None)

    def skips(self, name: str) -> bool:
        """Whether what is called `name` is a plan that its strongest model stands in for."""
        plan = self.plans.get(name)
        return plan is not None and (self.bypassing or plan.alarm == "widened")

    @property
    def names(self) -> list[str]:
        """The plans and models that the client at hand may ask for."""
        return [name for name in (*self.plans, *self.models) if self.may_use(name)]

    def labels(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """The labels that are booked: the client's `tags`, and before them those of its key.

        Who its user and team are, a client with a key cannot say itself: budgets go by them.
        """
        if self.caller is None:
            return tags
        own = {name: value for name, value in tags.items() if name not in ("user", "team")}
        return {**own, **self.caller.labels}

    def operation(
        self,
        call: Call,
        labels: Mapping[str, str],
        *,
        id: str | None = None,
        cap: Cost | None = None,
    ) -> Operation:
        """A new operation for `call`, its start booked."""
        plan = self.plans.get(call.model)
        answer = plan.answer if plan else self.config.answer
        if call.request.wants_json:
            answer = "json"
        kind = BypassedOperation if plan and self.bypassing else kind_of(plan)
        return kind(
            self.models,
            prices=self.prices,
            ledger=self.ledger,
            reader=self._reader(answer),
            reader_name=answer,
            budget=plan.budget if plan else None,
            alpha=plan.alpha if plan else None,
            certificate=plan.certificate if plan else None,
            gateway=self.budgets.gateway if self.budgets else None,
            id=id,
            cap=cap,
            **self._booked(call, labels),
        )

    def refuse(self, call: Call, labels: Mapping[str, str], refusal: Refusal) -> None:
        """Book that `call` was refused; does not wait for the ledger."""
        if self.metrics is not None:
            self.metrics.refused(refusal.name)
        refuse(self.ledger, refusal.message, **self._booked(call, labels))

    def _booked(self, call: Call, labels: Mapping[str, str]) -> dict[str, Any]:
        """What is booked of a call, whether it is answered or not."""
        plan = self.plans.get(call.model)
        return {
            "requested": call.model,
            "plan": plan.name if plan else None,
            "strongest": plan.models[-1] if plan else None,
            "key": self.caller.name if self.caller else None,
            "tags": labels,
            "question": call.request.question_id(),
            "prompt": call.request.prompt if self.config.store_prompts else None,
            "stream": call.stream,
            "drains": self.drains,
        }

    def _reader(self, name: str) -> Reader:
        if name not in self._readers:
            self._readers[name] = reader(name)
        return self._readers[name]

    def is_raw(self, model: str, api: str) -> bool:
        """Whether `model` takes and gives an upstream's own bytes in the format `api`."""
        upstream = self._upstream(model)
        return upstream is not None and upstream.speaks(api)

    def check(self, model: str, request: Request) -> None:
        """RequestError for what cannot be told to `model`; nothing is sent."""
        upstream = self._upstream(model)
        if upstream is not None:
            upstream.check(request)
            return
        for place, message in enumerate(request.messages):
            if message.has_more_than_text:
                where = f"messages[{place}].content"
                raise RequestError(
                    f"model {model!r} takes text only: {where!r} has more; ask a model that can",
                    param=where,
                    code="unsupported",
                )

    def _upstream(self, model: str) -> HttpModel | None:
        """The first upstream of `model`; None if it has none."""
        found = self.models.get(model)
        if isinstance(found, Upstreams):
            found = found.models[0]
        return found if isinstance(found, HttpModel) else None

    async def aclose(self, seconds: float = 0) -> int:
        """Wait for calls whose clients have left, then close models and ledger.

        Returns how many calls were cut off after `seconds`. Raises LedgerError if rows are left
        that could not be written.
        """
        late = await self.drains.wait(seconds)
        await close_models(self.models.values())
        if self.keys is not None:
            self.keys.close()
        if self.switch is not None:
            self.switch.close()
        if self.certificates is not None:
            self.certificates.close()
        if self.budgets is not None:
            await self.budgets.aclose()
        await self.ledger.close()
        return late
