"""`farthing bench policies` and `farthing plan --search` as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import recordings
from commands import farthing


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    where = tmp_path_factory.mktemp("bench")
    pq.write_table(recordings.table(120, samples=2), where / "r.parquet")
    bare = recordings.table(120, samples=1).drop_columns(["correct", "reference"])
    pq.write_table(bare, where / "bare.parquet")
    pq.write_table(bare.drop_columns(["cost_usd"]), where / "free.parquet")
    return where


def started(place, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "farthing", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


def test_table_and_plot(place):
    done = started(
        place, "bench", "policies", "r.parquet", "--policies", "threshold,c3po", "--plot", "p.png"
    )
    assert done.returncode == 0, done.stderr
    for words in ("r.parquet: 120 questions", "always-best", "random at equal cost", "threshold"):
        assert words in done.stdout
    assert (place / "p.png").read_bytes().startswith(b"\x89PNG")


def test_json_of_two_processes_is_that_of_one(place):
    told = []
    for jobs in ("1", "2"):
        done = started(
            place, "bench", "policies", "r.parquet", "--policies", "threshold,c3po", "--json",
            "--jobs", jobs,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))
    assert told[0] == told[1]
    rows = {row["name"]: row for row in told[0]["recordings"][0]["rows"]}
    assert set(rows) >= {"threshold", "c3po", "oracle", "always-cheap"}
    assert len(rows["c3po"]["violations"]) == 5


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["r.parquet", "--policies", "thresold"], 2, "no policy is called"),
        (["none.parquet"], 1, "no such file"),
        (["bare.parquet", "--policies", "threshold"], 1, "--truth"),
        (["free.parquet", "--policies", "threshold"], 1, "cost_usd"),
        (["r.parquet", "--plot", "p.doc"], 1, "no plot is written as '.doc'"),
        (["r.parquet", "--cost", "m0:1"], 2, "want MODEL=USD"),
        (["r.parquet", "--models", "m0,mx"], 1, "no rows of model 'mx'"),
    ],
)
def test_mistakes_are_told(place, arguments, status, words):
    done = farthing(place, "bench", "policies", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_search_writes_a_plan_that_can_be_replayed(place):
    done = farthing(
        place, "plan", "r.parquet", "--search", "--policies", "threshold,c3po", "--budget",
        "0.002", "--alpha", "0.2", "--out", "best.toml", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {row["name"] for row in told["evidence"]} == {"threshold", "c3po"}
    for command in (["explain", "best.toml"], ["replay", "r.parquet", "--plan", "best.toml"]):
        done = farthing(place, *command)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "0.002"], "name the models"),
        (["--budget", "0.002", "--search", "--signal", "agreement"], "leave out --signal"),
        (["--budget", "0.002", "--models", "m0,m2", "--policies", "c3po"], "belongs to --search"),
        (["--budget", "0.002", "--search", "--policies", "x"], "no policy is called 'x'"),
    ],
)
def test_options_that_do_not_fit_are_told(place, arguments, words):
    done = farthing(place, "plan", "r.parquet", *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())


def test_what_no_policy_keeps_exits_with_3(place):
    done = farthing(
        place, "plan", "r.parquet", "--search", "--policies", "threshold", "--budget", "0.0000001"
    )
    assert done.returncode == 3
    assert "would do" in done.stderr
