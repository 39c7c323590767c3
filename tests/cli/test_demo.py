"""The demo end to end: gateway, official client, ledger, plan, report."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("openai")


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
