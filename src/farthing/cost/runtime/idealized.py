"""Idealized runtime (Narayanan and others, 2023): prefill and a near-constant time per token.

A runtime on one known stack, without anybody else on it, is fitted from a few profiled points and
told for any query. An API's time beside it says what the provider adds: faster than ideal is
optimisation (or more hardware), calls far slower than its own fastest are contention.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from scipy.optimize import nnls

from farthing.core.errors import DataError

COLUMNS = ("input_tokens", "output_tokens", "seconds")
FEWEST = 4


class Timed(NamedTuple):
    """A call that was timed: its tokens, and its seconds."""

    input: int
    output: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ideal:
    """seconds = fixed + per_input n + per_pair n**2 + per_output (output - 1), for n input tokens.

    Attributes:
        fixed, per_input, per_pair, per_output: in seconds, none negative.
        points: it was fitted from.
        mean_error, worst_error: relative, of points left out one at a time; None if there are
            too few to leave one out.
    """

    fixed: float
    per_input: float
    per_pair: float
    per_output: float
    points: int
    mean_error: float | None
    worst_error: float | None

    def seconds(self, input: int, output: int) -> float:
        """Of a call of so many tokens."""
        return float(_terms(input, output) @ self._factors())

    def _factors(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([self.fixed, self.per_input, self.per_pair, self.per_output])


def read(path: Path) -> list[Timed]:
    """Timed calls of a CSV file with the columns `COLUMNS`; DataError with the line at fault."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise DataError(f"{path}:1: no column {', '.join(missing)}")
            return [_timed(row, f"{path}:{rows.line_num}") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def fit(points: Sequence[Timed]) -> Ideal:
    """The runtime that fits profiled points best, in relative errors, by least squares.

    DataError for fewer than 4 points, or where prompts or answers are all of one length, which
    tells nothing of others.
    """
    if len(points) < FEWEST:
        raise DataError(f"{len(points)} profiled points are too few: want {FEWEST} or more")
    for place, what in ((0, "input_tokens"), (1, "output_tokens")):
        if len({point[place] for point in points}) < 2:
            raise DataError(f"all profiled points have the same {what}: want two values or more")
    errors = []
    if len(points) > FEWEST:
        for left in range(len(points)):
            others = [point for i, point in enumerate(points) if i != left]
            told = float(_terms(points[left].input, points[left].output) @ _solve(others))
            errors.append(abs(told / points[left].seconds - 1))
    fixed, per_input, per_pair, per_output = (float(x) for x in _solve(points))
    return Ideal(
        fixed,
        per_input,
        per_pair,
        per_output,
        len(points),
        float(np.mean(errors)) if errors else None,
        max(errors) if errors else None,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an API's times say beside the ideal.

    Attributes:
        calls: compared.
        fastest, median, slowest: measured seconds over ideal ones: the 5 %, 50 % and 95 %
            quantiles of the calls.
        names: "optimisation" where the fastest are faster than ideal, "slower stack" where even
            they are slower, "contention" where the median is far above the fastest; "as ideal"
            if none of them.
    """

    calls: int
    fastest: float
    median: float
    slowest: float
    names: tuple[Literal["optimisation", "slower stack", "contention", "as ideal"], ...]


def compare(
    measured: Sequence[Timed], ideal: Callable[[int, int], float], tolerance: float = 0.25
) -> Verdict:
    """Set an API's calls beside the ideal; DataError if there are none.

    `tolerance` is the relative difference that is still no difference.
    """
    if not measured:
        raise DataError("no measured calls to compare")
    ratios = np.array([call.seconds / ideal(call.input, call.output) for call in measured])
    fastest, median, slowest = (float(q) for q in np.quantile(ratios, [0.05, 0.5, 0.95]))
    names: list[Literal["optimisation", "slower stack", "contention", "as ideal"]] = []
    if fastest * (1 + tolerance) < 1:
        names.append("optimisation")
    elif fastest > 1 + tolerance:
        names.append("slower stack")
    if median > fastest * (1 + tolerance):
        names.append("contention")
    return Verdict(len(measured), fastest, median, slowest, tuple(names) or ("as ideal",))


def _terms(input: int, output: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([1.0, input, float(input) ** 2, max(0, output - 1)])


def _solve(points: Sequence[Timed]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rows = np.stack([_terms(point.input, point.output) / point.seconds for point in points])
    scale = np.abs(rows).max(0)
    scale[scale == 0] = 1.0
    found, _ = nnls(rows / scale, np.ones(len(points)))
    result: np.ndarray[tuple[int], np.dtype[np.float64]] = found / scale
    return result


def _timed(row: dict[str, str], where: str) -> Timed:
    try:
        call = Timed(int(row[COLUMNS[0]]), int(row[COLUMNS[1]]), float(row[COLUMNS[2]]))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: want numbers in {', '.join(COLUMNS)}") from error
    if call.input < 0 or call.output < 1 or not 0 < call.seconds < float("inf"):
        raise DataError(f"{where}: no such call: {call.input} and {call.output} tokens")
    return call
