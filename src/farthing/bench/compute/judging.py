"""Every policy at every budget, on the same questions with the same seeds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial

import numpy as np

from farthing.bench.compute.arms import VOTE, Arm, arms
from farthing.bench.compute.worlds import Source, Spent, TinyWorld, World, check_model, world
from farthing.core.errors import CapError, RequestError, UpstreamError
from farthing.core.money import PICO_PER_USD, Cost
from farthing.core.protocols import Policy
from farthing.core.response import Response, Sample
from farthing.models.recording import Floats
from farthing.plan.selection import Progress, for_each
from farthing.policies.single import Single

BUDGETS = (2, 4, 8, 16)
"""What an operation may cost, in greedy answers of the model."""

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


def bench(
    source: Source,
    *,
    model: str,
    kinds: Sequence[str],
    budgets: Sequence[int] = BUDGETS,
    seeds: int = 5,
    jobs: int = 1,
    progress: Progress = lambda name, done, total: None,
) -> Bench:
    """Run every policy; budgets are dollars per operation, told in the model's greedy answers.

    Raises ConfigError if there is no such model, DataError for a recording that does not do.
    """
    found = world(source)
    check_model(found, model)
    chosen, left_out = arms(kinds, model, steps=found.steps)
    singles = [Judged(name, None, _single(found, name)) for name in found.models]
    unit = float(singles[found.models.index(model)].asked.columns["usd"].mean())
    if not any(arm.name == VOTE for arm in chosen):
        chosen = [
            *(arm for arm in arms(["vote"], model, steps=False)[0] if arm.name == VOTE),
            *chosen,
        ]
    work = partial(
        _judge, source=source, arms={arm.name: arm for arm in chosen}, budgets=tuple(budgets),
        unit=unit, seeds=seeds,
    )  # fmt: skip
    done = for_each([arm.name for arm in chosen], work, jobs=jobs, progress=progress)
    judged: list[Judged] = []
    for arm, told in zip(chosen, done, strict=True):
        if isinstance(told, str):
            left_out[arm.name] = told
        else:
            judged += told
    return Bench(
        source, model, found.models, unit, seeds, found.questions, tuple(singles), tuple(judged),
        left_out,
    )  # fmt: skip


def _single(found: World, model: str) -> Asked:
    return _ask(found, model, Single(model), None, (0,))


def _judge(
    name: str,
    source: Source,
    arms: dict[str, Arm],
    budgets: tuple[int, ...],
    unit: float,
    seeds: int,
) -> list[Judged] | str:
    """The arm at each budget, or why its model cannot answer what it asks."""
    found, arm = world(source), arms[name]
    judged = []
    try:
        for budget in budgets:
            cap = Cost(round(budget * unit * PICO_PER_USD))
            asked = _ask(found, str(arm.told["model"]), arm.policy(budget), cap, range(seeds))
            judged.append(Judged(name, budget, asked))
    except RequestError as error:
        return str(error)
    return judged


def _ask(found: World, model: str, policy: Policy, cap: Cost | None, seeds: Sequence[int]) -> Asked:
    shape = (len(seeds), found.questions)
    columns = {name: np.zeros(shape) for name in COLUMNS}
    unanswered = 0

    async def run() -> None:
        nonlocal unanswered
        for question in range(found.questions):
            if isinstance(found, TinyWorld):
                found.prepare(model, question)
            for row, seed in enumerate(seeds):
                begun = found.begin(question, seed, cap)
                try:
                    response = await policy.answer(begun.request, begun.operation)
                except (CapError, UpstreamError):
                    unanswered += 1
                    response = Response(model, (Sample("", read=True),))
                await begun.operation.idle()
                for name, value in asdict(begun.spent(response)).items():
                    columns[name][row, question] = value

    asyncio.run(run())
    return Asked(columns, unanswered / (shape[0] * shape[1]))
