"""Binomial, Hoeffding-Bentkus and betting bounds: seldom wrong, by simulation, and how wide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy import stats

from farthing.risk import betting, binomial, hoeffding

DELTA, N, TRIALS = 0.1, 60, 4_000

DRAWS = {
    "rare ones": (lambda rng, shape: (rng.random(shape) < 0.03).astype(float), 0.03),
    "ones and noughts": (lambda rng, shape: (rng.random(shape) < 0.3).astype(float), 0.3),
    "low variance": (lambda rng, shape: rng.beta(6, 54, shape), 0.1),
    "heavy tail": (lambda rng, shape: rng.random(shape) ** 19, 0.05),
}


def at_most(rate, trials=TRIALS):
    return rate + 3 * math.sqrt(rate * (1 - rate) / trials)


def bounds(losses):
    found = {
        "hoeffding": hoeffding.upper_bounds(losses.mean(axis=1), N, DELTA),
        "betting": betting.upper_bounds(losses, DELTA),
    }
    if np.isin(losses, (0, 1)).all():
        found["binomial"] = binomial.upper_bounds(losses.sum(axis=1), N, DELTA)
    return found


@pytest.mark.parametrize("kind", DRAWS)
def test_bounds_are_wrong_as_seldom_as_promised(kind):
    draw, mean = DRAWS[kind]
    losses = draw(np.random.default_rng(1), (TRIALS, N))
    for name, upper in bounds(losses).items():
        assert (upper < mean).mean() <= at_most(DELTA), name
    normal = losses.mean(axis=1) + stats.norm.isf(DELTA) * losses.std(axis=1) / math.sqrt(N)
    if kind in ("rare ones", "heavy tail"):
        assert (normal < mean).mean() > at_most(DELTA)
    if kind == "ones and noughts":  # no rule is so timid that the test could not fail
        assert (binomial.upper_bounds(losses.sum(axis=1), N, DELTA) < mean).mean() > 0.04
        assert (betting.upper_bounds(losses, DELTA) < mean).mean() > 0.01


def test_which_bound_is_tightest():
    rng = np.random.default_rng(2)
    ones = bounds(DRAWS["ones and noughts"][0](rng, (200, N)))
    assert (ones["binomial"] < ones["hoeffding"]).all()
    steady = bounds(DRAWS["low variance"][0](rng, (200, N)))
    assert steady["betting"].mean() < 0.75 * steady["hoeffding"].mean()


@pytest.mark.parametrize("kind", DRAWS)
def test_p_values_and_bounds_agree(kind):
    """A promise is certified at delta just where it is above the bound."""
    losses = DRAWS[kind][0](np.random.default_rng(3), (50, N))
    upper = bounds(losses)
    for alpha in (0.02, 0.1, 0.35):
        p = {
            "hoeffding": hoeffding.p_values(losses.mean(axis=1), N, alpha),
            "betting": betting.p_values(losses, alpha, DELTA),
            "binomial": binomial.p_values(losses.sum(axis=1), N, alpha),
        }
        for name, bound in upper.items():
            clear = np.abs(bound - alpha) > 1e-9
            assert ((p[name] <= DELTA) == (bound <= alpha))[clear].all(), name


def test_betting_capital_against_its_definition():
    losses = np.random.default_rng(4).random(30)
    alpha, delta = 0.7, 0.2
    log_capital = best = 0.0
    for t, loss in enumerate(losses):
        seen = losses[:t]
        means = [(0.5 + seen[: i + 1].sum()) / (i + 2) for i in range(t)]
        variance = (0.25 + sum((x - m) ** 2 for x, m in zip(seen, means, strict=True))) / (t + 1)
        stake = math.sqrt(2 * math.log(1 / delta) / (len(losses) * variance))
        log_capital += math.log(1 - min(stake, 0.75 / (1 - alpha)) * (loss - alpha))
        best = max(best, log_capital)
    assert betting.p_values(losses[None], alpha, delta)[0] == pytest.approx(math.exp(-best))


def test_no_bet_can_be_expected_to_gain():
    """Exactly: over all 2^8 outcomes at the very rate, the expected capital is 1 at the end."""
    alpha, n = 0.3, 8
    outcomes = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)
    chance = (alpha**outcomes * (1 - alpha) ** (1 - outcomes)).prod(axis=1)
    stakes = np.minimum(betting._stakes(outcomes, 0.1), betting.MOST / (1 - alpha))
    capital = (1 + stakes * (alpha - outcomes)).prod(axis=1)
    assert chance @ capital == pytest.approx(1.0)
    p = betting.p_values(outcomes, alpha, 0.1)
    for level in (0.5, 0.7, 0.9):
        assert chance[p <= level].sum() <= level


def test_betting_interval_covers_and_gains_from_a_low_variance():
    rng = np.random.default_rng(5)
    found = [betting.interval(rng.beta(6, 54, 200), 0.9) for _ in range(1_000)]
    assert np.mean([not low <= 0.1 <= high for low, high in found]) <= at_most(0.1, 1_000)
    widths = [high - low for low, high in found]
    hoeffding_width = 2 * math.sqrt(math.log(2 / 0.1) / (2 * 200))
    assert np.mean(widths) < 0.3 * hoeffding_width


def test_extremes():
    assert hoeffding.upper_bounds([0.0], 50, 0.1)[0] == pytest.approx(1 - 0.1 ** (1 / 50))
    assert hoeffding.upper_bounds([1.0], 50, 0.1)[0] == 1
    assert betting.upper_bounds(np.ones((1, 50)), 0.1)[0] == 1
    assert betting.upper_bounds(np.zeros((1, 50)), 0.1)[0] < 0.2
    assert binomial.upper_bounds([0, 50], 50, 0.1) == pytest.approx([1 - 0.1 ** (1 / 50), 1])
    assert betting.p_values(np.zeros((2, 0)), 0.1).tolist() == [1, 1]
    for wrong in ([[0.5, 1.1]], [[-0.1]], [0.5, 0.5], [[math.nan]]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            betting.upper_bounds(wrong, 0.1)


def test_mapie_finds_the_same_p_values():
    means = np.array([0.0, 0.01, 0.05, 0.12, 0.3])
    for alpha in (0.02, 0.1, 0.25):
        theirs = compute_hoeffding_bentkus_p_value(means, 100, alpha)[:, 0]
        assert hoeffding.p_values(means, 100, alpha) == pytest.approx(theirs.clip(max=1))
        exact = compute_hoeffding_bentkus_p_value(means, 100, alpha, binary=True)[:, 0]
        ours = np.minimum(
            hoeffding.p_values(means, 100, alpha), binomial.p_values(means * 100, 100, alpha)
        )
        assert ours == pytest.approx(exact)
