"""The benchmarks of admission run; what they measure is not tested here."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def table_of(script, folder, *arguments):
    out = folder / "table.md"
    command = [sys.executable, str(BENCHMARKS / script), *arguments, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert out.read_text() in done.stdout
    return out.read_text()


def test_simulation(tmp_path):
    small = ["--seeds", "1", "--in-flight", "3", "--budgets", "1", "--learned", "20"]
    table = table_of("admission.py", tmp_path, *small)
    assert table.count("| joint (Farthing) |") == 2


def test_live(tmp_path):
    """What the ledger has booked is what the upstream has billed, to the picodollar."""
    small = ["--seeds", "1", "--in-flight", "4", "--budgets", "0.1", "--rate", "60"]
    table = table_of("admission_live.py", tmp_path, *small)
    _, _, naive, worst, joint = table.splitlines()
    assert naive.endswith("| no ledger |")
    assert worst.endswith("| 0 |")
    assert joint.endswith("| 0 |")
