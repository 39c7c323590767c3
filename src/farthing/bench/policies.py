"""Policies beside one another on a recording, by nested cross-validation.

Each outer fold is asked once, by policies that were learnt from the other folds; which place of
its ladder a policy stands at is chosen there too, on inner folds. Nothing sees a question that it
is judged on. Which models take part, and their order, is set before, the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from farthing.core.errors import DataError, ExtraError
from farthing.core.money import PICO_PER_USD
from farthing.models.draw import Draw, draw
from farthing.models.recording import Floats, Ints, Recording
from farthing.plan.outcomes import Bools
from farthing.plan.parallel import Progress, for_each
from farthing.plan.selection import (
    METHODS,
    Tried,
    candidates,
    folds,
    out_of_fold,
    strongest_answers,
    try_all,
)
from farthing.policies.decisions import Truth, rightness

BUDGETS = 10
"""At how many mean costs every policy is asked for its best: from that of the cheapest model to
that of the best, in equal ratios. The last operating point is at half the best model's cost."""

HALF = BUDGETS
MARGIN = 0.01
"""How much quality "as good as the best model" may lack, where places are chosen."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers to all n questions at one operating point.

    Attributes:
        cost: picodollars, shape (n,).
        right: 0 to 1, shape (n,).
        regret: whether the answer differs from the strongest model's, shape (n,).
    """

    cost: Ints
    right: Floats
    regret: Bools


@dataclass(frozen=True, slots=True)
class Judged:
    """One policy on a recording.

    Attributes:
        name: of the method.
        at: its answers at each of the budgets, then at half the best model's cost.
        equal: at the cheapest place that is as good as the best model, as far as the questions it
            was learnt from tell; the best model itself where no place is.
        skipped: why it could not be judged; empty if it was.
    """

    name: str
    at: tuple[Asked, ...] = ()
    equal: Asked | None = None
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """All policies on one recording.

    Attributes:
        recording: its file.
        draw: its answers, models from cheap to strong.
        truth: what counts as right.
        singles: each model alone.
        fold: to which outer fold each question belongs, shape (n,).
        learnt_from: how many questions each policy was learnt from, at least.
    """

    recording: str
    draw: Draw
    truth: Truth
    singles: tuple[Asked, ...]
    judged: tuple[Judged, ...]
    fold: Ints
    learnt_from: int

    @property
    def models(self) -> tuple[str, ...]:
        """Their names, cheap to strong."""
        return self.draw.models


def bench(
    recording: Recording,
    *,
    models: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    samples: int = 5,
    outer: int = 5,
    truth: Truth = "correct",
    seed: int = 0,
    jobs: int = 1,
    progress: Progress = lambda name, done, total: None,
) -> Bench:
    """Judge each method; those that the recording is not fit for are skipped, with the reason.

    Raises DataError where the recording has no costs, too few questions or no correctness.
    """
    drawn = draw(recording, list(models) if models else candidates(recording), samples, seed)
    right = rightness(drawn, truth)
    if any(np.isnan(r).any() for r in right):
        raise DataError(f"{recording.path}: correctness is not known of all answers; try --truth")
    split = list(folds(drawn.questions, outer, seed))
    fold = np.empty(drawn.questions, np.int64)
    for number, (_, other) in enumerate(split):
        fold[other] = number
    singles = tuple(_single(drawn, right, model) for model in range(len(drawn.models)))
    names = list(methods or METHODS)
    judged = for_each(
        names, partial(_judge, drawn=drawn, right=right, split=split, seed=seed),
        jobs=jobs, progress=progress,
    )  # fmt: skip
    learnt_from = min(len(learn) for learn, _ in split)
    return Bench(recording.path, drawn, truth, singles, tuple(judged), fold, learnt_from)


def _single(drawn: Draw, right: Sequence[Floats], model: int) -> Asked:
    regret = drawn.answers[model][:, 0] != strongest_answers(drawn)
    return Asked(drawn.cost[model][:, 0], right[model][:, 0], regret)


def _judge(
    name: str, drawn: Draw, right: Sequence[Floats], split: list[tuple[Ints, Ints]], seed: int
) -> Judged:
    n = drawn.questions
    blank: list[Any] = [
        (np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.bool_)) for _ in range(BUDGETS + 2)
    ]
    method = METHODS[name]
    try:
        for learn, other in split:
            known = drawn.select(learn), [r[learn] for r in right]
            new = drawn.select(other), [r[other] for r in right]
            inner = out_of_fold(method, *known, seed=seed + 1)
            tried = try_all(method.fit(*known, seed=seed), *new)
            places = _places(inner, known[0], known[1])
            for asked, place in zip(blank, places, strict=True):
                if place is None:
                    one = _single(*new, len(drawn.models) - 1)
                    asked[0][other], asked[1][other] = one.cost, one.right
                    asked[2][other] = one.regret
                    continue
                asked[0][other] = tried.cost[place]
                asked[1][other] = tried.right[place]
                asked[2][other] = tried.regret[place]
    except (DataError, ExtraError) as error:
        return Judged(name, skipped=str(error))
    done = [Asked(*arrays) for arrays in blank]
    return Judged(name, tuple(done[:-1]), done[-1])


def _places(inner: Tried, known: Draw, right: Sequence[Floats]) -> list[int | None]:
    """The place for each budget and for half, then the one as good as the best, if there is one."""
    low, high = (float(known.cost[m][:, 0].mean()) for m in (0, -1))
    budgets = [*np.geomspace(low, high, BUDGETS), high / 2]
    within: list[int | None] = [inner.within(float(budget)) for budget in budgets]
    return [*within, inner.reaching(float(right[-1][:, 0].mean()) - MARGIN)]


def usd(asked: Asked) -> float:
    """Mean cost of a question in USD."""
    return float(asked.cost.mean()) / PICO_PER_USD
