"""What becomes of the requests of a process that died.

It leaves reservations without charges, and a lease. When another process has seen it make no sign
for `DEAD_AFTER_S`, by its own monotonic clock, it charges these, once, and ends the lease.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, case, delete, exists, func, select, update

from farthing.budgets.leases import add_spending
from farthing.budgets.spending import add_own_history
from farthing.budgets.stored import StoredBudget
from farthing.core.money import Cost
from farthing.ledger.inserting import insertion
from farthing.ledger.rows import ChargeRow, OutcomeRow
from farthing.ledger.schema import (
    attempts,
    charges,
    gateways,
    leases,
    operations,
    outcomes,
    reservations,
)
from farthing.ledger.values import charge_values, outcome_values, timestamp

DEAD_AFTER_S = 10.0
_LONGEST = timedelta(days=1)  # that an operation can last
_AT_ONCE = 500  # charges in one statement


def recover(
    connection: Connection,
    gateway: str,
    in_force: Iterable[StoredBudget],
    now: datetime,
    *,
    by: str,
) -> int:
    """Charge what a dead process left in flight, mark it, and free its leases; once.

    An operation whose end is booked and whose costs are all known is charged these. Of
    any other, what was held for it is charged, or what is known if that is more, with the
    basis "lost"; if its end was not booked, it is booked as "lost".

    Returns how many operations were in flight.
    """
    alive = and_(gateways.c.id == gateway, gateways.c.ended_at.is_(None))
    values = {"ended_at": timestamp(now), "ended_by": by}
    if connection.execute(update(gateways).where(alive).values(**values)).rowcount == 0:
        return 0
    in_force = list(in_force)
    for stored in in_force:
        add_own_history(connection, stored, gateway, now)
    found = _left_open(connection, gateway, {stored.counted_as: stored for stored in in_force}, now)
    for start in range(0, len(found), _AT_ONCE):
        _charge(connection, found[start : start + _AT_ONCE])
    lost = _without_outcome(connection, gateway)
    if lost:
        error = "the gateway that had it died"
        rows = [outcome_values(OutcomeRow(id, now, "lost", error=error)) for id in lost]
        once = insertion(outcomes, connection.dialect.name).on_conflict_do_nothing()
        connection.execute(once, rows)
    connection.execute(delete(leases).where(leases.c.gateway == gateway))
    return len({row.operation_id for row in found} | set(lost))


def _charge(connection: Connection, rows: list[ChargeRow]) -> None:
    """Book charges, but for those that the process, alive after all, books at this moment."""
    once = insertion(charges, connection.dialect.name)
    statement = once.values([charge_values(row) for row in rows])
    keys = (charges.c.operation_id, charges.c.budget)
    added = connection.execute(statement.on_conflict_do_nothing().returning(*keys))
    booked = {tuple(key) for key in added}
    _add_up(connection, [row for row in rows if (row.operation_id, row.budget) in booked])


def _left_open(
    connection: Connection, gateway: str, in_force: Mapping[int, StoredBudget], now: datetime
) -> list[ChargeRow]:
    same = and_(
        charges.c.operation_id == reservations.c.operation_id,
        charges.c.budget == reservations.c.budget,
    )
    of_operation = attempts.c.operation_id == reservations.c.operation_id
    known = select(func.sum(attempts.c.cost_pico)).where(of_operation).scalar_subquery()
    unknown = exists().where(of_operation, attempts.c.cost_pico.is_(None))
    ended = exists().where(
        outcomes.c.operation_id == reservations.c.operation_id,
        outcomes.c.status.in_(("ok", "failed")),
    )
    query = select(
        reservations, known.label("known"), case((and_(ended, ~unknown), 1), else_=0).label("sure")
    ).where(reservations.c.gateway == gateway, ~exists().where(same))
    rows = []
    for row in connection.execute(query):
        stored, cost = in_force.get(row.counted_as), int(row.known or 0)
        rows.append(
            ChargeRow(
                row.operation_id,
                row.budget,
                row.counted_as,
                Cost(cost if row.sure else max(cost, row.held_pico)),
                Cost(row.held_pico),
                now,
                now if stored is None else stored.since(now),
                gateway,
                "counted" if row.sure else "lost",
            )
        )
    return rows


def _without_outcome(connection: Connection, gateway: str) -> list[str]:
    row = connection.execute(
        select(gateways.c.started_at, gateways.c.seen_at).where(gateways.c.id == gateway)
    ).one()
    seen = datetime.fromisoformat(row.seen_at)
    earliest = max(row.started_at, timestamp(seen - _LONGEST))
    query = select(operations.c.id).where(
        operations.c.started_at >= earliest,
        operations.c.gateway == gateway,
        ~exists().where(outcomes.c.operation_id == operations.c.id),
    )
    return list(connection.scalars(query))


def _add_up(connection: Connection, rows: Iterable[ChargeRow]) -> None:
    """Add charges to the shared sums."""
    sums: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    for row in rows:
        sums[row.counted_as, row.gateway, timestamp(row.since)] += row.cost.pico
    for (number, gateway, since), pico in sums.items():
        add_spending(connection, number, gateway, since, pico)
