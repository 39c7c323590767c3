"""Classifiers that a plan can hold, and scores of questions that they have not learnt from.

They are learnt by scikit-learn (the extra `learn`), and need numpy alone to be used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from farthing.core.errors import ExtraError
from farthing.models.recording import Floats, Ints

FOLDS = 5
STRENGTHS = (0.001, 0.01, 0.1)
TREES, DEPTH = 60, 3


class Classifier(Protocol):
    """From features to the probability of being right."""

    kind: ClassVar[str]

    def predict(self, features: Floats) -> Floats:
        """Probabilities, shape (n,), of features of shape (n, d); NaN counts as average."""
        ...

    def get_params(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Logistic:
    """Logistic regression on standardised features.

    Attributes:
        mean, scale: of each feature, shape (d,).
        weights: shape (d,).
        bias: log odds of an average question.
    """

    kind: ClassVar[str] = "logistic"

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    def predict(self, features: Floats) -> Floats:
        """Probabilities, shape (n,)."""
        standard = np.nan_to_num((features - self.mean) / self.scale)
        return _sigmoid(standard @ self.weights + self.bias)

    @classmethod
    def fit(cls, features: Floats, right: Floats, *, strength: float, seed: int = 0) -> Logistic:
        """Learn from n questions; the smaller `strength`, the nearer to no weight at all."""
        mean, scale = _moments(features)
        told, labels, weights = _labelled(np.nan_to_num((features - mean) / scale), right)
        if len(np.unique(labels)) < 2 or not features.shape[1]:
            return cls(mean, scale, np.zeros(len(mean)), _log_odds(right))
        model = _linear_model().LogisticRegression(
            C=strength, solver="lbfgs", tol=1e-3, max_iter=200, random_state=seed
        )
        with one_thread():
            model.fit(told, labels, sample_weight=weights)
        return cls(mean, scale, model.coef_[0], float(model.intercept_[0]))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "mean": self.mean,
            "scale": self.scale,
            "weights": self.weights,
            "bias": self.bias,
        }


@dataclass(frozen=True, eq=False)
class Trees:
    """Boosted regression trees on log odds.

    Source: greedy function approximation (Friedman, 2001).

    Attributes:
        fill: what stands for an unknown feature, shape (d,).
        feature: which one each node looks at, -1 in a leaf, shape (trees, nodes).
        threshold: at most this goes left, shape (trees, nodes).
        left, right: the nodes below, shape (trees, nodes).
        value: what each leaf adds to the log odds, shape (trees, nodes).
        bias: log odds before any tree.
    """

    kind: ClassVar[str] = "trees"

    fill: Floats
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    value: Floats
    bias: float

    def predict(self, features: Floats) -> Floats:
        """Probabilities, shape (n,)."""
        known = np.where(np.isnan(features), self.fill, features).astype(np.float32)
        total = np.full(len(known), self.bias)
        rows = np.arange(len(known))[:, None]
        trees = np.arange(len(self.feature))[None, :]
        node = np.zeros((len(known), len(self.feature)), np.int64)
        for _ in range(DEPTH):
            feature = self.feature[trees, node]
            goes_left = known[rows, np.maximum(feature, 0)] <= self.threshold[trees, node]
            below = np.where(goes_left, self.left[trees, node], self.right[trees, node])
            node = np.where(feature < 0, node, below)
        return _sigmoid(total + self.value[trees, node].sum(axis=1))

    @classmethod
    def fit(cls, features: Floats, right: Floats, *, strength: float, seed: int = 0) -> Trees:
        """Learn from n questions; `strength` is how much each tree counts."""
        fill, _ = _moments(features)
        known, labels, weights = _labelled(np.where(np.isnan(features), fill, features), right)
        if len(np.unique(labels)) < 2 or not features.shape[1]:
            leaf = np.zeros((1, 1))
            none = np.zeros((1, 1), np.int64)
            return cls(fill, none - 1, leaf, none, none, leaf, _log_odds(right))
        model = _ensemble().GradientBoostingClassifier(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=strength, subsample=0.7,
            max_features="sqrt", random_state=seed,
        )  # fmt: skip
        with one_thread():
            model.fit(known, labels, sample_weight=weights)
        trees = [tree.tree_ for tree in model.estimators_[:, 0]]
        prior = model.init_.class_prior_
        return cls(
            fill,
            _table([np.where(t.children_left < 0, -1, t.feature) for t in trees]),
            _table([t.threshold for t in trees]),
            _table([t.children_left for t in trees]),
            _table([t.children_right for t in trees]),
            _table([strength * t.value[:, 0, 0] for t in trees]),
            float(np.log(prior[1] / prior[0])),
        )

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "fill": self.fill,
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left,
            "right": self.right,
            "value": self.value,
            "bias": self.bias,
        }


CLASSIFIERS: dict[str, Any] = {Logistic.kind: Logistic, Trees.kind: Trees}


def classifier_from_params(table: dict[str, Any]) -> Classifier:
    """The classifier of the table's `kind` with its other entries as parameters."""
    params = dict(table)
    kind = CLASSIFIERS[params.pop("kind")]
    bias = float(params.pop("bias"))
    built: Classifier = kind(
        **{name: np.asarray(value) for name, value in params.items()}, bias=bias
    )
    return built


