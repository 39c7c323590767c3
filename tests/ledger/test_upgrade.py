"""Older files are brought up to date, wholly or not at all."""

import asyncio
import sqlite3
import subprocess
import sys
import threading

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from ledger_rows import attempt, book, operation, outcome
from sqlalchemy import create_engine, select

from farthing.core.errors import LedgerError
from farthing.core.usage import Usage
from farthing.ledger import Ledger, schema
from farthing.ledger.engines import open_to_read
from farthing.ledger.queries import input_tokens, output_tokens
from farthing.ledger.report import make_report
from farthing.ledger.upgrade import schema_state, upgrade
from farthing.ledger.values import (
    attempt_values,
    operation_values,
    outcome_values,
    sample_values,
)

VERSION_1 = """
CREATE TABLE meta ("key" TEXT NOT NULL, value TEXT, PRIMARY KEY ("key"));
CREATE TABLE operations (
    id TEXT NOT NULL, started_at TEXT NOT NULL, question TEXT NOT NULL, prompt TEXT,
    requested TEXT NOT NULL, "plan" TEXT, strongest TEXT, "key" TEXT, tags TEXT NOT NULL,
    answer_reader TEXT, stream INTEGER NOT NULL, PRIMARY KEY (id)
) WITHOUT ROWID;
CREATE INDEX operations_started_at ON operations (started_at);
CREATE TABLE attempts (
    id TEXT NOT NULL, operation_id TEXT NOT NULL, number INTEGER NOT NULL, node TEXT NOT NULL,
    model TEXT NOT NULL, started_at TEXT NOT NULL, status TEXT NOT NULL, error TEXT,
    input BIGINT, cache_read BIGINT, cache_write BIGINT, output BIGINT, reasoning BIGINT,
    usage_basis TEXT NOT NULL, cost_pico BIGINT, price_source TEXT, price_date TEXT,
    latency_s DOUBLE, ttft_s DOUBLE, temperature DOUBLE, upstream_id TEXT, PRIMARY KEY (id),
    FOREIGN KEY(operation_id) REFERENCES operations (id)
) WITHOUT ROWID;
CREATE INDEX attempts_operation ON attempts (operation_id, number);
CREATE TABLE samples (
    attempt_id TEXT NOT NULL, number INTEGER NOT NULL, text TEXT, answer TEXT,
    finish_reason TEXT, mean_logprob DOUBLE, min_logprob DOUBLE, output_tokens BIGINT,
    cost_pico BIGINT, basis TEXT NOT NULL, PRIMARY KEY (attempt_id, number),
    FOREIGN KEY(attempt_id) REFERENCES attempts (id)
) WITHOUT ROWID;
CREATE TABLE outcomes (
    operation_id TEXT NOT NULL, finished_at TEXT NOT NULL, status TEXT NOT NULL,
    answered_by TEXT, answer TEXT, signal DOUBLE, budget_pico BIGINT, alpha DOUBLE, error TEXT,
    PRIMARY KEY (operation_id), FOREIGN KEY(operation_id) REFERENCES operations (id)
) WITHOUT ROWID;
INSERT INTO meta VALUES ('schema_version', '1');
PRAGMA journal_mode = WAL;
"""
"""What the last Farthing without migrations made of an empty file, statement by statement."""

LAST = schema.SCHEMA_VERSION
NEWEST = ([(f"{LAST:04}",)], [(str(LAST),)])
TABLES = ("operations", "attempts", "samples", "outcomes")


