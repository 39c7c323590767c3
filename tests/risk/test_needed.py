"""With as many labels as are said to be needed, about half of the attempts settle the target."""

from __future__ import annotations

import numpy as np
import pytest

from farthing.risk import binomial
from farthing.risk.needed import exact_needed, powered_needed, scaled_needed
from farthing.risk.prediction_powered import ppi_plus_mean


def test_exact():
    assert exact_needed(90, 100, 0.05, None) is None
    assert exact_needed(90, 100, 0.05, 0.8) == 0
    assert exact_needed(90, 100, 0.05, 0.97) == 0  # it is missed
    more = exact_needed(90, 100, 0.05, 0.86)
    count = 100 + more
    assert binomial.interval(int(0.9 * count), count, 0.9)[0] >= 0.86
    assert binomial.interval(int(0.9 * (count - 20)), count - 20, 0.9)[0] < 0.86
    assert exact_needed(90, 100, 0.05, 0.9) is None


def test_scaled():
    assert scaled_needed(100, 0.9, 0.8, 0.95, None) is None
    assert scaled_needed(100, 0.9, 0.8, 0.95, 0.75) == 0
    assert scaled_needed(100, 0.9, 0.8, 0.95, 0.85) == 300
    assert scaled_needed(100, 0.9, 0.8, 0.95, 0.925) == 300
    assert scaled_needed(100, 0.9, 0.8, 0.95, 0.9) is None


@pytest.mark.parametrize("target", [0.75, 0.85])
def test_powered(target):
    rng = np.random.default_rng(1)

    def judged(n, more=3000):
        y = (rng.random(n + more) < 0.8).astype(float)
        f = 0.5 * y + 0.3 * rng.random(n + more) - 0.2 * (rng.random(n + more) < 0.2)
        return ppi_plus_mean(y[:n], f[:n], f[n:])

    told = []
    for _ in range(60):
        found = judged(40)
        ends = found.interval(0.95, "lower")[0], found.interval(0.95, "upper")[1]
        told.append(powered_needed(found, *ends, 0.95, target))
    assert powered_needed(found, *ends, 0.95, None) is None
    count = 40 + int(np.median(told))
    settled = 0
    for _ in range(300):
        low, high = judged(count).interval(0.9)
        settled += low >= target or high < target
    assert 0.25 < settled / 300 < 0.8
