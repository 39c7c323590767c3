"""A router by a classifier for each model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import expit

from farthing.core.errors import ExtraError
from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.lesson import Expects, best_setting, lesson
from farthing.policies.router import Router
from farthing.signals.vectors import single

HIDDEN = 16
STEPS = 200
ROUNDS = 60


@dataclass(frozen=True)
class Setting:
    """How strongly weights are penalised, and whether there is a layer in between."""

    penalty: float
    hidden: int = 0


SETTINGS = (
    *(Setting(penalty) for penalty in (300.0, 30.0, 10.0, 3.0, 1.0)),
    *(Setting(penalty, HIDDEN) for penalty in (3.0, 0.3)),
)


@dataclass(frozen=True, eq=False)
class Classifier(Router):
    """Expects of a model what a classifier of the prompt's vector says.

    A logistic regression for each model, or a network whose hidden layer they share, whichever
    errs less. Source: the BERT classifier of RouteLLM (Ong et al., 2024), for any number of
    models, on the vectors of a small encoder that is not trained further.

    Attributes:
        hidden: weights into the hidden layer, shape (dimensions + 1, hidden), the bias last; of
            no columns where there is none.
        weights: from there, or from the prompt's vector, shape (inputs + 1, models).
    """

    kind: ClassVar[str] = "classifier"

    hidden: Floats
    weights: Floats

    def expects(self, vectors: Floats) -> Floats:
        """How right each model's answer to each prompt should be, shape (prompts, models)."""
        return _expected(vectors, self.hidden, self.weights)

    @classmethod
    def fit(
        cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0, encoder: str | None = None
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); the kind of classifier that errs least.

        `encoder` names a kind of `signals.encoder`, by default the best. ExtraError without
        scikit-learn.
        """
        told = lesson(draw, right, encoder, seed)

        def learn(vectors: Floats, right: Floats, setting: Setting) -> Expects:
            learnt = _learn(vectors, right, setting, seed)
            return lambda asked: _expected(asked, *learnt)

        setting = best_setting(told, SETTINGS, learn)
        hidden, weights = _learn(told.vectors, told.right, setting, seed)
        return cls.ladder(draw, told.encoder, hidden=hidden, weights=weights)


def _expected(vectors: Floats, hidden: Floats, weights: Floats) -> Floats:
    if not hidden.shape[1]:
        linear: Floats = expit(_through(vectors, weights))
        return linear
    expected: Floats = _through(np.maximum(_through(vectors, hidden), 0.0), weights)
    return np.clip(expected, 0.0, 1.0)


def _through(values: Floats, layer: Floats) -> Floats:
    wide = layer.astype(float)
    through: Floats = values @ wide[:-1] + wide[-1]
    return through


def _learn(vectors: Floats, right: Floats, setting: Setting, seed: int) -> tuple[Floats, Floats]:
    """The weights into the hidden layer, and from it."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPRegressor
    except ImportError as error:
        raise ExtraError("scikit-learn", "learn") from error
    n, width = vectors.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if setting.hidden:
            network: Any = MLPRegressor(
                hidden_layer_sizes=(setting.hidden,),
                alpha=setting.penalty,
                learning_rate_init=0.01,
                max_iter=ROUNDS,
                random_state=seed,
            )
            network.fit(vectors, right if right.shape[1] > 1 else right[:, 0])
            layers = zip(network.coefs_, network.intercepts_, strict=True)
            first, last = (np.vstack([weights, bias]) for weights, bias in layers)
            return single(first), single(last)
        twice = np.vstack([vectors, vectors])
        label = np.repeat([1, 0], n)
        columns = []
        for target in right.T:
            share = np.concatenate([target, 1.0 - target]) + 1.0 / n
            logistic: Any = LogisticRegression(C=1.0 / setting.penalty, max_iter=STEPS)
            logistic.fit(twice, label, sample_weight=share)
            columns.append(np.append(logistic.coef_[0], logistic.intercept_))
    return single(np.zeros((width + 1, 0))), single(np.stack(columns, axis=1))
