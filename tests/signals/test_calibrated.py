"""Signals as chances, and the regression behind them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from farthing.signals.agreement import Agreement
from farthing.signals.calibrated import KNOTS, Calibrated, normal_scores
from farthing.signals.logistic import fit_logistic, logistic


def test_logistic_finds_the_weights_of_shares() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3))
    share = rng.binomial(4, expit(x @ [1.0, -2.0, 0.0] + 0.5)) / 4
    weights = fit_logistic(x, share, ridge=1e-6)
    assert np.allclose(weights, [1.0, -2.0, 0.0, 0.5], atol=0.06)


def test_logistic_agrees_with_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 2))
    y = (rng.random(500) < expit(x @ [1.0, 0.5])).astype(float)
    middle = x.mean(axis=0)
    theirs = linear_model.LogisticRegression(C=0.5, tol=1e-8).fit(
        np.vstack([x, middle, middle]), np.append(y, [0, 1])
    )
    ours = fit_logistic(x, y, ridge=2.0)
    assert np.allclose(ours, [*theirs.coef_[0], theirs.intercept_[0]], atol=1e-4)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_logistic_of_equal_targets_is_not_sure(right: float) -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    expected = logistic(x, fit_logistic(x, np.full(30, right)))
    assert (np.abs(expected - right) < 0.2).all()
    assert ((expected > 0) & (expected < 1)).all()


@pytest.mark.parametrize("scale", ["probability", "logarithm"])
def test_chances_are_calibrated_on_other_questions_on_any_scale(scale: str) -> None:
    rng = np.random.default_rng(2)
    hidden = rng.normal(size=20_000)
    right = (rng.random(20_000) < expit(2 * hidden)).astype(float)
    values = expit(hidden) if scale == "probability" else -np.exp(-hidden)
    signal = Calibrated.fit(Agreement(), values[:5000], right[:5000])
    chances = signal.expects(signal.normal(values[5000:]))
    for low in np.arange(0, 1, 0.1):
        here = (chances >= low) & (chances < low + 0.1)
        assert here.sum() > 200
        assert abs(right[5000:][here].mean() - chances[here].mean()) < 0.06


def test_a_signal_the_wrong_way_round_never_ranks() -> None:
    rng = np.random.default_rng(3)
    values = rng.random(400)
    right = (rng.random(400) < 1 - values).astype(float)
    signal = Calibrated.fit(Agreement(), values, right)
    chances = signal.expects(signal.normal(values))
    assert np.ptp(chances) == 0
    assert abs(chances[0] - right.mean()) < 1e-9


def test_equal_values_share_the_middle_of_their_ranks() -> None:
    values, scores = normal_scores(np.array([0.5, 1.0, 1.0, 0.5, 0.5, 1.0, -np.inf, 1.0]))
    assert values.tolist() == [-1e300, 0.5, 1.0]
    assert np.allclose(scores, [-1.5341, -0.4888, 0.6745], atol=1e-4)
    many, _ = normal_scores(np.random.default_rng(0).random(10_000))
    assert len(many) <= KNOTS
    assert (np.diff(many) > 0).all()
