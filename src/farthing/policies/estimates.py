"""Estimates of how right each of several models is, by what is known of those that were asked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logit, ndtr

from farthing.models.recording import Floats, Ints
from farthing.signals.calibrated import Calibrated
from farthing.signals.learning import Logistic, learn, out_of_fold
from farthing.signals.logistic import fit_logistic, logistic
from farthing.signals.seen import Seen

LEARNT_FROM = 5000
RIDGE = 3.0


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of n questions, of every model.

    Attributes:
        scores: normal scores of the models' signals, shape (n, models).
        answers: codes of their answers, -1 for none, shape (n, models).
        odds: by the prompt, shape (n, models).
    """

    scores: Floats
    answers: Ints
    odds: Floats

    @classmethod
    def empty(cls, n: int, models: int, odds: Floats) -> Known:
        """Nothing but what prompts say of n questions."""
        return cls(np.zeros((n, models)), np.full((n, models), -1), odds)

    @classmethod
    def of(cls, seen: Sequence[Seen], signals: Sequence[Calibrated], odds: Floats) -> Known:
        """What all models' answers say, and the signals of the first of them."""
        known = cls.empty(len(odds), len(seen), odds)
        for model, signal in enumerate(signals):
            known.scores[:, model] = signal.normal(signal.signal.values([seen[model]]))
        for model, stage in enumerate(seen):
            known.answers[:, model] = answer_codes(stage)
        return known

    def features(self, asked: Sequence[int]) -> Floats:
        """Odds, and of those asked the scores, and which pairs agree; 0 for all else."""
        models = self.scores.shape[1]
        scores = np.zeros_like(self.scores)
        scores[:, list(asked)] = self.scores[:, list(asked)]
        agreeing = [
            (self.answers[:, i] == self.answers[:, j]) & (self.answers[:, i] >= 0)
            if i in asked and j in asked
            else np.zeros(len(scores), np.bool_)
            for i, j in itertools.combinations(range(models), 2)
        ]
        return np.column_stack([self.odds, scores, *agreeing])


def prompt_odds(vectors: Floats, right: Sequence[Floats], seed: int) -> tuple[Floats, Floats]:
    """Weights for log odds by the prompt, and the odds of questions not learnt from."""
    weights, odds = [], []
    for answers in right:
        model, scores = learn(vectors, answers, seed=seed)
        assert isinstance(model, Logistic)
        slope = model.weights / model.scale
        weights.append(np.append(slope, model.bias - float(slope @ model.mean)))
        odds.append(logit(np.clip(scores, 0.01, 0.99)))
    return np.stack(weights), np.stack(odds, axis=1)


def estimates(known: Known, right: Floats, seed: int) -> tuple[Floats, Floats]:
    """`after` and `spread` of `CascadeRouting`.

    Asking a model moves its estimate by as much as this tells of its being right: the covariance
    of the move with what is right beyond the estimate before, of questions not learnt from, less
    a standard error.
    """
    models = right.shape[1]
    some = np.random.default_rng(seed).permutation(len(right))[:LEARNT_FROM]
    right, own = right[some], np.eye(models)
    features = [known.features(members(number))[some] for number in range(1 << models)]
    after = np.zeros((len(features), models, features[0].shape[1] + 1))
    chances = np.zeros((len(features), len(some), models))
    for (number, table), model in itertools.product(enumerate(features), range(models)):
        towards = np.pad(own[model], (0, table.shape[1] - models))

        def weights(
            train: Ints, table: Floats = table, model: int = model, towards: Floats = towards
        ) -> Floats:
            return fit_logistic(table[train], right[train, model], ridge=RIDGE, towards=towards)

        def predict(
            train: Ints, test: Ints, table: Floats = table, weights: Any = weights
        ) -> Floats:
            return logistic(table[test], weights(train))

        after[number, model] = weights(np.arange(len(some)))
        chances[number, :, model] = out_of_fold(predict, len(some), seed=seed)
    spread = np.zeros((len(features), models))
    for number, model in itertools.product(range(len(features)), range(models)):
        now, then = chances[number, :, model], chances[number | 1 << model, :, model]
        told = (then - now) * (right[:, model] - now)
        spread[number, model] = np.sqrt(max(told.mean() - told.std() / np.sqrt(len(told)), 0.0))
    return after, spread


def answer_codes(seen: Seen) -> Ints:
    """The codes of the chosen answers, shape (n,)."""
    codes: Ints = np.take_along_axis(seen.answers, seen.chosen[:, None], 1)[:, 0]
    return codes


def members(number: int) -> tuple[int, ...]:
    """The models of a set by its number."""
    return tuple(m for m in range(int(number).bit_length()) if int(number) >> m & 1)


def number_of(models: Sequence[int] | Mapping[int, Any]) -> int:
    """The number of a set of models."""
    return sum(1 << m for m in models)


def greater(
    mean: Floats | None, variance: Floats | None, other: Floats, spread: float
) -> tuple[Floats, Floats]:
    """Mean and variance of the greater of two independent normal variables (Clark, 1961)."""
    if mean is None or variance is None:
        return other, np.full(len(other), spread)
    apart = np.sqrt(np.maximum(variance + spread, 1e-18))
    gap = (mean - other) / apart
    first, density = ndtr(gap), np.exp(-gap * gap / 2) / np.sqrt(2 * np.pi)
    expected = mean * first + other * (1 - first) + apart * density
    square = (
        (mean**2 + variance) * first
        + (other**2 + spread) * (1 - first)
        + (mean + other) * apart * density
    )
    return expected, np.maximum(square - expected**2, 0.0)
