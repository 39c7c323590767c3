"""The benchmark scripts run, on little data; what they measure is not tested."""

import asyncio
import importlib
import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import recordings

from farthing.core.money import Cost
from farthing.ledger import (
    AttemptRow,
    ChargeRow,
    Ledger,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)

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


def test_step_search():
    done = run("step_search.py", "--problems", 2, "--rewards", "exact")
    assert "| astar 1, again 0.5 |" in done.stdout
    assert "| power-smc 16, vote |" in done.stdout


def test_heads():
    done = run("heads.py", "--problems", 2, "--models", "mid", "--only", "0.9")
    assert "| self-evaluation, accept 0.9 |" in done.stdout
    assert "| chain: greedy if likely >= 0.9, else tiny-large |" in done.stdout


def many_answers(path, questions=12, samples=18):
    """Samples of one model with lengths, which cost nothing that is known."""
    rng = random.Random(0)
    rows = [
        {
            "question": f"q{question}", "model": "m", "sample": sample,
            "answer": str(rng.randrange(4)), "correct": float(rng.random() < 0.5),
            "output_tokens": rng.randrange(1, 90), "cost_usd": None,
        }
        for question in range(questions)
        for sample in range(samples)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_stop_rules(tmp_path):
    many_answers(tmp_path / "made.parquet")
    keep = ("--keep", tmp_path / "kept")
    done = run("stop_rules.py", tmp_path, "--problems", 3, "--orders", 2, *keep)
    assert "made: m: 12 questions, votes of 18" in done.stdout
    assert "All 7, votes of 64, or as many as there are" in done.stdout
    assert len(list((tmp_path / "kept").iterdir())) == 6


def test_short_answers(tmp_path):
    many_answers(tmp_path / "made.parquet")
    done = run("short_answers.py", tmp_path, "--draws", 2)
    assert "| made: m | tokens |" in done.stdout
    assert "short-3" in done.stdout


def test_its_hub_bridge():
    done = run("its_hub_bridge.py", "--problems", 2)
    assert "| its_hub: particle-filtering |" in done.stdout


def test_thought_graph(tmp_path):
    few = ("--trials", 20, "--problems", 10, "--samples", "2", "--out", tmp_path / "actions.json")
    done = run("thought_graph.py", *few)
    assert "| 2 | 0.002 |" in done.stdout
    assert "3 samples, 2 levels, 1 refinements, eager: " in done.stdout
    assert json.loads((tmp_path / "actions.json").read_text())["returns"]


def test_guarantees(tmp_path):
    llama = ("llama3.2-1b", "llama3.2-3b", "llama3.1-8b", "llama3.1-70b", "llama3.1-405b")
    names = {f"m{i}": model for i, model in enumerate(llama)}
    table = renamed(recordings.table(120, 5, 1), names)
    pq.write_table(table, tmp_path / "mzelling-llama-made-up.parquet")
    done = run("guarantees.py", tmp_path, "--splits", 3, "--jobs", 1, "--out", tmp_path / "t.md")
    for signal in ("conf_raw", "min_logprob", "mean_logprob"):
        assert f"| mzelling-llama-made-up | {signal} |" in done.stdout
    assert (tmp_path / "t.md").read_text() in done.stdout


def test_power_of_pac_rules(tmp_path):
    gpt = ("gpt-3.5-turbo@t0.4/cot1", "gpt-3.5-turbo@t0.4/pot1", "gpt-4@sc/cot1")
    table = renamed(recordings.table(90, 3, 5), {f"m{i}": model for i, model in enumerate(gpt)})
    pq.write_table(table, tmp_path / "mot-date.parquet")
    done = run("guarantees.py", tmp_path, "--power", "--splits", 2, "--jobs", 1)
    for rule in ("Bonferroni, all cascades", "graph, as `farthing plan` does"):
        assert f"| 0.0057 | 0.1 | {rule} |" in done.stdout


def test_drift():
    done = run("drift.py", "--streams", 2, "--longest", 50)
    assert "False alarms within 50, costs as before" in done.stdout
    assert "| costs x 4 |" in done.stdout


def test_alarms():
    done = run("alarms.py", "--streams", 2, "--length", 50, "--drifts", 2)
    for name in ("pac", "marginal", "marginal, were the bets against alpha", "costs as recorded"):
        assert f"| {name} | " in done.stdout
    assert "| costs x 4 |" in done.stdout


def test_tiny_tokens(tmp_path):
    done = run("tiny_tokens.py", "--questions", 80, "--out", tmp_path / "chains.parquet")
    assert "| small to large | tokens, logistic | 0." in done.stdout
    assert "logprob_q10" in pq.read_table(tmp_path / "chains.parquet").column_names


def test_mot_date(tmp_path):
    kinds = ("cot1", "cot2", "pot1", "pot2")
    models = [*(f"gpt-3.5-turbo@t0.4/{k}" for k in kinds), "gpt-3.5-turbo@unnamed/pot1"]
    names = {f"m{i}": model for i, model in enumerate([*models, "gpt-4@sc/cot1"])}
    table = renamed(recordings.table(60, 6, 3), names)
    pq.write_table(table, tmp_path / "mot-date.parquet")
    done = run("mot_date.py", tmp_path, "--splits", 2, "--jobs", 1)
    assert "Setups fixed beforehand" in done.stdout


def test_debiasing_and_accepting(tmp_path):
    names = {"m0": "llama3.2-1b", "m1": "llama3.2-3b", "m2": "llama3.1-8b"}
    table = renamed(recordings.table(900, 3, 1), names)
    pq.write_table(table, tmp_path / "mzelling-llama-mmlu.parquet")
    printed = run("debiasing.py", tmp_path, "--trials", 3).stdout
    for estimator in ("labels alone", "judge alone", "PPI", "PPI++", "DSL", "DSL, all hints"):
        assert f"| mzelling-llama-mmlu, llama3.1-8b | 400 | {estimator} |" in printed
        assert f"\n| 25 | {estimator} |" in printed
    accepting = run("accepting.py", tmp_path, "--splits", 2).stdout
    for rule in ("hint 1 alone", "best of the hints", "by eye"):
        assert f"| mzelling-llama-mmlu, llama3.1-8b | 0.1 | {rule} |" in accepting


def test_skipped_without_recordings(tmp_path):
    assert "skipped: no" in run("guarantees.py", tmp_path / "none").stderr


def test_ledger_cpu(tmp_path):
    few = ("--count", 40, "--clients", 4, "--runs", 1, "--latency", 0.001, "--folder", tmp_path)
    done = run("ledger_cpu.py", *few)
    for ledger in ("off", "SQLite", "SQLite and budget", "SQLite and budget, relaxed"):
        assert f"| 500/s | {ledger} |" in done.stdout
        assert f"| 4 in a row | {ledger} |" in done.stdout


def test_faults():
    chosen = "kill-sqlite,full-spool,left-stream,cut-plain"
    done = run("faults.py", "--runs", 1, "--faults", chosen, "--json")
    rows = json.loads(done.stdout)
    assert [row["runs"] for row in rows] == [1] * 4
    for row in rows:
        assert row["attempts"] > 0, row
        assert (row["lost"], row["twice"], row["difference"]) == (0, 0, 0), row
        assert (row["off"], row["open"]) == (0, 0), row
    left, cut = rows[2:]
    assert left["unbooked"] == cut["unbooked"] == 0
    assert cut["unknown"] > 0
    assert cut["unknown_truth"] > 0


def test_the_faults_are_found_out(tmp_path, monkeypatch):
    """The comparison of the ledger tells each way in which it can be wrong."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    faults, live = importlib.import_module("faults"), importlib.import_module("_live")
    where = str(tmp_path / "l.db")
    asyncio.run(book(where))
    upstream = live.Upstream(0, speed=1)
    costs = {"right": 5, "wrong": 5, "doubled": 5, "lost": 5, "cut": 7}
    upstream.calls = {id: live.Billed(f"asks {id}", cost) for id, cost in costs.items()}
    lab = faults.Lab(tmp_path, where, "", upstream, random.Random(0))
    lab.told.complete = {f"asks {id}": id for id in ("right", "wrong", "doubled", "lost")}
    row = faults.compare("made up", 1, 0.0, lab)
    assert (row.attempts, row.lost, row.twice, row.difference) == (5, 1, 1, 1)
    assert (row.unknown, row.unknown_truth, row.unbooked, row.unbooked_truth) == (1, 7, 1, 5)
    assert (row.presumed, row.off, row.open) == (9, 2, 1)


async def book(where):
    """A ledger with one mistake of each kind."""
    now = datetime.now(UTC)
    async with Ledger.open(where) as ledger:
        for number, (id, upstream_id, pico) in enumerate(
            [
                ("right", "right", 5),
                ("wrong", "wrong", 4),
                ("doubled", "doubled", 5),
                ("again", "doubled", 5),
                ("cut", None, None),
            ]
        ):
            question = "asks doubled" if id == "again" else f"asks {id}"
            ledger.begin(OperationRow(id, now, "q", prompt=question))
            cost = None if pico is None else Cost(pico)
            basis = "unknown" if cost is None else "exact"
            attempt = AttemptRow(f"{id}.0", id, 0, "n", "m", now, "ok", cost=cost)
            ledger.attempt(replace(attempt, upstream_id=upstream_id, usage_basis=basis))
            ledger.reserve(ReservationRow(id, "all", 1, Cost(9), now, "gw"))
            if number:
                charge = ChargeRow(id, "all", 1, cost or Cost(9), Cost(9), now, now, "gw")
                ledger.charge(replace(charge, basis="lost" if cost is None else "counted"))
            await ledger.finish(OutcomeRow(id, now, "ok"))
    with closing(sqlite3.connect(where)) as connection, connection:
        connection.execute("UPDATE spending SET pico = pico + 2")


def test_watching():
    printed = run("watching.py", "--operations", 50).stdout
    assert printed.count("GET /metrics") == printed.count("traces, all sampled") == 2
    assert "one of several workers" in printed


def test_shared_budget():
    pytest.importorskip("pgserver", reason="needs the package pgserver")
    few = ("--seeds", 1, "--budgets", "0.05", "--clients", 8, "--rate", 60, "--seconds", 0.5)
    done = run("shared_budget.py", *few, "--cases", "two gateways, shared", "--json")
    told = json.loads(done.stdout)
    (one,) = told["spending"]
    (spent,) = one["runs"]
    assert spent["final"] > 0
    assert (spent["off"], spent["unknown"]) == (0, 0)
    assert [speed["kind"] for speed in told["admission"]][:3] == [
        "leases (Farthing)",
        "lock, sum, insert",
        "one statement",
    ]
    assert all(speed["admitted_per_s"] > 0 for speed in told["admission"])


def test_streams():
    done = run("streams.py", "--items", 120, "--windows", 2, "--prices", "0.2")
    for shift in ("none", "new words", "other meaning"):
        assert f"| {shift} | 0.2 |" in done.stdout


def test_passages():
    done = run("passages.py", "--documents", 5, "--lengths", "1500")
    assert "| 1500 | 2 of 8 | 4 |" in done.stdout


def test_demonstrations():
    done = run("demonstrations.py", "--items", 22, "--shown", "1")
    assert "skipped" in done.stdout or "| 1 | " in done.stdout


def test_talking():
    done = run("talking.py", "--questions", 2)
    assert "skipped" in done.stdout or "| mixture of agents | 3.0 |" in done.stdout


def test_audit(tmp_path):
    printed = run("audit.py", "--lines", 200, "--folder", tmp_path).stdout
    for log in ("spend-logs", "chats"):
        assert f"| {log} | 200 |" in printed
    assert printed.count("parsing alone") == 4
    assert not list(tmp_path.iterdir())


def test_stability(tmp_path):
    lengths = {"input_tokens": [100, 900, 0], "output_tokens": [20, 90, 5]}
    pq.write_table(pa.table(lengths), tmp_path / "made-up.parquet")
    done = run("stability.py", tmp_path, "--requests", 60)
    assert "| made-up | Llama 8B, L4 | grow |" in done.stdout
    assert "on average" in done.stdout


@pytest.mark.local
def test_roofline():
    pytest.importorskip("transformers")
    small = ("--on", "cpu", "--input", 4, "--batches", "1", "--seconds", 0.01)
    done = run("roofline.py", *small)
    assert "| 1 | decode |" in done.stdout


@pytest.mark.local
def test_tiny_engine():
    pytest.importorskip("transformers")
    printed = run("tiny_engine.py", "--prompts", 1, "--repeats", 1).stdout
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    assert [row[:2] for row in rows[2:]] == [
        [f"| {size}", n] for size in ("small", "mid", "large") for n in ("1", "64")
    ]
    for row in rows[2:]:
        assert all(float(figure.rstrip(" |").replace(",", "")) > 0 for figure in row[2:]), row
