"""A router by the most similar questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.lesson import CHOOSING, Lesson, contrast, lesson
from farthing.policies.router import Router
from farthing.signals.vectors import single

NEIGHBOURS = (5, 10, 20, 40, 80, 160)
SHRINK = (5.0, 20.0, 80.0, 320.0, 1e6)
BLOCK = 256
SAME = 2e-7  # more than single precision rounds a likeness by


@dataclass(frozen=True, eq=False)
class Nearest(Router):
    """Expects of a model what it did on the questions most similar, shrunk to its mean.

    Source: nearest neighbours as routers: RouterBench (Hu et al., 2024); Rethinking Predictive
    Modeling for LLM Routing: When Simple kNN Beats Complex Learned Routers (Li, 2025).

    Attributes:
        known: vectors of the questions learnt from, shape (questions, dimensions).
        right: how right each model was on them, 0 to 1, shape (questions, models).
        neighbours: how many of the nearest count; all that are as near as the last of them do.
        shrink: as how many neighbours the mean over all questions counts.
    """

    kind: ClassVar[str] = "nearest"
    SCALARS: ClassVar[tuple[str, ...]] = ("neighbours", "shrink")

    known: Floats
    right: Floats
    neighbours: int
    shrink: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1 or self.shrink < 0:
            raise ValueError("neighbours must be at least 1, shrink at least 0")
        if len(self.known) != len(self.right) or not len(self.known):
            raise ValueError("known and right are as long as each other, and not empty")

    @cached_property
    def _tables(self) -> tuple[Floats, Floats, Floats]:
        right = self.right.astype(float)
        return self.known.astype(float), right, right.mean(axis=0)

    def expects(self, vectors: Floats) -> Floats:
        """How right each model's answer to each prompt should be, shape (prompts, models)."""
        known, right, mean = self._tables
        expected = np.empty((len(vectors), right.shape[1]))
        for begin in range(0, len(vectors), BLOCK):
            likeness = vectors[begin : begin + BLOCK] @ known.T
            (found,) = _neighbours(likeness, right, [self.neighbours])
            expected[begin : begin + BLOCK] = _shrunk(found, mean, self.shrink)
        return expected

    @classmethod
    def fit(
        cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0, encoder: str | None = None
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); neighbours by leaving one out.

        `encoder` names a kind of `signals.encoder`, by default the best.
        """
        told = lesson(draw, right, encoder, seed)
        neighbours, shrink = _best(told)
        return cls.ladder(
            draw,
            told.encoder,
            known=single(told.vectors),
            right=single(told.right),
            neighbours=neighbours,
            shrink=shrink,
        )


def _neighbours(
    likeness: Floats, right: Floats, counts: Sequence[int]
) -> list[tuple[Floats, Floats]]:
    """For each count the number of nearest questions and their summed rightness, by row."""
    last = likeness.shape[1]
    places = [last - min(count, last) for count in counts]
    ordered = np.partition(likeness.astype(np.float32), places, axis=1)
    found = []
    for place in places:
        row, near = np.nonzero(likeness >= ordered[:, place, None].astype(float) - SAME)
        begin = np.searchsorted(row, np.arange(len(likeness) + 1))
        found.append((np.diff(begin)[:, None], np.add.reduceat(right[near], begin[:-1], axis=0)))
    return found


def _shrunk(found: tuple[Floats, Floats], mean: Floats, shrink: float) -> Floats:
    count, total = found
    expected: Floats = (total + shrink * mean) / (count + shrink)
    return expected


def _best(told: Lesson) -> tuple[int, float]:
    """The numbers that err least when each question is expected from all others."""
    n = len(told.right)
    known, right = told.vectors, told.right
    counts = [count for count in NEIGHBOURS if count < n] or [n - 1]
    errors = np.zeros((len(counts), len(SHRINK)))
    asked = np.random.default_rng(told.seed).permutation(n)[:CHOOSING]
    total = right.sum(axis=0)
    for begin in range(0, len(asked), BLOCK):
        rows = asked[begin : begin + BLOCK]
        likeness = known[rows] @ known.T
        likeness[np.arange(len(rows)), rows] = -np.inf
        mean = (total - right[rows]) / (n - 1)
        wanted = contrast(right[rows])
        for place, found in enumerate(_neighbours(likeness, right, counts)):
            for choice, shrink in enumerate(SHRINK):
                error = contrast(_shrunk(found, mean, shrink)) - wanted
                errors[place, choice] += (error**2).sum()
    least = int(errors.argmin())
    return counts[least // len(SHRINK)], SHRINK[least % len(SHRINK)]