@pytest.fixture
def old(tmp_path):
    """A ledger of version 1 with thirty operations."""
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    for number in range(30):
        row = attempt(number, cost=10**9, usage=Usage(input=100, cache_write=7, output=10))
        booked = {
            "operations": [operation_values(operation(number, key="alice"))],
            "attempts": [attempt_values(row)],
            "samples": sample_values(row),
            "outcomes": [outcome_values(outcome(number))],
        }
        for table, rows in booked.items():
            known = {column[1] for column in connection.execute(f"PRAGMA table_info({table})")}
            for values in rows:
                kept = {name: value for name, value in values.items() if name in known}
                names = ", ".join(f'"{name}"' for name in kept)
                marks = ", ".join("?" * len(kept))
                sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
                connection.execute(sql, tuple(kept.values()))
    connection.commit()
    connection.close()
    return path


def contents(path):
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for table in TABLES
        }
    finally:
        connection.close()


def shape(path):
    """Columns, indexes and foreign keys of each table."""
    connection = sqlite3.connect(path)
    try:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {
            table: [
                connection.execute(f"PRAGMA {what}({table})").fetchall()
                for what in ("table_info", "index_list", "foreign_key_list")
            ]
            for (table,) in connection.execute(query).fetchall()
        }
    finally:
        connection.close()


def versions(path):
    connection = sqlite3.connect(path)
    try:
        stamps = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return stamps, connection.execute("SELECT value FROM meta").fetchall()
    finally:
        connection.close()


