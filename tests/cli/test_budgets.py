import json
from datetime import UTC, datetime

import commands
import pytest
from ledger_rows import attempt, book, op_id, operation, outcome

from farthing.budgets.leases import add_spending, register
from farthing.budgets.stored import Budgets, read_limits
from farthing.core.money import Cost
from farthing.ledger import ChargeRow, Ledger, ReservationRow
from farthing.ledger.values import timestamp


def farthing(*arguments, cwd, command="budgets"):
    return commands.farthing(cwd, command, *map(str, arguments))


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


def test_rate_limits(tmp_path):
    made = farthing("set", "--scope", "key:a", "--requests", "60", cwd=tmp_path)
    assert made.stdout == "key-a-requests is set: 60 requests a minute, key:a.\n"
    made = farthing("set", "--name", "often", "--tokens", "9000", cwd=tmp_path)
    assert made.stdout == "often is set: 9000 tokens a minute, all.\n"
    both = farthing("set", "--limit", "1", "--tokens", "1", cwd=tmp_path)
    assert both.returncode == 2
    assert "give one of --limit, --requests and --tokens" in both.stderr
    assert "key-a-requests: 60 requests a minute, key:a" in farthing("list", cwd=tmp_path).stdout
    told = json.loads(farthing("list", "--json", cwd=tmp_path).stdout)["rates"]
    assert told[1] == {
        "name": "often",
        "scope": "all",
        "requests_per_minute": None,
        "tokens_per_minute": 9000,
    }
    assert farthing("remove", "often", cwd=tmp_path).stdout == "often is removed.\n"


async def test_a_report_tells_how_budgets_hold(tmp_path):
    farthing("set", "--limit", "4", "--name", "a", "--alpha", "0.25", cwd=tmp_path)
    now, cent = datetime.now(UTC), Cost.from_usd("0.01")
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        with Budgets(tmp_path / "farthing.db") as store, store._writing() as connection:
            ([stored], _) = read_limits(connection)
            register(connection, "gw", now)
            add_spending(connection, stored.counted_as, "~", timestamp(stored.since(now)), 0)
        for n in range(6):
            await book(ledger, operation(n), attempt(n, cost=cent.pico))
            id, number, since = op_id(n), stored.counted_as, stored.since(now)
            ledger.reserve(ReservationRow(id, "a", number, cent * 2, now, "gw"))
            if n < 5:
                basis = "lost" if n == 4 else "counted"
                cost = cent * (3 if n == 0 else 1)
                charge = ChargeRow(id, "a", number, cost, cent * 2, now, since, "gw", basis)
                ledger.charge(charge)
        await ledger.flush()
    budget = listed(tmp_path)["a"]
    assert (budget["spent_usd"], budget["assumed_usd"], budget["held_usd"]) == (
        "0.07",
        "0.01",
        "0.02",
    )
    assert (budget["in_flight"], budget["settled"], budget["exceeded"]) == (1, 4, 1)
    told = farthing(cwd=tmp_path, command="report").stdout
    assert "Budget a (all, total)" in told
    assert "0.07 of 4 USD spent (counted), 2%; 0.02 USD held for 1 requests in flight" in told
    assert "1 of 4 requests cost more than was held for them: rate 0.250, 95% interval" in told
    assert "alpha 0.25" in told
    report = json.loads(farthing("--json", cwd=tmp_path, command="report").stdout)
    assert report["budgets"][0]["exceeded_rate"] == 0.25
