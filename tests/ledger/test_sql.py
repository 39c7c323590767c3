import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from ledger_rows import attempt, book, op_id, operation, outcome
from ledger_sql import execute, rows

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.core.response import Sample
from farthing.core.usage import Usage
from farthing.ledger import ChargeRow, Ledger, MemoryLedger, ReservationRow, new_id
from farthing.ledger.engines import open_to_read


async def test_every_column_comes_back(where):
    sample = Sample("so 4", "4", True, "stop", mean_logprob=-0.5, min_logprob=-1.5)
    tokyo = datetime(2026, 2, 1, 8, 0, 0, 5, tzinfo=timezone(timedelta(hours=9)))
    async with Ledger.open(where) as ledger:
        await book(
            ledger,
            operation(
                1,
                started_at=tokyo,
                prompt="2+2?",
                requested="cheap",
                plan="cheap",
                strongest="large",
                key="alice",
                tags={"team": "ü"},
                answer_reader="last-number",
                stream=True,
            ),
            attempt(
                1,
                usage=Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=5),
                cost=7,
                price_date="2026-01-01",
                ttft_s=0.1,
                temperature=0.7,
                samples=(sample,),
                upstream_id="up",
                service_tier="batch",
            ),
            outcome(
                1,
                answered_by="small",
                answer="4",
                signal=0.9,
                budget=Cost(9),
                alpha=0.1,
                certificate="sha256:1",
                calls=1,
            ),
        )
    assert rows(where, "SELECT * FROM operations") == [
        {
            "id": op_id(1),
            "started_at": "2026-01-31T23:00:00.000005Z",
            "question": "q1",
            "prompt": "2+2?",
            "requested": "cheap",
            "plan": "cheap",
            "strongest": "large",
            "key": "alice",
            "tags": '{"team": "ü"}',
            "answer_reader": "last-number",
            "stream": 1,
            "gateway": None,
        }
    ]
    assert rows(where, "SELECT * FROM attempts") == [
        {
            "id": f"{op_id(1)}.0",
            "operation_id": op_id(1),
            "number": 0,
            "node": "cascade/0",
            "model": "small",
            "started_at": "2026-01-31T23:00:01.000000Z",
            "status": "ok",
            "error": None,
            "input": 1,
            "cache_read": 2,
            "cache_write": 3,
            "output": 4,
            "reasoning": 5,
            "usage_basis": "exact",
            "cost_pico": 7,
            "price_source": "config",
            "price_date": "2026-01-01",
            "latency_s": 0.5,
            "ttft_s": 0.1,
            "temperature": 0.7,
            "upstream_id": "up",
            "cache_write_1h": 0,
            "input_audio": 0,
            "output_audio": 0,
            "input_image": 0,
            "service_tier": "batch",
            "kind": "sample",
        }
    ]
    assert rows(where, "SELECT * FROM samples") == [
        {
            "attempt_id": f"{op_id(1)}.0",
            "number": 0,
            "text": "so 4",
            "answer": "4",
            "finish_reason": "stop",
            "mean_logprob": -0.5,
            "min_logprob": -1.5,
            "output_tokens": 10,
            "cost_pico": 7,
            "basis": "exact",
        }
    ]
    assert rows(where, "SELECT * FROM outcomes") == [
        {
            "operation_id": op_id(1),
            "finished_at": "2026-01-31T23:00:02.000000Z",
            "status": "ok",
            "answered_by": "small",
            "answer": "4",
            "signal": 0.9,
            "budget_pico": 9,
            "alpha": 0.1,
            "error": None,
            "stopped": None,
            "certificate": "sha256:1",
            "calls": 1,
        }
    ]


async def test_unknown_is_null_and_zero_is_zero(where):
    async with Ledger.open(where) as ledger:
        unknown = attempt(1, 0, tokens=None, samples=(), shares=(), latency_s=None)
        await book(ledger, operation(1), unknown, attempt(1, 1, cost=0, tokens=(0, 0)))
    told = rows(where, "SELECT input, output, cost_pico, latency_s FROM attempts ORDER BY number")
    assert told == [
        {"input": None, "output": None, "cost_pico": None, "latency_s": None},
        {"input": 0, "output": 0, "cost_pico": 0, "latency_s": 0.5},
    ]


async def test_texts_can_be_left_out(where):
    async with Ledger.open(where, texts=False) as ledger:
        await book(ledger, operation(1, prompt="secret"), attempt(1))
    assert rows(where, "SELECT prompt FROM operations") == [{"prompt": None}]
    assert rows(where, "SELECT text, answer FROM samples") == [{"text": None, "answer": "a"}]


async def test_finish_waits_for_all_that_was_booked_before(where):
    ledger = Ledger.open(where)
    ledger.begin(operation(1))
    for nth in range(50):
        ledger.attempt(attempt(1, nth))
    await ledger.finish(outcome(1))
    assert rows(where, "SELECT count(*) AS n FROM attempts") == [{"n": 50}]
    await ledger.close()


async def test_a_closed_ledger_takes_no_more(where):
    ledger = Ledger.open(where)
    await ledger.close()
    await ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.begin(operation(1))