def test_the_newest_version_is_that_of_the_last_migration():
    config = Config()
    config.set_main_option("script_location", "farthing.ledger:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [schema.revision(schema.SCHEMA_VERSION)]
    found = [script.revision for script in scripts.walk_revisions()]
    assert found == [schema.revision(n) for n in range(schema.SCHEMA_VERSION, 0, -1)]


async def test_an_upgraded_file_is_like_a_new_one(old, tmp_path):
    new = tmp_path / "new.db"
    await Ledger.open(new).close()
    assert upgrade(old) == (1, schema.SCHEMA_VERSION)
    assert shape(old) == shape(new)
    assert versions(old) == versions(new) == NEWEST


def test_the_first_migration_makes_what_files_of_version_1_have(old, tmp_path):
    made = tmp_path / "made.db"
    config = Config()
    config.set_main_option("script_location", "farthing.ledger:migrations")
    with create_engine(f"sqlite:///{made}").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    tables = shape(made)
    del tables["alembic_version"]
    assert tables == shape(old)


async def test_rows_are_kept_and_more_can_be_booked(old):
    before = contents(old)
    upgrade(old)
    after = contents(old)
    for table in TABLES:
        assert len(after[table]) == 30
        for row, kept in zip(before[table], after[table], strict=True):
            assert kept.items() >= row.items()
            new = {name: kept[name] for name in kept.keys() - row.keys()}
            assert new.pop("kind", "sample") == "sample"
            assert not any(value is not None for value in new.values())
    async with Ledger.open(old) as ledger:
        await book(ledger, operation(99), attempt(99, cost=1), outcome(99))
    report = make_report(old, by="key")
    assert {group.name: group.operations for group in report.groups} == {None: 1, "alice": 30}
    assert report.total.tokens["cache_write"] == 210
    assert report.total.tokens["cache_write_1h"] == 0


def test_an_old_file_is_refused_with_the_command_to_run(old):
    for opening in (Ledger.open, open_to_read):
        with pytest.raises(LedgerError, match=r"`farthing db upgrade --db .*old\.db`.*--backup"):
            opening(old)
    assert schema_state(old).state == "old"
    assert len(contents(old)["operations"]) == 30


def test_a_newer_file_is_refused_everywhere(old):
    connection = sqlite3.connect(old)
    connection.execute("UPDATE meta SET value = '99'")
    connection.commit()
    connection.close()
    before = shape(old)
    for opening in (Ledger.open, open_to_read, upgrade):
        with pytest.raises(LedgerError, match="has schema 99, which a newer Farthing wrote"):
            opening(old)
    assert schema_state(old).state == "newer"
    assert shape(old) == before


def test_a_second_upgrade_does_nothing(old):
    upgrade(old)
    before = old.read_bytes()
    assert upgrade(old) == (schema.SCHEMA_VERSION, schema.SCHEMA_VERSION)
    assert old.read_bytes() == before


def test_two_upgrades_at_once(old):
    program = "import sys; from farthing.ledger.upgrade import upgrade; print(upgrade(sys.argv[1]))"
    arguments = [sys.executable, "-c", program, str(old)]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert told == [f"(1, {LAST})", f"({LAST}, {LAST})"]
    assert versions(old) == NEWEST


def test_while_another_process_writes_it_is_refused_and_nothing_changes(old):
    other = sqlite3.connect(old)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM outcomes")
    before = shape(old)
    with pytest.raises(LedgerError, match="another process is writing"):
        upgrade(old, patience_s=0.05)
    other.rollback()
    other.close()
    assert shape(old) == before
    assert schema_state(old).version == 1


def test_a_writer_that_is_done_soon_is_waited_for(old):
    other = sqlite3.connect(old, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, other.rollback)
    timer.start()
    assert upgrade(old) == (1, LAST)
    timer.join()
    other.close()


def test_a_failing_step_leaves_the_file_as_it_was(old):
    connection = sqlite3.connect(old)
    connection.execute("CREATE TABLE key_events (mine)")  # the last step stumbles over it
    connection.commit()
    connection.close()
    before, rows = shape(old), contents(old)
    with pytest.raises(LedgerError, match="key_events already exists"):
        upgrade(old)
    assert shape(old) == before
    assert contents(old) == rows


def test_the_backup_is_the_ledger_as_it_was(old, tmp_path):
    rows, copy = contents(old), tmp_path / "copy.db"
    upgrade(old, backup=copy)
    assert schema_state(copy).version == 1
    assert contents(copy) == rows
    assert upgrade(copy) == (1, LAST)


def test_a_backup_overwrites_nothing(old, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(LedgerError, match="exists"):
        upgrade(old, backup=taken)
    with pytest.raises(LedgerError, match="cannot copy"):
        upgrade(old, backup=tmp_path / "nowhere" / "copy.db")
    assert taken.read_text() == "mine"
    assert schema_state(old).version == 1


def test_what_is_no_ledger(tmp_path):
    path = tmp_path / "other.db"
    for asked in (schema_state, upgrade):
        with pytest.raises(LedgerError, match="there is no ledger"):
            asked(path)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    for asked in (schema_state, upgrade):
        with pytest.raises(LedgerError, match="no ledger of Farthing"):
            asked(path)


def test_alembic_is_not_imported_to_open_a_ledger(tmp_path):
    program = """
import asyncio, sys
from farthing.ledger import Ledger
from farthing.ledger.keyring import KeyRing
async def main():
    await Ledger.open(sys.argv[1]).close()
asyncio.run(main())
print("alembic" in sys.modules, "mako" in sys.modules)
"""
    arguments = [sys.executable, "-c", program, str(tmp_path / "l.db")]
    assert subprocess.check_output(arguments, text=True, timeout=60) == "False False\n"


def test_the_leaves_are_in_the_recording_and_the_report(tmp_path):
    """Rows whose new leaves are counted: they are part of the prompt and of the answer."""
    path = tmp_path / "l.db"

    async def fill():
        async with Ledger.open(path) as ledger:
            await book(ledger, operation(1), attempt(1, tokens=(100, 10)), outcome(1))

    asyncio.run(fill())
    connection = sqlite3.connect(path)
    connection.execute("UPDATE attempts SET cache_write_1h = 5, input_audio = 6, output_audio = 7")
    connection.commit()
    connection.close()
    tokens = make_report(path).total.tokens
    assert (tokens["input"], tokens["cache_write_1h"], tokens["output_audio"]) == (100, 5, 7)
    engine = open_to_read(path)
    with engine.begin() as reading:
        assert reading.execute(select(input_tokens, output_tokens)).one() == (111, 17)
    engine.dispose()
