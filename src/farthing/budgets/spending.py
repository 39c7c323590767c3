"""What the ledger says was spent under a budget, and what it teaches about costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, or_, select, true

from farthing.budgets.leases import add_spending, spent_since
from farthing.budgets.stored import StoredBudget, StoredRate, read_limits
from farthing.budgets.windows import Spent
from farthing.core.money import Cost
from farthing.ledger.address import Where
from farthing.ledger.engines import reading
from farthing.ledger.queries import input_tokens
from farthing.ledger.schema import (
    attempts,
    charges,
    gateways,
    operations,
    outcomes,
    reservations,
    spending,
)
from farthing.ledger.tags import tag
from farthing.ledger.values import timestamp
from farthing.risk.binomial import interval

_LONGEST = timedelta(days=1)  # that an operation can last; spares a look at all that ever began
_TAUGHT = 2000  # operations that are looked at for what they cost
_ENVELOPE_TOKENS = 16  # of the JSON around a prompt, which admission counts too
_BEFORE = "~"  # what was spent before; alone, by processes that had ended when the budget began

Lesson = tuple[str, int, Cost, float]
"""Route, class of length, cost and duration in seconds, for `Admission.learn`."""


def history(
    connection: Connection, stored: StoredBudget, now: datetime, whose: ColumnElement[bool]
) -> list[tuple[datetime, int]]:
    """Picodollars spent in the budget's present window and not charged under it, by time.

    Money is spent when its operation ends. Costs that are unknown do not count. Rolling windows
    get sums by the second, or by the minute if longer than an hour, each dated at its last amount.

    Args:
        whose: a condition on operations.
    """
    ended = func.coalesce(outcomes.c.finished_at, operations.c.started_at)
    begins = stored.begins(now)
    held = exists().where(
        reservations.c.operation_id == operations.c.id,
        reservations.c.counted_as == stored.counted_as,
    )
    conditions = [
        _scope(stored.budget.scope),
        whose,
        attempts.c.cost_pico.is_not(None),
        ended >= timestamp(begins),
        operations.c.started_at >= timestamp(begins - _LONGEST),
        ~held,
    ]
    rows = (
        select(func.sum(attempts.c.cost_pico), func.max(ended))
        .select_from(operations)
        .join(attempts, attempts.c.operation_id == operations.c.id)
        .outerjoin(outcomes, outcomes.c.operation_id == operations.c.id)
        .where(and_(*conditions))
    )
    if (rolling := stored.budget.window.rolling) is not None:
        by_second = rolling <= timedelta(hours=1)
        cut = func.substr(ended, 1, 19 if by_second else 16).label("cut")
        rows = rows.add_columns(cut).group_by("cut").order_by("cut")
    found = connection.execute(rows).all()
    return [(datetime.fromisoformat(at), int(pico)) for pico, at, *_ in found if pico is not None]


def take_over(connection: Connection, stored: StoredBudget, gateway: str, now: datetime) -> None:
    """Sum up what `gateway` spent before it knew of the budget.

    The first to come also sums up what those spent that had ended before. Each operation is
    one process's, so that it counts once. The budget must be locked, and what the gateway has in
    flight be booked as reserved.
    """
    add_own_history(connection, stored, gateway, now)
    if not is_summed_up(connection, stored, _BEFORE):
        add_spending(connection, stored.counted_as, _BEFORE, timestamp(stored.since(now)), 0)
        alive = select(gateways.c.id).where(gateways.c.ended_at.is_(None))
        ended = or_(operations.c.gateway.is_(None), operations.c.gateway.not_in(alive))
        _add_history(connection, stored, _BEFORE, now, ended)


def add_own_history(
    connection: Connection, stored: StoredBudget, gateway: str, now: datetime
) -> None:
    """Sum up what a gateway spent before it knew of the budget, once, apart from its charges."""
    name = gateway + _BEFORE
    if not is_summed_up(connection, stored, name):
        add_spending(connection, stored.counted_as, name, timestamp(stored.since(now)), 0)
        _add_history(connection, stored, name, now, operations.c.gateway == gateway)


def _add_history(
    connection: Connection,
    stored: StoredBudget,
    name: str,
    now: datetime,
    whose: ColumnElement[bool],
) -> None:
    """Sum up the `history` of operations, under a name of a gateway."""
    for at, pico in history(connection, stored, now, whose):
        since = timestamp(stored.since(at))
        add_spending(connection, stored.counted_as, name, since, pico)


def is_summed_up(connection: Connection, stored: StoredBudget, name: str) -> bool:
    """Whether anything is summed up under a gateway's name."""
    query = select(spending.c.pico).where(
        spending.c.counted_as == stored.counted_as, spending.c.gateway == name
    )
    return connection.execute(query).first() is not None