def learn(
    features: Floats, right: Floats, *, kind: str = Logistic.kind, seed: int = 0
) -> tuple[Classifier, Floats]:
    """A classifier learnt from all questions, and scores by which to set thresholds.

    The score of each question, shape (n,), comes from classifiers that have not learnt from it.
    How strongly they learn is what gives these scores the least log loss. ExtraError if
    scikit-learn is missing.

    Args:
        features: shape (n, d), NaN where unknown.
        right: how right each answer is, 0 to 1, shape (n,).
        kind: "logistic" or "trees".
    """
    made = CLASSIFIERS[kind]
    best: tuple[float, float, Floats] | None = None
    for strength in STRENGTHS if kind == Logistic.kind else (0.1,):

        def predict(train: Ints, test: Ints, strength: float = strength) -> Floats:
            model = made.fit(features[train], right[train], strength=strength, seed=seed)
            scores: Floats = model.predict(features[test])
            return scores

        scores = out_of_fold(predict, len(right), seed=seed)
        loss = log_loss(scores, right)
        if best is None or loss < best[0]:
            best = loss, strength, scores
    assert best is not None
    return made.fit(features, right, strength=best[1], seed=seed), best[2]


def out_of_fold(predict: Callable[[Ints, Ints], Floats], n: int, *, seed: int = 0) -> Floats:
    """For each of n questions a score from what was learnt without it, shape (n,).

    `predict(train, test)` learns from the questions `train` and scores those of `test`.
    """
    fold = np.random.default_rng(seed).permutation(n) % max(2, min(FOLDS, n))
    scores = np.empty(n)
    for each in np.unique(fold):
        test = np.flatnonzero(fold == each)
        train = np.flatnonzero(fold != each)
        scores[test] = predict(train, test)
    return scores


def log_loss(scores: Floats, right: Floats) -> float:
    """The mean of -ln of the probability given to what was so."""
    bounded = np.clip(scores, 1e-9, 1 - 1e-9)
    return float(-(right * np.log(bounded) + (1 - right) * np.log(1 - bounded)).mean())


def _labelled(features: Floats, right: Floats) -> tuple[Floats, Ints, Floats]:
    """Rows, labels and weights: an answer that is partly right counts as both, in part."""
    if np.isin(right, (0.0, 1.0)).all():
        return features, right.astype(np.int64), np.ones(len(right))
    labels = np.repeat([1, 0], len(right))
    weights = np.concatenate([right, 1 - right])
    kept = weights > 0
    return np.concatenate([features, features])[kept], labels[kept], weights[kept]


def _moments(features: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of what is known of each feature; 0 and 1 for nothing."""
    known = ~np.isnan(features)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, features, 0.0)
    mean: Floats = filled.sum(axis=0) / count
    spread = np.sqrt((np.where(known, features - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 1e-12, spread, 1.0)


def _log_odds(right: Floats) -> float:
    return float(np.log((right.sum() + 1) / ((1 - right).sum() + 1)))


def _sigmoid(values: Floats) -> Floats:
    probabilities: Floats = 1 / (1 + np.exp(-np.clip(values, -700, 700)))
    return probabilities


def _table(rows: list[Any]) -> Any:
    """Arrays of different lengths as rows of one, filled up with zeros."""
    table = np.zeros((len(rows), max(len(row) for row in rows)), rows[0].dtype)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def one_thread() -> AbstractContextManager[Any]:
    """Keep libraries of linear algebra from more threads: they wait for each other on few cores.

    It holds from the call on, and as a context until its end.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def _linear_model() -> Any:
    try:
        from sklearn import linear_model
    except ImportError as error:
        raise ExtraError("scikit-learn", "learn") from error
    return linear_model


def _ensemble() -> Any:
    try:
        from sklearn import ensemble
    except ImportError as error:
        raise ExtraError("scikit-learn", "learn") from error
    return ensemble
