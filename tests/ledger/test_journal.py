"""The journal: what is confirmed is found again, what is torn or damaged is not guessed at."""

import json
import os
import shutil

import pytest
from ledger_rows import attempt, op_id, operation, outcome

from farthing.core.errors import LedgerError
from farthing.core.response import Sample
from farthing.ledger import Ledger
from farthing.ledger._batches import Batch
from farthing.ledger._journal import Journal
from farthing.ledger.engines import open_to_write, reading
from farthing.ledger.replay import Replayed, replay


def batch(number, **fields):
    rows = [operation(number, **fields), attempt(number, cost=number), outcome(number)]
    return Batch.of(rows, texts=True)


def written(path, *numbers):
    journal = Journal.open(path)
    for number in numbers:
        journal.append(batch(number))
    journal.close()
    return path


async def empty(path):
    await Ledger.open(path).close()
    return path


def booked(path):
    with reading(path) as connection:
        query = (
            "SELECT operations.id, cost_pico FROM operations "
            "JOIN attempts ON operation_id = operations.id ORDER BY 1"
        )
        return [tuple(row) for row in connection.exec_driver_sql(query)]


async def test_what_was_appended_is_replayed_once(tmp_path):
    ledger, path = await empty(tmp_path / "l.db"), written(tmp_path / "j", 1, 2, 3)
    copy = shutil.copy(path, tmp_path / "copy")
    assert replay(path, ledger) == Replayed(3, 0)
    assert path.stat().st_size == 0
    assert replay(copy, ledger) == Replayed(0, 3)
    assert replay(path, ledger) == Replayed(0, 0)
    assert booked(ledger) == [(op_id(n), n) for n in (1, 2, 3)]


async def test_every_value_comes_back(tmp_path):
    strange = "line\nbreak \x00 ü \u2028 𝕏"
    sample = Sample(strange, strange, True, mean_logprob=float("-inf"), min_logprob=1e-320)
    rows = [
        operation(1, prompt=strange, tags={"a": strange}),
        attempt(1, cost=2**62, samples=(sample,), latency_s=0.1 + 0.2),
        outcome(1, signal=1 / 3),
    ]
    direct, replayed = await empty(tmp_path / "a.db"), await empty(tmp_path / "b.db")
    async with Ledger.open(direct) as ledger:
        ledger.begin(rows[0])
        ledger.attempt(rows[1])
        await ledger.finish(rows[2])
    journal = Journal.open(tmp_path / "j")
    journal.append(Batch.of(rows, texts=True))
    journal.close()
    replay(tmp_path / "j", replayed)
    for table in ("operations", "attempts", "samples", "outcomes"):
        found = []
        for path in (direct, replayed):
            with reading(path) as connection:
                found.append(connection.exec_driver_sql(f"SELECT * FROM {table}").all())
        assert found[0] == found[1] != []


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.99, 1])
async def test_a_torn_last_record_is_cut_off(tmp_path, share, caplog):
    whole = written(tmp_path / "j", 1, 2).stat().st_size
    long = written(tmp_path / "j", 3).stat().st_size
    torn = whole + round((long - whole - 1) * share)
    os.truncate(tmp_path / "j", torn)
    written(tmp_path / "j", 4)
    assert ("cut off" in caplog.text) == (torn > whole)
    ledger = await empty(tmp_path / "l.db")
    assert replay(tmp_path / "j", ledger) == Replayed(3, 0)
    assert booked(ledger) == [(op_id(n), n) for n in (1, 2, 4)]


def test_a_last_record_of_zeros_is_cut_off(tmp_path):
    whole = written(tmp_path / "j", 1).stat().st_size
    with open(tmp_path / "j", "ab") as file:
        file.write(bytes(5000) + b"\n")
    journal = Journal.open(tmp_path / "j")
    assert (journal.records, journal.path.stat().st_size) == (1, whole)
    journal.close()


async def test_damage_before_the_end_is_an_error(tmp_path):
    path = written(tmp_path / "j", 1, 2, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"small", b"smalt")
    path.write_bytes(b"".join(lines))
    ledger = await empty(tmp_path / "l.db")
    with pytest.raises(LedgerError, match=rf"damaged at byte {len(lines[0])}"):
        replay(path, ledger)
    assert path.read_bytes() == b"".join(lines)
    assert booked(ledger) == []


async def test_a_journal_has_one_owner(tmp_path):
    ledger, path = await empty(tmp_path / "l.db"), written(tmp_path / "j", 1)
    journal = Journal.open(path)
    with pytest.raises(LedgerError, match="another process has"):
        replay(path, ledger)
    journal.close()
    assert replay(path, ledger) == Replayed(1, 0)


async def test_what_a_newer_version_wrote_is_left_alone(tmp_path, monkeypatch):
    newer = batch(1)
    columns, rows = newer.tables["operations"]
    newer.tables["operations"] = ((*columns, "mood"), [(*rows[0], "good")])
    journal = Journal.open(tmp_path / "j")
    journal.append(newer)
    journal.close()
    ledger = await empty(tmp_path / "l.db")
    with pytest.raises(LedgerError, match=r"operations\.mood"):
        replay(tmp_path / "j", ledger)
    assert (tmp_path / "j").stat().st_size > 0


async def test_a_batch_that_no_ledger_can_hold_does_not_stop_the_others(tmp_path, caplog):
    path = written(tmp_path / "j", 1)
    journal = Journal.open(path)
    journal.append(Batch.of([operation(2), operation(2)], texts=True))
    journal.append(batch(3))
    journal.close()
    ledger = await empty(tmp_path / "l.db")
    assert replay(path, ledger) == Replayed(2, 0, 1)
    assert [id for id, _ in booked(ledger)] == [op_id(1), op_id(3)]
    rejected = (tmp_path / "j.rejected").read_bytes()
    assert len(json.loads(rejected.partition(b" ")[2])["tables"]["operations"][1]) == 2
    assert "j.rejected" in caplog.text


async def test_a_batch_that_was_committed_unnoticed_is_not_written_again(tmp_path):
    engine = open_to_write(tmp_path / "l.db")
    one = batch(1)
    with engine.connect() as connection:
        with connection.begin():
            one.write(connection)
        with connection.begin():
            one.write(connection)
        with connection.begin():
            assert not one.write_once(connection)
    engine.dispose()
    assert booked(tmp_path / "l.db") == [(op_id(1), 1)]


def test_where_it_cannot_be(tmp_path):
    with pytest.raises(LedgerError, match="cannot open the journal"):
        Journal.open(tmp_path / "none" / "j")
    open_to_write(tmp_path / "l.db").dispose()
    with pytest.raises(LedgerError, match="No such file"):
        replay(tmp_path / "none", tmp_path / "l.db")
