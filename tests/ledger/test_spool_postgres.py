"""A ledger on PostgreSQL that goes away and comes back, with a journal and without."""

import asyncio

import pytest
from ledger_rows import START, attempt, book, op_id, operation, outcome
from ledger_sql import rows

from farthing.core.errors import LedgerAwayError, LedgerError
from farthing.core.money import Cost
from farthing.ledger import ChargeRow, Ledger, ReservationRow, _writer
from farthing.ledger._batches import Batch
from farthing.ledger._journal import Journal
from farthing.ledger.replay import Replayed, replay

FOUND = "SELECT operation_id, cost_pico FROM attempts ORDER BY operation_id"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(_writer, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(_writer, "_RETRY_S", 0.1)


async def reached(ledger, state):
    async with asyncio.timeout(30):
        while ledger.state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def one(ledger, number):
    """An operation in whose rows each refers to another."""
    ledger.begin(operation(number))
    ledger.reserve(ReservationRow(op_id(number), "all", 1, Cost(9), START, "gw"))
    ledger.attempt(attempt(number, cost=number))
    cost = Cost(number)
    ledger.charge(ChargeRow(op_id(number), "all", 1, cost, Cost(9), START, START, "gw"))
    await ledger.finish(outcome(number))


async def test_the_server_stops_and_starts(stoppable, tmp_path):
    server = stoppable()
    where = server.get_uri()
    ledger = Ledger.open(where, on_failure="spool", spool=tmp_path / "j")
    await one(ledger, 1)
    ledger.begin(operation(2))
    await ledger.flush()
    server.cleanup()
    ledger.attempt(attempt(2, cost=2))
    await ledger.finish(outcome(2))
    for number in range(3, 9):
        await one(ledger, number)
    assert ledger.state == "spooling"
    await ledger.close()
    with pytest.raises(LedgerAwayError):
        Ledger.open(where)
    ledger = Ledger.open(where, on_failure="spool", spool=tmp_path / "j")
    await one(ledger, 9)
    stoppable()
    await one(ledger, 10)
    await reached(ledger, "ok")
    await one(ledger, 11)
    await ledger.close()
    assert [tuple(row.values()) for row in rows(where, FOUND)] == [
        (op_id(number), number) for number in range(1, 12)
    ]
    summed = sum(range(1, 12)) - 2
    assert rows(where, "SELECT pico FROM spending") == [{"pico": summed}]


async def test_requests_are_refused_until_the_server_is_back(stoppable):
    server = stoppable()
    where = server.get_uri()
    ledger = Ledger.open(where)
    await one(ledger, 1)
    server.cleanup()
    with pytest.raises(LedgerError, match="kept in memory"):
        await one(ledger, 2)
    with pytest.raises(LedgerAwayError):
        ledger.check()
    stoppable()
    await reached(ledger, "ok")
    await ledger.close()
    assert len(rows(where, FOUND)) == 2
    assert rows(where, "SELECT pico FROM spending") == [{"pico": 3}]


async def test_a_lost_connection_is_made_again_unnoticed(postgres, postgres_server):
    async with Ledger.open(postgres) as ledger:
        await one(ledger, 1)
        postgres_server.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'farthing';"
        )
        await one(ledger, 2)
    assert len(rows(postgres, FOUND)) == 2


async def test_replaying_twice_and_what_only_sqlite_can_hold(postgres, tmp_path):
    await Ledger.open(postgres).close()
    journal = Journal.open(tmp_path / "j")
    nul = operation(1, prompt="a \x00 b")
    journal.append(Batch.of([nul, attempt(1, cost=1)], texts=True))
    journal.append(Batch.of([attempt(7, cost=7)], texts=True))  # of no operation
    journal.append(Batch.of([operation(2), attempt(2, cost=2)], texts=True))
    journal.close()
    (tmp_path / "copy").write_bytes((tmp_path / "j").read_bytes())
    assert replay(tmp_path / "j", postgres) == Replayed(2, 0, 1)
    assert replay(tmp_path / "copy", postgres) == Replayed(0, 2, 1)
    assert len(rows(postgres, FOUND)) == 2


async def test_relaxed(postgres):
    show = "SHOW synchronous_commit"
    for sync, level in (("relaxed", "off"), ("full", "on")):
        async with Ledger.open(postgres, sync=sync) as ledger:
            await book(ledger, operation(len(level)))
            connection = ledger._running._connection
            assert connection.exec_driver_sql(show).scalar() == level
            connection.rollback()
