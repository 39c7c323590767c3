"""Coverage by simulation for synthetic scores that fit, and for ones that do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from farthing.risk.synthetic_powered import threshold

ALPHA, N, MANY, TRIALS = 0.1, 25, 1500, 3000


def error(rate):
    return 3 * math.sqrt(rate * (1 - rate) / TRIALS)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.3, 2.0])
def test_coverage_is_within_its_bounds_and_that_of_synthetic_scores_alone_is_not(shift):
    rng = np.random.default_rng(1)
    covered, alone = 0, 0
    for _ in range(TRIALS):
        real, new = rng.normal(size=N), rng.normal()
        made = rng.normal(shift, size=MANY)
        found = threshold(real, made, ALPHA)
        covered += new <= found.value
        alone += new <= np.quantile(made, 1 - ALPHA)
    share = covered / TRIALS
    assert found.floor - error(found.floor) <= share <= found.ceiling + error(found.ceiling)
    assert found.floor >= 0.7
    if shift == 0.0:
        assert share >= 1 - ALPHA - error(0.9) - 0.01
    if shift == -1.0:
        assert alone / TRIALS < found.floor - 0.1


def test_thresholds_vary_less_than_those_of_few_real_scores():
    rng = np.random.default_rng(2)
    powered, split = [], []
    for _ in range(500):
        real = rng.normal(size=N)
        powered.append(threshold(real, rng.normal(size=MANY), ALPHA).value)
        split.append(np.sort(real)[math.ceil((1 - ALPHA) * (N + 1)) - 1])
    assert np.std(powered) < 0.5 * np.std(split)
    assert np.mean(powered) < np.mean(split)  # and accept less


def test_too_few_real_scores_accept_all_by_themselves_but_not_here():
    rng = np.random.default_rng(3)
    found = threshold(rng.normal(size=5), rng.normal(size=MANY), ALPHA)
    assert math.isfinite(found.value)
    assert found.ceiling == 1.0


def test_a_quantile_outside_gives_way_to_real_scores():
    real = np.arange(20.0)
    found = threshold(real, np.full(100, -50.0), 0.1)
    assert (found.by, found.value in real) == ("real", True)
    assert threshold(real, real, 0.1).by == "synthetic"


@pytest.mark.parametrize(
    ("given", "message"),
    [(([], [1.0], 0.1), "want some of both"), (([1.0], [1.0], 1.0), "between 0 and 1")],
)
def test_nonsense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        threshold(*given)
