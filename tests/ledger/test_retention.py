"""What is too old goes with all that belongs to it, and what went is booked."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_rows import attempt, book, op_id, operation, outcome
from ledger_sql import rows

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger import ChargeRow, Ledger, ReservationRow, retention
from farthing.ledger.engines import open_to_write, reading
from farthing.ledger.retention import Gone, Removal, Retention, days, gone, prune

NOW = datetime.now(UTC)
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=1)
MONTH = NOW - timedelta(days=30)
TABLES = ("operations", "attempts", "samples", "outcomes", "reservations", "charges")


def fetch(where, query):
    return [tuple(row.values()) for row in rows(where, query)]


def counts(path):
    return {name: fetch(path, f"SELECT count(*) AS n FROM {name}")[0][0] for name in TABLES}


def charge(number, pico):
    day = OLD.replace(hour=0)
    return ChargeRow(op_id(number), "all", 1, Cost(pico), Cost(9), OLD, day, "gw")


async def booked(ledger, number, began, *, cost=5, ends=True, settles=True):
    """An operation of two attempts, one of unknown cost."""
    ledger.begin(operation(number, started_at=began, prompt="secret question"))
    ledger.reserve(ReservationRow(op_id(number), "all", 1, Cost(9), began, "gw"))
    ledger.attempt(attempt(number, 0, cost=cost))
    ledger.attempt(attempt(number, 1, cost=None))
    if settles:
        ledger.charge(charge(number, cost))
    if ends:
        await ledger.finish(outcome(number, answer="a"))


@pytest.fixture
async def path(where):
    """Three old operations, one of them in flight and one not settled, and a new one."""
    async with Ledger.open(where) as ledger:
        await booked(ledger, 1, OLD)
        await booked(ledger, 2, OLD, ends=False)
        await booked(ledger, 3, OLD, settles=False)
        await booked(ledger, 4, NEW)
        await ledger.flush()
    return where


def test_old_operations_go_with_all_that_is_theirs(path):
    spending = fetch(path, "SELECT * FROM spending")
    removal = prune(path, "operations", MONTH)
    assert (removal.operations, removal.attempts, removal.cost) == (1, 2, Cost(5))
    assert removal.unknown_cost == 1
    kept = [(op_id(n),) for n in (2, 3, 4)]
    assert fetch(path, "SELECT id FROM operations ORDER BY id") == kept
    for table in ("attempts", "reservations"):
        assert fetch(path, f"SELECT DISTINCT operation_id FROM {table} ORDER BY 1") == kept
    assert counts(path) == {
        "operations": 3,
        "attempts": 6,
        "samples": 6,
        "outcomes": 2,
        "reservations": 3,
        "charges": 2,
    }
    assert fetch(path, "SELECT * FROM spending") == spending
    row = fetch(path, "SELECT kind, operations, attempts, cost_pico, unknown_cost FROM removals")
    assert row == [("operations", 1, 2, 5, 1)]


def test_texts_go_and_what_was_read_from_them_stays(path):
    removal = prune(path, "texts", MONTH)
    assert (removal.operations, removal.attempts, removal.cost) == (3, 6, Cost(0))
    assert fetch(path, "SELECT id, prompt FROM operations WHERE prompt IS NOT NULL") == [
        (op_id(4), "secret question")
    ]
    assert fetch(
        path, "SELECT count(*) AS a, count(text) AS b, count(answer) AS c FROM samples"
    ) == [(8, 2, 8)]
    assert fetch(path, "SELECT kind, operations, cost_pico FROM removals") == [("texts", 3, 0)]
    assert prune(path, "texts", MONTH).operations == 0
    assert fetch(path, "SELECT count(*) FROM removals") == [(1,)]


@pytest.mark.parametrize("kind", ["operations", "texts"])
def test_counting_changes_nothing(path, kind):
    before = [fetch(path, f"SELECT * FROM {table}") for table in (*TABLES, "removals")]
    counted = prune(path, kind, MONTH, counts_only=True)
    assert [fetch(path, f"SELECT * FROM {table}") for table in (*TABLES, "removals")] == before
    assert prune(path, kind, MONTH).as_json() == counted.as_json()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.none() | st.integers(0, 2**60)), max_size=30))
def test_no_picodollar_is_lost(tmp_path_factory, ages):
    path = tmp_path_factory.mktemp("kept") / "l.db"

    async def fill():
        async with Ledger.open(path) as ledger:
            for number, (age, cost) in enumerate(ages):
                began = MONTH + timedelta(days=30 - age, seconds=number)
                ledger.begin(operation(number, started_at=began))
                ledger.attempt(attempt(number, cost=cost))
                await ledger.finish(outcome(number))

    asyncio.run(fill())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "_BATCH", 4)
        prune(path, "operations", MONTH)
    left = fetch(path, "SELECT cost_pico FROM attempts")
    went = fetch(path, "SELECT cost_pico, operations, unknown_cost FROM removals")
    known = [cost for _, cost in ages if cost is not None]
    assert sum(pico or 0 for (pico,) in left) + sum(row[0] for row in went) == sum(known)
    assert len(left) + sum(row[1] for row in went) == len(ages)
    unknown = sum(pico is None for (pico,) in left) + sum(row[2] for row in went)
    assert unknown == len(ages) - len(known)
    assert len(left) == sum(age <= 30 for age, _ in ages)


async def test_a_removal_that_is_cut_short_is_booked_as_far_as_it_came(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "_BATCH", 2)
    path = tmp_path / "l.db"
    async with Ledger.open(path) as ledger:
        for number in range(5):
            await booked(ledger, number, OLD)
    engine = open_to_write(path)
    with engine.connect() as connection:
        removal = Removal("operations", MONTH)
        assert removal.step(connection)
        assert removal.step(connection)
    engine.dispose()
    assert fetch(path, "SELECT operations, cost_pico FROM removals") == [(4, 20)]
    assert prune(path, "operations", MONTH).operations == 1
    with reading(path) as connection:
        assert gone(connection).operations == 5
        assert gone(connection).cost == Cost(25)


async def test_a_gateway_removes_at_once_and_goes_on_booking(path, caplog):
    rule = Retention(timedelta(days=30), timedelta(hours=1))
    async with Ledger.open(path, retention=rule) as ledger:
        await book(ledger, operation(5, started_at=NOW, prompt="p"), attempt(5), outcome(5))
        async with asyncio.timeout(20):
            while len(fetch(path, "SELECT number FROM removals")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert fetch(path, "SELECT kind, operations FROM removals ORDER BY 1") == [
        ("operations", 1),
        ("texts", 3),
    ]
    assert fetch(path, "SELECT count(prompt) FROM operations") == [(1,)]
    assert "removed from the ledger: 1 operations that began before" in caplog.text
    assert "0.000000000005 USD in 2 attempts, 1 of them of unknown cost" in caplog.text


async def test_what_is_gone_of_a_period(path):
    with reading(path) as connection:
        assert gone(connection) is None
    prune(path, "operations", MONTH)
    prune(path, "texts", NOW)
    with reading(path) as connection:
        whole = Gone(MONTH, 1, 2, Cost(5), 1)
        assert gone(connection) == gone(connection, OLD) == whole
        assert gone(connection, NEW) is None


@pytest.mark.parametrize("text", ["", "d", "0d", "-3d", "1.5d", "30", "30h", "٣d"])
def test_times_that_are_none(text):
    with pytest.raises(LedgerError, match="whole days"):
        days(text)
    assert days("400d") == timedelta(days=400)
