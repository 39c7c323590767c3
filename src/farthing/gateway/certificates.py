"""Certificates watched on live traffic: what a gateway does when one of them does not hold.

The watch itself is in the ledger, one for all gateways that share it, see
`farthing.ledger.watches`. A gateway looks at it every `FRESH_S` seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from farthing.budgets import Operation as _Operation
from farthing.core.errors import LedgerError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.gateway.named_plans import NamedPlans
from farthing.ledger.address import Address, Where
from farthing.policies import Single

if TYPE_CHECKING:
    from farthing.gateway.service import ServedPlan, Service
    from farthing.ledger.watches import Look, Watch, Watched, Watching

logger = logging.getLogger("farthing.gateway")

Alarm = Literal["widened", "warned"]
FRESH_S = 1.0
"""Seconds between looks at the watches."""
NODE = "alarm"
"""The node of the attempts that were made while a plan was widened."""


class Widened(Single):
    """Passes every request to `model`, the strongest, in place of a plan with an alarm."""

    __slots__ = ()

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The model's own answer."""
        return await operation.call(self.model, request, node=NODE, final=True)


class AlarmedOperation(_Operation):
    """An operation of a plan with an alarm that stays as it is."""

    alarm: ClassVar[Alarm] = "warned"


class WidenedOperation(AlarmedOperation):
    """An operation of a plan with an alarm that is answered by its strongest model."""

    alarm: ClassVar[Alarm] = "widened"


def with_alarms(plans: Mapping[str, ServedPlan], alarmed: Iterable[str]) -> dict[str, ServedPlan]:
    """The plans; those in `alarmed` are widened, and promise nothing then, or only say so."""
    found = dict(plans)
    for name in alarmed:
        plan = plans[name]
        if plan.on_alarm == "warn":
            found[name] = replace(plan, alarm="warned")
        else:
            found[name] = replace(
                plan,
                policy=Widened(plan.models[-1]),
                budget=None,
                alpha=None,
                alarm="widened",
            )
    return plans.with_plans(found) if isinstance(plans, NamedPlans) else found


def kind_of(plan: ServedPlan | None) -> type[_Operation]:
    """What kind of operation a request to `plan` is."""
    if plan is None or plan.alarm is None:
        return _Operation
    return WidenedOperation if plan.alarm == "widened" else AlarmedOperation


class Certificates:
    """The watches on the plans that a gateway serves.

    While the ledger is away, what was known last is believed.

    Attributes:
        watches: by plan and digest of its file, as far as they have been looked at.
        alarmed: those of them with an alarm.
    """

    def __init__(self, where: Where) -> None:
        self.address = Address.of(where)
        self.watches: dict[tuple[str, str], Watch] = {}
        self.alarmed: frozenset[tuple[str, str]] = frozenset()
        self._watching: Watching | None = None
        self._is_away = False

    def has_alarm(self, watched: Watched | None) -> bool:
        """Whether there is an alarm for the certificate `watched`."""
        return watched is not None and (watched.plan, watched.digest) in self.alarmed

    async def read(self, plans: Mapping[str, ServedPlan]) -> list[Look]:
        """Look at the watches on `plans` now; returns what this process was first to find.

        A ledger that cannot be read is logged once, until it is back.
        """
        served = [plan for plan in plans.values() if plan.watched is not None]
        if not served:
            return []
        try:
            looks = await asyncio.to_thread(self._looks, served)
        except LedgerError as error:
            if not self._is_away:
                logger.warning("%s; they are believed to be as they were", error)
            self._is_away = True
            return []
        self._is_away = False
        for plan, look in zip(served, looks, strict=True):
            self._see(plan, look.watch)
        return [look for look in looks if look.alarm or look.drift]

    async def keep(self, service: Service) -> None:
        """Look again and again at the plans that `service` has by then, and tell its alerts."""
        while True:
            await asyncio.sleep(FRESH_S)
            await self.tell(service)

    async def tell(self, service: Service) -> None:
        """Look now, and tell the alerts of `service` what is new."""
        plans = service.plans
        for look in await self.read(plans):
            plan = plans[look.watch.plan]
            if look.alarm:
                service.alerts.alarmed(_told(look.watch, plan), service.drains)
            if look.drift:
                service.alerts.alarmed(_told_of_drift(look.watch), service.drains)

    def picture(self, plans: Mapping[str, ServedPlan]) -> dict[str, Watch]:
        """What is known of the plans served, by name."""
        found = {}
        for name, plan in plans.items():
            if plan.watched is not None:
                watch = self.watches.get((name, plan.watched.digest))
                if watch is not None:
                    found[name] = watch
        return found

    def close(self) -> None:
        """Close the database."""
        if self._watching is not None:
            self._watching.close()

    def _looks(self, plans: Iterable[ServedPlan]) -> list[Look]:
        if self._watching is None:
            from farthing.ledger.watches import Watching

            self._watching = Watching(self.address)
        watching = self._watching
        return [watching.look(p.watched, fresh_s=FRESH_S / 2) for p in plans if p.watched]

    def _see(self, plan: ServedPlan, watch: Watch) -> None:
        """Note a watch, and log what is new in it to this process."""
        key = (watch.plan, watch.digest)
        before = self.watches.get(key)
        self.watches[key] = watch
        if watch.alarm_at is not None and (before is None or before.alarm_at is None):
            logger.warning("%s", _told(watch, plan)["message"])
            self.alarmed |= {key}
        if watch.drift_at is not None and (before is None or before.drift_at is None):
            logger.warning("%s", _told_of_drift(watch)["message"])


def _told(watch: Watch, plan: ServedPlan) -> dict[str, Any]:
    """An alarm, for people and for machines."""
    widened = plan.on_alarm == "widen"
    then = f"it is answered by {plan.models[-1]} alone" if widened else "it goes on as it is"
    return {
        "event": "certificate_alarm",
        "action": "widened" if widened else "warned",
        **watch.as_json(),
        "message": (
            f"plan {watch.plan!r}: its certificate does not hold as of {watch.alarm_at}: "
            f"{watch.monitor.violations} of {watch.operations} requests cost more than "
            f"{watch.budget} USD, where {watch.alpha:.3g} of them may; {then} until it is made "
            f"anew from what its models answer now: {watch.advice}"
        ),
    }


def _told_of_drift(watch: Watch) -> dict[str, Any]:
    """That costs are not as they were recorded, for people and for machines."""
    return {
        "event": "certificate_drift",
        "action": "warned",
        **watch.as_json(),
        "message": (
            f"plan {watch.plan!r}: what requests cost is not as it was recorded, as of "
            f"{watch.drift_at}; its certificate may not hold: make it anew from what its models "
            f"answer now: {watch.advice}"
        ),
    }
