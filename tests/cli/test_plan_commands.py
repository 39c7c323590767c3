"""`farthing plan`, `explain` and `replay` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import recordings
from commands import farthing


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    where = tmp_path_factory.mktemp("plans")
    pq.write_table(recordings.table(150), where / "r.parquet")
    pq.write_table(recordings.table(90, seed=8), where / "fresh.parquet")
    pq.write_table(recordings.table(40, 1), where / "one.parquet")
    return where


def plan(place, *more, budget="0.0015", recording="r.parquet", models="m0,m1,m2"):
    return farthing(
        place, "plan", recording, "--models", models, "--budget", budget, "--alpha", "0.3", *more
    )


def test_plan_explain_replay(place):
    made = plan(place, "--json", "--out", "p.toml")
    assert made.returncode == 0, made.stderr
    data = json.loads(made.stdout)
    assert data["feasible"] is True
    explained = farthing(place, "explain", "p.toml")
    assert "Certificate (marginal)" in explained.stdout
    assert json.loads(farthing(place, "explain", "p.toml", "--json").stdout) == data
    replayed = farthing(place, "replay", "fresh.parquet", "--plan", "p.toml", "--json")
    assert json.loads(replayed.stdout)["questions"] == 90
    words = farthing(place, "replay", "fresh.parquet", "--plan", "p.toml")
    assert "Regret" in words.stdout
    assert "flatter" not in words.stdout


def test_the_same_call_writes_the_same_file(place):
    for name in ("a", "b"):
        assert plan(place, "--out", f"{name}.toml", "--name", "same").returncode == 0
    assert (place / "a.toml").read_bytes() == (place / "b.toml").read_bytes()


def test_samples_may_differ_by_model(place):
    made = plan(place, "--samples", "1,2,3", "--json", "--out", "s.toml")
    assert json.loads(made.stdout)["samples"] == [1, 2, 3]


def test_infeasible_budget_is_status_3_and_names_a_feasible_one(place):
    made = plan(place, "--out", "x.toml", budget="0.0000001")
    assert made.returncode == 3
    assert "would do" in made.stderr
    assert not (place / "x.toml").exists()
    data = json.loads(plan(place, "--json", "--out", "x.toml", budget="0.0000001").stdout)
    assert data["feasible"] is False
    again = plan(place, "--out", "y.toml", budget=f"{data['feasible_budget_usd']:.12f}")
    assert again.returncode == 0


def test_too_few_questions_is_status_3(place):
    made = farthing(
        place, "plan", "r.parquet", "--models", "m0,m1", "--budget", "1", "--alpha", "0.001"
    )
    assert made.returncode == 3
    assert "at least 1997 are needed" in made.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recording": "none.parquet"}, "none.parquet: no such file"),
        ({"models": "m0,m9"}, "no rows of model 'm9'"),
        ({"models": "m0"}, "at least two"),
        ({"recording": "one.parquet", "models": "m0"}, "at least two"),
    ],
)
def test_bad_input_is_status_1_with_one_line(place, settings, message):
    made = plan(place, **settings)
    assert made.returncode == 1
    assert message in made.stderr
    assert "Traceback" not in made.stderr
    assert made.stderr.startswith("farthing: ")
    assert len(made.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "wrong",
    [("--mode", "sure"), ("--sampling", "x"), ("--samples", "many"), ("--budget", "free")],
)
def test_mistakes_on_the_command_line_are_status_2(place, wrong):
    made = plan(place, *wrong)
    assert made.returncode == 2
    assert wrong[0] in made.stderr


def test_unknown_signal_names_the_columns(place):
    made = plan(place, "--signal", "confidence")
    assert made.returncode == 1
    assert "no column 'confidence'; it has" in made.stderr


def test_version_is_the_packages():
    from farthing import __version__

    command = [sys.executable, "-m", "farthing", "--version"]
    assert subprocess.check_output(command, text=True) == f"farthing {__version__}\n"


def test_plan_of_another_recording(place):
    assert plan(place, "--out", "p.toml").returncode == 0
    replayed = farthing(place, "replay", "one.parquet", "--plan", "p.toml")
    assert replayed.returncode == 1
    assert "no rows of m1, m2" in replayed.stderr
