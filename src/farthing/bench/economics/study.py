"""What is judged: models by questions, whole and resampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from farthing.core.money import Cost
from farthing.models.recording import Floats, Ints
from farthing.risk.bootstrap import corrected_interval

RESAMPLES = 500

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cells:
    """Means over the attempts of each model at each question, shape (models, questions).

    NaN is unknown, also where a model was not asked. A table of whole runs has one column.

    Attributes:
        cost: of an attempt, USD.
        passed: share of attempts that were right.
        tokens: of an attempt, input and output.
    """

    cost: Floats
    passed: Floats
    tokens: Floats

    def take(self, columns: Ints) -> Cells:
        """The cells of some questions."""
        return Cells(self.cost[:, columns], self.passed[:, columns], self.tokens[:, columns])


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as a whole. Unknown is None.

    Attributes:
        model: its name.
        questions: that it was asked.
        attempts: in all.
        total: what they cost.
        input_tokens, output_tokens, reasoning_tokens: in all; output includes reasoning.
        upstream: the name by which its price is published.
        date: when it was released or run, ISO.
        kind: its class.
        family, effort: variants of one model at several efforts share a family.
        first_pass: share right before a second try, where there was one.
        prices: input and output, USD per million tokens, where the source states them.
    """

    model: str
    questions: int
    attempts: int
    total: Cost | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    upstream: str | None = None
    date: str | None = None
    kind: str | None = None
    family: str | None = None
    effort: float | None = None
    first_pass: float | None = None
    prices: tuple[Cost, Cost] | None = None


class Study(Protocol):
    """A source of figures: a recording, or a table with a row a model.

    Attributes:
        source: as the user named it.
        entries: the models.
        cells: as they are.
        by_question: whether the columns of the cells are questions.
        questions: those of a recording.
        least_attempts: of a model at a question that it was asked; None from a table.
    """

    @property
    def source(self) -> str: ...
    @property
    def entries(self) -> tuple[Entry, ...]: ...
    @property
    def cells(self) -> Cells: ...
    @property
    def by_question(self) -> bool: ...
    @property
    def questions(self) -> tuple[str, ...]: ...
    @property
    def least_attempts(self) -> int | None: ...

    def resampled(self, count: int, seed: int) -> Iterator[Cells]:
        """The cells as they might as well have come out, so many times."""
        ...


Statistics = Callable[[Cells], Floats]


@dataclass(frozen=True, slots=True)
class Estimates:
    """Statistics of a study with their intervals; NaN is unknown, inf is never.

    Attributes:
        value, low, high: of each statistic.
    """

    value: Floats
    low: Floats
    high: Floats

    def interval(self, place: int) -> Interval | None:
        """Of one statistic; None if it is unknown."""
        if np.isnan(self.value[place]) or np.isnan(self.low[place]):
            return None
        return float(self.low[place]), float(self.high[place])


def bootstrap(
    study: Study, statistics: Statistics, count: int = RESAMPLES, seed: int = 0
) -> Estimates:
    """The statistics of the study, with intervals of 95 % from resamples.

    Infinite values take part as such: an interval that ends at infinity says that some resamples
    never succeed.
    """
    value = np.asarray(statistics(study.cells), float)
    drawn = np.array([statistics(cells) for cells in study.resampled(count, seed)])
    ends = [corrected_interval(*pair) for pair in zip(value, drawn.T, strict=True)]
    low, high = np.array(ends, float).reshape(-1, 2).T
    return Estimates(value, low, high)


def mean(values: Floats) -> Floats:
    """Means over questions, of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    found: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return found


def ratio(above: Floats, below: Floats) -> Floats:
    """`above / below`, infinite where `below` is zero and `above` is known."""
    zero = below == 0
    found: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=~zero)
    found[zero & ~np.isnan(above)] = np.inf
    return found
