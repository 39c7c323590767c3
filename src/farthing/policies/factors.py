"""A router by factors that models and questions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.lesson import Expects, best_setting, lesson
from farthing.policies.router import Router
from farthing.signals.vectors import single

RANK = 8
PENALTIES = (300.0, 30.0, 10.0, 3.0, 1.0)
STEPS = 80


@dataclass(frozen=True, eq=False)
class Factors(Router):
    """Expects of a model what its vector times the question's projected vector says.

    P(right) is logistic in `models' vector . (projection @ prompt's vector) + bias`. Source: the
    matrix factorisation of RouteLLM (Ong et al., 2024), which learns from preferences between
    two models; here it learns from (question, model, right), so for any number of models. Both
    factors are penalised, which keeps the rank low (Srebro, Rennie & Jaakkola, 2004).

    Attributes:
        projection: of prompts' vectors, shape (factors, dimensions).
        loadings: the models' vectors, shape (models, factors).
        bias: of each model, shape (models,).
    """

    kind: ClassVar[str] = "factors"

    projection: Floats
    loadings: Floats
    bias: Floats

    def expects(self, vectors: Floats) -> Floats:
        """How right each model's answer to each prompt should be, shape (prompts, models)."""
        return _expected(vectors, self.projection, self.loadings, self.bias)

    @classmethod
    def fit(
        cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0, encoder: str | None = None
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); the penalty is the one that errs least.

        `encoder` names a kind of `signals.encoder`, by default the best.
        """
        told = lesson(draw, right, encoder, seed)

        def learn(vectors: Floats, right: Floats, penalty: float) -> Expects:
            learnt = _learn(vectors, right, penalty, seed)
            return lambda asked: _expected(asked, *learnt)

        penalty = best_setting(told, PENALTIES, learn)
        projection, loadings, bias = _learn(told.vectors, told.right, penalty, seed)
        return cls.ladder(draw, told.encoder, projection=projection, loadings=loadings, bias=bias)


def _expected(vectors: Floats, projection: Floats, loadings: Floats, bias: Floats) -> Floats:
    weights = projection.T.astype(float) @ loadings.T.astype(float)
    expected: Floats = expit(vectors @ weights + bias)
    return expected


def _learn(
    vectors: Floats, right: Floats, penalty: float, seed: int
) -> tuple[Floats, Floats, Floats]:
    """Projection, loadings and bias of most penalised likelihood, from a small random start."""
    n, width = vectors.shape
    models = right.shape[1]
    rank = min(RANK, models, width)
    ends = np.cumsum([rank * width, models * rank])

    def split(flat: Floats) -> tuple[Floats, Floats, Floats]:
        projection, loadings, bias = np.split(flat, ends)
        return projection.reshape(rank, width), loadings.reshape(models, rank), bias

    def loss(flat: Floats) -> tuple[float, Floats]:
        projection, loadings, bias = split(flat)
        hidden = vectors @ projection.T
        score = hidden @ loadings.T + bias
        value = float((np.logaddexp(0.0, score) - right * score).sum())
        value += penalty / 2 * float((projection**2).sum() + (loadings**2).sum())
        slope = expit(score) - right
        gradient = (
            (loadings.T @ slope.T @ vectors + penalty * projection).ravel(),
            (slope.T @ hidden + penalty * loadings).ravel(),
            slope.sum(axis=0),
        )
        return value, np.concatenate(gradient)

    start = np.random.default_rng(seed).normal(scale=0.3, size=int(ends[-1]))
    share = (right.sum(axis=0) + 0.5) / (n + 1)
    found = minimize(
        loss,
        np.concatenate([start, logit(share)]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": STEPS},
    )
    projection, loadings, bias = (single(part) for part in split(found.x))
    return projection, loadings, bias
