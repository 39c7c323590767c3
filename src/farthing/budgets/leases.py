"""Budgets that several processes share: each spends from a lease of its own.

A process may let begin what its lease covers, without asking. The leases and what is spent together
never exceed the limit, whoever else takes leases at the same time: a renewal locks the limits that
it touches. What a lease must cover is what is in flight and what is pending: charged, but not in
the shared sums yet. What it has beyond that is a part of what is free, so that little is idle
elsewhere when a budget runs out.

A process that dies leaves its lease behind; see `recovery`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from farthing.ledger.inserting import addition
from farthing.ledger.schema import budgets, gateways, leases, spending
from farthing.ledger.values import timestamp

Sums = dict[datetime, int]
"""Picodollars by the beginning of the part of a window in which they are summed up."""
SPARE = 4
"""A process takes at most the SPAREth part of its share of what is free beyond what it needs."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process asks of a limit. Amounts are what the limit counts, such as picodollars.

    Attributes:
        number: of the limit's counting.
        most: the limit.
        in_flight: what must be covered, besides what is pending.
        waiting: what those who wait for this renewal need beyond that.
        lease: what the process has. It gets no less, but for what is pending no longer.
        spare: whether it wants more than it needs.
        pending: what it was charged and did not know to be in the sums.
        charged: what it was charged, by the part of the window that it is summed up in.
        since: beginning of the window; None if nothing is summed up.
    """

    number: int
    most: int
    in_flight: int
    waiting: int
    lease: int
    spare: bool = True
    pending: int = 0
    charged: Mapping[datetime, int] = field(default_factory=dict)
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What it gets.

    Attributes:
        lease: all that it has now.
        elsewhere: what the others have.
        spare: what it may have beyond its need.
        spent: sums of charges of all processes, by the part of the window.
        own: those of this process.
        dry: not all who wait could be given what they need.
    """

    lease: int
    elsewhere: int
    spare: int
    spent: Mapping[datetime, int]
    own: Mapping[datetime, int]
    dry: bool


def register(connection: Connection, gateway: str, now: datetime) -> None:
    """Make a process known, before it takes its first lease."""
    values = {"id": gateway, "started_at": timestamp(now), "seen_at": timestamp(now)}
    connection.execute(insert(gateways), values)


def sign(connection: Connection, gateway: str, now: datetime) -> bool:
    """Show that a process lives; False if another one took it for dead."""
    alive = and_(gateways.c.id == gateway, gateways.c.ended_at.is_(None))
    done = connection.execute(update(gateways).where(alive).values(seen_at=timestamp(now)))
    return done.rowcount == 1


def others(connection: Connection, gateway: str) -> dict[str, str]:
    """The other processes that have not ended, with the time of their last sign."""
    query = select(gateways.c.id, gateways.c.seen_at).where(
        gateways.c.ended_at.is_(None), gateways.c.id != gateway
    )
    return {row.id: row.seen_at for row in connection.execute(query)}


def renew(
    connection: Connection, gateway: str, claims: Sequence[Claim], *, processes: int
) -> list[Grant]:
    """Give a process leases on as much as it asks for and there is.

    Args:
        processes: how many there are.
    """
    numbers = sorted(claim.number for claim in claims)
    lock(connection, numbers)
    # Leases are read before sums: what others report meanwhile counts twice rather than never.
    held: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for row in connection.execute(select(leases).where(leases.c.counted_as.in_(numbers))):
        held[row.counted_as][row.gateway] = row.pico
    grants = []
    for claim in claims:
        sums = _sums(connection, claim, gateway)
        mine = held[claim.number].pop(gateway, None)
        grant = _grant(claim, *sums, sum(held[claim.number].values()), max(1, processes))
        grants.append(grant)
        key = {"counted_as": claim.number, "gateway": gateway}
        if mine is None:
            connection.execute(insert(leases), key | {"pico": grant.lease})
        elif mine != grant.lease:
            own = and_(leases.c.counted_as == claim.number, leases.c.gateway == gateway)
            connection.execute(update(leases).where(own).values(pico=grant.lease))
    return grants


def _sums(connection: Connection, claim: Claim, gateway: str) -> tuple[Sums, Sums]:
    """What is summed up in the claim's window, of all processes and of this one.

    Its own sums of what is over are removed.
    """
    if claim.since is None:
        return {}, {}
    own = spending.c.gateway == gateway
    over = and_(
        spending.c.counted_as == claim.number, own, spending.c.since < timestamp(claim.since)
    )
    connection.execute(delete(spending).where(over))
    return (
        spent_since(connection, claim.number, claim.since),
        spent_since(connection, claim.number, claim.since, own),
    )


def _grant(claim: Claim, spent: Sums, own: Sums, elsewhere: int, processes: int) -> Grant:
    free = claim.most - sum(spent.values()) - elsewhere
    pending = still_pending(claim.charged, own)
    exposure = max(0, claim.in_flight + pending)
    need = exposure + claim.waiting
    spare = max(0, free - need) // (SPARE * processes) if claim.spare else 0
    kept = claim.lease - (claim.pending - pending)
    lease = max(kept, exposure, min(need + spare, free))
    return Grant(lease, elsewhere, spare, spent, own, free < need)


def still_pending(charged: Mapping[datetime, int], own: Mapping[datetime, int]) -> int:
    """What a process was charged, and is not in its sums.

    Negative if more is in them than it was charged when it claimed: that was in flight then.
    """
    return sum(charged.get(since, 0) - own.get(since, 0) for since in {*charged, *own})


def lock(connection: Connection, numbers: Sequence[int]) -> None:
    """Let nobody else renew leases on these limits until the transaction ends.

    On SQLite, whose transactions write one after the other, there is nothing to do.
    """
    if connection.dialect.name != "sqlite":
        rows = select(budgets.c.number).where(budgets.c.number.in_(numbers))
        connection.execute(rows.order_by(budgets.c.number).with_for_update()).all()


def spent_since(
    connection: Connection, number: int, since: datetime, *conditions: ColumnElement[bool]
) -> Sums:
    """The sums of charges of a counting from `since` on, in the order of time."""
    query = (
        select(spending.c.since, func.sum(spending.c.pico))
        .where(spending.c.counted_as == number, spending.c.since >= timestamp(since), *conditions)
        .group_by(spending.c.since)
        .order_by(spending.c.since)
    )
    found = connection.execute(query).all()
    return {datetime.fromisoformat(at): int(pico) for at, pico in found}


def end(connection: Connection, gateway: str, now: datetime) -> None:
    """Give all leases back when a process ends."""
    connection.execute(delete(leases).where(leases.c.gateway == gateway))
    values = {"ended_at": timestamp(now), "ended_by": gateway}
    connection.execute(update(gateways).where(gateways.c.id == gateway).values(**values))


def add_spending(connection: Connection, number: int, gateway: str, since: str, pico: int) -> None:
    """Add to the sum of a counting, a process and a part of the window."""
    values = {"counted_as": number, "gateway": gateway, "since": since, "pico": pico}
    connection.execute(addition(connection.dialect.name), values)
