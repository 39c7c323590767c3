"""What is too old is removed by rule, in small transactions, and each removal is booked."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger.address import Where
from farthing.ledger.engines import cause, open_to_write
from farthing.ledger.schema import (
    attempts,
    charges,
    metadata,
    operations,
    outcomes,
    removals,
    reservations,
    samples,
)
from farthing.ledger.values import timestamp

logger = logging.getLogger("farthing.ledger")

Removed = Literal["operations", "texts"]

_BATCH = 200  # operations in one transaction
_DAY_S = 86_400.0
_LATER_S = 60.0
_MOST_PICO = 2**62  # in one row of `removals`
_DAYS = re.compile(r"([1-9]\d{0,4})d")

_OF_OPERATIONS = [
    table
    for table in reversed(metadata.sorted_tables)
    if any(key.column is operations.c.id for key in table.foreign_keys)
]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long operations, and their texts, are kept; None is for ever."""

    keep: timedelta | None = None
    keep_texts: timedelta | None = None


def days(text: str) -> timedelta:
    """A time such as "90d"; LedgerError if it is none."""
    found = _DAYS.fullmatch(text)
    if found is None:
        raise LedgerError(f'{text!r} is no time to keep; write whole days, such as "90d"')
    return timedelta(days=int(found[1]))


class Removal:
    """Removes what began before a moment, step by step.

    An operation goes with its attempts, samples, outcome, reservations and charges. One that has
    no outcome, or a reservation that was not settled, stays. Texts are the prompts and the
    verbatim answers; what was read from them, and what it cost, stays.

    Args:
        kind: what is removed.
        before: what began then or later is kept.
        counts_only: change nothing.

    Attributes:
        operations, attempts: how many have lost something.
        cost: of the attempts that are gone, as far as it is known.
        unknown_cost: attempts that are gone whose cost was not known.
    """

    def __init__(self, kind: Removed, before: datetime, *, counts_only: bool = False) -> None:
        self.kind, self.before = kind, before
        self.operations = self.attempts = self.unknown_cost = 0
        self.cost = Cost(0)
        self._counts_only = counts_only
        self._after: tuple[str, str] | None = None
        self._number: int | None = None
        self._booked_pico = 0

    def step(self, connection: Connection) -> bool:
        """Remove a little, in one transaction with what is booked of it.

        Returns whether there may be more.
        """
        with connection.begin():
            found = self._next(connection)
            ids = [id for _, id in found]
            step = _Step(len(ids))
            if ids:
                remove = _remove_operations if self.kind == "operations" else _remove_texts
                remove(connection, ids, step, self._counts_only)
                if not self._counts_only:
                    self._book(connection, step)
        self.operations += step.operations
        self.attempts += step.attempts
        self.cost += Cost(step.pico)
        self.unknown_cost += step.unknown_cost
        if found:
            self._after = found[-1]
        return bool(found)

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; the amount is a decimal string in USD."""
        return {
            "kind": self.kind,
            "before": timestamp(self.before),
            "operations": self.operations,
            "attempts": self.attempts,
            "cost_usd": str(self.cost),
            "unknown_cost_attempts": self.unknown_cost,
        }

    def _next(self, connection: Connection) -> list[tuple[str, str]]:
        place = (operations.c.started_at, operations.c.id)
        query = (
            select(*place)
            .where(operations.c.started_at < timestamp(self.before))
            .where(_FINISHED if self.kind == "operations" else _HAS_TEXT)
            .order_by(*place)
            .limit(_BATCH)
            .with_for_update(of=operations, skip_locked=True)
        )
        if self._after is not None:
            query = query.where(
                operations.c.started_at >= self._after[0], tuple_(*place) > tuple_(*self._after)
            )
        return [(row[0], row[1]) for row in connection.execute(query)]

    def _book(self, connection: Connection, step: _Step) -> None:
        """One row for the whole removal, unless it is too much money for one."""
        if self._number is None or self._booked_pico + step.pico > _MOST_PICO:
            row = {
                "at": timestamp(datetime.now(UTC)),
                "kind": self.kind,
                "before": timestamp(self.before),
                **step.columns(),
            }
            made = connection.execute(insert(removals), row).inserted_primary_key
            assert made is not None
            self._number, self._booked_pico = made[0], step.pico
            return
        more = {name: removals.c[name] + value for name, value in step.columns().items()}
        own = removals.c.number == self._number
        connection.execute(update(removals).where(own).values(more))
        self._booked_pico += step.pico


@dataclass(slots=True)
class _Step:
    operations: int
    attempts: int = 0
    pico: int = 0
    unknown_cost: int = 0

    def columns(self) -> dict[str, int]:
        return {
            "operations": self.operations,
            "attempts": self.attempts,
            "cost_pico": self.pico,
            "unknown_cost": self.unknown_cost,
        }


_unsettled = exists().where(
    reservations.c.operation_id == operations.c.id,
    ~exists().where(
        charges.c.operation_id == reservations.c.operation_id,
        charges.c.budget == reservations.c.budget,
    ),
)
_FINISHED: ColumnElement[bool] = exists().where(outcomes.c.operation_id == operations.c.id) & (
    ~_unsettled
)
_HAS_TEXT: ColumnElement[bool] = or_(
    operations.c.prompt.is_not(None),
    exists().where(
        attempts.c.operation_id == operations.c.id,
        samples.c.attempt_id == attempts.c.id,
        samples.c.text.is_not(None),
    ),
)


def _remove_operations(
    connection: Connection, ids: list[str], step: _Step, counts_only: bool
) -> None:
    costs = select(attempts.c.cost_pico).where(attempts.c.operation_id.in_(ids))
    for (pico,) in connection.execute(costs):
        step.attempts += 1
        step.pico += pico or 0
        step.unknown_cost += pico is None
    if counts_only:
        return
    owned = select(attempts.c.id).where(attempts.c.operation_id.in_(ids))
    connection.execute(delete(samples).where(samples.c.attempt_id.in_(owned)))
    for table in _OF_OPERATIONS:
        connection.execute(delete(table).where(table.c.operation_id.in_(ids)))
    connection.execute(delete(operations).where(operations.c.id.in_(ids)))


def _remove_texts(connection: Connection, ids: list[str], step: _Step, counts_only: bool) -> None:
    owned = select(attempts.c.id).where(attempts.c.operation_id.in_(ids))
    texts = samples.c.attempt_id.in_(owned) & samples.c.text.is_not(None)
    query = select(func.count(samples.c.attempt_id.distinct())).where(texts)
    step.attempts = connection.execute(query).scalar_one()
    if counts_only:
        return
    connection.execute(update(samples).where(texts).values(text=None))
    connection.execute(update(operations).where(operations.c.id.in_(ids)).values(prompt=None))


@dataclass(frozen=True, slots=True)
class Gone:
    """Operations that were removed, and so are in no sum.

    Attributes:
        before: they began before.
        cost: of their attempts, as far as it was known.
        unknown_cost: attempts whose cost was not.
    """

    before: datetime
    operations: int
    attempts: int
    cost: Cost
    unknown_cost: int

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; the amount is a decimal string in USD."""
        return {
            "before": timestamp(self.before),
            "operations": self.operations,
            "attempts": self.attempts,
            "cost_usd": str(self.cost),
            "unknown_cost_attempts": self.unknown_cost,
        }


