"""The off switch: while it is on, every plan is answered by its strongest model at once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from farthing.budgets import Operation as _Operation
from farthing.core.errors import LedgerError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.gateway.named_plans import NamedPlans
from farthing.ledger.address import Address, Where
from farthing.ledger.editing import Editor
from farthing.ledger.engines import cause, engine_for, reading
from farthing.ledger.schema import meta
from farthing.ledger.values import timestamp
from farthing.policies import Single

if TYPE_CHECKING:
    from farthing.gateway.service import ServedPlan

logger = logging.getLogger("farthing.gateway")

FRESH_S = 1.0
"""Seconds between readings of the switch."""
NODE = "bypass"
"""The node of the attempts that were made while plans were switched off."""
_KEY = "bypass"


@dataclass(frozen=True, slots=True)
class Switch:
    """The switch of a ledger.

    Attributes:
        on: whether plans are switched off.
        since: when it was set last, as the ledger writes times; None if it never was.
    """

    on: bool = False
    since: str | None = None


class Straight(Single):
    """Passes every request to `model`, in place of a plan."""

    __slots__ = ()

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The model's own answer."""
        return await operation.call(self.model, request, node=NODE, final=True)


class BypassedOperation(_Operation):
    """An operation whose plan is switched off."""


def straightened(plans: Mapping[str, ServedPlan]) -> dict[str, ServedPlan]:
    """The plans, each answered by its strongest model; they promise nothing."""
    changed = {name: _straight(plan) for name, plan in plans.items()}
    return plans.with_plans(changed, _straight) if isinstance(plans, NamedPlans) else changed


def _straight(plan: ServedPlan) -> ServedPlan:
    return replace(plan, policy=Straight(plan.models[-1]), budget=None, alpha=None)


class SwitchEditor(Editor):
    """A ledger whose switch can be set. Gateways see it within two seconds."""

    def set(self, on: bool) -> bool:
        """Switch plans off or on again; False if it was so before.

        Raises LedgerError if the ledger cannot be written.
        """
        with self._writing() as connection:
            text = connection.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
            if _read(text).on == on:
                return False
            value = json.dumps({"on": on, "since": timestamp(datetime.now(UTC))})
            row = meta.c.key == _KEY
            if text is None:
                connection.execute(insert(meta), {"key": _KEY, "value": value})
            else:
                connection.execute(update(meta).where(row).values(value=value))
            return True


def read_switch(where: Where) -> Switch:
    """The switch of the ledger at `where`, which need not exist yet; may raise LedgerError."""
    address = Address.of(where)
    if address.path is not None and not address.path.exists():
        return Switch()
    with reading(where) as connection:
        query = select(meta.c.value).where(meta.c.key == _KEY)
        return _read(connection.execute(query).scalar())


class SwitchReader:
    """The switch, for a gateway that asks about every request.

    It is read every `FRESH_S` seconds; while the ledger is away, the last state is believed.
    """

    def __init__(self, where: Where) -> None:
        self.address = Address.of(where)
        self.switch = Switch()
        self._engine: Engine = engine_for(self.address, "read")
        self._is_away = False

    @property
    def on(self) -> bool:
        """Whether plans are switched off, as far as is known."""
        return self.switch.on

    async def read(self) -> None:
        """Read it now; a ledger that cannot be read is logged once, until it is back."""
        try:
            found = await asyncio.to_thread(self._read)
        except LedgerError as error:
            if not self._is_away:
                logger.warning("%s; it is believed to be as it was", error)
            self._is_away = True
            return
        self._is_away = False
        if found.on != self.switch.on:
            said = "plans are switched off" if found.on else "plans are switched on again"
            logger.warning("%s, as of %s", said, found.since)
        self.switch = found

    async def keep(self) -> None:
        """Read it again and again."""
        while True:
            await asyncio.sleep(FRESH_S)
            await self.read()

    def _read(self) -> Switch:
        try:
            with self._engine.begin() as connection:
                query = select(meta.c.value).where(meta.c.key == _KEY)
                return _read(connection.execute(query).scalar())
        except SQLAlchemyError as error:
            message = f"cannot read the switch in {self.address}: {cause(error)}"
            raise LedgerError(message) from None

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()


def _read(text: str | None) -> Switch:
    """The switch as it is written; whatever else stands there leaves plans on."""
    try:
        told = json.loads(text or "{}")
        return Switch(told.get("on") is True, told.get("since"))
    except (ValueError, AttributeError):
        return Switch()
