"""Which policy, at which setting: judged on questions that the policy has not learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.core.errors import DataError
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints, Recording
from farthing.plan.c3po import C3po
from farthing.plan.outcomes import Bools
from farthing.policies.decisions import PRICES, Learnt
from farthing.policies.registry import LEARNT

METHODS: dict[str, type[Learnt]] = {C3po.kind: C3po, **LEARNT}
"""All ways of making a policy from a recording, by name."""

INNER_FOLDS = 3
PLACES = len(PRICES)


@dataclass(frozen=True, slots=True)
class Tried:
    """The places of a ladder on n questions.

    Attributes:
        cost: picodollars, shape (places, n).
        right: how right the answers are, 0 to 1, shape (places, n).
        regret: whether they differ from the strongest model's, shape (places, n).
        answered: index of the model that answered, -1 where none did, shape (places, n).
    """

    cost: Ints
    right: Floats
    regret: Bools
    answered: Ints

    @property
    def costs(self) -> Floats:
        """Mean cost of each place, picodollars."""
        means: Floats = self.cost.mean(axis=1)
        return means

    @property
    def qualities(self) -> Floats:
        """Mean rightness of each place."""
        means: Floats = self.right.mean(axis=1)
        return means

    def within(self, budget: float) -> int:
        """The place of most quality at a mean cost of at most `budget`; else the cheapest."""
        costs, qualities = self.costs, self.qualities
        possible = np.flatnonzero(costs <= budget)
        if not len(possible):
            return int(costs.argmin())
        best = qualities[possible].max()
        return int(min(possible[qualities[possible] >= best - 1e-12], key=lambda p: costs[p]))

    def reaching(self, quality: float) -> int | None:
        """The cheapest place of at least this quality; None if none has it."""
        possible = np.flatnonzero(self.qualities >= quality)
        return int(min(possible, key=lambda place: self.costs[place])) if len(possible) else None


def try_all(ladder: Sequence[Learnt], draw: Draw, right: Sequence[Floats]) -> Tried:
    """Each policy of a ladder on every question of a draw."""
    memo: dict[object, Any] = {}
    strongest = strongest_answers(draw)
    done: dict[int, tuple[Ints, Floats, Bools, Ints]] = {}
    for policy in ladder:
        if id(policy) not in done:
            decided = policy.decide(draw, memo)
            codes = decided.take([answers.astype(float) for answers in draw.answers])
            regret = (codes != strongest) | (decided.model < 0)
            done[id(policy)] = decided.cost, decided.take(right), regret, decided.model
    places = [done[id(policy)] for policy in ladder]
    cost, rights, regrets, answered = (np.array(column) for column in zip(*places, strict=True))
    return Tried(cost, rights, regrets, answered)


def strongest_answers(draw: Draw) -> Ints:
    """The codes of the last model's first answers, shape (questions,)."""
    first: Ints = draw.answers[-1][:, 0]
    return first


def candidates(recording: Recording) -> list[str]:
    """The models whose costs are known, by mean cost, up to the best; DataError if under two.

    Dearer ones than the best are left out: no policy could gain by them.
    """
    known = []
    usd = recording.floats("cost_usd")
    correct = recording.floats("correct") if "correct" in recording.table.column_names else None
    for model in recording.models:
        index = recording.model_index(model)
        rows = slice(int(recording.start[index, 0]), int(recording.start[index, -1]))
        if np.isnan(usd[rows]).any() or np.isnan(usd[rows]).all():
            continue
        quality = 0.0 if correct is None else float(np.nanmean(correct[rows]))
        known.append((float(usd[rows].mean()), quality, model))
    known.sort()
    if correct is not None and known:
        best = max(range(len(known)), key=lambda place: known[place][1])
        known = known[: best + 1]
    if len(known) < 2:
        raise DataError(
            f"{recording.path}: fewer than two models have costs up to that of the best; name "
            "models with --models, or give costs with --cost"
        )
    return [model for _, _, model in known]


def folds(questions: int, count: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """The questions to learn from and the others, for each of `count` parts; ascending."""
    if questions < 2 * count:
        raise DataError(f"{questions} questions are too few for {count} folds")
    part = np.random.default_rng(seed).permutation(np.arange(questions) % count)
    for fold in range(count):
        yield np.flatnonzero(part != fold), np.flatnonzero(part == fold)


def out_of_fold(
    method: type[Learnt],
    draw: Draw,
    right: Sequence[Floats],
    *,
    seed: int = 0,
) -> Tried:
    """Every place of the method's ladder, each question by policies learnt from the others.

    Raises DataError where the method cannot be fitted.
    """
    n = draw.questions
    cost = np.zeros((PLACES, n), np.int64)
    rights, regrets = np.zeros((PLACES, n)), np.zeros((PLACES, n), np.bool_)
    answered = np.zeros((PLACES, n), np.int64)
    for learn, other in folds(n, INNER_FOLDS, seed):
        ladder = method.fit(draw.select(learn), [r[learn] for r in right], seed=seed)
        tried = try_all(ladder, draw.select(other), [r[other] for r in right])
        cost[:, other], rights[:, other], regrets[:, other] = tried.cost, tried.right, tried.regret
        answered[:, other] = tried.answered
    return Tried(cost, rights, regrets, answered)
