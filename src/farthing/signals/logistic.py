"""Logistic regression for shares: targets from 0 to 1, not only right or wrong."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from farthing.models.recording import Floats

STEPS = 25


def fit_logistic(
    features: Floats, targets: Floats, *, ridge: float = 1.0, towards: Floats | None = None
) -> Floats:
    """Weights of each feature and, last, the intercept, which is not penalised.

    Source: iteratively reweighted least squares (Nelder & Wedderburn, 1972) with a ridge penalty
    (le Cessie & van Houwelingen, 1992). One question that is right and one that is wrong are
    added at the features' mean, so that targets that are all equal have an answer too.

    Args:
        features: shape (n, features), of about unit scale.
        targets: shape (n,), 0 to 1.
        ridge: weight of half the squared weights beside the log-likelihood's sum.
        towards: the weights that are not penalised, shape (features,); zero unless given.
    """
    n, width = features.shape
    middle = features.mean(axis=0) if n else np.zeros(width)
    x = np.column_stack([np.vstack([features, middle]), np.ones(n + 1)])
    y = np.append(targets, 0.5)
    mass = np.append(np.ones(n), 2.0)
    penalty = np.append(np.full(width, ridge), 0.0)
    prior = np.append(np.zeros(width) if towards is None else towards, 0.0)
    weights = prior.copy()
    for _ in range(STEPS):
        expected = expit(x @ weights)
        slope = np.maximum(expected * (1 - expected), 1e-4) * mass
        gradient = x.T @ (mass * (y - expected)) - penalty * (weights - prior)
        step = np.linalg.solve((x.T * slope) @ x + np.diag(penalty + 1e-9), gradient)
        weights += np.clip(step, -4.0, 4.0)
        if np.abs(step).max() < 1e-6:
            break
    return weights


def logistic(features: Floats, weights: Floats) -> Floats:
    """What `fit_logistic`'s weights expect of features, shape (n,)."""
    expected: Floats = expit(features @ weights[:-1] + weights[-1])
    return expected
