"""No false alarms beyond delta on a shuffled deck; and changes are seen."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from farthing.risk.exchangeability import SLOPES, ExchangeabilityMonitor, _uniform

DELTA = 0.1


def run(monitor, scores):
    """Scores until the alarm; None without one."""
    for count, score in enumerate(scores, 1):
        monitor.update(float(score))
        if monitor.alarm:
            return count
    return None


def test_the_capital_is_a_martingale():
    """For uniform p-values: the mean over a fine grid of the next capital is that of now."""
    monitor = ExchangeabilityMonitor([0.0], DELTA)
    rng = np.random.default_rng(0)
    for p in rng.random(30):
        state, now = monitor.state(), monitor.e_value
        following = []
        for step in range(100):
            branch = ExchangeabilityMonitor.from_state(json.loads(json.dumps(state)))
            branch.bet((step + 0.5) / 100)
            following.append(branch.e_value)
        assert np.mean(following) == pytest.approx(now)
        monitor.bet(p)


@pytest.mark.parametrize("kind", ["normal", "few values"])
def test_false_alarms_are_as_rare_as_promised_and_a_test_at_every_look_is_not(kind):
    """400 streams of 1,500 scores after 60 of the same; and the rank test, looked at each 50."""
    rng, trials, alarms, naive = np.random.default_rng(1), 400, 0, 0
    for _ in range(trials):
        scores = rng.normal(size=1_560) if kind == "normal" else rng.binomial(4, 0.3, 1_560)
        alarms += run(ExchangeabilityMonitor.after(scores[:60], DELTA), scores[60:]) is not None
        if kind == "normal":
            shares = stats.norm.cdf(scores[60:])  # even with the true distribution known
            means = shares.cumsum()[49::50] / np.arange(50, 1_501, 50)
            errors = np.abs(means - 0.5) * np.sqrt(12 * np.arange(50, 1_501, 50))
            naive += (errors > stats.norm.isf(DELTA / 2)).any()
    assert 0 < alarms <= (DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / trials)) * trials
    if kind == "normal":
        assert naive > 0.3 * trials


def test_p_values_are_uniform_and_independent():
    rng = np.random.default_rng(2)
    found = []
    for seed in range(400):
        monitor = ExchangeabilityMonitor([-0.5, 0.3, 1.0], DELTA, seed)
        found.append([monitor._p_value(x) for x in rng.normal(size=12) if not monitor.bet(0.5)])
    p = np.array(found)
    assert stats.kstest(p.ravel(), "uniform").pvalue > 0.001
    assert np.abs(np.corrcoef(p[:, 1:].T) - np.eye(11)).max() < 0.2


@pytest.mark.parametrize(
    ("before", "shift", "within"),
    [(0, 1.0, 80), (500, 1.0, 80), (5_000, 1.0, 150), (5_000, -1.0, 150), (5_000, 0.5, 400)],
)
def test_a_change_is_seen_soon_even_after_long_quiet_times(before, shift, within):
    rng, delays = np.random.default_rng(3), []
    for seed in range(20):
        monitor = ExchangeabilityMonitor.after(rng.normal(size=200), 0.05, seed=seed)
        if run(monitor, rng.normal(size=before)) is None:
            delays.append(run(monitor, shift + rng.normal(size=3 * within)) or math.inf)
    assert len(delays) >= 17
    assert np.median(delays) <= within


def test_goes_on_from_its_state_through_json():
    scores = np.random.default_rng(4).normal(size=400)
    scores[300:] += 1
    whole = ExchangeabilityMonitor.after(scores[:100], DELTA)
    parts = ExchangeabilityMonitor.from_state(whole.state())
    for score in scores[100:]:
        whole.update(score)
        parts = ExchangeabilityMonitor.from_state(json.loads(json.dumps(parts.state())))
        parts.update(float(score))
    assert parts == whole
    assert len(json.dumps(whole.state())) < 2_000


def test_it_does_not_share_its_state():
    monitor = ExchangeabilityMonitor.after(range(10), DELTA)
    state = monitor.state()
    ExchangeabilityMonitor.from_state(state).update(1)
    assert state == monitor.state()


def test_ties_are_broken_evenly():
    numbers = [_uniform(seed, count) for seed in range(20) for count in range(100)]
    assert stats.kstest(numbers, "uniform").pvalue > 0.01
    assert len(set(numbers)) == 2_000


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        ExchangeabilityMonitor([0.0], DELTA).update(math.nan)
    with pytest.raises(ValueError, match="do not ascend"):
        ExchangeabilityMonitor([0.0, 0.0], DELTA)
    with pytest.raises(ValueError, match="delta is 1"):
        ExchangeabilityMonitor([0.0], 1)
    with pytest.raises(ValueError, match="at least two"):
        ExchangeabilityMonitor.after([1.0], DELTA)
    with pytest.raises(ValueError, match="not the state"):
        ExchangeabilityMonitor.from_state({"edge": []})
    with pytest.raises(ValueError, match="wrong lengths"):
        ExchangeabilityMonitor.from_state({"edges": [1.0], "delta": 0.1, "accounts": [1.0]})
    assert len(SLOPES) == 3
