from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from farthing.risk.binomial import interval, least_trials, most_violations, tail_p_value


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (37, 454)])
def test_interval_is_that_of_scipy(k, n):
    exact = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert interval(k, n) == pytest.approx((exact.low, exact.high))


def test_interval_covers():
    rng = np.random.default_rng(0)
    for rate in (0.03, 0.3):
        draws = rng.binomial(40, rate, 4000)
        spans = {k: interval(int(k), 40) for k in np.unique(draws)}
        covered = np.mean([spans[k][0] <= rate <= spans[k][1] for k in draws])
        assert covered >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_interval_without_trials_says_nothing_and_nonsense_is_refused():
    assert interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no count"):
        interval(3, 2)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.4])
@pytest.mark.parametrize("delta", [0.05, 0.1])
def test_most_violations_is_the_last_that_passes(alpha, delta):
    for n in (1, 10, 22, 45, 200):
        most = most_violations(n, alpha, delta)
        assert most == -1 or tail_p_value(most, n, alpha) <= delta
        assert tail_p_value(most + 1, n, alpha) > delta
    least = least_trials(alpha, delta)
    assert most_violations(least, alpha, delta) == 0
    assert most_violations(least - 1, alpha, delta) == -1
