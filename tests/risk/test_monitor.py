"""No false alarms beyond delta, however long; and soon enough when there is something to see."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from farthing.risk.binomial import tail_p_value
from farthing.risk.monitor import RateMonitor

ALPHA, DELTA = 0.1, 0.1


def run(monitor, losses):
    """Outcomes until the alarm; None without one."""
    for count, loss in enumerate(losses, 1):
        monitor.update(float(loss))
        if monitor.alarm:
            return count
    return None


def test_the_capital_is_a_martingale_at_the_very_rate():
    """Exactly: over all outcomes of length 10 it is 1 on average, and less where the rate is."""
    for rate, wanted in ((ALPHA, 1.0), (0.05, None)):
        mean = 0.0
        for outcomes in itertools.product((0, 1), repeat=10):
            monitor = RateMonitor(ALPHA, DELTA)
            for x in outcomes:
                monitor.update(x)
            mean += math.prod(rate if x else 1 - rate for x in outcomes) * monitor.e_value
        assert mean < 1 if wanted is None else mean == pytest.approx(1)


def test_false_alarms_are_as_rare_as_promised_and_looking_again_and_again_at_a_test_is_not():
    """400 streams of 4,000 outcomes at the very rate promised."""
    rng, trials, length = np.random.default_rng(1), 400, 4_000
    losses = rng.random((trials, length)) < ALPHA
    alarms = sum(run(RateMonitor(ALPHA, DELTA), row) is not None for row in losses)
    assert 0 < alarms <= (DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / trials)) * trials
    looks = np.arange(50, length + 1, 50)
    counts = losses.cumsum(axis=1)[:, looks - 1]
    p = np.array(
        [
            [tail_p_value(n - v, n, 1 - ALPHA) for n, v in zip(looks, row, strict=True)]
            for row in counts
        ]
    )
    assert (p <= DELTA).any(axis=1).mean() > 0.3


def test_dependence_does_no_harm():
    """Violations in bursts, whose rate given the past is never above alpha."""
    rng, trials, alarms = np.random.default_rng(2), 300, 0
    for _ in range(trials):
        monitor, rate, losses = RateMonitor(ALPHA, DELTA), ALPHA, []
        for _ in range(1_000):
            losses.append(rng.random() < rate)
            rate = ALPHA if losses[-1] else max(0.0, rate - 0.02) or ALPHA
        alarms += run(monitor, losses) is not None
    assert alarms <= (DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / trials)) * trials


@pytest.mark.parametrize(
    ("before", "rate", "within"),
    [(0, 0.3, 80), (500, 0.3, 150), (10_000, 0.3, 250), (10_000, 0.2, 900)],
)
def test_drift_is_seen_soon_even_after_long_good_times(before, rate, within):
    rng, delays = np.random.default_rng(3), []
    for _ in range(20):
        monitor = RateMonitor(ALPHA, 0.05)
        assert run(monitor, rng.random(before) < 0.06) is None
        delays.append(run(monitor, rng.random(3 * within) < rate) or math.inf)
    assert np.median(delays) <= within


def test_losses_between_0_and_1():
    monitor = RateMonitor(ALPHA, DELTA)
    assert run(monitor, [0.1] * 1_000) is None
    assert run(monitor, [0.4] * 1_000) is not None
    for _ in range(3_000):
        monitor.update(1.0)
    assert math.isfinite(monitor.e_value)


def test_the_alarm_stays():
    monitor = RateMonitor(ALPHA, DELTA)
    run(monitor, [1.0] * 10)
    for _ in range(500):
        monitor.update(0.0)
    assert monitor.e_value < 1
    assert monitor.alarm


def test_goes_on_from_its_state_through_json():
    losses = np.random.default_rng(4).random(300) < 0.2
    whole, parts = RateMonitor(ALPHA, DELTA), RateMonitor(ALPHA, DELTA)
    for loss in losses:
        whole.update(float(loss))
        parts = RateMonitor.from_state(json.loads(json.dumps(parts.state())))
        parts.update(float(loss))
    assert parts == whole
    assert len(json.dumps(whole.state())) < 300


def test_nonsense_is_refused():
    for wrong in (1.1, -0.1, math.nan):
        with pytest.raises(ValueError, match="want a number between 0 and 1"):
            RateMonitor(ALPHA, DELTA).update(wrong)
    with pytest.raises(ValueError, match="delta is 0"):
        RateMonitor(ALPHA, 0)
    with pytest.raises(ValueError, match="not the state"):
        RateMonitor.from_state({"alpha": 0.1, "delta": 0.1, "bets": []})
    with pytest.raises(ValueError, match="2 stakes"):
        RateMonitor.from_state({"alpha": 0.1, "delta": 0.1, "stakes": [1.0, 2.0]})
