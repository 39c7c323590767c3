"""The thread that writes a ledger, many rows a transaction."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic

from sqlalchemy import Connection, Engine, insert
from sqlalchemy.dialects.sqlite import insert as insert_once

from farthing.ledger import schema
from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)

_MOST = 5_000  # jobs in one transaction
_LINGER = 0.05  # seconds

Row = OperationRow | AttemptRow | OutcomeRow | ReservationRow | ChargeRow
Settle = Callable[[Exception | None], None]


@dataclass(frozen=True, slots=True)
class _Job:
    row: Row | None
    settle: Settle | None
    stop: bool = False


class Writer:
    """Takes rows without waiting and commits whatever has come in the meantime.

    Rows that could not be written are kept and tried again with the next ones; whoever waits
    for them is told of the failure.
    """

    def __init__(self, engine: Engine, *, texts: bool) -> None:
        self._engine, self._texts = engine, texts
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="farthing-ledger", daemon=True)
        self._thread.start()

    def put(self, row: Row | None = None, settle: Settle | None = None) -> None:
        """Book `row`; `settle` is called by the thread with None once all is committed."""
        self._queue.put(_Job(row, settle))

    def stop(self, settle: Settle) -> None:
        """End the thread once all is committed, or has failed once more."""
        self._queue.put(_Job(None, settle, stop=True))

    def _run(self) -> None:
        backlog: list[Row] = []
        stopping = False
        while not stopping:
            jobs = self._drain()
            stopping = any(job.stop for job in jobs)
            backlog += [job.row for job in jobs if job.row is not None]
            failure: Exception | None = None
            try:
                if backlog:
                    with self._engine.begin() as connection:
                        self._write(connection, backlog)
                backlog = []
            except Exception as error:
                failure = error
            if stopping:
                self._engine.dispose()
            for job in jobs:
                if job.settle is not None:
                    job.settle(failure)

    def _drain(self) -> list[_Job]:
        """What has come in; rows that nobody waits for are given a moment for company."""
        jobs = [self._queue.get()]
        awaited = jobs[0].settle is not None
        until = monotonic() + _LINGER
        while len(jobs) < _MOST and not jobs[-1].stop:
            try:
                if awaited:
                    jobs.append(self._queue.get_nowait())
                else:
                    jobs.append(self._queue.get(timeout=max(0.0, until - monotonic())))
            except Empty:
                break
            awaited = awaited or jobs[-1].settle is not None
        return jobs

    def _write(self, connection: Connection, rows: list[Row]) -> None:
        operations = [row for row in rows if isinstance(row, OperationRow)]
        attempts = [row for row in rows if isinstance(row, AttemptRow)]
        outcomes = [row for row in rows if isinstance(row, OutcomeRow)]
        reservations = [row for row in rows if isinstance(row, ReservationRow)]
        charges = [row for row in rows if isinstance(row, ChargeRow)]
        samples = [
            values for row in attempts for values in schema.sample_values(row, texts=self._texts)
        ]
        if operations:
            values = [schema.operation_values(row, texts=self._texts) for row in operations]
            connection.execute(insert(schema.operations), values)
        if reservations:
            values = [schema.reservation_values(row) for row in reservations]
            connection.execute(insert(schema.reservations), values)
        if attempts:
            connection.execute(
                insert(schema.attempts), [schema.attempt_values(row) for row in attempts]
            )
        if samples:
            connection.execute(insert(schema.samples), samples)
        if outcomes:
            # A caller whose `finish` failed may try again after the backlog was written.
            first = insert_once(schema.outcomes).on_conflict_do_nothing()
            connection.execute(first, [schema.outcome_values(row) for row in outcomes])
        if charges:
            connection.execute(insert(schema.charges), [schema.charge_values(r) for r in charges])
            self._sum_up(connection, charges)

    def _sum_up(self, connection: Connection, charges: list[ChargeRow]) -> None:
        """Add charges to the sums that stand for them."""
        sums: Counter[tuple[int, str, str]] = Counter()
        for row in charges:
            sums[row.counted_as, row.gateway, schema.timestamp(row.since)] += row.cost.pico
        table = schema.spending
        first = insert_once(table)
        add = first.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={"pico": table.c.pico + first.excluded.pico},
        )
        names = ("counted_as", "gateway", "since")
        values = [dict(zip(names, key, strict=True), pico=pico) for key, pico in sums.items()]
        connection.execute(add, values)
