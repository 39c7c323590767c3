"""The simulation of admission runs; what it measures is not tested here."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "admission.py"


def test_it_runs(tmp_path):
    small = ["--seeds", "1", "--in-flight", "3", "--budgets", "1", "--learned", "20"]
    command = [sys.executable, str(SCRIPT), *small, "--out", str(tmp_path / "table.md")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "table.md").read_text()
    assert table in done.stdout
    assert table.count("| joint (Farthing) |") == 2
