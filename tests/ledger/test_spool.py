"""A ledger that is away: requests are refused, or booked in a journal and replayed once."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_rows import START, attempt, book, op_id, operation, outcome

from farthing.core.errors import LedgerAwayError, LedgerError
from farthing.core.money import Cost
from farthing.ledger import ChargeRow, Ledger, ReservationRow, _writer

FAULTS = Path(__file__).parents[1] / "ledger_faults.py"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """No long waits."""
    monkeypatch.setattr(_writer, "_LOCKED_S", 0.01)
    monkeypatch.setattr(_writer, "_PATIENCE_S", 0.02)
    monkeypatch.setattr(_writer, "_RETRY_S", 0.02)


def fetch(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def locked(path):
    """Another process writes, and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def reached(ledger, state):
    async with asyncio.timeout(20):
        while ledger.state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def spooled(tmp_path, **how):
    return Ledger.open(tmp_path / "l.db", on_failure="spool", spool=tmp_path / "j", **how)


async def test_rows_go_to_the_journal_while_the_ledger_is_away(tmp_path, caplog):
    path = tmp_path / "l.db"
    async with spooled(tmp_path) as ledger:
        await book(ledger, operation(1), attempt(1, cost=1), outcome(1))
        with locked(path):
            await asyncio.wait_for(book(ledger, operation(2), attempt(2, cost=2), outcome(2)), 10)
            ledger.check()
            assert ledger.state == "spooling"
            assert (tmp_path / "j").stat().st_size > 0
            await book(ledger, operation(3))
            assert fetch(path, "SELECT count(*) FROM operations") == [(1,)]
        await reached(ledger, "ok")
        assert (tmp_path / "j").stat().st_size == 0
        await book(ledger, attempt(3, cost=3), outcome(3))
    assert fetch(path, "SELECT cost_pico FROM attempts ORDER BY 1") == [(1,), (2,), (3,)]
    began, ended = (r.getMessage() for r in caplog.records if "ledger" in r.name)
    assert "database is locked" in began
    assert str(tmp_path / "j") in began
    assert "is written again" in ended


async def test_it_can_be_opened_while_it_is_away(tmp_path):
    away = tmp_path / "away"
    with pytest.raises(LedgerAwayError, match="unable to open"):
        Ledger.open(away / "l.db")
    ledger = Ledger.open(away / "l.db", on_failure="spool", spool=tmp_path / "j")
    await book(ledger, operation(1), attempt(1, cost=7), outcome(1))
    assert ledger.state == "spooling"
    await ledger.close()
    assert (tmp_path / "j").stat().st_size > 0
    away.mkdir()
    async with Ledger.open(away / "l.db", spool=tmp_path / "j") as ledger:
        assert (tmp_path / "j").stat().st_size == 0
        await book(ledger, operation(2))
    assert fetch(away / "l.db", "SELECT count(*), sum(cost_pico) FROM attempts") == [(1, 7)]
    assert fetch(away / "l.db", "SELECT count(*) FROM replays") != [(0,)]


async def test_what_is_no_ledger_is_refused_also_to_spool(tmp_path):
    (tmp_path / "l.db").write_text("a text, and no database" * 99)
    with pytest.raises(LedgerError, match="not a database"):
        spooled(tmp_path)
    (tmp_path / "l.db").unlink()
    await spooled(tmp_path).close()
    with pytest.raises(LedgerError, match="say where"):
        Ledger.open(tmp_path / "l.db", on_failure="spool")


async def test_left_over_rows_come_first(tmp_path):
    ledger = Ledger.open(tmp_path / "away" / "l.db", on_failure="spool", spool=tmp_path / "j")
    await book(ledger, operation(1))
    await ledger.close()
    async with spooled(tmp_path) as ledger:
        await book(ledger, attempt(1, cost=5), outcome(1))
        await reached(ledger, "ok")
    query = "SELECT cost_pico FROM operations o JOIN attempts a ON a.operation_id = o.id"
    assert fetch(tmp_path / "l.db", query) == [(5,)]


async def test_requests_are_refused_until_the_ledger_is_back(tmp_path, monkeypatch, caplog):
    ledger = Ledger.open(tmp_path / "l.db")
    connect = ledger._running._connect

    def away():
        raise sqlite3.OperationalError("the server is away")

    monkeypatch.setattr(ledger._running, "_connect", away)
    ledger.check()
    with pytest.raises(LedgerError, match="kept in memory"):
        await book(ledger, operation(1), attempt(1, cost=1), outcome(1))
    with pytest.raises(LedgerAwayError, match="the server is away; nothing was called"):
        ledger.check()
    assert ledger.state == "refusing"
    monkeypatch.setattr(ledger._running, "_connect", connect)
    await reached(ledger, "ok")
    ledger.check()
    assert fetch(tmp_path / "l.db", "SELECT cost_pico FROM attempts") == [(1,)]
    await ledger.close()
    began, ended = (r.getMessage() for r in caplog.records if "ledger" in r.name)
    assert "requests are refused" in began
    assert "is written again" in ended


