"""Certificates watched on live traffic, out of what the ledger has booked.

The watch on a plan file is one row of `certificates`, whichever process serves the plan: what its
monitors know, and up to which operation they have looked. Operations are taken in once, in the
order in which they began. In the order of their ends a burst of requests would look like a run of
violations, since what costs more takes longer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger.address import Address, Where
from farthing.ledger.engines import cause, engine_for, reading
from farthing.ledger.inserting import insertion
from farthing.ledger.schema import attempts, certificates, operations, outcomes
from farthing.ledger.values import timestamp
from farthing.risk import binomial
from farthing.risk.certificate import CertificateMonitor, watched_rate
from farthing.risk.exchangeability import ExchangeabilityMonitor
from farthing.risk.monitor import RateMonitor

GRACE = timedelta(seconds=2)
"""How old an operation must be to be looked at, so that no earlier one is still to be booked."""
PATIENCE = timedelta(minutes=15)
"""How long those that began later wait for an operation that is not wholly booked."""
IDLE = timedelta(seconds=10)
"""How often it is written down that there was nothing to take in."""
_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Watched:
    """A certificate that is to be watched.

    Attributes:
        plan: by which clients call it.
        digest: of the plan file; another one is watched afresh.
        models: all that it may call, the strongest last.
        budget, alpha, mode: what is promised.
        questions: that certified it.
        level: chance of a false alarm, ever; what it is when the file is first seen holds.
        edges_usd, counts: the recorded costs in bins; empty if they are not known.
    """

    plan: str
    digest: str
    models: tuple[str, ...]
    budget: Cost
    alpha: float
    mode: str
    questions: int
    level: float
    edges_usd: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    def monitor(self) -> CertificateMonitor:
        """One that has seen no request yet."""
        rate, level = watched_rate(self.alpha, self.level, mode=self.mode, questions=self.questions)
        costs = None
        if self.counts:
            costs = ExchangeabilityMonitor(
                list(self.edges_usd), self.level, counts=list(self.counts)
            )
        return CertificateMonitor(RateMonitor(rate, level), costs)


@dataclass(frozen=True, slots=True)
class Watch:
    """What live traffic says of a certificate. Times are as the ledger writes them, in UTC.

    Attributes:
        since: when the plan file was first seen.
        alarm_at: when the rate of violations was found to be too high; None if it was not.
        drift_at: when costs were found to be unlike the recorded ones; None if they were not.
    """

    plan: str
    digest: str
    models: tuple[str, ...]
    budget: Cost
    alpha: float
    mode: str
    level: float
    since: str
    seen_at: str
    alarm_at: str | None
    drift_at: str | None
    monitor: CertificateMonitor

    @property
    def operations(self) -> int:
        """Requests of known cost."""
        return self.monitor.rate.outcomes

    @property
    def rate(self) -> float | None:
        """Share of `operations` over the budget; None without any."""
        return self.monitor.violations / self.operations if self.operations else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% Clopper-Pearson interval of the rate; None without operations."""
        if not self.operations:
            return None
        return binomial.interval(self.monitor.violations, self.operations)

    @property
    def e_value(self) -> float:
        """The capital of the bets against the promise now."""
        return self.monitor.rate.e_value

    @property
    def alarm_e_value(self) -> float:
        """The capital that is an alarm: 1 / `level`, or what `watched_rate` makes of it."""
        return 1 / self.monitor.rate.delta

    @property
    def advice(self) -> str:
        """The command that makes the plan anew."""
        return (
            f"farthing plan RECORDING --models {','.join(self.models)} --budget {self.budget} "
            f"--alpha {self.alpha:g} --mode {self.mode} --name {self.plan} --out FILE"
        )

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        rate, costs = self.monitor.rate, self.monitor.costs
        return {
            "plan": self.plan,
            "digest": self.digest,
            "since": self.since,
            "seen_at": self.seen_at,
            "budget_usd": str(self.budget),
            "alpha": self.alpha,
            "mode": self.mode,
            "level": self.level,
            "operations": self.operations,
            "violations": self.monitor.violations,
            "unknown": self.monitor.unknown,
            "violation_rate": self.rate,
            "interval": self.interval,
            "watched_rate": rate.alpha,
            "e_value": self.e_value,
            "peak": rate.peak,
            "alarm_e_value": self.alarm_e_value,
            "alarm_at": self.alarm_at,
            "costs_e_value": None if costs is None else costs.e_value,
            "drift_at": self.drift_at,
            "recalibrate": self.advice if self.alarm_at or self.drift_at else None,
        }


