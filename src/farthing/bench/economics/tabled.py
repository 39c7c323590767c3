"""A table with a row a model as a study: pass rates drawn again from their own binomials."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from farthing.bench.economics.study import Cells, Entry
from farthing.core.errors import DataError, MoneyError
from farthing.core.money import Cost
from farthing.models.arrow import pa

REQUIRED = ("model", "cases", "pass_rate")


@dataclass(frozen=True, slots=True)
class Tabled:
    """Whole runs, one a model. What a run cost is taken as it is; only its passes are chance.

    Attributes:
        source: the file.
        entries: its rows.
        rates: share of cases passed.
    """

    source: str
    entries: tuple[Entry, ...]
    rates: tuple[float, ...]
    cells: Cells = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", self._cells(np.array(self.rates)))

    @property
    def by_question(self) -> bool:
        """Never: which cases were passed is not told."""
        return False

    @property
    def questions(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def least_attempts(self) -> None:
        """Not told."""
        return None

    def resampled(self, count: int, seed: int) -> Iterator[Cells]:
        """Passes as so many independent cases of this rate would give them."""
        rng = np.random.default_rng(seed)
        cases = np.array([entry.questions for entry in self.entries])
        for _ in range(count):
            yield self._cells(rng.binomial(cases, self.rates) / cases)

    def _cells(self, rates: Any) -> Cells:
        cost = [nan if e.total is None else float(e.total) / e.attempts for e in self.entries]
        spent = [_tokens(entry) for entry in self.entries]
        return Cells(*(np.asarray(x, float)[:, None] for x in (cost, rates, spent)))


nan = float("nan")


def _tokens(entry: Entry) -> float:
    if entry.input_tokens is None or entry.output_tokens is None:
        return nan
    return (entry.input_tokens + entry.output_tokens) / entry.attempts


def read_table(path: Path) -> Tabled:
    """The table in a CSV or Parquet file (see docs/economics.md for its columns).

    Raises DataError with the row, counted from 1 without the header, and the column at fault.
    """
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path}: no rows")
    missing = [name for name in REQUIRED if name not in rows[0]]
    if missing:
        raise DataError(
            f"{path}: column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; a "
            f"table of models has at least {', '.join(REQUIRED)} (see docs/economics.md), a "
            "recording has question"
        )
    entries, rates = [], []
    for number, row in enumerate(rows, 1):
        read = _Row(f"{path}: row {number}", row)
        entries.append(_entry(read))
        rates.append(read.share("pass_rate"))
    named: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        if entry.model in named:
            raise DataError(
                f"{path}: row {number}: model {entry.model!r} is in row {named[entry.model]} too; "
                "give each run a name of its own"
            )
        named[entry.model] = number
    return Tabled(str(path), tuple(entries), tuple(rates))


def _entry(row: _Row) -> Entry:
    model, cases = row.text("model"), row.whole("cases")
    if model is None or not cases:
        raise row.wrong("model" if model is None else "cases", "a value, above zero")
    prices = row.money("input_price"), row.money("output_price")
    first = None if row.text("first_pass_rate") is None else row.share("first_pass_rate")
    return Entry(
        model,
        cases,
        cases,
        row.money("total_cost"),
        input_tokens=row.whole("input_tokens"),
        output_tokens=row.whole("output_tokens"),
        reasoning_tokens=row.whole("reasoning_tokens"),
        upstream=row.text("upstream") or model,
        date=row.day("date"),
        kind=row.text("class"),
        family=row.text("family"),
        effort=row.number("effort"),
        first_pass=first,
        prices=None if prices[0] is None or prices[1] is None else (prices[0], prices[1]),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, its cells read as what they should be; empty is None."""

    where: str
    cells: Mapping[str, Any]

    def wrong(self, name: str, want: str) -> DataError:
        return DataError(f"{self.where}: column {name!r}: {self.cells.get(name)!r}, want {want}")

    def text(self, name: str) -> str | None:
        value = self.cells.get(name)
        return str(value).strip() or None if value is not None else None

    def number(self, name: str) -> float | None:
        if (text := self.text(name)) is None:
            return None
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(name, "a number") from None
        if not np.isfinite(value):
            raise self.wrong(name, "a number")
        return value

    def whole(self, name: str) -> int | None:
        value = self.number(name)
        if value is not None and (value < 0 or value != int(value)):
            raise self.wrong(name, "a whole number that is not negative")
        return None if value is None else int(value)

    def share(self, name: str) -> float:
        value = self.number(name)
        if value is None or not 0 <= value <= 1:
            raise self.wrong(name, "a share from 0 to 1")
        return value

    def money(self, name: str) -> Cost | None:
        if (text := self.text(name)) is None:
            return None
        try:
            exact = isinstance(self.cells[name], str | int | Decimal)
            cost = Cost.from_usd(text) if exact else Cost.from_float(float(text))
        except (MoneyError, ValueError):
            raise self.wrong(name, "an amount in USD") from None
        if cost.pico < 0:
            raise self.wrong(name, "an amount in USD that is not negative")
        return cost

    def day(self, name: str) -> str | None:
        value = self.cells.get(name)
        if isinstance(value, date):
            return value.isoformat()[:10]
        text = self.text(name)
        try:
            return None if text is None else datetime.fromisoformat(text).date().isoformat()
        except ValueError:
            raise self.wrong(name, "a date such as 2025-06-30") from None


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return list(csv.DictReader(file))
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable CSV or Parquet file: {first}") from error
    return rows


@dataclass(frozen=True, slots=True)
class Known:
    """What a file of dates tells of a model."""

    date: str | None
    kind: str | None


def read_dates(path: Path) -> dict[str, Known]:
    """Dates of release, and classes, of models: columns `model`, `date`, and maybe `class`."""
    rows = _rows(path)
    if not rows or "model" not in rows[0] or "date" not in rows[0]:
        raise DataError(f"{path}: want rows with the columns model and date, and maybe class")
    known = {}
    for number, row in enumerate(rows, 1):
        read = _Row(f"{path}: row {number}", row)
        if (model := read.text("model")) is None:
            raise read.wrong("model", "a name")
        known[model] = Known(read.day("date"), read.text("class"))
    return known
