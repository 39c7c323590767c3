"""What is PostgreSQL's own: who makes the tables, where, and what happens when it goes away."""

import subprocess
import sys
import threading

import pytest
from ledger_rows import attempt, book, op_id, operation, outcome
from ledger_sql import execute, rows
from sqlalchemy import text
from sqlalchemy.exc import InternalError

from farthing.budgets.limits import Budget
from farthing.budgets.stored import Budgets
from farthing.core.errors import LedgerAwayError, LedgerError
from farthing.core.money import Cost
from farthing.ledger import Ledger, schema
from farthing.ledger.engines import engine_for, open_to_read, open_to_write
from farthing.ledger.export import export
from farthing.ledger.keyring import KeyRefusedError, KeyRing
from farthing.ledger.keys import Key, Keys, KeysError, list_keys
from farthing.ledger.report import make_report
from farthing.ledger.upgrade import schema_state, upgrade

COUNTS = "SELECT count(*) AS n FROM {}"
TABLES = (
    "SELECT table_schema, table_name FROM information_schema.tables "
    "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
)


def tables(where):
    return {(row["table_schema"], row["table_name"]) for row in rows(where, TABLES)}


def cut_off(where):
    """End all other connections to the database, as a server does that is shut down."""
    execute(
        where,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_first_starts_at_once(postgres):
    start, failures = threading.Barrier(8), []

    def gateway():
        start.wait()
        try:
            open_to_write(postgres).dispose()
        except LedgerError as error:
            failures.append(error)

    threads = [threading.Thread(target=gateway) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows(postgres, "SELECT * FROM meta") == [
        {"key": "schema_version", "value": str(schema.SCHEMA_VERSION)}
    ]
    assert schema_state(postgres).state == "current"


def test_tables_of_others_are_left_alone(postgres):
    execute(postgres, "CREATE TABLE mine (x int)", "INSERT INTO mine VALUES (1)")
    open_to_write(postgres).dispose()
    assert rows(postgres, "SELECT * FROM mine") == [{"x": 1}]
    assert {("public", "mine"), ("public", "operations")} <= tables(postgres)


def test_tables_of_others_that_have_our_names(postgres):
    execute(postgres, "CREATE TABLE keys (x int)", "CREATE TABLE alembic_version (x int)")
    before = tables(postgres)
    with pytest.raises(LedgerError, match=r"names: alembic_version, keys; .*search_path%3DNAME"):
        open_to_write(postgres)
    assert tables(postgres) == before


async def test_a_schema_of_its_own(postgres):
    execute(postgres, "CREATE SCHEMA spend", "CREATE TABLE keys (x int)")
    where = f"{postgres}&options=-csearch_path%3Dspend"
    async with Ledger.open(where) as ledger:
        await book(ledger, operation(1), attempt(1, cost=5), outcome(1))
    assert make_report(where).total.spend == Cost(5)
    expected = {("spend", name) for name in schema.metadata.tables}
    assert tables(postgres) == {("public", "keys"), *expected}
    assert upgrade(where) == (schema.SCHEMA_VERSION, schema.SCHEMA_VERSION)
    with pytest.raises(LedgerError, match="has no schema to make tables in"):
        open_to_write(f"{postgres}&options=-csearch_path%3Dnowhere")


def test_a_database_without_a_ledger(postgres):
    for asked in (open_to_read, list_keys, schema_state, upgrade, make_report):
        with pytest.raises(LedgerError, match="there is no ledger in the schema public of"):
            asked(postgres)
    with pytest.raises(LedgerError, match="there is no ledger"):
        Keys(postgres, create=False)
    assert tables(postgres) == set()


async def test_the_rights_that_are_needed(postgres):
    open_to_write(postgres).dispose()
    (database,) = rows(postgres, "SELECT current_database() AS name")
    writer, reader = (f"{database['name']}_{role}" for role in ("writer", "reader"))
    execute(
        postgres,
        f"CREATE ROLE {writer} LOGIN",
        f"CREATE ROLE {reader} LOGIN",
        f"GRANT USAGE ON SCHEMA public TO {writer}, {reader}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {writer}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {writer}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}",
    )
    by_writer, by_reader = (postgres.replace("postgres:@", f"{role}@") for role in (writer, reader))
    async with Ledger.open(by_writer) as ledger:
        await book(ledger, operation(1), attempt(1, cost=5), outcome(1))
    with Keys(by_writer) as keys, Budgets(by_writer) as budgets:
        keys.create(Key("alice"))
        budgets.set(Budget("a", Cost.from_usd(1)))
    assert make_report(by_reader).total.spend == Cost(5)
    with (
        Keys(by_reader) as store,
        pytest.raises(LedgerError, match=r"permission denied for table keys$"),
    ):
        store.create(Key("bob"))


def test_what_reads_cannot_write(postgres):
    open_to_write(postgres).dispose()
    engine = open_to_read(postgres)
    with pytest.raises(InternalError, match="read-only"), engine.begin() as connection:
        connection.execute(schema.keys.insert(), {"name": "a", "created_at": "", "tags": ""})
    engine.dispose()


def test_without_the_driver():
    program = """
import sys
sys.modules["psycopg"] = None
from farthing.cli import main
main()
"""
    arguments = [sys.executable, "-c", program, "report", "--db", "postgresql://db/spend"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "farthing: a ledger on PostgreSQL needs the driver psycopg: "
        "pip install 'farthing[postgres]'\n"
    )


def test_the_driver_is_not_imported_for_a_file(tmp_path):
    program = """
import sys
from farthing.ledger.keys import Keys
Keys(sys.argv[1]).close()
print("psycopg" in sys.modules)
"""
    arguments = [sys.executable, "-c", program, str(tmp_path / "l.db")]
    assert subprocess.check_output(arguments, text=True, timeout=60) == "False\n"


@pytest.mark.usefixtures("postgres_server")
@pytest.mark.parametrize("asked", [Ledger.open, list_keys, schema_state, upgrade, make_report])
def test_a_server_that_is_not_there(asked):
    with pytest.raises(LedgerError, match=r"the ledger postgresql://ann@127.0.0.1:1/spend") as told:
        asked("postgresql://ann:s3cret@127.0.0.1:1/spend")
    assert "refused" in str(told.value)
    assert "s3cret" not in repr(told.value)
    assert "\n" not in str(told.value)


def test_who_is_turned_away_need_not_wait(postgres_server):
    for wrong, says in (
        (postgres_server.get_uri(database="nowhere"), 'database "nowhere" does not exist'),
        (postgres_server.get_uri().replace("postgres:@", "nobody@"), 'role "nobody" does not'),
    ):
        with pytest.raises(LedgerError, match=says) as told:
            Ledger.open(wrong)
        assert not isinstance(told.value, LedgerAwayError)
    with pytest.raises(LedgerAwayError):
        Ledger.open("postgresql://ann@127.0.0.1:1/spend")


def test_a_failure_tells_no_values(postgres):
    with Keys(postgres) as store:
        execute(postgres, "CREATE UNIQUE INDEX only_one ON key_secrets (key_name)")
        store.create(Key("s3cret"))
        with pytest.raises(LedgerError, match=r'violates unique constraint "only_one"$') as told:
            store.rotate("s3cret")
    assert "s3cret" not in str(told.value)


def test_changes_come_one_after_the_other(postgres):
    """Without that, both would find that the name is free, and one would fail on the table."""
    start, told = threading.Barrier(4), []

    def create():
        with Keys(postgres) as store:
            start.wait()
            try:
                told.append(store.create(Key("alice")))
            except KeysError as error:
                told.append(str(error))

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer.startswith("fk-") for answer in told) == 1
    assert sum("already, or was" in answer for answer in told) == 3


def test_budgets(postgres):
    with Budgets(postgres) as store:
        assert not store.set(Budget("a", Cost.from_usd(1), "tag:env=prod"))
        assert store.top_up("a", Cost.from_usd("0.000000000001")).pico == 10**12 + 1


def test_a_lock_is_not_waited_for_without_end(postgres):
    open_to_write(postgres).dispose()
    engine, patient = engine_for(postgres, "write"), engine_for(postgres, "write", wait_s=0.1)
    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE keys"))
        with (
            pytest.raises(Exception, match="lock timeout"),
            patient.begin() as connection,
        ):
            connection.execute(text("SELECT * FROM keys"))
    engine.dispose()
    patient.dispose()


def test_commits_are_durable_whatever_the_database_says(postgres):
    (name,) = rows(postgres, "SELECT current_database() AS name")
    execute(postgres, f"ALTER DATABASE {name['name']} SET synchronous_commit = off")
    assert rows(postgres, "SHOW synchronous_commit") == [{"synchronous_commit": "on"}]


async def test_an_export_reads_from_a_cursor_of_the_server(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr("farthing.ledger.export._BATCH", 4)
    async with Ledger.open(postgres) as ledger:
        await book(ledger, *(operation(n) for n in range(10)), *(attempt(n) for n in range(10)))
    seen = []

    def watch(done, total):
        cursors = "SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'"
        seen.append((done, [row["query"] for row in rows(postgres, cursors)]))

    export(postgres, tmp_path / "r.parquet", progress=watch)
    assert [done for done, _ in seen] == [4, 8, 10]
    assert seen[0][1][0].startswith("FETCH FORWARD 4 ")


async def test_a_connection_that_was_cut_off_is_made_anew(postgres):
    ledger = Ledger.open(postgres)
    with Keys(postgres) as store:
        secret, ring = store.create(Key("alice")), KeyRing(postgres, fresh_s=0)
        for number in range(3):
            await ring.find(secret)
            await book(ledger, operation(number), attempt(number, cost=1), outcome(number))
            cut_off(postgres)
        store.revoke("alice")
    ring.close()
    await ledger.close()
    for table in ("operations", "attempts", "samples", "outcomes"):
        assert rows(postgres, COUNTS.format(table)) == [{"n": 3}], table


async def test_a_server_that_is_stopped_and_started(stoppable):
    server = stoppable()
    where = server.get_uri()
    ledger, ring = Ledger.open(where), KeyRing(where, fresh_s=0)
    await book(ledger, operation(1), attempt(1, cost=1), outcome(1))
    server.cleanup()
    ledger.begin(operation(2))
    ledger.attempt(attempt(2, cost=2))
    with pytest.raises(LedgerError, match="cannot write to the ledger postgresql://postgres@"):
        await ledger.finish(outcome(2))
    with pytest.raises(LedgerError, match="cannot read the keys"):
        await ring.find(f"fk-{'0' * 16}-{'a' * 43}")
    stoppable()
    await ledger.finish(outcome(2))
    await book(ledger, operation(3), attempt(3, cost=4), outcome(3))
    await ledger.close()
    with pytest.raises(KeyRefusedError):
        await ring.find(f"fk-{'0' * 16}-{'a' * 43}")
    ring.close()
    booked = rows(where, "SELECT operation_id, cost_pico FROM attempts ORDER BY cost_pico")
    assert booked == [{"operation_id": op_id(n), "cost_pico": 2 ** (n - 1)} for n in (1, 2, 3)]
    assert rows(where, COUNTS.format("outcomes")) == [{"n": 3}]
