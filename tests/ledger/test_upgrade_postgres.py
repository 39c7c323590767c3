"""Older ledgers on PostgreSQL are brought up to date like files are."""

import subprocess
import sys

import pytest
from alembic import command
from alembic.config import Config
from ledger_rows import attempt, book, operation, outcome
from ledger_sql import execute, rows
from sqlalchemy import text

from farthing.core.errors import LedgerError
from farthing.ledger import Ledger, schema
from farthing.ledger.engines import engine_for, open_to_read, open_to_write
from farthing.ledger.report import make_report
from farthing.ledger.upgrade import schema_state, upgrade

LAST = schema.SCHEMA_VERSION
SHAPE = {
    "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default, "
    "collation_name, character_maximum_length FROM information_schema.columns "
    "WHERE table_schema = 'public'",
    "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "constraints": "SELECT conrelid::regclass::text AS of, pg_get_constraintdef(oid) AS says "
    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
}
OPERATION = (
    "INSERT INTO operations (id, started_at, question, requested, tags, stream) "
    "VALUES ('op_1', '2026-01-31T23:00:00.000000Z', 'q', 'm', '{}', 0)"
)
ATTEMPT = (
    "INSERT INTO attempts (id, operation_id, number, node, model, started_at, status, "
    "usage_basis, cost_pico) "
    "VALUES ('op_1.0', 'op_1', 0, 'n', 'm', '2026-01-31T23:00:00.000000Z', 'ok', 'unknown', 7)"
)


def shape(where):
    return {what: sorted(map(str, rows(where, query))) for what, query in SHAPE.items()}


@pytest.fixture
def old(postgres):
    """A ledger of version 1 with one operation. There never was one, but its steps are there."""
    config = Config()
    config.set_main_option("script_location", "farthing.ledger:migrations")
    engine = engine_for(postgres, "write")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (OPERATION, ATTEMPT, "INSERT INTO meta VALUES ('schema_version', '1')"):
            connection.execute(text(statement))
    engine.dispose()
    return postgres


async def test_an_upgraded_ledger_is_like_a_new_one(old, postgres_server):
    postgres_server.psql("CREATE DATABASE upgraded_beside;")
    new = postgres_server.get_uri(database="upgraded_beside")
    open_to_write(new).dispose()
    assert schema_state(old).state == "old"
    assert upgrade(old) == (1, LAST)
    assert upgrade(old) == (LAST, LAST)
    assert shape(old) == shape(new)
    assert rows(old, "SELECT * FROM meta") == rows(new, "SELECT * FROM meta")
    texts = "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_name = "
    assert rows(old, texts + "'operations' AND data_type = 'text'") == [{"collation_name": "C"}]
    async with Ledger.open(old) as ledger:
        await book(ledger, operation(2), attempt(2, cost=1), outcome(2))
    assert make_report(old).total.spend.pico == 8


def test_an_old_ledger_is_refused_with_the_command_to_run(old):
    for opening in (Ledger.open, open_to_read):
        with pytest.raises(LedgerError, match=r"`farthing db upgrade --db .*`, after `pg_dump`"):
            opening(old)
    with pytest.raises(LedgerError, match="pg_dump"):
        upgrade(old, backup="copy.db")
    assert schema_state(old).version == 1


def test_two_upgrades_at_once(old):
    program = "import sys; from farthing.ledger.upgrade import upgrade; print(upgrade(sys.argv[1]))"
    arguments = [sys.executable, "-c", program, old]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert told == [f"(1, {LAST})", f"({LAST}, {LAST})"]


def test_while_another_process_writes_it_is_refused_and_nothing_changes(old):
    before, other = shape(old), engine_for(old, "write")
    with other.begin() as connection:
        connection.execute(text("UPDATE attempts SET cost_pico = 8"))
        with pytest.raises(LedgerError, match="another process is writing"):
            upgrade(old, patience_s=0.1)
    other.dispose()
    assert shape(old) == before
    assert schema_state(old).version == 1


def test_a_failing_step_leaves_the_ledger_as_it_was(old):
    execute(old, "CREATE TABLE leases (mine int)")  # a late step stumbles over it
    before = shape(old)
    with pytest.raises(LedgerError, match='relation "leases" already exists'):
        upgrade(old)
    assert shape(old) == before


def test_a_newer_ledger_is_refused(postgres):
    open_to_write(postgres).dispose()
    execute(postgres, "UPDATE meta SET value = '99'")
    for opening in (Ledger.open, open_to_read, upgrade):
        with pytest.raises(LedgerError, match="has schema 99, which a newer Farthing wrote"):
            opening(postgres)
