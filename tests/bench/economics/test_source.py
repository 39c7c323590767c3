"""Recordings, ledgers and tables are told apart; mistakes are told with their place."""

from __future__ import annotations

import economics_rows as made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import recordings

from farthing.bench.economics.cost_of_pass import Human, frontier, standings
from farthing.bench.economics.recorded import Recorded
from farthing.bench.economics.reversal import reversal
from farthing.bench.economics.source import dated, open_study
from farthing.bench.economics.tabled import Tabled, read_dates, read_table
from farthing.core.errors import DataError
from farthing.core.money import Cost

HEADER = "model,cases,pass_rate,total_cost,input_tokens,output_tokens,date\n"


@pytest.fixture
def table(tmp_path):
    def write(text: str, header: str = HEADER):
        path = tmp_path / "table.csv"
        path.write_text(header + text, encoding="utf-8")
        return path

    return write


def test_a_table(table):
    study = read_table(table("a,200,0.5,0.1234567,1000,200,2025-01-02\nb,100,0.0,1,,,\n"))
    first, second = study.entries
    assert first.total == Cost.from_usd("0.1234567")
    assert (first.input_tokens, first.date, second.output_tokens) == (1000, "2025-01-02", None)
    a, b = standings(study, Human())
    assert a.cost_of_pass.value == pytest.approx(0.1234567 / 100)
    assert a.passed.interval == pytest.approx((0.4287, 0.5713), abs=1e-3)  # Clopper and Pearson
    assert b.cost_of_pass.value == float("inf")
    assert b.cost_of_pass.interval[0] == pytest.approx(0.01 / 0.0362, rel=1e-2)
    found = frontier(study, Human())
    assert found.value.value == a.cost_of_pass.value
    assert found.unsolved is None


def test_costs_of_a_table_have_no_interval(table):
    study = read_table(table("a,200,0.5,1,,,\nb,100,0.5,1,,,\n"))
    assert reversal(study, [None, None]).rate.interval is None


def test_a_cost_that_is_not_told_is_unknown(table):
    (one,) = standings(read_table(table("a,10,0.5,,,,\n")), Human())
    assert (one.cost.value, one.cost_of_pass.value, one.rank) == (None, None, None)
    assert one.passed.value == 0.5


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,10,50,1,,,", r"row 1: column 'pass_rate': '50', want a share from 0 to 1"),
        ("a,0,0.5,1,,,", r"row 1: column 'cases'"),
        ("a,x,0.5,1,,,", r"row 1: column 'cases': 'x', want a number"),
        ("a,10,0.5,-1,,,", r"row 1: column 'total_cost': '-1', want an amount in USD"),
        ("a,10,0.5,1,1.5,,", r"row 1: column 'input_tokens'"),
        ("a,10,0.5,1,,,May", r"row 1: column 'date': 'May', want a date"),
        ("a,10,0.5,1,,,\na,10,0.5,1,,,", r"row 2: model 'a' is in row 1 too"),
    ],
)
def test_mistakes(table, row, told):
    with pytest.raises(DataError, match=told):
        read_table(table(row + "\n"))


def test_missing_columns(table):
    with pytest.raises(DataError, match="columns cases, pass_rate missing"):
        read_table(table("a\n", "model\n"))
    with pytest.raises(DataError, match="no rows"):
        read_table(table(""))


def test_kinds_of_source(tmp_path, table):
    pq.write_table(recordings.table(10), tmp_path / "r.parquet")
    pq.write_table(
        pa.table({"model": ["a"], "cases": [4], "pass_rate": [0.5], "total_cost": [0.1]}),
        tmp_path / "t.parquet",
    )
    assert isinstance(open_study(str(tmp_path / "r.parquet")), Recorded)
    study = open_study(str(tmp_path / "t.parquet"))
    assert isinstance(study, Tabled)
    assert study.entries[0].total == Cost.from_usd("0.1")
    assert isinstance(open_study(str(table("a,1,1,1,,,\n"))), Tabled)
    with pytest.raises(DataError, match="no such file"):
        open_study(str(tmp_path / "none.parquet"))
    with pytest.raises(DataError, match="column family"):
        open_study(str(table("a,1,1,1,,,\n")), family="x")


def test_dates_and_classes(tmp_path, table):
    path = tmp_path / "dates.csv"
    path.write_text("model,date,class\na,2024-05-01,small\nelse,2020-01-01,\n", encoding="utf-8")
    study = dated(
        read_table(table("a,9,1,1,,,2030-01-01\nb,9,1,1,,,2031-01-01\n")), read_dates(path)
    )
    assert [(e.date, e.kind) for e in study.entries] == [
        ("2024-05-01", "small"),
        ("2031-01-01", None),
    ]
    assert dated(made.two(), read_dates(path)).entries[0].date is None


def test_correctness_from_references():
    table = recordings.table(5).drop_columns(["correct"])
    from farthing.models.recording import from_table

    study = made.recorded(from_table(table, "made-up"))
    kept = made.recorded(from_table(recordings.table(5), "made-up"))
    assert (study.passed == kept.passed).all()


def test_columns_that_order_nothing():
    rows = [made.row("q", "m", 1.0, 1.0, turns=n) for n in (1, 2)]
    with pytest.raises(DataError, match="column 'turns' of model 'm' has 2 values"):
        made.study(rows, effort="turns")
    with pytest.raises(DataError, match="no column 'nothing'"):
        made.study(rows, family="nothing")
