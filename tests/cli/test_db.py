import json
import sqlite3

import commands
import pytest
from ledger_rows import attempt, book, operation, outcome

from farthing.ledger import Ledger
from farthing.ledger._batches import Batch
from farthing.ledger._journal import Journal
from farthing.ledger.schema import SCHEMA_VERSION

LATER_COLUMNS = (
    *("attempts.cache_write_1h", "attempts.input_audio", "attempts.output_audio"),
    *("attempts.input_image", "attempts.service_tier", "attempts.kind"),
    *("operations.gateway", "outcomes.stopped", "outcomes.certificate", "outcomes.calls"),
)
LATER_TABLES = (
    *("removals", "replays", "gateways", "leases", "spending", "charges", "reservations"),
    "certificates",
    *("budgets", "key_events", "key_secrets", "keys", "alembic_version"),
)


def farthing(*arguments, cwd):
    return commands.farthing(cwd, *map(str, arguments))


@pytest.fixture
async def folder(tmp_path):
    """A folder with a ledger that lacks what the versions after the first brought."""
    await Ledger.open(tmp_path / "farthing.db").close()
    connection = sqlite3.connect(tmp_path / "farthing.db")
    for column in LATER_COLUMNS:
        table, name = column.split(".")
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    for table in LATER_TABLES:
        connection.execute(f"DROP TABLE {table}")
    connection.execute("UPDATE meta SET value = '1'")
    connection.commit()
    connection.close()
    return tmp_path


def test_status_and_upgrade(folder):
    told = farthing("db", "status", cwd=folder)
    assert told.returncode == 0, told.stderr
    assert "farthing.db has schema 1" in told.stdout
    assert "run `farthing db upgrade`" in told.stdout
    status = json.loads(farthing("db", "status", "--json", cwd=folder).stdout)
    assert status.pop("ledger") == "farthing.db"
    assert status == {"schema": 1, "newest": SCHEMA_VERSION, "state": "old"}
    refused = farthing("report", cwd=folder)
    assert refused.returncode == 1
    assert "farthing db upgrade --db farthing.db" in refused.stderr
    done = farthing("db", "upgrade", "--backup", "before.db", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == f"farthing.db upgraded from schema 1 to {SCHEMA_VERSION}; as it was, "
        "it is in before.db.\n"
    )
    again = farthing("db", "upgrade", cwd=folder)
    assert again.stdout == f"farthing.db has schema {SCHEMA_VERSION}: nothing to do.\n"
    assert farthing("report", cwd=folder).returncode == 0
    before = json.loads(farthing("db", "status", "--db", "before.db", "--json", cwd=folder).stdout)
    assert before["schema"] == 1


def test_an_upgrade_while_another_writes(folder):
    other = sqlite3.connect(folder / "farthing.db")
    other.execute("BEGIN IMMEDIATE")
    refused = farthing("db", "upgrade", cwd=folder)
    other.rollback()
    other.close()
    assert refused.returncode == 1
    assert "another process is writing" in refused.stderr


def test_no_ledger(tmp_path):
    for command in (("status",), ("upgrade",), ("prune", "--older-than", "9d"), ("replay", "j")):
        done = farthing("db", *command, cwd=tmp_path)
        assert done.returncode == 1
        assert "there is no ledger at farthing.db" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_prune_and_what_a_report_says_then(tmp_path):
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        for number in (1, 2):
            await book(ledger, operation(number, prompt="p"), attempt(number, cost=7 * 10**9))
            await ledger.finish(outcome(number))
        await book(ledger, operation(3), attempt(3, cost=7))
    texts = farthing("db", "prune", "--older-than", "30d", "--texts", cwd=tmp_path)
    assert texts.stdout.startswith("Removed the texts of 3 operations that began before ")
    dry = farthing("db", "prune", "--older-than", "30d", "--dry-run", cwd=tmp_path)
    assert dry.stdout.startswith("Would remove 2 operations that began before ")
    assert dry.stdout.endswith(": 0.014 USD in 2 attempts.\n")
    assert json.loads(farthing("report", "--json", cwd=tmp_path).stdout)["removed"] is None
    done = farthing("db", "prune", "--older-than", "30d", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told.pop("before") < "2100"
    assert told == {
        "kind": "operations",
        "operations": 2,
        "attempts": 2,
        "cost_usd": "0.014",
        "unknown_cost_attempts": 0,
        "dry_run": False,
    }
    report = farthing("report", cwd=tmp_path)
    assert "Removed from the ledger, and in no sum: 2 operations" in report.stdout
    report = json.loads(farthing("report", "--json", cwd=tmp_path).stdout)
    assert report["removed"]["cost_usd"] == "0.014"
    assert report["total"]["spend_usd"] == "0.000000000007"
    later = farthing("report", "--json", "--since", "2100-01-01", cwd=tmp_path)
    assert json.loads(later.stdout)["removed"] is None


@pytest.mark.parametrize("age", [(), ("--older-than", "30"), ("--older-than", "0d")])
def test_prune_wants_an_age(tmp_path, age):
    done = farthing("db", "prune", *age, cwd=tmp_path)
    assert done.returncode == 2
    assert "older-than" in done.stderr


async def test_replay(tmp_path):
    await Ledger.open(tmp_path / "farthing.db").close()
    journal = Journal.open(tmp_path / "j")
    for number in (1, 2):
        journal.append(Batch.of([operation(number), attempt(number, cost=7)], texts=True))
    journal.close()
    (tmp_path / "copy").write_bytes((tmp_path / "j").read_bytes())
    done = farthing("db", "replay", "j", cwd=tmp_path)
    assert done.stdout == "j: 2 batches added to the ledger, 0 were there.\n"
    again = farthing("db", "replay", "copy", "--json", cwd=tmp_path)
    assert json.loads(again.stdout) == {
        "journal": "copy",
        "added": 0,
        "known": 2,
        "rejected": 0,
    }
    (tmp_path / "j").write_bytes(b"no journal\nat all\n")
    kept = farthing("db", "replay", "j", cwd=tmp_path)
    assert kept.returncode == 1
    assert "j is no journal" in kept.stderr
    assert (tmp_path / "j").read_bytes() == b"no journal\nat all\n"
    missing = farthing("db", "replay", "none", cwd=tmp_path)
    assert missing.returncode == 1
    assert "cannot open the journal none" in missing.stderr
