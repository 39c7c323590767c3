"""Coverage by simulation, exact small cases, and MAPIE beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.regression import SplitConformalRegressor
from sklearn.dummy import DummyRegressor

from farthing.risk import conformal

TRIALS = 20_000


def at_most(rate, trials=TRIALS):
    return rate + 3 * math.sqrt(rate * (1 - rate) / trials)


@pytest.mark.parametrize("ties", [False, True])
def test_next_score_is_above_as_seldom_as_promised(ties):
    """With n = 9 and alpha = 0.1; the plain sample quantile is exceeded by more than 15 %."""
    rng = np.random.default_rng(1)
    draws = rng.geometric(0.4, (TRIALS, 10)) if ties else rng.exponential(size=(TRIALS, 10))
    over = [row[9] > conformal.quantile(row[:9], 0.1) for row in draws]
    assert np.mean(over) <= at_most(0.1)
    if not ties:
        assert np.mean(over) >= 0.085
        naive = draws[:, 9] > np.quantile(draws[:, :9], 0.9, axis=1)
        assert naive.mean() > 0.15


def test_pac_quantile_is_below_the_true_one_as_seldom_as_promised():
    """The split conformal quantile of 60 scores is so in nearly half of the calibrations."""
    rng = np.random.default_rng(2)
    alpha, delta, trials = 0.1, 0.1, 4_000
    draws = rng.random((trials, 60))
    bad = np.mean([conformal.pac_quantile(row, alpha, delta) < 1 - alpha for row in draws])
    naive = np.mean([conformal.quantile(row, alpha) < 1 - alpha for row in draws])
    assert 0.02 < bad <= at_most(delta, trials)
    assert naive > 0.3


def test_infinite_when_there_are_too_few():
    assert conformal.quantile(range(8), 0.1) == math.inf
    assert conformal.quantile(range(9), 0.1) == 8
    assert conformal.quantile([], 0.1) == math.inf
    assert conformal.pac_quantile(range(21), 0.1, 0.1) == math.inf
    assert conformal.pac_quantile(range(22), 0.1, 0.1) == 21
    assert conformal.weighted_quantile([1.0, 2.0], [1, 1], 100, 0.1) == math.inf
    assert conformal.weighted_quantile([], [], 1, 0.1) == math.inf


def test_weights_hold_where_the_traffic_shifts():
    """Long prompts become commoner; the unweighted quantile is exceeded twice as often."""
    rng = np.random.default_rng(3)
    alpha, trials, n = 0.2, 4_000, 100
    weighted = plain = 0
    for _ in range(trials):
        length = rng.beta(1, 2, n)  # density 2 (1 - x); to come 2 x
        scores = length + 0.1 * rng.normal(size=n)
        new_length = rng.beta(2, 1)
        new = new_length + 0.1 * rng.normal()
        weights = length / (1 - length)
        new_weight = new_length / (1 - new_length)
        weighted += new > conformal.weighted_quantile(scores, weights, new_weight, alpha)
        plain += new > conformal.quantile(scores, alpha)
    assert weighted / trials <= at_most(alpha, trials)
    assert plain / trials > 1.5 * alpha


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30), st.sampled_from([0.05, 0.1, 0.25, 0.5])
)
def test_equal_weights_are_no_weights(scores, alpha):
    found = conformal.weighted_quantile(scores, np.ones(len(scores)), [1.0, 1.0], alpha)
    assert found.tolist() == [conformal.quantile(scores, alpha)] * 2


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(0, 9),
)
def test_weights_are_repetitions(pairs, new):
    """A weight of k does what k equal scores of weight 1 do."""
    scores, weights = np.array(pairs).T
    repeated = np.sort(np.repeat(scores, weights))
    wanted = math.ceil(0.75 * (len(repeated) + new) - 1e-9)
    least = -math.inf if wanted == 0 else math.inf
    if 0 < wanted <= len(repeated):
        least = repeated[wanted - 1]
    found = conformal.weighted_quantile(scores, weights, new, 0.25)
    assert found == (scores.min() if least == -math.inf else least)


def test_p_values_and_quantiles_agree():
    scores = np.array([1.0, 2, 2, 3, 5, 8, 9, 9, 10])
    new = np.array([0.0, 2, 9, 10, 10.5])
    assert conformal.p_values(scores, new).tolist() == [1.0, 0.9, 0.4, 0.2, 0.1]
    for alpha in (0.1, 0.2, 0.5):
        above = new > conformal.quantile(scores, alpha)
        assert (above == (conformal.p_values(scores, new) <= alpha)).all()


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        conformal.quantile([1.0, math.nan], 0.1)
    with pytest.raises(ValueError, match="weights for"):
        conformal.weighted_quantile([1.0], [1.0, 2.0], 1.0, 0.1)
    with pytest.raises(ValueError, match="negative"):
        conformal.weighted_quantile([1.0], [-1.0], 1.0, 0.1)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("n", [40, 99])
def test_mapie_finds_the_same_quantile(alpha, n):
    """MAPIE's interval around a model that always says 0 is the quantile of the scores."""
    scores = np.random.default_rng(n).exponential(size=n)
    inputs = np.zeros((n, 1))
    model = DummyRegressor(strategy="constant", constant=0.0).fit(inputs, scores)
    mapie = SplitConformalRegressor(model, confidence_level=1 - alpha, prefit=True)
    mapie.conformalize(inputs, scores)
    _, intervals = mapie.predict_interval(inputs[:1])
    assert conformal.quantile(scores, alpha) == pytest.approx(intervals[0, 1, 0])
