"""Lengths of requests, from a trace."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import DataError

COLUMNS = ("input_tokens", "output_tokens")


@dataclass(frozen=True)
class Lengths:
    """Tokens of requests, an entry each.

    Attributes:
        inputs, outputs: whole numbers, 1 or more.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.outputs) or len(self.inputs) == 0:
            raise DataError("want as many inputs as outputs, and one at least")
        if min(int(self.inputs.min()), int(self.outputs.min())) < 1:
            raise DataError("requests need an input and an output token at least")

    def __len__(self) -> int:
        return len(self.inputs)

    def within(self, tokens: int) -> Lengths:
        """Those requests whose tokens together are so many at most; DataError if none is."""
        fit = self.inputs + self.outputs <= tokens
        return Lengths(self.inputs[fit], self.outputs[fit])

    def draw(self, n: int, seed: int = 0) -> Lengths:
        """`n` requests drawn from these, with replacement."""
        chosen = np.random.default_rng(seed).integers(0, len(self), n)
        return Lengths(self.inputs[chosen], self.outputs[chosen])


def load(path: Path) -> Lengths:
    """Of a trace: Parquet or CSV with the columns `COLUMNS`.

    Rows without an input or an output token are left out. DataError if it cannot be used.
    """
    try:
        inputs, outputs = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(f"{path}: no trace with {', '.join(COLUMNS)}: {error}") from error
    used = (inputs > 0) & (outputs > 0)
    if not used.any():
        raise DataError(f"{path}: no request with input and output tokens")
    return Lengths(inputs[used], outputs[used])


def _parquet(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from pyarrow import parquet

    table = parquet.read_table(path, columns=list(COLUMNS))
    first, second = (np.asarray(table[name].fill_null(0).to_numpy(), np.int64) for name in COLUMNS)
    return first, second


def _csv(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [[int(row[name] or 0) for name in COLUMNS] for row in csv.DictReader(file)]
    table = np.array(rows, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