@dataclass(frozen=True, slots=True)
class Look:
    """A watch, and what this look at it has found that none before had."""

    watch: Watch
    alarm: bool = False
    drift: bool = False


class Watching:
    """The watches of a ledger, for a process that serves plans."""

    def __init__(self, where: Where) -> None:
        self.address = Address.of(where)
        self._reading: Engine = engine_for(self.address, "read")
        self._writing: Engine = engine_for(self.address, "write")

    def look(self, watched: Watched, *, now: datetime | None = None, fresh_s: float = 0.0) -> Look:
        """Take in what was booked since the last look of any process, and tell what is known.

        Nothing is taken in if the last look is not older than `fresh_s`. Raises LedgerError if
        the ledger cannot be read or written.
        """
        now = now or datetime.now(UTC)
        try:
            return self._look(watched, now, fresh_s)
        except SQLAlchemyError as error:
            message = f"cannot watch certificates in the ledger {self.address}: {cause(error)}"
            raise LedgerError(message) from None

    def _look(self, watched: Watched, now: datetime, fresh_s: float) -> Look:
        key = _is(watched.plan, watched.digest)
        with self._reading.begin() as connection:
            row = connection.execute(select(certificates).where(*key)).first()
        if row is None:
            with self._writing.begin() as connection:
                new = insertion(certificates, connection.dialect.name).on_conflict_do_nothing()
                connection.execute(new, _first(watched, now))
                row = connection.execute(select(certificates).where(*key)).one()
        found = Look(_watch(row))
        fresh = timestamp(now - timedelta(seconds=fresh_s))
        more = not fresh < row.seen_at <= timestamp(now)
        while more:
            taken = _Taken(row, found.watch.monitor)
            with self._reading.begin() as connection:
                more = taken.take(connection, now)
            if not more and not taken.count and row.seen_at > timestamp(now - IDLE):
                return found
            values = taken.values(now, found.watch)
            with self._writing.begin() as connection:
                same = (*key, certificates.c.looks == row.looks)
                ours = connection.execute(update(certificates).where(*same).values(**values))
                row = connection.execute(select(certificates).where(*key)).one()
            watch = _watch(row)
            if not ours.rowcount:  # another process was faster
                return Look(watch, found.alarm, found.drift)
            found = Look(
                watch, found.alarm or "alarm_at" in values, found.drift or "drift_at" in values
            )
        return found

    def close(self) -> None:
        """Close the database."""
        self._reading.dispose()
        self._writing.dispose()


def read_watches(where: Where) -> list[Watch]:
    """All watches of the ledger at `where`, by plan and time; LedgerError if it cannot be read."""
    with reading(where) as connection:
        return list(watches(connection))


def watches(connection: Connection) -> Iterator[Watch]:
    """All watches, by plan and by when each file was first seen."""
    order = (certificates.c.plan, certificates.c.since, certificates.c.digest)
    for row in connection.execute(select(certificates).order_by(*order)):
        yield _watch(row)


