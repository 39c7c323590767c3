"""A recording as a study: resampled over questions, each with its attempts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from farthing.bench.economics.study import Cells, Entry
from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.models.arrow import pa, pc
from farthing.models.recording import Floats, Ints, Recording
from farthing.models.variants import FAMILY, effort_of, labels

FEW = 20


@dataclass(frozen=True, slots=True)
class Recorded:
    """The attempts of a recording, in its order.

    Attributes:
        recording: where they come from.
        entries: its models.
        cost: USD.
        passed: 0 to 1.
        tokens: input and output.
        cells: their means.
    """

    recording: Recording
    entries: tuple[Entry, ...]
    cost: Floats
    passed: Floats
    tokens: Floats
    cells: Cells

    @property
    def source(self) -> str:
        """The file."""
        return self.recording.path

    @property
    def by_question(self) -> bool:
        """Always."""
        return True

    @property
    def questions(self) -> tuple[str, ...]:
        """Their names."""
        return self.recording.questions

    @property
    def least_attempts(self) -> int:
        """Of a model at a question that it was asked."""
        return int(self.counts[self.counts > 0].min())

    @property
    def counts(self) -> Ints:
        """Attempts, shape (models, questions)."""
        return np.diff(self.recording.start, axis=1)

    def resampled(self, count: int, seed: int) -> Iterator[Cells]:
        """Questions drawn with replacement, the same for all models, each with its attempts.

        That takes in the chance of attempts too, since it makes questions differ (Davison and
        Hinkley, 1997, section 3.8). Below `FEW` questions attempts are drawn as well.
        """
        rng = np.random.default_rng(seed)
        questions = self.counts.shape[1]
        several = questions < FEW and bool((self.counts > 1).any())
        for _ in range(count):
            cells = self._again(rng) if several else self.cells
            yield cells.take(rng.integers(questions, size=(questions,)))

    def _again(self, rng: np.random.Generator) -> Cells:
        """The cells of attempts drawn with replacement from each cell."""
        sizes = self.counts.ravel()
        first = np.repeat(np.cumsum(sizes) - sizes, sizes)
        width = np.repeat(sizes, sizes)
        rows = first + (rng.random(len(first)) * width).astype(np.int64)
        columns = (self.cost, self.passed, self.tokens)
        return Cells(*(cell_means(column[rows], self.counts) for column in columns))


def cell_means(values: Floats, counts: Ints) -> Floats:
    """Means of the known values of each cell; NaN where there are none."""
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    known = ~np.isnan(values)
    number = np.bincount(cell[known], minlength=counts.size)
    total = np.bincount(cell[known], weights=values[known], minlength=counts.size)
    found = np.divide(total, number, out=np.full(counts.size, np.nan), where=number > 0)
    means: Floats = found.reshape(counts.shape)
    return means


def recorded(
    recording: Recording, family: str | None = FAMILY, effort: str | None = None
) -> Recorded:
    """The study of a recording.

    Args:
        family: a column that is equal for variants of one model; ignored where it is missing,
            if it is the default.
        effort: a column that orders the variants: numbers, or low, medium and high.

    Raises DataError for other columns that are missing, or differ between rows of one model.
    """
    counts = np.diff(recording.start, axis=1)
    cost, passed = _numbers(recording, "cost_usd"), correctness(recording)
    if (cost < 0).any():
        raise DataError(f"{recording.path}: cost_usd is negative in {int((cost < 0).sum())} rows")
    spent = [_numbers(recording, f"{name}_tokens") for name in ("input", "output", "reasoning")]
    tokens = spent[0] + spent[1]
    has = recording.table.column_names
    families: list[object] | None = None
    efforts: list[float | None] = [None] * len(recording.models)
    if family is not None and (family in has or family != FAMILY):
        families = labels(recording, recording.models, family)
    if effort is not None:
        told = labels(recording, recording.models, effort)
        efforts = [effort_of(one, recording, effort) for one in told]
    entries = []
    for place, model in enumerate(recording.models):
        rows = slice(int(recording.start[place, 0]), int(recording.start[place, -1]))
        total = np.rint(cost[rows] * 10**12)
        entries.append(
            Entry(
                model,
                int((counts[place] > 0).sum()),
                rows.stop - rows.start,
                None if np.isnan(total).any() else Cost(sum(map(int, total))),
                input_tokens=_sum(spent[0][rows]),
                output_tokens=_sum(spent[1][rows]),
                reasoning_tokens=_sum(spent[2][rows]),
                upstream=str(families[place]) if families and family == FAMILY else model,
                family=None if families is None else str(families[place]),
                effort=efforts[place],
            )
        )
    cells = Cells(*(cell_means(column, counts) for column in (cost, passed, tokens)))
    return Recorded(recording, tuple(entries), cost, passed, tokens, cells)


def correctness(recording: Recording) -> Floats:
    """0 to 1 for each row, NaN where it is not known: `correct`, else answer and reference."""
    names = recording.table.column_names
    if "correct" in names and recording.table["correct"].null_count < recording.table.num_rows:
        return recording.floats("correct")
    unknown = np.full(recording.table.num_rows, np.nan)
    if "reference" not in names:
        return unknown
    reference = recording.table["reference"].cast(pa.string())
    same = pc.equal(recording.table["answer"].cast(pa.string()), reference).fill_null(False)
    values = same.cast(pa.float64()).to_numpy()
    return np.where(pc.is_valid(reference).to_numpy(), values, unknown)


def _numbers(recording: Recording, name: str) -> Floats:
    """A numeric column; all NaN where it is missing, or holds nothing but null."""
    table = recording.table
    if name not in table.column_names or table[name].null_count == table.num_rows:
        return np.full(table.num_rows, np.nan)
    return recording.floats(name)


def _sum(values: Floats) -> int | None:
    return None if np.isnan(values).any() else int(values.sum())