def lessons(connection: Connection) -> list[Lesson]:
    """What the latest operations cost whose costs are all known, in the order of time."""
    recent = (
        select(operations)
        .order_by(operations.c.started_at.desc())
        .limit(_TAUGHT)
        .subquery("recent")
    )
    length = func.max(case((attempts.c.number == 0, input_tokens)))
    cost = func.sum(attempts.c.cost_pico)
    query = (
        select(
            func.coalesce(recent.c.plan, recent.c.requested),
            length,
            cost,
            recent.c.started_at,
            outcomes.c.finished_at,
        )
        .select_from(recent)
        .join(outcomes, outcomes.c.operation_id == recent.c.id)
        .join(attempts, attempts.c.operation_id == recent.c.id)
        .where(outcomes.c.status == "ok")
        .group_by(
            recent.c.id,
            recent.c.plan,
            recent.c.requested,
            recent.c.started_at,
            outcomes.c.finished_at,
        )
        .having(func.count(attempts.c.cost_pico) == func.count(), cost > 0, length.is_not(None))
        .order_by(outcomes.c.finished_at)
    )
    return [
        (
            route,
            (int(tokens) + _ENVELOPE_TOKENS).bit_length(),
            Cost(int(pico)),
            (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds(),
        )
        for route, tokens, pico, began, ended in connection.execute(query)
    ]


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A budget as the ledger knows it.

    Attributes:
        spent: in the present window; `assumed` is the part of it that was charged for unknown
            costs, or for operations that were lost.
        held: what is reserved for operations in flight, of which there are `open`.
        settled, exceeded: how many operations were charged a known cost in the present window,
            and how many of these cost more than was reserved for them. To be compared with the
            budget's alpha.
        resets_at: when the window begins anew, or its oldest amount leaves it; None if never.
    """

    stored: StoredBudget
    spent: Cost
    assumed: Cost
    held: Cost
    open: int
    settled: int
    exceeded: int
    resets_at: datetime | None

    @property
    def rate(self) -> float | None:
        """The share of operations that cost more than was reserved; None if none settled."""
        return self.exceeded / self.settled if self.settled else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `rate`, for operations that are independent."""
        return interval(self.exceeded, self.settled)


def list_budgets(where: Where) -> tuple[list[BudgetStatus], list[StoredRate]]:
    """The budgets and rate limits in the ledger at `where`, by name.

    Raises LedgerError if there is no ledger, or it cannot be read.
    """
    now = datetime.now(UTC)
    with reading(where) as connection:
        budgets, rates = read_limits(connection)
        return [_status(connection, stored, now) for stored in budgets], rates


def _status(connection: Connection, stored: StoredBudget, now: datetime) -> BudgetStatus:
    begins, window = stored.begins(now), stored.budget.window
    counted = Spent(window)
    for at, pico in _spent(connection, stored, now):
        counted.add(pico, min(now, at + window.part))
    mine = and_(
        charges.c.budget == stored.budget.name,
        charges.c.counted_as == stored.counted_as,
        charges.c.at >= timestamp(begins),
    )
    known = and_(charges.c.basis == "counted", charges.c.pico > 0)
    assumed, settled, exceeded = connection.execute(
        select(
            func.sum(case((charges.c.basis != "counted", charges.c.pico), else_=0)),
            func.sum(case((known, 1), else_=0)),
            func.sum(case((and_(known, charges.c.pico > charges.c.held_pico), 1), else_=0)),
        ).where(mine)
    ).one()
    charged = exists().where(
        charges.c.operation_id == reservations.c.operation_id,
        charges.c.budget == reservations.c.budget,
    )
    held, count = connection.execute(
        select(func.sum(reservations.c.held_pico), func.count()).where(
            reservations.c.gateway.in_(select(gateways.c.id).where(gateways.c.ended_at.is_(None))),
            reservations.c.counted_as == stored.counted_as,
            reservations.c.at >= timestamp(now - _LONGEST),
            ~charged,
        )
    ).one()
    return BudgetStatus(
        stored,
        Cost(counted.at(now)),
        Cost(int(assumed or 0)),
        Cost(int(held or 0)),
        count,
        int(settled or 0),
        int(exceeded or 0),
        counted.resets_at(now),
    )


def _spent(
    connection: Connection, stored: StoredBudget, now: datetime
) -> Iterable[tuple[datetime, int]]:
    if is_summed_up(connection, stored, _BEFORE):
        return spent_since(connection, stored.counted_as, stored.begins(now)).items()
    return history(connection, stored, now, true())  # no gateway has seen it yet


def _scope(scope: str) -> ColumnElement[Any]:
    """The condition on operations, or their attempts, that fall under a scope; see
    `limits.scopes`."""
    kind, _, name = scope.partition(":")
    if kind == "key":
        return operations.c.key == name
    if kind == "plan":
        return operations.c.plan == name
    if kind == "model":
        return attempts.c.model == name
    if kind == "tag":
        kind, _, name = name.partition("=")
    if scope == "all":
        return true()
    return tag(kind) == name
