"""`farthing economics` as a user runs it."""

from __future__ import annotations

import json

import commands
import pyarrow.parquet as pq
import pytest
import recordings
from ledger_rows import attempt, book, operation, outcome

from farthing.ledger import Ledger

TABLE = """\
model,cases,pass_rate,first_pass_rate,total_cost,input_tokens,output_tokens,reasoning_tokens,\
input_price,output_price,date,class,family,effort
low,200,0.50,0.30,1.00,100000,200000,100000,1,4,2024-01-01,talkers,t,1
high,200,0.75,0.40,5.00,100000,1200000,1100000,1,4,2024-06-01,talkers,t,2
plain,200,0.60,0.50,2.00,200000,300000,0,3,12,2024-03-01,quiet,,
never,200,0.00,0.00,0.10,10000,10000,0,0.1,0.2,2024-02-01,quiet,,
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE, encoding="utf-8")
    pq.write_table(recordings.table(40), tmp_path / "r.parquet")
    return tmp_path


def farthing(place, *arguments):
    return commands.farthing(place, "economics", *arguments)


def asked(place, *arguments):
    done = farthing(place, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_table_in_json(place):
    told = asked(place, "table.csv", "--human-usd", "5", "--human-success", "0.5")
    by_name = {one["model"]: one for one in told["standings"]}
    assert by_name["low"]["cost_of_pass"]["value"] == pytest.approx(0.01)
    assert by_name["low"]["entry"]["total"] == "1"
    assert by_name["never"]["cost_of_pass"]["value"] == "infinite"
    assert by_name["never"]["cost_of_pass"]["interval"][1] == "infinite"
    assert [one["rank"] for one in told["standings"]] == [1, 3, 2, 4]
    assert told["questions"] is None
    assert told["frontier"]["human"] == 10.0
    assert told["frontier"]["value"]["value"] == pytest.approx(0.01)
    without = {one["name"]: one["frontier"]["value"] for one in told["frontier"]["without"]}
    assert without["talkers"] == pytest.approx(1 / 60)
    # low and high list 1.75, plain 5.25: high costs more than plain for all that.
    assert (told["reversal"]["pairs"], told["reversal"]["rate"]["value"]) == (5, 0.2)
    assert told["reversal"]["without_reasoning"]["rate_without"] == 0.0
    assert told["ranking"]["gain_of"] == "a second try"
    (step,) = told["steps"]
    assert (step["lower"], step["higher"]) == ("low", "high")
    assert step["usd_per_right"]["value"] == pytest.approx(0.02 / 0.25)


def test_counterfactuals(place):
    told = asked(
        place, "table.csv", "--without", "talkers", "--without", "pl*", "--before", "2024-02-01"
    )
    values = [one["frontier"]["value"] for one in told["frontier"]["without"]]
    assert values == pytest.approx([1 / 60, 0.01, 0.01])
    assert [one["date"] for one in told["frontier"]["over_time"]] == [
        "2024-01-01", "2024-02-01", "2024-03-01", "2024-06-01",
    ]  # fmt: skip


def test_in_words(place):
    done = farthing(place, "table.csv")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "table.csv: 4 models, whole runs" in text
    assert "never 0.0 [0.0, 1.8] 0.0005 never [0.0274, never] 4" in text
    assert "of 5 pairs of 4 models with listed prices, 20.0 % are reversed" in text
    assert "Ranking by quality 0.33, gain 0.33, cost 0.33" in text


def test_a_recording(place):
    pytest.importorskip("matplotlib")
    done = farthing(place, "r.parquet", "--plot", "p.png")
    assert done.returncode == 0, done.stderr
    assert (place / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "40 questions" in done.stdout
    assert "does not repay" in done.stdout
    assert "Noise: the same model on the same question again" in " ".join(done.stdout.split())


def test_dates_from_a_file(place):
    (place / "d.csv").write_text("model,date,class\nm0,2024-01-01,small\nm1,2025-01-01,\n")
    told = asked(place, "r.parquet", "--dates", "d.csv", "--without", "small")
    assert told["frontier"]["without"][0]["models"] == ["m0"]
    assert told["frontier"]["undated"] == ["m2"]
    assert len(told["frontier"]["over_time"]) == 2


async def test_a_ledger(place):
    async with Ledger.open(place / "farthing.db") as ledger:
        for n in range(6):
            more = attempt(n, 1, model="large", cost=10**10)
            await book(ledger, operation(n), attempt(n, cost=10**9), more, outcome(n))
    told = asked(place, "farthing.db")
    costs = {one["model"]: one["cost"]["value"] for one in told["standings"]}
    assert costs == pytest.approx({"small": 0.001, "large": 0.01})
    assert all(one["cost_of_pass"]["value"] is None for one in told["standings"])
    assert told["frontier"]["value"]["value"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["none.csv"], 1, "none.csv: no such file"),
        (["table.csv", "--human-success", "0"], 1, "want above 0, at most 1"),
        (["table.csv", "--weights", "speed=1"], 1, "weights 'speed=1'"),
        (["table.csv", "--without", "huge"], 1, "classes: quiet, talkers"),
        (["table.csv", "--before", "May"], 2, "no date such as"),
        (["table.csv", "--plot", "p.nothing"], 1, "no plot is written"),
    ],
)
def test_mistakes(place, arguments, status, said):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    done = farthing(place, *arguments)
    assert done.returncode == status, done.stderr
    assert said in " ".join(done.stderr.split())
