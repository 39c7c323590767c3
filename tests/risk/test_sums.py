from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from farthing.risk.sums import RATES, exponential_means, upper_sum, weighted_quantiles


def means(costs):
    row = exponential_means(
        costs[:-1], np.ones((1, len(costs) - 1)), costs[None, -1:], np.ones((1, 1))
    )
    return row[0]


def test_exponential_means_against_the_definition():
    costs = np.array([0.001, 0.004, 0.01])
    found = means(costs)
    plain = [np.log(np.mean(np.exp(rate * costs))) / rate for rate in RATES[:25]]
    assert found[:25] == pytest.approx(plain, rel=1e-6)
    assert found[0] == pytest.approx(costs.mean(), rel=1e-3)
    assert found[-1] == pytest.approx(costs.max(), rel=1e-3)
    assert (np.diff(found) >= -1e-12).all()


def test_weights_and_own_samples():
    shared, own = np.array([1.0, 5.0]), np.array([[2.0], [9.0]])
    found = exponential_means(shared, np.array([[2.0, 0], [0, 0]]), own, np.array([[1.0], [3.0]]))
    assert found[1] == pytest.approx(np.full(len(RATES), 9.0))
    assert found[0, 0] == pytest.approx((1 + 1 + 2) / 3, rel=1e-3)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("count", [1, 4, 64])
def test_upper_sum_covers_and_is_not_far_off(alpha, count):
    """4,000 sums of known distribution: exceeded no more often than alpha."""
    rng = np.random.default_rng(0)
    known = np.exp(rng.normal(-5.5, 0.8, 20_000))
    bound = upper_sum(count * means(known), alpha)
    sums = rng.choice(known, (4_000, count)).sum(axis=1)
    assert (sums > bound).mean() <= alpha
    independent = count * np.quantile(known, 1 - alpha)
    if count == 64 and alpha == 0.05:
        assert bound < 0.65 * independent
        normal = count * known.mean() + stats.norm.isf(alpha) * known.std() * count**0.5
        assert normal < bound < 1.2 * normal


def test_doubt_makes_up_for_a_mean_of_few_costs():
    """2,000 times 100 known costs and a sum of 100 more: the plain bound fails, the other holds."""
    rng = np.random.default_rng(0)
    alpha, plain, doubted = 0.05, 0, 0
    for _ in range(2_000):
        known, sum_ = np.exp(rng.normal(-5.5, 0.8, 100)), np.exp(rng.normal(-5.5, 0.8, 100)).sum()
        total = 100 * means(known)
        plain += sum_ > upper_sum(total, alpha)
        doubted += sum_ > upper_sum(total, alpha, doubt=1.0)
    assert plain / 2_000 > alpha > doubted / 2_000


def test_weighted_quantiles():
    costs = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    weights = np.array([[1.0, 1, 8], [5.0, 5, 0]])
    assert weighted_quantiles(costs, weights, 0.1).tolist() == [2.0, 3.0]
    assert weighted_quantiles(costs, weights, 0.0).tolist() == [3.0, 3.0]
    assert weighted_quantiles(costs, weights, 0.95).tolist() == [1.0, 1.0]
