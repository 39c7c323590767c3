import json
from datetime import UTC, datetime, timedelta

import commands
import pytest
import typer
from ledger_rows import attempt, book, operation, outcome

from farthing.cli.keys import duration, end, labels, names
from farthing.ledger import Ledger
from farthing.ledger.key_rows import SECRET
from farthing.ledger.keys import list_keys


def farthing(*arguments, cwd):
    return commands.farthing(cwd, *map(str, arguments))


def test_the_life_of_a_key(tmp_path):
    arguments = ["--user", "al", "--team", "search", "--tags", "env=prod,run=7"]
    arguments += ["--models", "small,mid", "--plans", "thrifty", "--expires", "30d"]
    made = farthing("keys", "create", "alice", *arguments, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert SECRET.fullmatch(secret)
    assert "not shown again" in made.stderr
    assert secret not in made.stderr
    (state,) = list_keys(tmp_path / "farthing.db")
    key = state.key
    assert (key.user, key.team, key.tags) == ("al", "search", {"env": "prod", "run": "7"})
    assert (key.models, key.plans) == (("small", "mid"), ("thrifty",))
    assert timedelta(days=29) < state.ends_at - datetime.now(UTC) < timedelta(days=30)
    rotated = json.loads(
        farthing("keys", "rotate", "alice", "--grace", "1h", "--json", cwd=tmp_path).stdout
    )
    assert rotated["name"] == "alice"
    assert rotated["secret"] != secret
    listed = farthing("keys", "list", cwd=tmp_path)
    assert "alice" in listed.stdout
    assert "active" in listed.stdout
    assert farthing("keys", "revoke", "alice", cwd=tmp_path).stdout == "alice is revoked.\n"
    again = farthing("keys", "revoke", "alice", cwd=tmp_path)
    assert again.stdout == "alice was already revoked.\n"
    told = farthing("keys", "list", "--json", cwd=tmp_path).stdout
    (listed,) = json.loads(told)["keys"]
    assert listed["state"] == "revoked"
    assert [entry["ended_by"] for entry in listed["secrets"]] == ["revoked", "revoked"]
    for shown in (secret, rotated["secret"]):
        assert shown[20:] not in told
        for path in tmp_path.iterdir():
            assert shown[20:].encode() not in path.read_bytes()


def test_mistakes(tmp_path):
    farthing("keys", "create", "alice", cwd=tmp_path)
    taken = farthing("keys", "create", "alice", cwd=tmp_path)
    assert taken.returncode == 1
    assert "names are not given twice" in taken.stderr
    assert farthing("keys", "create", "b", "--expires", "soon", cwd=tmp_path).returncode == 2
    past = farthing("keys", "create", "b", "--expires", "2020-01-01", cwd=tmp_path)
    assert past.returncode == 1
    assert "expired already" in past.stderr
    assert [state.key.name for state in list_keys(tmp_path / "farthing.db")] == ["alice"]


@pytest.mark.parametrize("command", [["list"], ["revoke", "alice"], ["rotate", "alice"]])
def test_no_ledger(tmp_path, command):
    done = farthing("keys", *command, cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no ledger" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_lengths_of_time():
    assert duration("90s") == timedelta(seconds=90)
    assert duration("2w") == timedelta(days=14)
    for wrong in ("", "1", "h", "-1h", "1.5h", "99999d", "1 h"):
        with pytest.raises(typer.BadParameter):
            duration(wrong)
    assert end("2027-01-01") == datetime(2027, 1, 1, tzinfo=UTC)
    assert timedelta(0) < end("1h") - datetime.now(UTC) <= timedelta(hours=1)


def test_lists():
    assert labels("a=b, c=d=e") == {"a": "b", "c": "d=e"}
    for wrong in ("", "a", "a=", "=b", "a=b,"):
        with pytest.raises(typer.BadParameter):
            labels(wrong)
    assert names("a, b,,a") == ("a", "b")


async def test_the_report_shows_keys_as_booked(tmp_path):
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        for n, key in enumerate(("alice", "alice", None)):
            await book(ledger, operation(n, key=key), attempt(n, cost=10**12), outcome(n))
    told = farthing("report", "--by", "key", "--json", cwd=tmp_path)
    groups = json.loads(told.stdout)["groups"]
    assert {g["name"]: g["spend_usd"] for g in groups} == {"alice": "2", None: "1"}
