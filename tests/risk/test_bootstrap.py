from __future__ import annotations

import numpy as np
import pytest

from farthing.risk.bootstrap import corrected_interval, mean_interval, resampled_means
from farthing.risk.frontier import random_mix


def test_interval_covers_the_mean():
    rng = np.random.default_rng(0)
    trials, covered = 600, 0
    for trial in range(trials):
        low, high = mean_interval(rng.exponential(size=200), resamples=400, seed=trial)
        covered += low <= 1.0 <= high
    assert covered / trials == pytest.approx(0.95, abs=0.035)


def test_columns_are_resampled_together():
    values = np.random.default_rng(0).normal(size=50)
    means = resampled_means(np.stack([values, values + 1], axis=1), 100, 3)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.ones(100))


def test_many_rows_are_grouped_to_the_same_end():
    rng = np.random.default_rng(1)
    values = rng.exponential(size=30_001)
    spread = resampled_means(values[:, None], 2000, 0)[:, 0]
    assert spread.mean() == pytest.approx(values.mean(), abs=3 * values.std() / 30_001**0.5)
    assert spread.std() == pytest.approx(values.std() / 30_001**0.5, rel=0.08)
    constant = resampled_means(np.ones((30_001, 1)), 50, 0)
    assert constant == pytest.approx(np.ones((50, 1)))


def test_without_values_nothing_is_known():
    assert np.isnan(mean_interval([])).all()


def test_random_mix_is_the_upper_hull():
    costs, qualities = [1.0, 2.0, 4.0], [0.2, 0.3, 0.8]
    assert random_mix(costs, qualities, 0.5) is None
    assert random_mix(costs, qualities, 1.0) == 0.2
    # The middle model lies below the line from the cheapest to the dearest.
    assert random_mix(costs, qualities, 2.0) == pytest.approx(0.4)
    assert random_mix(costs, qualities, 9.0) == 0.8
    assert random_mix([1.0, 2.0], [0.9, 0.5], 2.0) == 0.9


def test_corrected_interval_is_the_percentile_one_without_bias():
    drawn = np.linspace(0, 1, 1001)
    assert corrected_interval(0.5, drawn) == pytest.approx((0.025, 0.975), abs=0.002)


def test_corrected_interval_moves_against_the_bias():
    drawn = np.linspace(0, 1, 1001)
    low, high = corrected_interval(0.3, drawn)
    assert low < 0.025
    assert high < 0.9


def test_corrected_interval_takes_infinity_and_leaves_nan_out():
    assert corrected_interval(1.0, [0.9, 1.0, 1.1, np.inf, np.nan])[1] == np.inf
    assert np.isnan(corrected_interval(np.nan, [1.0])).all()
    assert np.isnan(corrected_interval(1.0, [np.nan])).all()


def test_corrected_interval_covers_a_ratio():
    """The ratio of two means, of 60 rows, in 95 of 100 samples; 300 samples tell 0.95 from 0.90."""
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        cost = rng.lognormal(0, 1, 60)
        right = (rng.random(60) < 0.3).astype(float)
        means = resampled_means(np.stack([cost, right], axis=1), 400, trial)
        low, high = corrected_interval(cost.mean() / right.mean(), means[:, 0] / means[:, 1])
        covered += low <= np.exp(0.5) / 0.3 <= high
    assert covered / 300 >= 0.9
