from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.risk.adaptive import AdaptiveLevel


def shares(n):
    """Above each of n values and one to come."""
    return np.arange(n, 0, -1) / (n + 1)


def run(costs, alpha, adapt, window=256):
    """Share of the costs above the quantile given for each, from those before it."""
    level, fixed, over = AdaptiveLevel(alpha), AdaptiveLevel(alpha), []
    for at in range(window, len(costs)):
        ordered = np.sort(costs[at - window : at]) if adapt else np.sort(costs[:window])
        exceeded = bool(costs[at] > (level if adapt else fixed).upper(ordered, shares(window)))
        level.update(exceeded)
        over.append(exceeded)
    return np.array(over)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_share_above_tracks_alpha_under_a_shift(alpha):
    """Costs treble in the middle; with 10,000 outcomes the standard error is 0.2 to 0.4 %."""
    rng = np.random.default_rng(1)
    costs = np.exp(rng.normal(0, 0.8, 10_256))
    costs[5_000:] *= 3
    assert abs(run(costs, alpha, adapt=True).mean() - alpha) < 0.012
    fixed = run(costs, alpha, adapt=False)
    assert fixed[5_000:].mean() > 2 * alpha


@given(st.lists(st.floats(0, 1e6), min_size=50, max_size=300), st.sampled_from([0.05, 0.3]))
def test_bound_on_the_share_holds_for_any_outcomes(costs, alpha):
    """The bound of Gibbs and Candès, where nothing exceeds at level 0 or below."""
    level = AdaptiveLevel(alpha, step=0.05)
    for cost in costs:
        exceeded = level.level > 0 and (cost > 5e5 or level.level >= 1)
        level.update(exceeded)
    n = len(costs)
    assert level.outcomes == n
    bound = (max(alpha, 1 - alpha) + level.step) / (level.step * n)
    assert abs(level.exceeded / n - alpha) <= bound + 1e-9


def test_upper_is_the_conformal_quantile_and_grows_beyond_it():
    level = AdaptiveLevel(0.1)
    assert level.upper(range(1, 100), shares(99)) == 90
    assert level.upper(range(1, 10), shares(9)) == 9
    assert level.upper([3.0], shares(1)) == 6.0
    uppers = []
    for _ in range(40):
        level.update(True)
        uppers.append(level.upper(range(1, 100), shares(99)))
    assert uppers == sorted(uppers)
    assert level.level == pytest.approx(-0.2)  # and no lower
    assert uppers[-1] == pytest.approx(8 * 99)


def test_upper_with_weights():
    level = AdaptiveLevel(0.1)
    assert level.upper([1.0, 2.0, 3.0], [0.3, 0.1, 0.0]) == 2.0
    assert level.upper([1.0, 2.0, 3.0], [0.3, 0.11, 0.0]) == 3.0


@pytest.mark.parametrize("wrong", [{"alpha": 0}, {"alpha": 1}, {"alpha": 0.1, "step": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="want a number between 0 and 1"):
        AdaptiveLevel(**wrong)