async def test_a_failed_write_reaches_finish_and_is_made_up_for(where):
    ledger = Ledger.open(where)
    execute(where, "ALTER TABLE attempts RENAME TO away")
    ledger.begin(operation(1))
    ledger.attempt(attempt(1))
    with pytest.raises(LedgerError, match=r"no such table: attempts|\"attempts\" does not exist"):
        await ledger.finish(outcome(1))
    with pytest.raises(LedgerError):
        await ledger.flush()
    execute(where, "ALTER TABLE away RENAME TO attempts")
    await ledger.finish(outcome(1))
    await ledger.close()
    for table in ("operations", "attempts", "samples", "outcomes"):
        assert rows(where, f"SELECT count(*) AS n FROM {table}") == [{"n": 1}], table


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(LedgerError, match="cannot open the ledger"):
        Ledger.open(tmp_path / "nowhere" / "l.db")
    text = tmp_path / "text.db"
    text.write_text("no database " * 100)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger.open(text)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(LedgerError, match="no ledger of Farthing"):
        Ledger.open(other)
    with pytest.raises(LedgerError, match="--db"):
        open_to_read(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


async def test_another_schema_is_refused(where):
    await Ledger.open(where).close()
    execute(where, "UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    for opening in (Ledger.open, open_to_read):
        with pytest.raises(LedgerError, match="has schema 99"):
            opening(where)


WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from farthing.core.money import Cost
from farthing.ledger import *

async def one(ledger):
    id = new_id()
    now = datetime.now(UTC)
    ledger.begin(OperationRow(id, now, "q"))
    ledger.attempt(AttemptRow(id + ".0", id, 0, "n", "m", now, "ok", cost=Cost(3)))
    await ledger.finish(OutcomeRow(id, now, "ok"))
    print(id, flush=True)

async def main(path, count):
    async with Ledger.open(path) as ledger:
        for _ in range(count):
            await asyncio.gather(*(one(ledger) for _ in range(10)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def writer(where, count):
    command = [sys.executable, "-c", WRITER, where, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("confirmed", [1, 57])
def test_kill_9_loses_nothing_that_was_confirmed(where, confirmed):
    process = writer(where, 100_000)
    told = [process.stdout.readline().strip() for _ in range(confirmed)]
    os.kill(process.pid, signal.SIGKILL)
    told += process.stdout.read().split()
    process.wait()
    told = [line for line in told if len(line) == len(op_id(0))]
    booked = rows(
        where,
        "SELECT o.id FROM operations o JOIN attempts a ON a.operation_id = o.id "
        "JOIN outcomes ON outcomes.operation_id = o.id",
    )
    assert set(told) <= {row["id"] for row in booked}
    assert len(told) >= confirmed


def test_two_processes_write_one_ledger(where):
    writers = [writer(where, 20), writer(where, 20)]
    told = [process.communicate(timeout=120)[0].split() for process in writers]
    assert [process.returncode for process in writers] == [0, 0]
    booked = {row["id"] for row in rows(where, "SELECT id FROM operations")}
    assert booked == set(told[0]) | set(told[1])
    assert len(booked) == 400
    assert rows(where, "SELECT count(*) AS n, sum(cost_pico) AS pico FROM attempts") == [
        {"n": 400, "pico": 1200}
    ]


async def test_a_reader_does_not_stop_the_writer(where):
    async with Ledger.open(where) as ledger:
        await book(ledger, operation(1))
        engine = open_to_read(where)
        with engine.begin() as connection:
            before = connection.exec_driver_sql("SELECT count(*) FROM operations").scalar()
            await asyncio.wait_for(book(ledger, operation(2)), 20)
            after = connection.exec_driver_sql("SELECT count(*) FROM operations").scalar()
        engine.dispose()
    assert (before, after) == (1, 1)


async def test_the_memory_ledger_keeps_rows():
    ledger = MemoryLedger()
    await book(ledger, operation(1), attempt(1), outcome(1))
    await ledger.close()
    assert (ledger.operations, ledger.attempts, ledger.outcomes) == (
        [operation(1)],
        [attempt(1)],
        [outcome(1)],
    )


def test_identifiers_sort_by_time_and_do_not_repeat():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [i[:17] for i in ids] == sorted(i[:17] for i in ids)
    micros = int(ids[0].removeprefix("op_")[:14], 16)
    assert abs(micros / 1e6 - datetime.now(UTC).timestamp()) < 3600


async def test_charges_are_summed_up_in_the_same_transaction(where):
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    day = now.replace(hour=0)
    async with Ledger.open(where) as ledger:
        for nth in range(3):
            ledger.begin(operation(nth))
            ledger.reserve(ReservationRow(op_id(nth), "all", 7, Cost(5), now, "gw"))
            ledger.charge(ChargeRow(op_id(nth), "all", 7, Cost(nth), Cost(5), now, day, "gw"))
            await ledger.flush()
    assert rows(where, "SELECT sum(held_pico) AS held, count(*) AS n FROM reservations") == [
        {"held": 15, "n": 3}
    ]
    assert rows(where, "SELECT pico, basis FROM charges ORDER BY pico")[2] == {
        "pico": 2,
        "basis": "counted",
    }
    assert rows(where, "SELECT * FROM spending") == [
        {"counted_as": 7, "gateway": "gw", "since": "2026-01-31T00:00:00.000000Z", "pico": 3}
    ]
