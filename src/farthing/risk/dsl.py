"""Design-based supervised learning: what is labelled was drawn with known probability.

A model g of the label, learned from predictions and whatever else is known of a unit, is corrected
where a label exists by its error over the probability with which the unit was labelled:

    pseudo-label = g(x) + labelled / probability * (y - g(x))

These have the right mean whatever g is, and are averaged as if every unit were labelled. g is
learned on other folds than those it is used on. Beside prediction-powered inference it makes use
of more than one predictor, calibrates them, and allows labels to be drawn with unequal probability
(more where the judge hesitates); it pays with labels for the folds, and for g when these are few.

Assumes known probabilities above 0, and independent units. Broken by labels that somebody chose:
then the probabilities are not those of the design. Asymptotic, as `prediction_powered` is, whose
warnings hold here too.

Source: Egami, Hinck, Stewart, Wei: Using Imperfect Surrogates for Downstream Inference:
Design-based Supervised Learning for Social Science Applications of Large Language Models (2023).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farthing.risk.prediction_powered import Estimate, telling

Floats = NDArray[np.float64]

FOLDS = 5
RIDGE = 1.0  # in units of one label


def dsl_mean(
    labels: ArrayLike, features: ArrayLike, probability: ArrayLike, *, seed: int = 0
) -> Estimate:
    """The mean of the labels over all units.

    Args:
        labels: NaN where there is none, shape (units,).
        features: what g learns from, such as a judge's scores, shape (units, features).
        probability: with which each unit was labelled, shape (units,) or one number.
        seed: of the folds.

    Raises:
        ValueError: with fewer than two labels in some fold's complement, or probabilities outside
            (0, 1], or features that are not finite.
    """
    y = np.asarray(labels, dtype=float)
    x = np.asarray(features, dtype=float)
    chance = np.broadcast_to(np.asarray(probability, dtype=float), y.shape)
    known = ~np.isnan(y)
    if y.ndim != 1 or x.ndim != 2 or len(x) != len(y) or not np.isfinite(x).all():
        raise ValueError(f"labels {y.shape}, features {x.shape}: want (units,), (units, features)")
    if not ((chance > 0) & (chance <= 1)).all():
        raise ValueError("probabilities of being labelled must lie in (0, 1]")
    count = int(known.sum())
    if count < FOLDS + 2:
        raise ValueError(f"{count} labels are too few: want {FOLDS + 2} at least")
    learned = _crossed(y, x, known, seed)
    pseudo = learned + np.where(known, (np.where(known, y, 0.0) - learned) / chance, 0.0)
    part = pseudo - pseudo.mean()
    units = len(y)
    variance = float(part @ part) / units**2 * count / (count - 1)
    third = float((part**3).sum()) / units**3
    weights = np.where(known, 1 / chance, 0.0)
    spread = float((weights * (np.where(known, y, 0.0) - pseudo.mean()) ** 2).sum() / weights.sum())
    return Estimate(
        value=float(pseudo.mean()),
        error=math.sqrt(variance),
        skewness=third / variance**1.5 if variance > 0 else 0.0,
        freedom=count - 1,
        weight=1.0,
        labelled=count,
        judged=units - count,
        effective=spread / variance if variance > 0 else math.nan,
        telling=telling(part[known]),
    )


def _crossed(y: Floats, x: Floats, known: NDArray[np.bool_], seed: int) -> Floats:
    """For each unit the label expected by ridge regression on the labels of other folds."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z = (x - mean) / np.where(scale > 0, scale, 1.0)
    rng = np.random.default_rng(seed)
    fold = np.empty(len(y), np.int64)
    for group in (known, ~known):  # so that each fold has its share of the labels
        fold[group] = rng.permutation(int(group.sum())) % FOLDS
    found = np.empty(len(y))
    for at in range(FOLDS):
        train = known & (fold != at)
        centre, base = z[train].mean(axis=0), y[train].mean()
        left = z[train] - centre
        gram = left.T @ left + RIDGE * np.eye(x.shape[1])
        slope = np.linalg.solve(gram, left.T @ (y[train] - base))
        found[fold == at] = base + (z[fold == at] - centre) @ slope
    return found
