"""Classifiers in numpy against scikit-learn's own, and scores that are honest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from farthing.models.recording import Floats, Ints
from farthing.signals.learning import (
    CLASSIFIERS,
    TREES,
    Trees,
    classifier_from_params,
    learn,
    log_loss,
    out_of_fold,
)

pytest.importorskip("sklearn")
KINDS = sorted(CLASSIFIERS)


def data(n: int = 400, seed: int = 0) -> tuple[Floats, Floats]:
    """Two features that tell something, three that tell nothing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 5))
    right = rng.random(n) < 1 / (1 + np.exp(-2 * features[:, 0] - features[:, 1]))
    return features, right.astype(float)


@pytest.mark.parametrize("kind", KINDS)
def test_learns_what_there_is_to_learn(kind: str) -> None:
    features, right = data()
    new, truth = data(2000, seed=1)
    model, scores = learn(features, right, kind=kind)
    plain = log_loss(np.full(len(truth), right.mean()), truth)
    assert log_loss(model.predict(new), truth) < 0.85 * plain
    assert log_loss(scores, right) < 0.85 * plain


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_noise_are_no_better_than_chance(kind: str) -> None:
    rng = np.random.default_rng(0)
    features, right = rng.normal(size=(200, 40)), (rng.random(200) < 0.5).astype(float)
    _, scores = learn(features, right, kind=kind)
    model = CLASSIFIERS[kind].fit(features, right, strength=0.1)

    def difference(values: Floats) -> float:
        return float(values[right == 1].mean() - values[right == 0].mean())

    assert difference(model.predict(features)) > 0.03, "it has learnt these very questions"
    assert difference(scores) < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_is_written_down_and_read(kind: str) -> None:
    features, right = data()
    model, _ = learn(features, right, kind=kind)
    told = {"kind": kind, **model.get_params()}
    again = classifier_from_params(json.loads(json.dumps(told, default=lambda v: v.tolist())))
    assert again.predict(features).tolist() == model.predict(features).tolist()


def test_trees_are_those_of_scikit_learn() -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    features, right = data()
    ours = Trees.fit(features, right, strength=0.1, seed=3)
    theirs = GradientBoostingClassifier(
        n_estimators=TREES, max_depth=3, learning_rate=0.1, subsample=0.7, max_features="sqrt",
        random_state=3,
    ).fit(features, right)  # fmt: skip
    assert ours.predict(features) == pytest.approx(theirs.predict_proba(features)[:, 1], abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_unknown_counts_as_average(kind: str) -> None:
    features, right = data()
    features[::3, 1] = np.nan
    model, _ = learn(features, right, kind=kind)
    average = np.nanmean(features[:, 1])
    one = np.array([[1.0, np.nan, 0.0, 0.0, 0.0], [1.0, average, 0.0, 0.0, 0.0]])
    low, high = model.predict(one)
    assert low == pytest.approx(high)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_answers_are_alike(kind: str, value: float) -> None:
    features, _ = data(20)
    model, scores = learn(features, np.full(20, value), kind=kind)
    assert abs(model.predict(features) - value).max() < 0.1
    assert abs(scores - value).max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_answers_that_are_right_in_part(kind: str) -> None:
    features, _ = data(2000)
    share = 1 / (1 + np.exp(-2 * features[:, 0]))
    model, _ = learn(features, share, kind=kind)
    assert np.abs(model.predict(features) - share).mean() < 0.1


def test_nothing_is_scored_by_what_has_learnt_it() -> None:
    seen: list[tuple[Ints, Ints]] = []

    def predict(train: Ints, test: Ints) -> Any:
        seen.append((train, test))
        return test.astype(float)

    assert out_of_fold(predict, 23).tolist() == list(range(23))
    assert all(not set(train) & set(test) for train, test in seen)
    assert sorted(np.concatenate([test for _, test in seen])) == list(range(23))
