"""What routers learn from, and how they choose their settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from farthing.core.errors import DataError
from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.signals.encoder import Encoder, learn_encoder
from farthing.signals.seen import Prompts

T = TypeVar("T")
FOLDS = 5
CHOOSING = 2000

Expects = Callable[[Floats], Floats]
"""From vectors, shape (n, dimensions), to how right each model should be, shape (n, models)."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Prompts whose answers are known.

    Attributes:
        encoder: learnt from the prompts.
        vectors: of the prompts, shape (n, dimensions).
        right: how right each model is in the mean of its samples, 0 to 1, shape (n, models).
        seed: of whatever is drawn in learning.
    """

    encoder: Encoder
    vectors: Floats
    right: Floats
    seed: int


def lesson(draw: Draw, right: Sequence[Floats], encoder: str | None, seed: int) -> Lesson:
    """What a draw teaches a router; questions with unknown answers are left out.

    Raises DataError where fewer than two questions are left, and as `learn_encoder`.
    """
    means = np.stack([table.mean(axis=1) for table in right], axis=1)
    known = np.flatnonzero(~np.isnan(means).any(axis=1))
    if len(known) < 2:
        raise DataError(
            f"{draw.recording.path}: a router learns from questions of which it is known how "
            f"right all models are; there are {len(known)}"
        )
    prompts = Prompts(draw)
    learnt, vectors = learn_encoder([prompts[i] for i in known], encoder, seed=seed)
    return Lesson(learnt, vectors, means[known], seed)


def contrast(right: Floats) -> Floats:
    """How much more right each model is than the models' mean: what routing depends on."""
    centred: Floats = right - right.mean(axis=1, keepdims=True)
    return centred


def best_setting(
    told: Lesson, settings: Sequence[T], learn: Callable[[Floats, Floats, T], Expects]
) -> T:
    """The setting whose expectations err least on questions that they were not learnt from.

    The error is that of the models' `contrast`, squared, over `FOLDS` folds of at most `CHOOSING`
    questions. The first of equals; so settings should go from plain to intricate.
    """
    order = np.random.default_rng(told.seed).permutation(len(told.right))[:CHOOSING]
    vectors, right = told.vectors[order], told.right[order]
    fold = np.arange(len(order)) % min(FOLDS, len(order))
    errors = np.zeros(len(settings))
    for part in range(fold.max() + 1):
        out = fold == part
        for place, setting in enumerate(settings):
            expected = learn(vectors[~out], right[~out], setting)(vectors[out])
            errors[place] += ((contrast(expected) - contrast(right[out])) ** 2).sum()
    return settings[int(errors.argmin())]
