"""`farthing certify` as a user runs it."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import recordings
from commands import farthing


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    where = tmp_path_factory.mktemp("certify")
    table = recordings.table(200, samples=1)
    pq.write_table(table, where / "r.parquet")
    rows = [row for row in table.to_pylist() if row["model"] == "m2"][:100]
    lines = [f"{row['question']},{row['correct']}\n" for row in rows]
    (where / "l.csv").write_text("question,correct\n" + "".join(lines))
    (where / "bad.csv").write_text("question,correct\n" + lines[0] + "q0001,yes\n")
    return where


def certify(place, *more, labels="l.csv", model="m2"):
    return farthing(place, "certify", "r.parquet", "--labels", labels, "--model", model, *more)


def test_words_and_json_say_the_same(place):
    words = certify(place)
    assert words.returncode == 0, words.stderr
    data = json.loads(certify(place, "--json").stdout)
    assert f"model m2 is at least {data['quality_at_least']:.1%} with" in words.stdout
    assert data["labels"] == 100
    assert data["estimator"] == "binomial"
    assert data["target"] is data["verdict"] is data["more_labels"] is None


@pytest.mark.parametrize("more", [(), ("--judge", "conf_raw"), ("--sequential",)])
def test_status_says_whether_the_target_is_met(place, more):
    assert certify(place, "--target", "0.3", *more).returncode == 0
    unsettled = certify(place, "--target", "0.73", *more)
    assert unsettled.returncode == 3
    assert "not settled" in unsettled.stdout
    assert "(modelled)" in unsettled.stdout
    missed = certify(place, "--target", "0.999", "--json", *more)
    assert missed.returncode == 3
    assert json.loads(missed.stdout)["verdict"] == "missed"


def test_of_a_plan(place):
    budget = ("--budget", "0.0015", "--alpha", "0.3", "--samples", "1")
    made = farthing(place, "plan", "r.parquet", "--models", "m0,m1,m2", *budget, "--out", "p.toml")
    assert made.returncode == 0, made.stderr
    certified = farthing(
        place, "certify", "r.parquet", "--labels", "l.csv", "--plan", "p.toml", "--json"
    )
    assert json.loads(certified.stdout)["name"] == "plan p"


def test_mistakes(place):
    told = certify(place, labels="bad.csv")
    assert told.returncode == 1
    assert told.stderr == "farthing: bad.csv:3: correct is 'yes', want a number from 0 to 1\n"
    assert "no rows of model 'm9'" in certify(place, model="m9").stderr
    both = certify(place, "--plan", "p.toml")
    assert both.returncode == 2
    assert "--plan" in both.stderr
    assert certify(place, "--confidence", "95").returncode == 2
