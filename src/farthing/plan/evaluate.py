"""How a cascade and its baselines do on questions, from the tables of `plan.outcomes`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farthing.core.money import PICO_PER_USD
from farthing.models.recording import Floats, Ints
from farthing.plan.outcomes import Bools, End, Gate, Outcomes
from farthing.plan.search import Candidate
from farthing.risk.frontier import random_mix


@dataclass(frozen=True, slots=True)
class Result:
    """One policy on each of n questions.

    Attributes:
        cost: picodollars, shape (n,).
        regret: whether the answer differs from the strongest model's, shape (n,).
        correct: 0 to 1, NaN where unknown, shape (n,).
        answered: index of the model that answered, shape (n,).
    """

    cost: Ints
    regret: Bools
    correct: Floats
    answered: Ints

    @property
    def quality(self) -> float | None:
        """Mean correctness; None unless it is known for every question."""
        return None if np.isnan(self.correct).any() else float(self.correct.mean())

    @property
    def cost_usd_mean(self) -> float:
        """Mean cost of a question in USD."""
        return float(self.cost.mean()) / PICO_PER_USD

    def violated(self, budget: int) -> Bools:
        """Which questions cost more than `budget` picodollars."""
        over: Bools = self.cost > budget
        return over


@dataclass(frozen=True, slots=True)
class Baseline:
    """A policy that needs no plan, for comparison. `result` is None for a mix of others."""

    name: str
    quality: float | None
    cost_usd_mean: float
    result: Result | None = None


def apply(outcomes: Outcomes, models: tuple[int, ...], thresholds: tuple[float, ...]) -> Result:
    """The cascade over `models` with `thresholds` on every question of `outcomes`."""
    sequence = outcomes.sequence(models)
    walked = sequence.walk(thresholds)
    stages: tuple[Gate | End, ...] = (*sequence.gates, sequence.end)
    at = walked.stage, np.arange(outcomes.questions)
    regret = np.array([stage.regret for stage in stages])[at]
    correct = np.array([stage.correct for stage in stages])[at]
    return Result(walked.cost, regret, correct, np.array(models)[walked.stage])


def apply_candidate(outcomes: Outcomes, candidate: Candidate) -> Result:
    """A candidate of the search on the questions of `outcomes`."""
    return apply(outcomes, candidate.models, candidate.thresholds)


def single(outcomes: Outcomes, model: int) -> Result:
    """One model alone, voting with its samples, on every question."""
    end: End = outcomes.end(model)
    return Result(end.cost, end.regret, end.correct, np.full(outcomes.questions, model))


def oracle(outcomes: Outcomes) -> Result | None:
    """The cheapest of the best answers to each question; None where correctness is unknown."""
    ends = [outcomes.end(model) for model in range(len(outcomes.draw.models))]
    correct = np.array([end.correct for end in ends])
    if np.isnan(correct).any():
        return None
    cost = np.array([end.cost for end in ends])
    chosen = np.lexsort((cost, -correct), axis=0)[0]
    questions = np.arange(outcomes.questions)
    regret = np.array([end.regret for end in ends])[chosen, questions]
    return Result(cost[chosen, questions], regret, correct[chosen, questions], chosen)


def baselines(outcomes: Outcomes, cost_usd_mean: float) -> list[Baseline]:
    """Each model alone, a random mix of two at `cost_usd_mean`, and the oracle."""
    singles = [single(outcomes, model) for model in range(len(outcomes.draw.models))]
    rows = [
        Baseline(name, result.quality, result.cost_usd_mean, result)
        for name, result in zip(outcomes.draw.models, singles, strict=True)
    ]
    qualities = [row.quality for row in rows]
    mixed = None
    if all(quality is not None for quality in qualities):
        mixed = random_mix([row.cost_usd_mean for row in rows], qualities, cost_usd_mean)  # type: ignore[arg-type]
    rows.append(Baseline("random", mixed, cost_usd_mean))
    best = oracle(outcomes)
    if best is not None:
        rows.append(Baseline("oracle", best.quality, best.cost_usd_mean, best))
    return rows
