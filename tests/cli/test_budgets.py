import json
import subprocess
import sys

import pytest
from ledger_rows import attempt, book, operation, outcome

from farthing.ledger import Ledger


def farthing(*arguments, cwd):
    code = "from farthing.cli import main; main()"
    command = [sys.executable, "-c", code, "budgets", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def listed(cwd):
    return {
        b.pop("name"): b for b in json.loads(farthing("list", "--json", cwd=cwd).stdout)["budgets"]
    }


def test_the_life_of_a_budget(tmp_path):
    arguments = ["--scope", "key:alice", "--limit", "25", "--window", "month"]
    arguments += ["--zone", "Europe/Berlin", "--per-operation", "0.10", "--alpha", "0.1"]
    made = farthing("set", *arguments, cwd=tmp_path)
    assert made.stdout == "key-alice-month is set: 25 USD, key:alice, month.\n"
    made = farthing("set", "--limit", "10", "--name", "prepaid", "--soft", cwd=tmp_path)
    assert made.stdout == "prepaid is set: 10 USD, all, total.\n"
    more = farthing("topup", "prepaid", "2.5", cwd=tmp_path)
    assert more.stdout == "prepaid is topped up: 12.5 USD in all.\n"
    budgets = listed(tmp_path)
    alice, prepaid = budgets["key-alice-month"], budgets["prepaid"]
    assert (alice["limit_usd"], alice["zone"], alice["alpha"]) == ("25", "Europe/Berlin", 0.1)
    assert (alice["per_operation_usd"], alice["soft"]) == ("0.1", False)
    assert alice["resets_at"] is not None
    assert (prepaid["limit_usd"], prepaid["soft"], prepaid["resets_at"]) == ("12.5", True, None)
    again = farthing("set", "--limit", "3", "--name", "prepaid", cwd=tmp_path)
    assert again.stdout == "prepaid is changed: 3 USD, all, total.\n"
    assert listed(tmp_path)["prepaid"]["began_at"] == prepaid["began_at"]
    assert farthing("remove", "prepaid", cwd=tmp_path).stdout == "prepaid is removed.\n"
    assert list(listed(tmp_path)) == ["key-alice-month"]
    shown = farthing("list", cwd=tmp_path).stdout
    assert "key-alice-month" in shown
    assert "prepaid" not in shown


async def test_what_is_spent(tmp_path):
    farthing("set", "--limit", "4", "--scope", "key:alice", "--name", "a", cwd=tmp_path)
    farthing("set", "--limit", "8", "--window", "30m", "--name", "b", cwd=tmp_path)
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        for n, key in enumerate(("alice", "alice", None)):  # long before the budgets were set
            await book(ledger, operation(n, key=key), attempt(n, cost=10**12), outcome(n))
    assert {name: b["spent_usd"] for name, b in listed(tmp_path).items()} == {"a": "0", "b": "0"}


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["set", "--limit", "lots"], 2, "not an amount"),
        (["set", "--limit", "-1"], 2, "not negative"),
        (["set", "--limit", "1", "--scope", "alice"], 2, "want all, key:NAME"),
        (["set", "--limit", "1", "--window", "fortnight"], 2, "window"),
        (["set", "--limit", "1", "--zone", "Mars/North"], 2, "IANA"),
        (["set", "--limit", "1", "--alpha", "2"], 2, "alpha"),
        (["set", "--limit", "1", "--mode", "bold"], 2, "mode"),
        (["set", "--limit", "99999999"], 1, "more than a budget can hold"),
        (["topup", "nobody", "1"], 1, "there is no budget 'nobody'"),
        (["topup", "daily", "1"], 1, "only one with the window total"),
        (["topup", "total", "0"], 1, "want an amount above 0"),
        (["remove", "nobody"], 1, "there are: daily, total"),
    ],
)
def test_mistakes(tmp_path, arguments, status, told):
    farthing("set", "--limit", "1", "--window", "day", "--name", "daily", cwd=tmp_path)
    farthing("set", "--limit", "1", "--name", "total", cwd=tmp_path)
    done = farthing(*arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert set(listed(tmp_path)) == {"daily", "total"}


@pytest.mark.parametrize("command", [["list"], ["remove", "a"], ["topup", "a", "1"]])
def test_no_ledger(tmp_path, command):
    done = farthing(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no ledger" in done.stderr
    assert list(tmp_path.iterdir()) == []
