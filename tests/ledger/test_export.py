import json
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from ledger_rows import START, attempt, book, operation, outcome

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.core.response import Sample
from farthing.core.usage import Usage
from farthing.cost import SampleShare
from farthing.ledger import Ledger
from farthing.ledger.export import SCHEMA, export

PAIR = {
    "usage": Usage(5, 2, 0, 10),
    "cost": 60,
    "samples": (
        Sample("x", "4", True, mean_logprob=-0.25, min_logprob=-2.0),
        Sample("y", None, True),
    ),
    "shares": (SampleShare(4, Cost(30), "exact"), SampleShare(6, Cost(50), "estimated")),
}


@pytest.fixture
async def ledger(where):
    later = START + timedelta(days=1)
    async with Ledger.open(where) as ledger:
        await book(
            ledger,
            operation(1, question="b", prompt="b?", answer_reader="number"),
            attempt(1, cost=10_000_000, answer="1"),
            attempt(1, 1, model="large", **PAIR),
            attempt(1, 2, status="failed", samples=(), shares=(), tokens=None),
            outcome(1),
            operation(2, question="a", answer_reader="number"),
            attempt(2, tokens=None),
            attempt(2, 1, status="cancelled"),
            operation(3, question="b", prompt="b?", answer_reader="number", started_at=later),
            attempt(3, answer="2", usage=Usage(1, 0, 0, 2, 3), started_at=later),
        )
    return where


def row(question, model, sample, **fields):
    unknown = dict.fromkeys(SCHEMA.names)
    return unknown | {"question": question, "task": "t", "model": model, "sample": sample} | fields


A = row("a", "small", 0, answer="a", latency_s=0.5)
B_LARGE = {"prompt": "b?", "input_tokens": 7, "cached_tokens": 2, "reasoning_tokens": 0}
B = [
    row(
        "b", "large", 0, answer="4", output_tokens=4, cost_usd=3e-11, mean_logprob=-0.25,
        min_logprob=-2.0, **B_LARGE,
    ),
    row("b", "large", 1, output_tokens=6, cost_usd=5e-11, **B_LARGE),
    row(
        "b", "small", 0, prompt="b?", answer="1", input_tokens=100, cached_tokens=0,
        output_tokens=10, reasoning_tokens=0, cost_usd=1e-05, latency_s=0.5,
    ),
]  # fmt: skip
LATER = row(
    "b", "small", 1, prompt="b?", answer="2", input_tokens=1, cached_tokens=0,
    output_tokens=10, reasoning_tokens=3, latency_s=0.5,
)  # fmt: skip


def test_parquet(ledger, tmp_path):
    out = tmp_path / "r.parquet"
    seen = []
    exported = export(ledger, out, task="t", progress=lambda *now: seen.append(now))
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == [A, *B, LATER]
    assert (exported.rows, exported.left_out, exported.estimated) == (5, 2, 1)
    assert seen == [(5, 5)]
    metadata = pq.read_schema(out).metadata
    assert metadata[b"farthing.answer"] == b"number"
    assert {b"source", b"licence", b"notes"} <= metadata.keys()
    assert b"2 attempts that failed" in metadata[b"notes"]
    assert list(tmp_path.glob("*.*")) == [out]


def test_json_lines(ledger, tmp_path):
    out = tmp_path / "r.jsonl"
    export(ledger, out, task="t")
    assert [json.loads(line) for line in out.read_text().splitlines()] == [A, *B, LATER]


def test_a_window(ledger, tmp_path):
    out = tmp_path / "r.parquet"
    export(ledger, out, task="t", until=START + timedelta(seconds=2))
    assert pq.read_table(out).to_pylist() == B
    export(ledger, out, task="t", since=START + timedelta(days=1))
    assert pq.read_table(out).to_pylist() == [LATER | {"sample": 0}]


async def test_answers_read_in_different_ways_name_no_reader(ledger, tmp_path):
    async with Ledger.open(ledger) as again:
        await book(again, operation(9), attempt(9))
    out = tmp_path / "r.parquet"
    export(ledger, out)
    assert b"farthing.answer" not in pq.read_schema(out).metadata


async def test_more_rows_than_a_batch(where, tmp_path, monkeypatch):
    monkeypatch.setattr("farthing.ledger.export._BATCH", 4)
    where, out = where, tmp_path / "r.parquet"
    async with Ledger.open(where) as ledger:
        rows = [operation(n, question=f"q{n % 3}") for n in range(10)]
        await book(ledger, *rows, *(attempt(n) for n in range(10)))
    seen = []
    export(where, out, progress=lambda *now: seen.append(now))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    numbered = [(r["question"], r["sample"]) for r in pq.read_table(out).to_pylist()]
    assert numbered == [("q0", n) for n in range(4)] + [
        (q, n) for q in ("q1", "q2") for n in range(3)
    ]


def test_where_it_cannot_write(ledger, tmp_path):
    with pytest.raises(LedgerError, match=r"\.parquet or \.jsonl"):
        export(ledger, tmp_path / "r.csv")
    with pytest.raises(LedgerError, match="cannot write"):
        export(ledger, tmp_path / "nowhere" / "r.parquet")
    assert list(tmp_path.glob("*.*")) == []


@pytest.mark.parametrize(("second", "said"), [(0.7, b"0.7"), (0.2, None), (None, None)])
async def test_a_temperature_common_to_all_is_said(where, tmp_path, second, said):
    async with Ledger.open(where) as ledger:
        await book(
            ledger,
            operation(1, question="a"),
            attempt(1, temperature=0.7),
            attempt(1, 1, model="large", temperature=second),
            outcome(1),
        )
    export(where, tmp_path / "r.parquet")
    assert pq.read_schema(tmp_path / "r.parquet").metadata.get(b"farthing.temperature") == said


async def test_judgements_and_answers_from_a_cache_are_no_recording(tmp_path):
    path = tmp_path / "l.db"
    async with Ledger.open(path) as ledger:
        await book(ledger, operation(1))
        for nth, kind in enumerate(("sample", "judge", "cache", "retry", "fallback")):
            await book(ledger, attempt(1, nth, kind=kind, answer=kind))
        await book(ledger, outcome(1))
    exported = export(path, tmp_path / "r.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == ["sample", "retry", "fallback"]
    assert (exported.rows, exported.left_out) == (3, 2)
