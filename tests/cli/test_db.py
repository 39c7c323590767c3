import json
import sqlite3
import subprocess
import sys

import pytest

from farthing.ledger import Ledger
from farthing.ledger.schema import SCHEMA_VERSION

LATER_COLUMNS = (
    *("attempts.cache_write_1h", "attempts.input_audio", "attempts.output_audio"),
    *("attempts.input_image", "attempts.service_tier", "attempts.kind"),
    *("operations.gateway", "outcomes.stopped"),
)
LATER_TABLES = (
    *("removals", "replays", "gateways", "leases", "spending", "charges", "reservations"),
    *("budgets", "key_events", "key_secrets", "keys", "alembic_version"),
)


def farthing(*arguments, cwd):
    code = "from farthing.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


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
    for command in ("status", "upgrade"):
        done = farthing("db", command, cwd=tmp_path)
        assert done.returncode == 1
        assert "there is no ledger at farthing.db" in done.stderr
    assert list(tmp_path.iterdir()) == []
