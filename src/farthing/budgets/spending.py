"""What the ledger says was spent under a budget."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from farthing.budgets.stored import StoredBudget, read_budgets
from farthing.budgets.windows import Spent, Window
from farthing.core.money import Cost
from farthing.ledger.address import Where
from farthing.ledger.engines import reading
from farthing.ledger.schema import attempts, operations, outcomes, timestamp
from farthing.ledger.tags import tag

_LONGEST = timedelta(days=1)  # that an operation can last; spares a look at all that ever began


def spent(
    connection: Connection,
    stored: StoredBudget,
    now: datetime,
    *,
    before: datetime | None = None,
    without: Collection[str] = (),
) -> list[tuple[datetime, int]]:
    """Picodollars spent in the budget's present window, by time, for `windows.Spent`.

    Money is spent when its operation ends. Costs that are unknown do not count. Rolling windows
    get sums by the second, or by the minute if longer than an hour, each dated at its last amount.

    Args:
        before: count only operations that began earlier.
        without: identifiers of operations that are not counted.
    """
    ended = func.coalesce(outcomes.c.finished_at, operations.c.started_at)
    window = stored.budget.window
    conditions = [_scope(stored.budget.scope), attempts.c.cost_pico.is_not(None)]
    if (start := window_start(stored, now)) is not None:
        conditions.append(ended >= timestamp(start))
        conditions.append(operations.c.started_at >= timestamp(start - _LONGEST))
    if before is not None:
        conditions.append(operations.c.started_at < timestamp(before))
    if without:
        conditions.append(operations.c.id.not_in(list(without)))
    rows = (
        select(func.sum(attempts.c.cost_pico), func.max(ended))
        .select_from(operations)
        .join(attempts, attempts.c.operation_id == operations.c.id)
        .outerjoin(outcomes, outcomes.c.operation_id == operations.c.id)
        .where(and_(true(), *conditions))
    )
    if window.rolling is not None:
        by_second = window.rolling <= timedelta(hours=1)
        cut = func.substr(ended, 1, 19 if by_second else 16).label("cut")
        rows = rows.add_columns(cut).group_by("cut").order_by("cut")
    found = connection.execute(rows).all()
    return [(datetime.fromisoformat(at), int(pico)) for pico, at, *_ in found if pico is not None]


def window_start(stored: StoredBudget, now: datetime) -> datetime | None:
    """From when what is spent counts at `now`."""
    window: Window = stored.budget.window
    if window.rolling is not None:
        return now - window.rolling
    return window.start(now) or stored.began_at


def list_budgets(where: Where) -> list[tuple[StoredBudget, Cost, datetime | None]]:
    """The budgets in the ledger at `where` with what is spent and when they reset, by name.

    Raises LedgerError if there is no ledger, or it cannot be read.
    """
    now = datetime.now(UTC)
    listed = []
    with reading(where) as connection:
        for stored in read_budgets(connection):
            counted = Spent(stored.budget.window)
            for at, pico in spent(connection, stored, now):
                counted.add(pico, at)
            listed.append((stored, Cost(counted.at(now)), counted.resets_at(now)))
    return listed


def _scope(scope: str) -> ColumnElement[Any]:
    """The condition on operations that fall under a scope; see `limits.scopes`."""
    kind, _, name = scope.partition(":")
    if kind == "key":
        return operations.c.key == name
    if kind == "plan":
        return operations.c.plan == name
    if kind == "model":
        return and_(operations.c.plan.is_(None), operations.c.requested == name)
    if kind == "tag":
        kind, _, name = name.partition("=")
    if scope == "all":
        return true()
    return tag(kind) == name
