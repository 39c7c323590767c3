"""Coverage by simulation; what a judge says by itself, and bounds without skewness, fail it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from farthing.risk.prediction_powered import (
    classical_mean,
    power_weight,
    ppi_mean,
    ppi_plus_mean,
    weighted_mean,
)

TRIALS = 3000
RATE = 0.9


def judged(rng, n, more, *, rate=RATE, good=0.85):
    """Answers right or wrong, and a judge who flatters: shape (n,), (n,), (more,)."""
    y = (rng.random(n + more) < rate).astype(float)
    says = np.where(rng.random(n + more) < good, y, 1 - y)
    f = np.clip(says * 0.5 + 0.5 + 0.05 * rng.normal(size=n + more), 0, 1)
    return y[:n], f[:n], f[n:]


def missed(error, trials=TRIALS):
    """The greatest share of misses that is still within three standard errors of `error`."""
    return error + 3 * math.sqrt(error * (1 - error) / trials)


@pytest.mark.parametrize("method", [ppi_mean, ppi_plus_mean], ids=["ppi", "ppi++"])
def test_intervals_cover_and_the_judge_alone_does_not(method):
    rng = np.random.default_rng(1)
    outside, judge, width, width_labels = 0, 0, [], []
    for _ in range(TRIALS):
        y, f, more = judged(rng, 100, 1000)
        low, high = method(y, f, more).interval(0.9)
        outside += not low <= RATE <= high
        low_judge, high_judge = classical_mean(np.concatenate([f, more])).interval(0.9)
        judge += not low_judge <= RATE <= high_judge
        width.append(high - low)
        plain = classical_mean(y).interval(0.9)
        width_labels.append(plain[1] - plain[0])
    assert outside / TRIALS <= missed(0.1) + 0.01  # asymptotic: a point more for n = 100
    assert outside / TRIALS >= 0.06
    assert judge / TRIALS > 0.9
    if method is ppi_plus_mean:
        assert np.mean(width) < 0.92 * np.mean(width_labels)


@pytest.mark.parametrize("rate", [0.9, 0.95])
def test_lower_bounds_need_the_skewness(rate):
    rng = np.random.default_rng(2)
    over, plain = 0, 0
    for _ in range(TRIALS):
        y, f, more = judged(rng, 100, 1000, rate=rate)
        found = ppi_plus_mean(y, f, more)
        over += found.interval(0.95, "lower")[0] > rate
        plain += found.interval(0.95, "lower", skewed=False)[0] > rate
    assert over / TRIALS <= missed(0.05) + 0.01
    assert plain / TRIALS > missed(0.05)


def test_upper_bounds_hold_too():
    rng = np.random.default_rng(3)
    under = 0
    for _ in range(TRIALS):
        y, f, more = judged(rng, 100, 1000)
        under += ppi_plus_mean(y, f, more).interval(0.95, "upper")[1] < RATE
    assert 0.02 <= under / TRIALS <= missed(0.05) + 0.01


def test_useless_predictions_cost_nothing_when_tuned():
    rng = np.random.default_rng(4)
    tuned, full, alone = [], [], []
    for _ in range(300):
        y = (rng.random(200) < 0.7).astype(float)
        f, more = rng.random(200), rng.random(2000)
        tuned.append(ppi_plus_mean(y, f, more).error)
        full.append(ppi_mean(y, f, more).error)
        alone.append(classical_mean(y).error)
    assert np.mean(tuned) < 1.01 * np.mean(alone)
    assert np.mean(full) > 1.1 * np.mean(alone)


def test_against_ppi_py():
    """Ends of 90 % intervals of ppi_py 0.2.3, which divides by n and uses the normal quantile."""
    i, j = np.arange(60), np.arange(600)
    y = (i * 7 % 10 < 7).astype(float)
    f = 0.4 * y + 0.9 * (i * 13 % 11) / 11
    more = 0.4 * (j * 7 % 10 < 7) + 0.9 * (j * 29 % 31) / 31
    z = stats.norm.ppf(0.95)
    found = ppi_mean(y, f, more)
    other = more.var() / len(more)
    error = math.sqrt((found.error**2 - other) * found.freedom / len(y) + other)
    assert found.value - z * error == pytest.approx(0.65278859, abs=1e-6)
    assert found.value + z * error == pytest.approx(0.8170208, abs=1e-6)
    tuned = ppi_plus_mean(y, f, more)
    assert tuned.value == pytest.approx(0.72705997, abs=5e-4)
    assert 2 * z * tuned.error == pytest.approx(0.80755067 - 0.64656928, rel=0.03)


def test_labels_alone_are_students_t():
    y = np.random.default_rng(5).random(20)
    told = stats.ttest_1samp(y, 0).confidence_interval(0.9)
    found = classical_mean(y)
    assert found.interval(0.9, skewed=False) == pytest.approx((told.low, told.high))
    assert found.effective == pytest.approx(20)
    lower = stats.ttest_1samp(y, 0, alternative="greater").confidence_interval(0.9)
    assert found.interval(0.9, "lower", skewed=False)[0] == pytest.approx(lower.low)
    assert found.interval(0.9, "lower")[1] == math.inf
    assert found.interval(0.9, "upper")[0] == -math.inf


@given(st.integers(5, 40), st.integers(1, 60), st.integers(0, 10_000), st.floats(-2, 3))
def test_no_other_weight_has_less_variance(n, more, seed, weight):
    rng = np.random.default_rng(seed)
    y, f, rest = rng.random(n), rng.random(n), rng.random(more)
    best = power_weight(y, f, rest)

    def variance(w):
        return (y - w * f).var() / n + w**2 * rest.var() / more

    assert variance(best) <= variance(weight) + 1e-12


def test_constant_predictions_are_left_aside():
    y = np.array([0.0, 1.0, 1.0, 1.0])
    found = ppi_plus_mean(y, np.ones(4), np.ones(9))
    assert (found.value, found.weight) == (0.75, 0.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([1.0], [1.0], [1.0]), "1 labels are too few"),
        (([1.0, 0.0], [1.0], [1.0]), "shapes"),
        (([1.0, 0.0], [1.0, 0.0], []), "0 other units"),
        (([1.0, math.nan], [1.0, 0.0], [1.0]), "finite"),
    ],
)
def test_nonsense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ppi_mean(*given)


def test_confidence_is_checked():
    found = weighted_mean([0.0, 1.0], [0.0, 1.0], [0.5], 0.5)
    with pytest.raises(ValueError, match="confidence is 95"):
        found.interval(95)