class _Taken:
    """A step of a watch: operations of its plan, from `place` on.

    Attributes:
        count: operations under the certificate that were taken in.
    """

    def __init__(self, row: Any, monitor: CertificateMonitor) -> None:
        self.count = 0
        self._row, self._monitor, self._place = row, monitor, row.place

    def take(self, connection: Connection, now: datetime) -> bool:
        """Take in what is there; returns whether there may be more."""
        until, impatient = _id_at(now - GRACE), _id_at(now - PATIENCE)
        if until <= self._place:
            return False
        found = connection.execute(_operations(self._row.plan, self._place, until)).all()
        for row in found:
            if row.id >= impatient and not _is_whole(row):
                self._place = row.id
                return False
            self._take(row)
        if len(found) == _AT_ONCE:
            self._place = found[-1].id + "0"
            return True
        self._place = until
        return False

    def _take(self, row: Any) -> None:
        if row.certificate != self._row.digest or row.status not in ("ok", "failed"):
            return
        self.count += 1
        if not _is_whole(row) or row.priced < row.booked:
            self._monitor.skip()
            return
        cost = Cost(int(row.pico or 0))
        over = cost.pico > self._row.budget_pico
        self._monitor.update(float(cost), over, answered=row.status == "ok")

    def values(self, now: datetime, before: Watch) -> dict[str, Any]:
        """The columns that change; an alarm only when it is new."""
        at, monitor = timestamp(now), self._monitor
        values = {
            "place": self._place,
            "seen_at": at,
            "looks": self._row.looks + 1,
            "state": json.dumps(monitor.state()),
        }
        if before.alarm_at is None and monitor.rate.alarm:
            values["alarm_at"] = at
        if before.drift_at is None and monitor.costs is not None and monitor.costs.alarm:
            values["drift_at"] = at
        return values


def _operations(plan: str, start: str, end: str) -> Any:
    """Operations of `plan` with what is booked of their attempts, in the order of their begin."""
    whole = (
        operations.c.id,
        outcomes.c.status,
        outcomes.c.certificate,
        outcomes.c.calls,
    )
    return (
        select(
            *whole,
            func.count(attempts.c.id).label("booked"),
            func.count(attempts.c.cost_pico).label("priced"),
            func.sum(attempts.c.cost_pico).label("pico"),
        )
        .select_from(operations.outerjoin(outcomes).outerjoin(attempts))
        .where(operations.c.plan == plan, operations.c.id >= start, operations.c.id < end)
        .group_by(*whole)
        .order_by(operations.c.id)
        .limit(_AT_ONCE)
    )


def _is_whole(row: Any) -> bool:
    """Whether all is booked that will be."""
    return row.status is not None and row.booked >= (row.calls or 0)


def _id_at(moment: datetime) -> str:
    """What the identifiers of operations that begin at `moment` begin with, see `rows.new_id`."""
    return f"op_{int(moment.timestamp() * 1e6):014x}"


def _is(plan: str, digest: str) -> tuple[Any, Any]:
    return certificates.c.plan == plan, certificates.c.digest == digest


def _first(watched: Watched, now: datetime) -> dict[str, Any]:
    """The row of a certificate that was never seen before."""
    return {
        "plan": watched.plan,
        "digest": watched.digest,
        "models": json.dumps(watched.models),
        "budget_pico": watched.budget.pico,
        "alpha": watched.alpha,
        "mode": watched.mode,
        "level": watched.level,
        "since": timestamp(now),
        "seen_at": timestamp(now),
        "place": _id_at(now - GRACE),
        "looks": 0,
        "state": json.dumps(watched.monitor().state()),
    }


def _watch(row: Any) -> Watch:
    try:
        monitor = CertificateMonitor.from_state(json.loads(row.state))
        models = tuple(json.loads(row.models))
    except ValueError as error:
        raise LedgerError(f"the watch on the certificate of {row.plan!r}: {error}") from None
    return Watch(
        row.plan,
        row.digest,
        models,
        Cost(row.budget_pico),
        row.alpha,
        row.mode,
        row.level,
        row.since,
        row.seen_at,
        row.alarm_at,
        row.drift_at,
        monitor,
    )
