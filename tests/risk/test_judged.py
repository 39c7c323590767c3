from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from farthing.risk.judged import rank
from farthing.risk.prediction_powered import classical_mean, ppi_plus_mean

TRIALS = 1000
RATES = np.array([0.70, 0.72, 0.80, 0.90])
FAVOUR = np.array([0.25, 0.0, 0.0, -0.1])  # the judge's own family comes first


def answers(rng, n):
    """Right or wrong, with what is hard in common; and a judge's scores."""
    hard = rng.normal(size=(n, 1))
    y = (0.7 * hard + math.sqrt(1 - 0.49) * rng.normal(size=(n, 4)) < stats.norm.ppf(RATES)) * 1.0
    f = np.clip(0.3 + 0.4 * y + FAVOUR + 0.15 * rng.normal(size=y.shape), 0, 1)
    return y, f


def test_ranks_and_intervals_hold_together_and_the_judge_alone_is_fooled():
    rng = np.random.default_rng(1)
    wrong_mean, wrong_rank, wrong_alone, fooled, decided = 0, 0, 0, 0, 0
    for _ in range(TRIALS):
        y, f = answers(rng, 200 + 1500)
        found = rank(y[:200], f[:200], f[200:], 0.9)
        wrong_mean += any(
            not one.interval[0] <= rate <= one.interval[1]
            for one, rate in zip(found, RATES, strict=True)
        )
        wrong_rank += any(
            not one.best <= place <= one.worst
            for one, place in zip(found, (4, 3, 2, 1), strict=True)
        )
        decided += found[3].worst == 1
        single = [ppi_plus_mean(y[:200, i], f[:200, i], f[200:, i]) for i in range(4)]
        wrong_alone += any(
            not one.interval(0.9)[0] <= rate <= one.interval(0.9)[1]
            for one, rate in zip(single, RATES, strict=True)
        )
        fooled += f[:, 0].mean() > f[:, 2].mean()
    error = 3 * math.sqrt(0.1 * 0.9 / TRIALS)
    assert wrong_mean / TRIALS <= 0.1 + error
    assert wrong_rank / TRIALS <= 0.1 + error
    assert wrong_alone / TRIALS > 0.1 + error  # intervals of one, read as if of four
    assert fooled / TRIALS > 0.99
    assert decided / TRIALS > 0.8


def test_pairing_decides_more_than_the_intervals_of_the_means():
    rng = np.random.default_rng(2)
    y, f = answers(rng, 1700)
    found = rank(y[:200], f[:200], f[200:])
    assert found[3].interval[0] < found[2].interval[1]
    assert found[3].worst == 1


def test_equal_systems_share_their_ranks():
    y = np.tile(np.array([[0.0], [1.0], [1.0], [0.0], [1.0]]), 2)
    found = rank(y, y, np.ones((3, 2)))
    assert [(one.best, one.worst) for one in found] == [(1, 2), (1, 2)]
    assert classical_mean(y[:, 0]).value == 0.6


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="want questions x systems"):
        rank(np.ones((3, 2)), np.ones((3, 2)), np.ones((4, 3)))
