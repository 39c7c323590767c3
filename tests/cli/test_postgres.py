"""Commands on a ledger that lies on PostgreSQL, named by --db or by the environment."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from ledger_rows import attempt, book, operation, outcome

from farthing.ledger import Ledger
from farthing.ledger.schema import SCHEMA_VERSION


@pytest.fixture
async def where(postgres):
    async with Ledger.open(postgres) as ledger:
        for n in range(4):
            await book(ledger, operation(n), attempt(n, cost=10**9), outcome(n))
    return postgres.replace("postgres:@", "postgres:s3cret@")  # trusted with any password


@pytest.fixture
def run(tmp_path, where):
    def run(*arguments, env=False, code=0):
        """Run a command and return what it printed; its ledger is said by --db, or the shell."""
        program = "from farthing.cli import main; main()"
        command = [sys.executable, "-c", program, *map(str, arguments)]
        shell = os.environ | ({"FARTHING_LEDGER_URL": where} if env else {})
        command += [] if env else ["--db", where]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=shell
        )
        assert done.returncode == code, done.stderr
        assert "s3cret" not in done.stdout + done.stderr
        assert not (tmp_path / "farthing.db").exists()
        return done.stdout if code == 0 else done.stderr

    return run


@pytest.mark.parametrize("env", [False, True])
def test_report_and_export(run, tmp_path, env):
    told = json.loads(run("report", "--json", env=env))
    assert told["total"]["spend_usd"] == "0.004"
    run("export", "--out", "r.parquet", env=env)
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 4


def test_keys(run):
    assert json.loads(run("keys", "create", "alice", "--json"))["secret"].startswith("fk-")
    assert "alice" in run("keys", "list")
    run("keys", "rotate", "alice", "--grace", "1h")
    run("keys", "revoke", "alice")
    assert "no key 'zoe' in postgresql://postgres@/" in run("keys", "revoke", "zoe", code=1)


def test_budgets(run):
    run("budgets", "set", "--name", "most", "--scope", "all", "--limit", "1")
    assert "most" in run("budgets", "list")
    run("budgets", "remove", "most")


def test_db(run):
    told = json.loads(run("db", "status", "--json"))
    assert told.pop("ledger").startswith("postgresql://postgres@/")
    assert told == {"schema": SCHEMA_VERSION, "newest": SCHEMA_VERSION, "state": "current"}
    assert "nothing to do" in run("db", "upgrade")
    assert "pg_dump" in run("db", "upgrade", "--backup", "copy.db", code=1)
