"""The benchmark scripts run, on little data; what they measure is not tested."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import recordings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script, *arguments):
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def renamed(table, names):
    models = [names[model] for model in table["model"].to_pylist()]
    at = table.column_names.index("model")
    return table.set_column(at, "model", pa.array(models))


def test_search():
    sizes = ("--questions", 30, "--samples", 3, "--runs", 2)
    done = run("search.py", *sizes, "--sizes", "40", "--growth-models", "3")
    assert "Exact: for every number of violations" in done.stdout
    assert "| continuous | 3 | 40 |" in done.stdout


def test_guarantees(tmp_path):
    llama = ("llama3.2-1b", "llama3.2-3b", "llama3.1-8b", "llama3.1-70b", "llama3.1-405b")
    names = {f"m{i}": model for i, model in enumerate(llama)}
    table = renamed(recordings.table(120, 5, 1), names)
    pq.write_table(table, tmp_path / "mzelling-llama-made-up.parquet")
    done = run("guarantees.py", tmp_path, "--splits", 3, "--jobs", 1, "--out", tmp_path / "t.md")
    for signal in ("conf_raw", "min_logprob", "mean_logprob"):
        assert f"| mzelling-llama-made-up | {signal} |" in done.stdout
    assert (tmp_path / "t.md").read_text() in done.stdout


def test_mot_date(tmp_path):
    kinds = ("cot1", "cot2", "pot1", "pot2")
    models = [*(f"gpt-3.5-turbo@t0.4/{k}" for k in kinds), "gpt-3.5-turbo@unnamed/pot1"]
    names = {f"m{i}": model for i, model in enumerate([*models, "gpt-4@sc/cot1"])}
    table = renamed(recordings.table(60, 6, 3), names)
    pq.write_table(table, tmp_path / "mot-date.parquet")
    done = run("mot_date.py", tmp_path, "--splits", 2, "--jobs", 1)
    assert "Setups fixed beforehand" in done.stdout


def test_skipped_without_recordings(tmp_path):
    assert "skipped: no" in run("guarantees.py", tmp_path / "none").stderr


def test_ledger_cpu(tmp_path):
    few = ("--count", 40, "--clients", 4, "--runs", 1, "--latency", 0.001, "--folder", tmp_path)
    done = run("ledger_cpu.py", *few)
    for ledger in ("off", "SQLite", "SQLite and budget", "SQLite and budget, relaxed"):
        assert f"| 500/s | {ledger} |" in done.stdout
        assert f"| 4 in a row | {ledger} |" in done.stdout