def gone(connection: Connection, since: datetime | None = None) -> Gone | None:
    """What was removed of what began at `since` or later; None if nothing was.

    Of a removal that reaches back beyond `since`, how much lay before is not known: all counts.
    """
    query = select(removals).where(removals.c.kind == "operations")
    if since is not None:
        query = query.where(removals.c.before > timestamp(since))
    rows = connection.execute(query).all()
    if not rows:
        return None
    return Gone(
        datetime.fromisoformat(max(row.before for row in rows)),
        sum(row.operations for row in rows),
        sum(row.attempts for row in rows),
        Cost(sum(row.cost_pico for row in rows)),
        sum(row.unknown_cost for row in rows),
    )


def prune(where: Where, kind: Removed, before: datetime, *, counts_only: bool = False) -> Removal:
    """Remove what began before a moment from the ledger at `where`, while others may write to it.

    Raises LedgerError if there is no ledger, or it cannot be written.
    """
    removal = Removal(kind, before, counts_only=counts_only)
    engine = open_to_write(where, create=False)
    try:
        with engine.connect() as connection:
            while removal.step(connection):
                pass
    except SQLAlchemyError as error:
        raise LedgerError(f"cannot write to the ledger {where}: {cause(error)}") from None
    finally:
        engine.dispose()
    return removal


class Keeper:
    """Applies a rule once a day, in steps that leave others room.

    Attributes:
        due: when the next step is, on the clock of `time.monotonic`.
    """

    def __init__(self, retention: Retention) -> None:
        self.due = monotonic()
        self._retention = retention
        self._removals: list[Removal] = []

    def step(self, connection: Connection) -> None:
        """Remove a little; log what was removed when all of it is."""
        if not self._removals:
            self._removals = list(_due(self._retention))
        removal = self._removals[0]
        if removal.step(connection):
            return
        if removal.operations:
            logger.warning("removed from the ledger: %s", told(removal))
        del self._removals[0]
        if not self._removals:
            self.due = monotonic() + _DAY_S

    def wait(self) -> None:
        """Leave it for a while, since the ledger cannot be written."""
        self.due = monotonic() + _LATER_S


def _due(retention: Retention) -> list[Removal]:
    now = datetime.now(UTC)
    rules: tuple[tuple[Removed, timedelta | None], ...] = (
        ("operations", retention.keep),
        ("texts", retention.keep_texts),
    )
    return [Removal(kind, now - age) for kind, age in rules if age is not None]


def told(removal: Removal | Gone) -> str:
    """What was removed, in words."""
    before = f"that began before {timestamp(removal.before)}"
    if isinstance(removal, Removal) and removal.kind == "texts":
        return f"the texts of {removal.operations:,} operations {before}"
    unknown = f", {removal.unknown_cost:,} of them of unknown cost" if removal.unknown_cost else ""
    return (
        f"{removal.operations:,} operations {before}: {removal.cost} USD in "
        f"{removal.attempts:,} attempts{unknown}"
    )
