"""A plan's own policy, run over a recording."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.budgets.operation import Operation
from farthing.core.errors import DataError
from farthing.core.money import PICO_PER_USD
from farthing.core.protocols import Model, Policy
from farthing.core.request import Message, Request
from farthing.cost.prices import PriceBook
from farthing.models.draw import Draw, cost_column, draw
from farthing.models.recorded import RecordedModel, RecordedSignal
from farthing.models.recording import Recording
from farthing.plan.evaluate import Baseline, Result, baselines
from farthing.plan.file import Plan
from farthing.plan.make import check_fits
from farthing.plan.outcomes import Outcomes
from farthing.policies.cascade import Cascade
from farthing.policies.decisions import Learnt
from farthing.risk.binomial import interval
from farthing.risk.bootstrap import mean_interval, resampled_means
from farthing.signals.seen import Prompts


@dataclass(frozen=True, slots=True)
class Replay:
    """What a plan did on a recording.

    Attributes:
        plan: the plan.
        models: the models it may call, the strongest last.
        result: on each question.
        left_out: questions left out because a model has no rows for them.
        same_recording: whether the plan was made on this very recording.
        baselines: on the same questions.
        attempts: calls made, signals bought included.
    """

    plan: Plan
    models: tuple[str, ...]
    result: Result
    left_out: int
    same_recording: bool
    baselines: list[Baseline]
    attempts: int


def replay_plan(
    plan: Plan,
    recording: Recording,
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Replay:
    """Run the plan's policy object on every question; `progress` is told how many are done.

    Raises DataError when the recording lacks a model or a cost that the plan needs.
    """
    check_fits(plan, recording)
    samples = _samples(plan.policy)
    drawn = draw(recording, plan.models, [samples.get(model, 1) for model in plan.models], seed)
    short = [
        f"{model} ({have} of {samples[model]})"
        for model, have in zip(drawn.models, drawn.samples, strict=True)
        if have < samples.get(model, 1)
    ]
    if short:
        raise DataError(
            f"{recording.path}: fewer samples than the plan votes with: {', '.join(short)}"
        )
    outcomes = Outcomes(drawn)
    if isinstance(plan.policy, Cascade):
        outcomes = Outcomes(drawn, plan.policy.signal, plan.policy.sampling)
    strongest = drawn.recording.table["answer"].to_pylist()
    end = outcomes.winner_rows(len(plan.models) - 1)
    answers = [strongest[row] if row >= 0 else None for row in end]
    result, attempts = asyncio.run(_run(plan, drawn, answers, progress))
    return Replay(
        plan,
        drawn.models,
        result,
        drawn.left_out,
        plan.source.get("digest") == recording.digest,
        baselines(outcomes, result.cost_usd_mean),
        attempts,
    )


def _samples(policy: Policy) -> dict[str, int]:
    """How many samples of each model a policy takes, where that is more than one."""
    if isinstance(policy, Cascade):
        return {stage.model: stage.samples for stage in policy.stages}
    if isinstance(policy, Learnt):
        return dict(policy.samples)
    return {}


def recorded_models(drawn: Draw) -> dict[str, Model]:
    """The models of a draw, and the sellers of what the recording says was bought, by name."""
    models: dict[str, Model] = {name: RecordedModel(drawn, name) for name in drawn.models}
    for signal in drawn.recording.table.column_names:
        column = cost_column(drawn.recording, signal)
        if column is not None and column != signal:
            for name in drawn.models:
                models[f"{name}#{signal}"] = RecordedSignal(drawn, name, signal, column)
    return models


async def _run(
    plan: Plan, drawn: Draw, strongest: list[str | None], progress: Callable[[int], None]
) -> tuple[Result, int]:
    n, models = drawn.questions, recorded_models(drawn)
    prices = PriceBook()
    index = {model: i for i, model in enumerate(drawn.models)}
    cost = np.empty(n, np.int64)
    regret = np.empty(n, np.bool_)
    correct = np.empty(n)
    answered = np.empty(n, np.int64)
    attempts = 0
    prompts = Prompts(drawn)
    for place, question in enumerate(drawn.recording.questions):
        operation = Operation(models, prices=prices)
        request = Request((Message("user", prompts[place]),), question=question)
        response = await plan.policy.answer(request, operation)
        sample = response.samples[0]
        cost[place] = operation.spent.pico
        regret[place] = sample.answer != strongest[place]
        correct[place] = np.nan if sample.correct is None else sample.correct
        answered[place] = index[response.model]
        attempts += len(operation.attempts)
        if place % 256 == 255 or place == n - 1:
            progress(place + 1)
    return Result(cost, regret, correct, answered), attempts


def as_json(done: Replay) -> dict[str, Any]:
    """What `farthing replay --json` prints; unknown is None."""
    result, certificate = done.result, done.plan.certificate
    n = len(result.cost)
    quality = result.quality
    over = None if certificate is None else int(result.violated(certificate.budget.pico).sum())
    shares = Counter(result.answered.tolist())
    strongest = next(row for row in done.baselines if row.name == done.models[-1])
    return {
        "plan": done.plan.name,
        "questions": n,
        "left_out": done.left_out,
        "same_recording": done.same_recording,
        "quality": quality,
        "quality_interval": None if quality is None else mean_interval(result.correct),
        "cost_usd_mean": result.cost_usd_mean,
        "cost_usd_mean_interval": mean_interval(result.cost / PICO_PER_USD),
        "cost_usd_total": float(result.cost.sum()) / PICO_PER_USD,
        "budget_usd": None if certificate is None else float(certificate.budget),
        "alpha": None if certificate is None else certificate.alpha,
        "mode": None if certificate is None else certificate.mode,
        "violations": over,
        "violation_rate": None if over is None else over / n,
        "violation_rate_interval": None if over is None else interval(over, n),
        "regret": float(result.regret.mean()),
        "regret_interval": mean_interval(result.regret),
        "saving_against_strongest": _saving(result, strongest),
        "shares": {model: shares[i] / n for i, model in enumerate(done.models)},
        "attempts": done.attempts,
        "sampling": getattr(done.plan.policy, "sampling", "calls"),
        "baselines": [_baseline(row) for row in done.baselines],
    }


def _baseline(row: Baseline) -> dict[str, Any]:
    result = row.result
    known = result is not None and row.quality is not None
    return {
        "name": row.name,
        "quality": row.quality,
        "quality_interval": mean_interval(result.correct) if result and known else None,
        "cost_usd_mean": row.cost_usd_mean,
        "cost_usd_mean_interval": mean_interval(result.cost / PICO_PER_USD) if result else None,
    }


def _saving(result: Result, strongest: Baseline) -> dict[str, Any]:
    """The share of the strongest model's cost that is saved, and how the quality differs."""
    assert strongest.result is not None
    base = strongest.result
    columns = np.stack([result.cost, base.cost, result.correct - base.correct], axis=1)
    means = resampled_means(columns.astype(float), 2000, 0)
    share = 1 - means[:, 0] / means[:, 1]
    low, high = np.quantile(share, [0.025, 0.975])
    known = result.quality is not None and base.quality is not None
    return {
        "share": 1 - float(result.cost.sum()) / float(base.cost.sum()),
        "interval": (float(low), float(high)),
        "significant": bool(low > 0),
        "quality_difference": float(columns[:, 2].mean()) if known else None,
        "quality_difference_interval": (
            tuple(float(v) for v in np.quantile(means[:, 2], [0.025, 0.975])) if known else None
        ),
    }
