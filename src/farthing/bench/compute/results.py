"""What policies came to."""

from __future__ import annotations

from dataclasses import dataclass, fields

from farthing.bench.compute.worlds import Source, Spent
from farthing.models.recording import Floats

COLUMNS = tuple(field.name for field in fields(Spent))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a policy came to on all n questions at one budget.

    Attributes:
        columns: each of `COLUMNS`, shape (seeds, n).
        unanswered: share of the operations that ended without an answer.
    """

    columns: dict[str, Floats]
    unanswered: float

    def mean(self, name: str) -> Floats:
        """A column's mean over the seeds, shape (n,)."""
        mean: Floats = self.columns[name].mean(axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Judged:
    """A policy at one budget.

    Attributes:
        name: of the policy.
        budget: in greedy answers; None for a model that answers once.
        asked: its answers.
    """

    name: str
    budget: int | None
    asked: Asked


@dataclass(frozen=True, slots=True)
class Bench:
    """All policies.

    Attributes:
        source: where the questions come from.
        model: who is asked by the policies.
        models: all, cheap to strong.
        unit: dollars of a greedy answer of the model, by which budgets are told.
        seeds: how often each question is asked.
        singles: each model's one greedy answer.
        judged: the policies.
        left_out: why others are not among them.
    """

    source: Source
    model: str
    models: tuple[str, ...]
    unit: float
    seeds: int
    questions: int
    singles: tuple[Judged, ...]
    judged: tuple[Judged, ...]
    left_out: dict[str, str]