async def test_rows_that_no_ledger_can_hold_do_not_stop_the_others(tmp_path, caplog):
    async with Ledger.open(tmp_path / "l.db") as ledger:
        ledger.begin(operation(1, prompt="cut \ud800 in half"))
        ledger.attempt(attempt(2, cost=2**63))
        ledger.begin(operation(3))
        bad = asyncio.ensure_future(ledger.finish(outcome(2)))
        await asyncio.sleep(0)  # it is booked together with its attempt
        await ledger.finish(outcome(3))
        with pytest.raises(LedgerError, match="too large"):
            await bad
        ledger.check()
    assert fetch(tmp_path / "l.db", "SELECT id, prompt FROM operations") == [
        (op_id(1), "cut ? in half"),
        (op_id(3), None),
    ]
    assert fetch(tmp_path / "l.db", "SELECT operation_id FROM outcomes") == [(op_id(3),)]
    assert op_id(2) in caplog.text


async def test_relaxed(tmp_path):
    path = tmp_path / "l.db"
    async with Ledger.open(path, sync="relaxed") as ledger:
        with locked(path):
            async with asyncio.timeout(5):
                ledger.begin(operation(1))
                ledger.attempt(attempt(1, cost=1))
                await ledger.finish(outcome(1))
            assert fetch(path, "SELECT count(*) FROM operations") == [(0,)]
        await ledger.flush()
        assert fetch(path, "SELECT count(*) FROM outcomes") == [(1,)]
        level = ledger._running._connection.exec_driver_sql("PRAGMA synchronous").scalar()
        ledger._running._connection.rollback()
        assert level == 1
    async with Ledger.open(path) as ledger:
        await book(ledger, operation(2))
        assert ledger._running._connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        ledger._running._connection.rollback()


def charge(number, pico):
    return ChargeRow(op_id(number), "all", 1, Cost(pico), Cost(pico), START, START, "gw")


class Books:
    """What was booked, beside what is found."""

    def __init__(self):
        self.made, self.pico, self.attempts = [], [], []

    def new(self, ledger):
        number = len(self.made)
        self.made.append(op_id(number))
        ledger.begin(operation(number))
        ledger.reserve(ReservationRow(op_id(number), "all", 1, Cost(9), START, "gw"))

    def call(self, ledger, which):
        nth = sum(op == which for op, _ in self.attempts)
        self.attempts.append((which, nth))
        ledger.attempt(attempt(which, nth, cost=nth + 1))

    def charge(self, ledger, which):
        if which not in [number for number, _ in self.pico]:
            self.pico.append((which, which * 7))
            ledger.charge(charge(which, which * 7))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["new", "call", "charge", "finish", "lock", "unlock", "flush", "again"]),
        st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from(["full", "relaxed"]))
def test_what_is_booked_is_found_whatever_happens(steps, sync):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(booked_is_found(Path(folder), steps, sync))


async def booked_is_found(folder, steps, sync):
    path, books, lock = folder / "l.db", Books(), None
    ledger = spooled(folder, sync=sync)
    finished = set()
    for step, which in [*steps, ("unlock", 0)]:
        which = which % len(books.made) if books.made else None
        if step == "new":
            books.new(ledger)
        elif step == "lock" and lock is None:
            lock = locked(path)
            lock.__enter__()
        elif step == "unlock" and lock is not None:
            lock.__exit__(None, None, None)
            lock = None
        elif step == "flush":
            await ledger.flush()
        elif step == "again" and lock is None:
            await ledger.close()
            ledger = spooled(folder, sync=sync)
        elif step == "call" and which is not None:
            books.call(ledger, which)
        elif step == "charge" and which is not None:
            books.charge(ledger, which)
        elif step == "finish" and which is not None:
            finished.add(op_id(which))
            await ledger.finish(outcome(which))
    await reached(ledger, "ok")
    await ledger.close()
    ledger = spooled(folder)
    await reached(ledger, "ok")
    await ledger.close()
    assert [id for (id,) in fetch(path, "SELECT id FROM operations ORDER BY id")] == books.made
    assert fetch(path, "SELECT count(*) FROM reservations") == [(len(books.made),)]
    calls = fetch(path, "SELECT operation_id, number, cost_pico FROM attempts ORDER BY 1, 2")
    assert calls == sorted((op_id(which), nth, nth + 1) for which, nth in books.attempts)
    assert fetch(path, "SELECT count(*) FROM samples") == [(len(calls),)]
    assert {id for (id,) in fetch(path, "SELECT operation_id FROM outcomes")} == finished
    assert sorted(fetch(path, "SELECT operation_id, pico FROM charges")) == sorted(
        (op_id(which), pico) for which, pico in books.pico
    )
    summed = sum(pico for _, pico in books.pico)
    assert fetch(path, "SELECT coalesce(sum(pico), 0) FROM spending") == [(summed,)]


def faults(*arguments):
    command = [sys.executable, str(FAULTS), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", ["spooling", "replaying", "returning"])
def test_kill_9_at_any_moment(tmp_path, what):
    told = faults("kill", what, tmp_path, 20)
    assert told["lost"] == told["doubled"] == told["difference_pico"] == 0
    assert told["killed"] == 20
    assert told["confirmed"] > 20
    assert (told["midway"] > 0) == (what == "replaying")


def test_a_full_disk(tmp_path):
    """The journal's disk and the ledger's are full: requests are refused until there is room."""
    told = faults("full", tmp_path)
    for mode in ("refuse", "spool"):
        assert told[mode]["states"] == ["ok", "refusing", "ok"]
        assert "LedgerAwayError" in told[mode]["check"]
        assert told[mode]["found"] == told[mode]["booked"] > told[mode]["confirmed"] > 0
